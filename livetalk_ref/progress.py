"""Progress on stderr: one line that renews itself on a terminal, a line now and then elsewhere."""

import sys
import time

EVERY = {True: 0.2, False: 15.0}     # seconds between updates: on a terminal, elsewhere


def warn(text):
    """A warning on stderr."""
    print(f"warning: {text}", file=sys.stderr)


def duration(seconds):
    """Seconds in words: 40 s, 12 min, 3 h 20 min."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


class Progress:
    """`with Progress("denoising step", 96) as progress:`, then `progress()` after each of 96."""

    def __init__(self, name, total=None):
        self.name, self.total, self.done = name, total, 0
        self.terminal = sys.stderr.isatty()
        self.started, self.shown, self.line, self.fresh = time.monotonic(), None, "", False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.fresh or (self.terminal and self.line):     # end with the last news
            self.write("\n")

    def __call__(self, *_):
        """One step more; takes and ignores what a sampler hands over."""
        self.done += 1
        left = (time.monotonic() - self.started) / self.done * (self.total - self.done)
        self.say(f"{self.done}/{self.total}, {duration(left)} left")

    def say(self, text):
        """Show how far it is, unless something was shown a moment ago."""
        now, self.line, self.fresh = time.monotonic(), f"{self.name} {text}", True
        if self.shown is None or now - self.shown >= EVERY[self.terminal]:
            self.write("" if self.terminal else "\n")
            self.shown, self.fresh = now, False

    def write(self, end):
        line = f"\r{self.line}\033[K" if self.terminal else self.line
        print(line, end=end, file=sys.stderr, flush=True)
