"""The performer: one stream of pictures that never stops, speaking when there is speech.

One thread makes block after block, as far as the consumer's clock allows: of queued speech, or
else of silence. It hands out each block's sound and pictures, and then remembers the block. All
samples here are the session's own; `offset` makes media samples of them. What changes together
does so under `lock`; only the making of a block is outside it. LiveTalk section 4.
"""

import time
from collections import deque
from dataclasses import dataclass, replace
from threading import Condition, Thread

import torch

from livetalk_ref.live.events import Meter, Picture, Sound, Span
from livetalk_ref.media import to_bytes
from livetalk_ref.stream import (
    FRAMES,
    MISSING,
    SAMPLES_PER_FRAME,
    AvatarSession,
    frames_of,
    samples_for,
)

RATE = 16_000
BLOCK = FRAMES * SAMPLES_PER_FRAME          # samples of a block
LEAD = 2 * BLOCK                            # samples asked for beyond the one that is played
MARGIN = 2_400                              # what the consumer may have played unbeknownst to us
UNDO = 6                                    # blocks: those of the lead, the margin's, and spare
TAPE = (UNDO + 1) * BLOCK                   # samples kept, so that a cut finds them
DEADLINE = BLOCK / RATE                     # seconds a block may take
MOMENT = 0.1                                # seconds: a chunk may be on its way
GUESS = DEADLINE / 2                        # seconds a block takes, until one was seen


@dataclass
class Opening:
    """The beginning of an answer, until it has been played."""

    since: float                        # where its latency counts from
    queued: float
    parts: dict                         # the latency's first parts, in seconds
    at: int | None = None               # its first sample
    pictured: float | None = None       # when that was handed out


