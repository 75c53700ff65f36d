"""Who works when: a live stream's sound, passes and decoding on one clock.

Sound arrives as fast as a microphone gives it, the pipeline's threads work beside each other, and
every pass of the model and every decoded group is noted with its beginning and end.
"""

import time
from contextlib import contextmanager
from dataclasses import dataclass

from livetalk_ref.flow import STUDENT_STEPS
from livetalk_ref.pipeline import Pipeline
from livetalk_ref.stream import AvatarSession, count_blocks
from livetalk_ref.world.state import FPS, SAMPLES_PER_FRAME

PASSES = STUDENT_STEPS + 1      # of a block: the last one is the clean pass
GROUPS = 3                      # latent frames of a block, decoded one by one


@dataclass(frozen=True)
class Note:
    """Something that took from `start` to `end`, in seconds since the stream began."""

    lane: str           # "sound", "step", "clean pass", "decoding" or "shown"
    block: int
    start: float
    end: float


@contextmanager
def noted(module, notes, name):
    """Note every call of a module while this lasts. name(n) -> (lane, block) of call number n."""
    begun, made = [], []

    def before(*_):
        begun.append(time.perf_counter())

    def after(*_):
        lane, block = name(len(made))
        made.append(Note(lane, block, begun[-1], time.perf_counter()))
        notes.append(made[-1])

    hooks = [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def microphone(samples, began, notes, ahead):
    """Yield 62.5 ms of sound at a time, each when it has been heard."""
    for index, chunk in enumerate(samples.split(SAMPLES_PER_FRAME)):
        start = began + index / FPS
        time.sleep(max(0.0, start + 1 / FPS - time.perf_counter()))
        notes.append(Note("sound", count_blocks(index * SAMPLES_PER_FRAME, ahead), start,
                          start + 1 / FPS))
        yield chunk


def live(avatar, picture, prompt, samples):
    """The `Note`s of a live stream of (N,) samples, in the order of their beginnings.

    A block's "shown" is the stretch for which its frames last, from the moment they are there.
    """
    notes, session = [], AvatarSession(avatar, picture, prompt, policy=avatar.policy)

    def passes(n):
        return ("step" if n % PASSES < STUDENT_STEPS else "clean pass"), n // PASSES

    with noted(avatar.model, notes, passes), \
            noted(avatar.codec.decoder, notes, lambda n: ("decoding", n // GROUPS)), \
            Pipeline(session) as pipeline:
        began = time.perf_counter()
        pipeline.feed(microphone(samples, began, notes, session.ahead))
        for block, frames in enumerate(pipeline):
            now = time.perf_counter()
            notes.append(Note("shown", block, now, now + len(frames) / FPS))
    return sorted((Note(n.lane, n.block, n.start - began, n.end - began) for n in notes),
                  key=lambda n: n.start)


def budget(notes, block=1):
    """Where a later block's time goes: {what: seconds} from its last sound to its pictures."""
    part = [n for n in notes if n.block == block]
    heard = max(n.end for n in part if n.lane == "sound")
    steps = [n for n in part if n.lane == "step"]
    shown = next(n.start for n in part if n.lane == "shown")
    decoding = sum(n.end - n.start for n in part if n.lane == "decoding")
    return {"waiting and features": steps[0].start - heard,
            "four steps": sum(n.end - n.start for n in steps), "decoding": decoding,
            "handing over": shown - heard - (steps[0].start - heard) - decoding
            - sum(n.end - n.start for n in steps), "from the last sound": shown - heard}

