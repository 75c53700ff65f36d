"""The performer: one stream of pictures that never stops, speaking when there is speech.

`run` makes block after block, as far as the listener's clock allows: of queued speech, or else
of silence. It alone touches the session: who interrupts leaves a mark, and `run` goes back
before it makes anything else. All that is shared changes under `lock`. LiveTalk section 4.
"""

import time
from collections import deque
from dataclasses import replace
from itertools import chain
from threading import Condition, Event

import torch

from livetalk_ref.live.events import Cut, Meter, Picture, Said, Sound, Span
from livetalk_ref.media import to_bytes
from livetalk_ref.stream import (FRAMES, MISSING, SAMPLES_PER_FRAME, AvatarSession, frames_of,
                                 samples_for)

RATE = 16_000
BLOCK = FRAMES * SAMPLES_PER_FRAME          # samples of a block
LEAD = 2 * BLOCK                            # samples made beyond the one that is played
MARGIN = 2_400                              # what the listener may have heard unbeknownst to us
UNDO = LEAD // BLOCK                        # blocks: no more lie beyond the one on show
DEADLINE = BLOCK / RATE                     # seconds a block may take
NOTHING = torch.zeros(0)


class Opening:
    """The beginning of an answer, until it has been played: where the time goes, part by part."""

    def __init__(self, since):
        self.since = self.latest = since    # when the user had said all, and the end of a part
        self.parts, self.at = {}, None      # {part: seconds}; its first sample

    def mark(self, part, now=None):
        """A part is over, now if not said otherwise; of several of a name the first counts."""
        if part not in self.parts:
            now = now or time.monotonic()
            self.parts[part], self.latest = now - self.latest, now


