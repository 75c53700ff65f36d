"""Who was busy when: the spans behind a Gantt chart of a turn, and its latency by part."""

import time
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock

SPANS = 4_000       # the oldest are forgotten


@dataclass(frozen=True)
class Span:
    """One stretch of work or of waiting, in seconds of `time.monotonic()`."""

    lane: str           # "user", "listen", "think", "speak", "perform", "play"
    what: str
    start: float
    end: float


class Trace:
    """Spans of several threads, the latest `SPANS` of them."""

    def __init__(self):
        self.kept, self.lock = deque(maxlen=SPANS), Lock()

    def add(self, lane, what, start, end):
        with self.lock:
            self.kept.append(Span(lane, what, start, end))

    @contextmanager
    def span(self, lane, what):
        start = time.monotonic()
        try:
            yield
        finally:
            self.add(lane, what, start, time.monotonic())

    def between(self, start, end):
        """The spans that touch a stretch of time, by their start."""
        with self.lock:
            found = [s for s in self.kept if s.end > start and s.start < end]
        return sorted(found, key=lambda s: s.start)