class Performer:
    """Speech in with `say`, events into the outbox. failed(error) hears what the thread raised."""

    def __init__(self, avatar, picture, idle, outbox, spans, failed, offset=0, generator=None):
        self.session = AvatarSession(avatar, picture, idle, generator, avatar.policy, UNDO)
        self.outbox, self.spans, self.failed = outbox, spans, failed
        self.offset, self.idle, self.lock = offset, idle, Condition()
        self.prompt, self.restyle = idle, lambda prompt: prompt
        self.speech, self.notes = deque(), []   # queued (samples, prompt, event); placed events
        self.tape, self.rewound = torch.zeros(0), 0     # the latest samples, and where they start
        self.asked, self.pushed, self.made = 0, 0, 0    # blocks begun, their samples, handed out
        self.position = 0                       # samples played
        self.working, self.urgent, self.closed = False, 0, False
        self.done, self.took = 0, GUESS         # blocks ever made; seconds until one is out
        self.spoken, self.opening = 0, None     # the end of speech taken; an answer begun
        self.talking = False                    # more of a queued sentence's sound will come
        self.tokens_per_s, self.first_frame = None, {}
        self.thread = Thread(target=self.run, daemon=True)
        self.thread.start()

    # For the conversation.

    def say(self, samples, prompt, event=None, more=False):
        """Queue speech (n,). The event is handed out with its sound, `first_sample` filled in.

        more: the sentence goes on; its next block waits for the rest as long as it can.
        """
        with self.lock:
            self.speech.append((samples, prompt, event))
            self.talking = more
            self.lock.notify_all()

    def open(self, event, since, parts):
        """Begin an answer: it takes the place of the silence that nobody has seen yet.

        since: where its latency counts from; parts: its first parts in seconds.
        """
        with self.lock:
            if not self.speech:         # what was broken off is in the block on show, which stays
                self.take_back(self.took)
            self.opening = Opening(since, time.monotonic(), parts)
            self.say(torch.zeros(0), self.idle, event)

    def after(self, event):
        """Hand out an event behind all queued speech."""
        self.say(torch.zeros(0), self.idle, event)

    def busy(self):
        """Whether there is speech that has not been played."""
        with self.lock:
            return bool(self.speech) or self.spoken > self.position

    def hush(self):
        """Drop all that is queued or made and not yet shown. Returns the media sample that comes
        next, and the events whose sound was never heard."""
        with self.lock:
            queued = [event for _, _, event in self.speech if event is not None]
            self.speech.clear()
            self.talking = False
            dropped = self.take_back(0)
            self.opening = None
            return self.offset + self.end(), dropped + queued

    def restyled(self, change):
        """Let prompts go through this function, from the next block on."""
        with self.lock:
            self.restyle = change

    def played(self, sample):
        """The consumer's clock: this media sample has been heard, if it has been handed out."""
        with self.lock:
            heard = min(sample - self.offset, self.end())
            if heard > self.position:
                self.position = heard
                self.lock.notify_all()
                self.arrived()

    def spare(self):
        """Wait until the performer has nothing to do, or is between two blocks."""
        with self.lock:
            done = self.done
            self.lock.wait_for(lambda: self.closed or self.done != done or not self.working,
                               timeout=DEADLINE)

    def close(self):
        """End the thread, behind the block under way."""
        with self.lock:
            self.closed = True
            self.lock.notify_all()
        self.thread.join()

    # Under the lock.

    def end(self):
        """Samples whose pictures are handed out."""
        return frames_of(self.made) * SAMPLES_PER_FRAME

    def take_back(self, hurry):
        """Undo to the block on show so many seconds from now, which must not change any more.
        Returns the events that fell away."""
        self.urgent += 1                                # a block under way is given up,
        self.lock.notify_all()
        self.lock.wait_for(lambda: not self.working)    # and none begins before we are done
        self.urgent -= 1
        self.lock.notify_all()
        shown = -(-(self.position + MARGIN + int(hurry * RATE)) // SAMPLES_PER_FRAME)
        kept = self.session.interrupt(min(shown, frames_of(self.made)))
        blocks = (kept + MISSING) // FRAMES
        if blocks == self.asked:
            return []
        sample, changed = kept * SAMPLES_PER_FRAME, blocks < self.made
        self.made, self.asked = min(self.made, blocks), blocks
        self.pushed = samples_for(blocks, self.session.ahead) if blocks else 0
        self.tape = self.tape[:self.pushed - self.rewound]
        dropped = [event for at, event in self.notes if at >= sample]
        self.notes = [(at, event) for at, event in self.notes if at < sample]
        self.spoken = min(self.spoken, sample)
        if changed:
            self.outbox.cut(self.offset + sample)
        return dropped

    def wanted(self):
        """Samples that complete the next block."""
        return samples_for(self.asked + 1, self.session.ahead) - self.pushed

    def short(self):
        """Whether the sentence under way lacks sound for the next block."""
        queued = sum(len(samples) for samples, _, _ in self.speech)
        return self.talking and queued < self.wanted()

    def slack(self):
        """Seconds that the rest of a sentence is waited for: until work on the next block must
        begin, lest the consumer runs dry, and a moment at least."""
        left = frames_of(self.asked) * SAMPLES_PER_FRAME - self.position
        return max(MOMENT, left / RATE - self.took)

    def may_begin(self):
        """Whether the clock lets one more block be made."""
        ahead = frames_of(self.asked) * SAMPLES_PER_FRAME - self.position
        return self.closed or not self.urgent and ahead < LEAD

    def take(self, count):
        """The next samples (count,) and the prompt they go with; events get their place."""
        parts, prompt, filled = [], None, 0
        while filled < count and self.speech:
            samples, asked, event = self.speech.popleft()
            if event is not None:
                at = self.pushed + filled
                self.notes.append((at, replace(event, first_sample=self.offset + at)))
                if self.opening and self.opening.at is None:
                    self.opening.at = at
            part, rest = samples[:count - filled], samples[count - filled:]
            filled += len(part)
            parts.append(part)
            if len(part):
                prompt, self.spoken = prompt or asked, self.pushed + filled
            if len(rest):
                self.speech.appendleft((rest, asked, None))
        parts.append(torch.zeros(count - filled))
        return torch.cat(parts), self.restyle(prompt or self.idle)

    def arrived(self):
        """Note the latency of an answer, if its first sample has just been played."""
        o = self.opening
        if o and o.pictured and self.position >= o.at:
            now = time.monotonic()
            self.spans.append(Span("play", "waits for its place", o.pictured, now))
            self.first_frame = o.parts | {"first picture": o.pictured - o.queued,
                                          "its place": now - o.pictured, "total": now - o.since}
            self.opening = None

    # The thread.

    def run(self):
        try:
            while sound := self.next_sound():
                self.make_block(*sound)
                with self.lock:
                    self.working, self.done = False, self.done + 1
                    self.lock.notify_all()
        except BaseException as error:
            with self.lock:
                self.working = False
                self.lock.notify_all()
            if not self.closed:
                self.failed(error)

    def next_sound(self):
        """Wait until one more block may begin; its samples and prompt, or None when closed."""
        with self.lock:
            self.lock.wait_for(self.may_begin)
            if self.short():                # no silence within words, if it can be helped
                self.lock.wait_for(lambda: self.closed or not self.short(), self.slack())
                self.lock.wait_for(self.may_begin)
            if self.closed:
                return None
            count = self.wanted()
            sound, prompt = self.take(count)
            self.tape = torch.cat([self.tape, sound])
            self.asked, self.pushed, self.working = self.asked + 1, self.pushed + count, True
            return sound, prompt

    def make_block(self, sound, prompt):
        """Denoise, decode and hand out a block, then remember it. An interruption that waits
        gives it up, whichever step comes next: the session is then as it was before."""
        began = time.monotonic()
        if prompt != self.prompt:
            self.session.change_prompt(prompt)
            self.prompt = prompt
        steps = self.session.hear(sound)
        block = next(steps)                             # clean latents
        if self.urgent:
            return
        frames = self.session.decode(block)
        with self.lock:
            if self.urgent:
                return
            self.hand_out(frames, time.monotonic() - began)
        next(steps, None)                               # the clean pass into the cache
        self.measure(len(frames), began)

    def hand_out(self, frames, took):
        """Put the events, the sound and the pictures of a block into the outbox."""
        start, count = frames.first * SAMPLES_PER_FRAME, len(frames) * SAMPLES_PER_FRAME
        self.took = 0.7 * self.took + 0.3 * took if self.made else took
        sound = self.tape[start - self.rewound:][:count]
        old = max(0, len(self.tape) - TAPE)
        self.tape, self.rewound = self.tape[old:], self.rewound + old
        for at, event in self.notes:
            if start <= at < start + count:
                self.outbox.put(event)
        self.notes = [(at, event) for at, event in self.notes if at > self.position - count]
        if self.opening and self.opening.at is not None and self.opening.at < start + count:
            self.opening.pictured = self.opening.pictured or time.monotonic()
        self.outbox.put(Sound(self.offset + start, sound))
        for number, (picture, at) in enumerate(zip(to_bytes(frames.pictures), frames.starts)):
            self.outbox.put(Picture(self.offset // SAMPLES_PER_FRAME + frames.first + number,
                                    picture, self.offset + at))
        self.made += 1

    def measure(self, count, began):
        """Tell how long a block of so many frames took, its clean pass included."""
        now = time.monotonic()
        self.spans.append(Span("perform", "block", began, now))
        with self.lock:
            self.outbox.put(Meter(count / (now - began), 1000 * (now - began), 1000 * DEADLINE,
                                  1000 * (self.end() - self.position) / RATE, self.tokens_per_s,
                                  dict(self.first_frame)))
