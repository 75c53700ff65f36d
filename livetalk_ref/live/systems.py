"""Whole systems by name: which avatar performs, who listens, who thinks and who speaks.

    talk = Maker("teacher").talk(identity=7)            # retrieval and the small language model
    talk = Maker("student", thinker="http://localhost:8000/v1").talk(7)
"""

from dataclasses import replace

import torch.nn.functional as F

from livetalk_ref.errors import UserError
from livetalk_ref.live import language
from livetalk_ref.live.conversation import Conversation
from livetalk_ref.live.think import Endpoint, Thinker
from livetalk_ref.live.turns import make_listener
from livetalk_ref.loading import load
from livetalk_ref.portrait import portrait_of
from livetalk_ref.world import ear
from livetalk_ref.world.speech import say

STUDENTS = ("student", "student_ode")       # the best that ships comes first
PAUSE = 2_400           # samples behind a sentence
LOUD = 0.35             # the largest sample, so that voices are equally loud


def best_student():
    """The name of the best student that ships, or the teacher where there is none."""
    return next((name for name in STUDENTS
                 if (ear.CHECKPOINTS / f"{name}.safetensors").is_file()), "teacher")


def streaming(avatar):
    """The avatar as one that makes block after block. A teacher, never distilled for it, does so
    badly, and serves for trying things out."""
    return replace(avatar, sampler="rollout")


def talker(voice="us"):
    """A `speak` function of one of the world's voices, with a short pause behind each sentence.
    UserError where its engine is missing."""
    def speak(sentence):
        samples = say(sentence.text, voice).samples
        yield F.pad(samples * (LOUD / max(samples.abs().max().item(), 1e-3)), (0, PAUSE))

    say("a", voice)                 # what is missing is said now, not in the middle of a dialogue
    return speak


def make_thinker(name="embedded", model=None):
    """A `think` function: embedded, retrieval, or the http address of a chat endpoint (and its
    model's name). UserError for another name."""
    if name.startswith(("http://", "https://")):
        return Endpoint(name, model)
    if name not in ("embedded", "retrieval"):
        raise UserError(f"There is no thinker '{name}'; choose embedded, retrieval, or the http "
                        f"address of a chat endpoint.")
    return Thinker(language.load() if name == "embedded" and language.is_installed() else None)


class Maker:
    """Conversations of one system, whose weights are loaded once: one at a time, for a new one
    ends the one before. model: a generator's name or a checkpoint's path; device: the avatar's."""

    def __init__(self, model="teacher", thinker="embedded", chat_model=None, device="cpu"):
        self.avatar = streaming(load(model, device))
        self.think, self.speak = make_thinker(thinker, chat_model), talker()
        self.listen, self.latest = make_listener(), None

    def talk(self, identity, show=None):
        if self.latest:
            self.latest.fail(UserError("The conversation goes on in another window."))
        self.latest = Conversation(self.avatar, portrait_of(identity), self.listen, self.think,
                                   self.speak, show)
        return self.latest