class Performer:
    """Speech in with `say`, events out through show(event), which must not wait."""

    def __init__(self, avatar, picture, idle, show):
        self.session = AvatarSession(avatar, picture, idle, policy=avatar.policy, undo=UNDO)
        self.show, self.idle, self.lock = show, idle, Condition()
        self.prompt, self.wish = idle, None     # of the latest block; the user's own, for all
        self.speech = deque()                   # queued (samples, prompt, event)
        self.notes, self.said = deque(), []     # events to come; lines of the dialogue
        self.tape = NOTHING                     # the latest samples that the session has heard
        self.pushed, self.made = 0, 0           # samples heard, blocks handed out
        self.position, self.cut = 0, 0          # samples played; where the stream last went back
        self.back = None                        # a mark to go back: (seconds from now, event)
        self.between, self.closed = Event(), False
        self.took = DEADLINE / 2                # seconds until a block is out
        self.spoken, self.opening = 0, None     # the end of speech taken; an answer begun
        self.tokens_per_s, self.first_frame = None, {}
        self.spans = deque(maxlen=4_000)        # stretches of work, for a chart

    # From any thread.

    def say(self, event, samples=NOTHING, prompt=None):
        """Queue speech (n,). The event is shown with it, `first_sample` filled in."""
        with self.lock:
            self.speech.append((samples, prompt, event))
            self.lock.notify_all()

    def open(self, event, opening):
        """Begin an answer: it takes the place of the silence that nobody has seen yet."""
        with self.lock:
            self.back = self.took, None         # what is on show when a new block is out, stays
            self.opening = opening
            self.say(event)

    def busy(self):
        """Tell whether there is speech that has not been played."""
        return bool(self.speech) or self.spoken > self.position

    def hush(self, event):
        """Drop all that is queued or made and not yet shown; the event follows there."""
        with self.lock:
            self.speech.clear()
            self.opening, self.back = None, (0.0, event)
            self.lock.notify_all()

    def played(self, sample):
        """Set the listener's clock: this sample has been heard, if it has been handed out."""
        with self.lock:
            heard = min(sample, self.end())
            if heard > self.position:
                self.position = heard
                self.lock.notify_all()
                self.arrived()

    def spare(self):
        """Wait until the performer has nothing to do, or is between two blocks."""
        self.between.wait(DEADLINE)

    def close(self):
        """Let `run` end, behind the block under way, and show nothing more."""
        with self.lock:
            self.closed = True
            self.lock.notify_all()

    def emit(self, event):
        """Show an event, until all is closed."""
        with self.lock:
            if not self.closed:
                self.show(event)

    # Under the lock.

    def end(self):
        """Samples whose pictures are handed out."""
        return frames_of(self.made) * SAMPLES_PER_FRAME

    def take_back(self):
        """Undo to the block on show, which must not change any more, and all counters with it."""
        (hurry, event), self.back = self.back, None
        shown = -(-(self.position + MARGIN + int(hurry * RATE)) // SAMPLES_PER_FRAME)
        kept = self.session.interrupt(min(shown, frames_of(self.made)))
        self.cut, blocks = kept * SAMPLES_PER_FRAME, (kept + MISSING) // FRAMES
        if blocks < self.made:
            self.emit(Cut(self.cut))
        pushed = samples_for(blocks, self.session.ahead) if blocks else 0
        self.tape = self.tape[:len(self.tape) - (self.pushed - pushed)]
        self.made, self.pushed, self.spoken = blocks, pushed, min(self.spoken, pushed)
        self.notes = deque(note for note in self.notes if note.first_sample < pushed)
        self.said = [s for s in self.said if s.role == "user" or s.first_sample < pushed]
        if event:
            self.emit(replace(event, first_sample=self.cut))
        self.lock.notify_all()

    def may_begin(self):
        """Tell whether the clock lets one more block be made, or there is other work."""
        return self.closed or self.back or self.end() - self.position < LEAD

    def take(self, count):
        """The next samples (count,) and the prompt they go with; events get their place."""
        parts, prompt, filled = [], None, 0
        while filled < count and self.speech:
            samples, asked, event = self.speech.popleft()
            if event:
                self.notes.append(replace(event, first_sample=self.pushed + filled))
                if isinstance(event, Said):
                    self.said.append(self.notes[-1])
                if self.opening and self.opening.at is None:
                    self.opening.at = self.pushed + filled
            part, rest = samples[:count - filled], samples[count - filled:]
            parts.append(part)
            filled += len(part)
            if len(part):
                prompt, self.spoken = prompt or asked, self.pushed + filled
            if len(rest):
                self.speech.appendleft((rest, asked, None))
        return torch.cat([*parts, torch.zeros(count - filled)]), self.wish or prompt or self.idle

    def arrived(self):
        """Note the latency of an answer, if its first sample has just been played."""
        o = self.opening
        if o and "first picture" in o.parts and self.position >= o.at:
            waited = o.latest
            o.mark("its place")
            self.spans.append(Span("play", "waits for its place", waited, o.latest))
            self.first_frame = o.parts | {"total": o.latest - o.since}
            self.opening = None

    # The thread.

    def run(self):
        self.between.set()
        try:
            while taken := self.next_sound():
                self.between.clear()
                self.make_block(*taken)
                self.between.set()              # who waits is woken, though the next one follows
        finally:
            self.session = None     # its caches go, though a page may keep the conversation

    def next_sound(self):
        """Wait until one more block may begin; its samples and prompt, or None when closed."""
        with self.lock:
            self.lock.wait_for(self.may_begin)
            while self.back:
                self.take_back()
                self.lock.wait_for(self.may_begin)
            if self.closed:
                return None
            sound, prompt = self.take(samples_for(self.made + 1, self.session.ahead) - self.pushed)
            self.tape = torch.cat([self.tape, sound])[-(UNDO + 2) * BLOCK:]    # a cut finds them
            self.pushed += len(sound)
            return sound, prompt

    def make_block(self, sound, prompt):
        """Denoise, decode and hand out a block, then remember it. A mark to go back gives it up,
        whichever step comes next: the session is then as it was before."""
        began = time.monotonic()
        if prompt != self.prompt:
            self.session.change_prompt(prompt)
            self.prompt = prompt
        steps = self.session.hear(sound)
        block = next(steps)                             # clean latents
        if self.back:
            return
        parts = self.session.decode_parts(block)
        first, count = next(parts), frames_of(self.made + 1) - frames_of(self.made)
        with self.lock:
            if self.back:
                return
            self.hand_out(first.first, count, time.monotonic() - began)
        for frames in chain([first], parts):            # which are decoded while these are shown
            for number, pixels in enumerate(to_bytes(frames.pictures), frames.first):
                self.emit(Picture(number, pixels, number * SAMPLES_PER_FRAME))
        next(steps, None)                               # the clean pass into the cache
        self.measure(count, began)

    def hand_out(self, number, count, took):
        """Show the events and the sound of a block of so many frames, before its pictures."""
        start, samples = number * SAMPLES_PER_FRAME, count * SAMPLES_PER_FRAME
        self.took = 0.7 * self.took + 0.3 * took if self.made else took
        while self.notes and self.notes[0].first_sample < start + samples:
            self.emit(self.notes.popleft())
        if self.opening and self.opening.at is not None and self.opening.at < start + samples:
            self.opening.mark("first picture")
        first = len(self.tape) - (self.pushed - start)      # the tape ends with what was pushed
        self.emit(Sound(start, self.tape[first:first + samples]))
        self.made += 1

    def measure(self, count, began):
        """Tell how long a block of so many frames took, its clean pass included."""
        took = time.monotonic() - began
        self.spans.append(Span("perform", "block", began, began + took))
        with self.lock:
            self.emit(Meter(count / took, 1000 * took, 1000 * DEADLINE,
                            1000 * (self.end() - self.position) / RATE, self.tokens_per_s,
                            dict(self.first_frame)))
