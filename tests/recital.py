"""The smallest real system around a conversation: it answers every turn by reciting shipped
sentences; and the live page's server in a thread. For tests of what lies around it."""

import asyncio
import threading
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from types import SimpleNamespace

from tiny import shake

from livetalk_ref.codec import Codec, CodecConfig
from livetalk_ref.live import page
from livetalk_ref.live.conversation import Conversation
from livetalk_ref.generate import Avatar
from livetalk_ref.live.events import Sentence
from livetalk_ref.live.page import drawn_faces
from livetalk_ref.live.turns import make_listener
from livetalk_ref.portrait import portrait_of
from livetalk_ref.wan import Config, WanDiT
from livetalk_ref.world import text
from livetalk_ref.world.ear import AUDIO_DIM
from livetalk_ref.world.speech import load_spoken

RECITED = (("12-us-f5", "a happy person smiles while speaking", "retrieval"),
           ("00-us", "a surprised person speaks", "language model"))
LISTEN = make_listener()         # None without silero-vad
RECORDED = {load_spoken(file).text: file for file, *_ in RECITED}


def think(dialogue):
    """The recited sentences, one after the other."""
    for file, prompt, source in RECITED:
        yield None
        yield Sentence(load_spoken(file).text, prompt, source)


def speak(sentence):
    """The recording of a recited sentence."""
    yield from load_spoken(RECORDED[sentence.text]).samples.split(8_000)


def small():
    """An avatar of random weights that is quick: what it shows are no faces."""
    config = Config(dim=24, ffn_dim=32, heads=2, layers=2, text_dim=text.TEXT_DIM,
                    audio_dim=AUDIO_DIM, latent_channels=4, audio_hidden=8, freq_dim=32)
    codec = shake(Codec(CodecConfig(4, (8, 8, 8), (8, 8, 8))), 2)
    return Avatar(shake(WanDiT(config), 1), codec, "small", "rollout")


def maker(avatar):
    """make(identity, show) -> a conversation, as sessions want it."""
    return lambda identity, show=None: Conversation(avatar, portrait_of(identity), LISTEN, think,
                                                    speak, show)


@contextmanager
def serving(make, identity=7):
    """A server in a thread: `with serving(make) as served: served.url`."""
    sock, loop, told = page.bind(0), asyncio.new_event_loop(), SimpleQueue()
    task = loop.create_task(page.serve(make, drawn_faces(identity), sock, told.put))

    def run():
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(task)
        loop.run_until_complete(asyncio.sleep(0.1))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield SimpleNamespace(url=told.get(timeout=10), sock=sock, port=sock.getsockname()[1])
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
