"""Random events in time: the sharp, unpredictable half of the world's motion.

People do not drift: they hold a pose, jump to another within two or three frames and hold
that. A track is a list of values a frame, one per column that jumps together. Given text,
image and audio nothing here can be predicted, which is what a one-step model cannot draw.
"""

import math

import torch

from livetalk_ref.world.state import FPS


class Dice:
    """Random numbers one at a time from a torch.Generator, drawn in batches for speed."""

    def __init__(self, generator):
        self.generator = generator
        self.pool = []

    def uniform(self, low=0.0, high=1.0):
        if not self.pool:
            self.pool = torch.rand(256, generator=self.generator).tolist()
        return low + (high - low) * self.pool.pop()

    def frames(self, low, high):
        """A duration between low and high seconds, in whole frames, at least 1."""
        return max(1, round(self.uniform(low, high) * FPS))

    def chance(self, probability):
        return self.uniform() < probability

    def sign(self):
        return 1 if self.chance(0.5) else -1

    def pick(self, options):
        return options[min(int(self.uniform(0, len(options))), len(options) - 1)]


def smooth(x):
    """Smoothstep of a number: 0 below 0, 1 above 1, flat at both ends."""
    x = min(max(x, 0.0), 1.0)
    return x * x * (3 - 2 * x)


def jumps(frames, start, first_hold, next_jump, breaks=()):
    """Holds `start` (a tuple), then jumps again and again -> list of `frames` tuples.

    next_jump(frame, value) -> (target, move, hold): go to target in `move` frames, smoothly,
    then hold it for `hold` frames. A frame in `breaks` ends a hold early.
    """
    track, value, hold = [start], start, first_hold
    while len(track) < frames:
        until = len(track) + hold
        until = min([until] + [b for b in breaks if len(track) <= b < until])
        track += [value] * (until - len(track))
        target, move, hold = next_jump(len(track), value)
        for k in range(1, move + 1):
            w = smooth(k / move)
            track.append(tuple(a + w * (b - a) for a, b in zip(value, target)))
        value = target
    return track[:frames]


def pulses(frames, next_gap, next_shape):
    """Short events on a zero line -> list of `frames` numbers, 0 in frame 0.

    next_gap(frame) -> frames of rest; next_shape(frame) -> list of values, one a frame.
    """
    track = [0.0]
    while len(track) < frames:
        track += [0.0] * next_gap(len(track))
        track += next_shape(len(track))
    return track[:frames]


def oscillation(cycles, hertz, amplitude):
    """A burst of whole cycles that starts and ends at zero -> list of values, one a frame."""
    count = max(2, round(cycles * FPS / hertz))
    return [amplitude * math.sin(2 * math.pi * cycles * (k + 1) / count) for k in range(count)]


def ramps(frames, start, goals):
    """Smooth changes of mind -> list of `frames` tuples that begins with `start`.

    goals: list of (frame, target, duration): from that frame on the value moves from wherever
    it is to the target, which it reaches `duration` frames later and then holds exactly.
    """
    track, origin, target, since, duration = [start], start, start, 0, 1
    goals = {frame: (target, duration) for frame, target, duration in goals}
    for frame in range(frames):
        if frame in goals:
            origin, since = track[-1], frame
            target, duration = goals[frame]
        w = smooth((frame - since) / duration)
        track.append(target if w == 1 else
                     tuple(a + w * (b - a) for a, b in zip(origin, target)))
    return track[1:]
