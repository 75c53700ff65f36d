"""One page and its conversation: messages in, events out, with a thread of its own between.

A page has at most one conversation at a time. Starting one may take seconds (weights), so it
happens in the thread that later hands out the events; whoever brings a message waits for a block
under way at most, and only where the message interrupts.
"""

import sys
import threading
import traceback
from functools import cache

from livetalk_ref.errors import UserError
from livetalk_ref.live import wire
from livetalk_ref.live.events import Error, State
from livetalk_ref.media import to_bytes
from livetalk_ref.portrait import portrait_of
from livetalk_ref.world.prompts import list_words

SHOWN = 192                     # pixels of a portrait to choose from
OTHERS = (2, 3, 5, 8, 18, 21)    # seeds of faces to choose from: the student keeps them well
PATIENCE = 10                   # seconds that a start waits for the conversation before it to end
BUSY = "Another conversation is running here: end it, then start this one."
BROKEN = "The conversation broke down; why is written where this program was started."


class Gone(Exception):
    """There is nobody any more to send to."""


def sentence_of(error):
    """What a page is told of an exception; what is not the user's doing is printed as well."""
    if isinstance(error, UserError):
        return str(error)
    traceback.print_exception(error, file=sys.stderr)
    return BROKEN


class Slots:
    """How many conversations may run at once."""

    def __init__(self, count=1, patience=PATIENCE):
        self.free, self.patience = threading.BoundedSemaphore(count), patience

    def __enter__(self):
        if not self.free.acquire(timeout=self.patience):
            raise UserError(BUSY)

    def __exit__(self, *error):
        self.free.release()


@cache
def portrait(seed):
    """A face to choose from, as a JPEG file's bytes."""
    picture = portrait_of(seed, SHOWN)
    return wire.jpeg(to_bytes(picture))


class Session:
    """make(identity) -> a new `Conversation`.

    post(message, bytes) sends at once and never waits; send(message, bytes) waits until the page
    has room, and raises `Gone` when it has left. identity: whose face is shown first.
    """

    def __init__(self, make, post, send, identity, slots):
        self.make, self.post, self.send = make, post, send
        self.identity, self.slots = identity, slots
        self.talk, self.stopped, self.lock = None, threading.Event(), threading.Lock()
        self.thread = None

    def take(self, message, data=b""):
        """Do what a page's message asks for. What is wrong with it is told to the page alone."""
        try:
            kind = wire.check(message)["type"]
            if kind == "hello":
                self.greet()
            elif kind == "start":
                self.start(wire.number_in(message, "identity", 2 ** 63),
                           wire.emotion_in(message, "emotion"))
            elif kind == "stop":
                self.stop()
            elif talk := self.talk:             # what comes too early or too late is nothing
                wire.obey(talk, message, data)
        except Exception as error:              # a notebook would not tell of it
            self.complain(error)

    def complain(self, error, fatal=False):
        """Tell the page what is wrong, in a sentence."""
        self.post(*wire.message_of(Error(sentence_of(error), fatal)))

    def greet(self):
        """The faces to choose from; seeds are written out, JavaScript's numbers are too short."""
        others = [seed for seed in OTHERS if seed != self.identity]
        faces = [self.identity, *others][:6]
        self.post({"type": "hello", "faces": len(faces), "identity": str(self.identity),
                   "words": list_words()}, b"")
        for seed in faces:
            self.post({"type": "face", "seed": str(seed)}, portrait(seed))

    def start(self, identity, emotion):
        self.stop()
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True,
                                       args=(identity, emotion, self.stopped))
        self.thread.start()

    def stop(self):
        """End the conversation, if there is one. Its thread follows on its own."""
        with self.lock:
            self.stopped.set()
            talk, self.talk = self.talk, None
        if talk:                                # this waits for a step under way
            threading.Thread(target=talk.close, daemon=True).start()

    def run(self, identity, emotion, stopped):
        try:
            self.send(*wire.message_of(State("loading")))
            with self.slots:
                self.converse(identity, emotion, stopped)
        except Gone:
            pass
        except Exception as error:
            if not stopped.is_set():
                self.complain(error, fatal=True)

    def converse(self, identity, emotion, stopped):
        if stopped.is_set():                    # while it waited for its turn
            return
        talk = self.make(identity)
        try:
            if emotion:
                talk.set_emotion(emotion)
            with self.lock:
                if stopped.is_set():
                    return
                self.talk = talk
            for event in talk.events():
                if stopped.is_set():
                    return
                self.send(*wire.message_of(event))
        finally:
            with self.lock:
                if self.talk is talk:
                    self.talk = None
            talk.close()
