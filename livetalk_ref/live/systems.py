"""Whole systems by name: the avatar, and which listener, thinker and talker go with it.

    talk = Maker("teacher").talk(identity=7)            # retrieval and the small language model
    talk = Maker("student", thinker="http://localhost:8000/v1").talk(7)

Talkers are the world's voices: espeak-ng gives a sentence within milliseconds; piper's natural
voice takes a fifth of the sentence's length. Both are the 'speech' extra, and GPL-3.
"""

from dataclasses import replace
from functools import partial

import torch

from livetalk_ref.errors import UserError
from livetalk_ref.live.conversation import Conversation
from livetalk_ref.live.thinkers import make_thinker
from livetalk_ref.live.turns import make_listener
from livetalk_ref.loading import load
from livetalk_ref.portrait import portrait_of
from livetalk_ref.world.speech import VOICES, say

CHUNK = 4_000           # samples, a quarter of a second
PAUSE = 2_400           # behind a sentence
LOUD = 0.35             # the largest sample, so that voices are equally loud


def speak(sentence, voice="us", rate=1.0):
    """Yield the chunks of a `Sentence`, with a short pause behind it."""
    samples = say(sentence.text, voice, rate).samples
    samples = samples * (LOUD / max(samples.abs().max().item(), 1e-3))
    yield from torch.cat([samples, torch.zeros(PAUSE)]).split(CHUNK)


def talker(voice="us", rate=1.0):
    """A `speak` function of one of the world's voices. UserError for an unknown one, or where
    its engine is missing."""
    if voice not in VOICES:
        raise UserError(f"No voice is called '{voice}'; choose one of {', '.join(VOICES)}.")
    say("a", voice)                 # now, and not in the middle of a dialogue
    return partial(speak, voice=voice, rate=rate)


def streaming(avatar):
    """The avatar as one that makes block after block. Any DiT can; one that was never distilled
    for it, as the teacher, does so badly, and serves for trying things out alone."""
    return replace(avatar, sampler="rollout")


class Maker:
    """model: a generator's name or a checkpoint's path; thinker: see `make_thinker`; voice: of
    world/speech.py; device: the avatar's. Weights are loaded once; conversations share them, so
    one at a time is meant."""

    def __init__(self, model="teacher", thinker="embedded", voice="us", chat_model=None,
                 device="cpu"):
        self.avatar = streaming(load(model, device))
        self.think, self.speak = make_thinker(thinker, chat_model), talker(voice)
        self.listen = make_listener()

    def talk(self, identity):
        """A new `Conversation` with the face of a seed."""
        return Conversation(self.avatar, portrait_of(identity), self.listen, self.think,
                            self.speak)
