"""A listener without a screen: it takes the events, keeps the clock, and holds a dialogue.

    played = hold(talk, ["What is a block?", "And how long does it last?"])

By default the clock runs as fast as pictures come; with `realtime` it is that of the wall, and
stands still while nothing is there to be played, as a browser's does.
"""

import time
from contextlib import closing, suppress
from dataclasses import dataclass, field
from queue import Empty

import torch

from livetalk_ref.errors import UserError
from livetalk_ref.live.events import Cut, Error, Meter, Picture, Said, Sound, State
from livetalk_ref.stream import SAMPLES_PER_FRAME
from livetalk_ref.world.state import SAMPLE_RATE as RATE


@dataclass
class Played:
    """All that was played of a conversation, on its own clock."""
    pictures: dict = field(default_factory=dict)    # number: (3, H, W) uint8
    sound: dict = field(default_factory=dict)       # first sample: (n,)
    lines: list = field(default_factory=list)       # `Said`
    states: list = field(default_factory=list)
    meters: list = field(default_factory=list)
    errors: list = field(default_factory=list)
    position: float = 0.0                           # the clock, in samples
    stalled: float = 0.0                            # seconds without a picture in time

    def samples(self):
        """The whole sound (N,), as far as there are pictures."""
        return torch.cat([torch.zeros(0), *self.sound.values()])[:self.end()]

    def frames(self):
        """All pictures (T, 3, H, W), uint8."""
        return torch.stack([*self.pictures.values()])

    def end(self):
        """The first sample without a picture."""
        return len(self.pictures) * SAMPLES_PER_FRAME

    def add(self, event):
        """Keep one event; a `Cut` takes back."""
        if isinstance(event, Picture):
            self.pictures[event.number] = event.pixels
        elif isinstance(event, Sound):
            self.sound[event.first_sample] = event.samples
        elif isinstance(event, Cut):
            self.cut(event.first_sample)
        else:
            kinds = {Said: self.lines, State: self.states, Meter: self.meters, Error: self.errors}
            kinds[type(event)].append(event)

    def cut(self, sample):
        self.pictures = {n: p for n, p in self.pictures.items() if n * SAMPLES_PER_FRAME < sample}
        self.sound = {at: s[:sample - at] for at, s in self.sound.items() if at < sample}
        for kept in (self.lines, self.states):
            kept[:] = [event for event in kept if event.first_sample < sample]


def hold(talk, turns, realtime=False, idle=1.0):
    """Hold a dialogue to its end -> `Played`, and close it. UserError for a fatal `Error`.

    turns: what the user says, one after the other, each `idle` seconds of the clock after the
    avatar has come to listen: text, or a function of the conversation that does what it likes.
    """
    played, waiting, last = Played(), list(turns), time.monotonic()
    free = None         # the sample at which the user may speak; None while the avatar answers
    with closing(talk):
        while free is None or waiting or played.position < free:
            with suppress(Empty):
                event = talk.queue.get(timeout=0.02)
                if event is None:
                    break
                played.add(event)
                if isinstance(event, Error) and event.fatal:
                    raise UserError(event.sentence)
                if isinstance(event, State):
                    listens = event.name == "listening"
                    free = event.first_sample + int(idle * RATE) if listens else None
            now, end = time.monotonic(), played.end()
            if realtime:            # no further than there are pictures
                wish = played.position + (now - last) * RATE
                played.stalled += max(0, wish - end) / RATE if end else 0
                played.position = max(played.position, min(wish, end))
            else:
                played.position = end
            last = now
            talk.played(int(played.position))
            if free is not None and waiting and played.position >= free:
                free = None
                turn = waiting.pop(0)
                turn(talk) if callable(turn) else talk.ask(turn)
    return played
