"""A page's session: messages in their order, and nobody waits who brings one."""

import threading
import time

from recital import maker, small

from livetalk_ref.live.session import HASTY, MESSAGES, Session, Slots

MAKE = maker(small())
START = {"type": "start", "identity": "3", "emotion": ""}


def until(done):
    """Wait for what a thread is about to do."""
    end = time.monotonic() + 120
    while not done() and time.monotonic() < end:
        time.sleep(0.01)
    assert done()


def test_messages_wait_for_an_interruption_and_who_brings_them_does_not():
    said = []
    session = Session(MAKE, lambda *m: said.append(m[0]), lambda *m: None, 3, Slots())
    session.bring(START)
    until(lambda: session.talk)
    talk = session.talk
    with talk.lock:                             # as while a block is under way
        session.bring({"type": "interrupt"})
        until(lambda: not session.messages.items)
        session.bring({"type": "emotion", "name": "sad"})
        for _ in range(MESSAGES):               # the last one finds no room
            session.bring({"type": "emotion", "name": "happy"})
        assert talk.emotion is None and [m["sentence"] for m in said] == [HASTY]
    until(lambda: talk.emotion == "happy" and not session.messages.items)
    session.end()
    session.thread.join(60)
    assert not session.thread.is_alive() and talk.outbox.closed


def test_nothing_begins_behind_the_end():
    made, door = [], threading.Event()
    session = Session(made.append, lambda *m: door.wait(60), lambda *m: None, 3, Slots())
    session.bring({"type": "dance"})            # nothing happens before a start
    session.bring({"type": "hello"})            # posts, and so waits at the door
    until(lambda: not session.messages.items)
    session.bring(START)
    session.end()
    door.set()
    session.bring(START)
    assert not session.messages.items and session.thread is None and not made
