"""Whole systems by name: the avatar, and which listener, thinker and talker go with it.

    talk = Maker("teacher").talk(identity=7)            # retrieval and the small language model
    talk = Maker("student", thinker="http://localhost:8000/v1").talk(7)

A `Maker` loads weights once and then makes as many conversations as are asked for.
"""

from contextlib import suppress
from dataclasses import replace
from threading import Thread

from livetalk_ref.errors import UserError
from livetalk_ref.live import recognise, smol, turns
from livetalk_ref.live.conversation import Conversation
from livetalk_ref.live.talk import talker
from livetalk_ref.live.think import Thinker
from livetalk_ref.load import load
from livetalk_ref.portrait import portrait_of

THINKERS = ("embedded", "retrieval")        # or the URL of a chat endpoint, or an omni model's


def streaming(avatar):
    """The avatar as one that makes block after block. Any DiT can; one that was never distilled
    for it, as the teacher, does so badly, and serves for trying things out alone."""
    return replace(avatar, sampler="rollout")


def make_listener():
    """Turns of a microphone, with the known questions recognised where that can be; None where
    silero-vad is missing."""
    try:
        return turns.Listener(recognise.Recogniser() if recognise.is_installed() else None)
    except UserError:
        return None


def load_ahead():
    """Load the language model before it is needed: half a minute, at the very first time. What
    goes wrong is said when a question needs it, for then it is loaded again."""
    with suppress(Exception):
        smol.load()


def make_thinker(name="embedded", model=None):
    """A `think` function: of THINKERS, of a chat endpoint's URL (and its model's name), or
    "omni:FOLDER". UserError for another name, or where something is missing."""
    if name in THINKERS:
        if name == "retrieval" or not smol.is_installed():
            return Thinker(None)
        thread = Thread(target=load_ahead, daemon=True)
        thread.start()
        return Thinker(smol.load, ready=lambda: smol.is_ready() or not thread.is_alive())
    if name.startswith(("http://", "https://")):
        from livetalk_ref.live.endpoint import Endpoint
        return Endpoint(name, model)
    if name.startswith("omni:"):
        from livetalk_ref.live.omni import load_omni
        return load_omni(name.removeprefix("omni:"))
    raise UserError(f"There is no thinker '{name}'; choose one of {', '.join(THINKERS)}, an http "
                    f"address, or omni:FOLDER.")


class Maker:
    """model: a generator's name or a checkpoint's path; thinker: see `make_thinker`; voice: of
    world/speech.py; device: the avatar's. Conversations share these, so one at a time is meant."""

    def __init__(self, model="teacher", thinker="embedded", voice="us", chat_model=None,
                 device="cpu"):
        self.avatar = streaming(load(model, device))
        self.think, self.speak = make_thinker(thinker, chat_model), talker(voice)
        self.listen = make_listener()

    def talk(self, identity):
        """A new `Conversation` with the face of a seed."""
        return Conversation(self.avatar, portrait_of(identity), self.listen, self.think,
                            self.speak)
