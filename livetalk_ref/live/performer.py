"""The performer: one stream of pictures that never stops, speaking when there is speech.

Two threads around a `Pipeline`: one feeds it block by block, as far as the consumer's clock
allows, with queued speech or else with silence; the other hands out what comes, sound first.
All samples here are the session's own; `offset` makes media samples of them. Everything that
changes together does so under `lock`. LiveTalk section 4.
"""

import time
from collections import deque
from dataclasses import dataclass, replace
from threading import Condition, Thread

import torch

from livetalk_ref.live.events import Meter, Picture, Sound
from livetalk_ref.media import to_bytes
from livetalk_ref.pipeline import Pipeline
from livetalk_ref.stream import (FRAMES, MISSING, SAMPLES_PER_FRAME, AvatarSession, frames_of,
                                 samples_for)

LEAD = 2 * FRAMES * SAMPLES_PER_FRAME       # samples asked for beyond the one that is played
MARGIN = 2_400                              # what the consumer may have played unbeknownst to us
UNDO = 9                                    # blocks: those of the lead, the queues', and spare
TAPE = (UNDO + 1) * FRAMES * SAMPLES_PER_FRAME      # samples kept, so that a cut finds them
RATE = 16_000
DEADLINE = FRAMES * SAMPLES_PER_FRAME / RATE        # seconds a block may take
MOMENT = 0.1                                        # seconds: a chunk may be on its way
GUESS = DEADLINE / 2                                # seconds it takes, until one was seen


@dataclass
class Opening:
    """The beginning of an answer, until it has been played."""

    since: float
    queued: float
    parts: dict
    at: int | None = None               # its first sample
    pictured: float | None = None       # when that was handed out


class Performer:
    """Speech in with `say`, events into the outbox. failed(error) hears what a thread raised."""

    def __init__(self, avatar, picture, idle, outbox, trace, failed, offset=0, generator=None):
        session = AvatarSession(avatar, picture, idle, generator, avatar.policy, UNDO)
        self.ahead, self.offset, self.idle = session.ahead, offset, idle
        self.outbox, self.trace, self.failed = outbox, trace, failed
        self.live, self.lock = Pipeline(session, ready=1), Condition()
        self.prompt, self.restyle = idle, lambda prompt: prompt
        self.speech, self.notes = deque(), []       # queued (samples, prompt, event); stamped ones
        self.tape, self.rewound = torch.zeros(0), 0     # the latest samples, and where they start
        self.asked, self.pushed, self.made, self.done = 0, 0, 0, 0
        self.position, self.closed = 0, False       # samples played
        self.fed, self.out, self.took = deque(), time.monotonic(), GUESS
        self.spoken, self.opening = 0, None         # the end of speech taken; an answer begun
        self.talking = False                        # more of a queued sentence's sound will come
        self.tokens_per_s, self.first_frame = None, {}
        self.threads = [Thread(target=self.guard, args=(run,), daemon=True)
                        for run in (self.feed, self.give)]
        for thread in self.threads:
            thread.start()

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
        """An answer begins: it takes the place of the silence that nobody has seen yet.

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
        """Is there speech that has not been played?"""
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
            self.lock.notify_all()
            return self.offset + self.end(), dropped + queued

    def restyled(self, change):
        """From the next block on, prompts go through this function."""
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
            self.lock.wait_for(lambda: self.closed or self.done != done
                               or self.asked == self.made, timeout=DEADLINE)

    def close(self):
        with self.lock:
            self.closed = True
            self.lock.notify_all()
        self.live.close()
        for thread in self.threads:
            thread.join()

    # Under the lock.

    def end(self):
        """Samples whose pictures are handed out."""
        return frames_of(self.made) * SAMPLES_PER_FRAME

    def take_back(self, hurry):
        """Undo to the block on show so many seconds from now, which must not change any more.
        Returns the events that fell away."""
        shown = -(-(self.position + MARGIN + int(hurry * RATE)) // SAMPLES_PER_FRAME)
        kept = self.live.interrupt(min(shown, self.live.given))
        blocks = (kept + MISSING) // FRAMES
        if blocks == self.asked:
            return []
        sample, changed = kept * SAMPLES_PER_FRAME, blocks < self.made
        self.made, self.asked = min(self.made, blocks), blocks
        self.pushed = samples_for(blocks, self.ahead) if blocks else 0
        self.tape = self.tape[:self.pushed - self.rewound]
        dropped = [event for at, event in self.notes if at >= sample]
        self.notes = [(at, event) for at, event in self.notes if at < sample]
        self.spoken = min(self.spoken, sample)
        self.fed.clear()
        if changed:
            self.outbox.cut(self.offset + sample)
        return dropped

    def wanted(self):
        """Samples that complete the next block."""
        return samples_for(self.asked + 1, self.ahead) - self.pushed

    def short(self):
        """Does the sentence under way lack sound for the next block?"""
        queued = sum(len(samples) for samples, _, _ in self.speech)
        return self.talking and queued < self.wanted()

    def slack(self):
        """Seconds that the rest of a sentence is waited for: until work on the next block must
        begin, lest the consumer runs dry, and a moment at least."""
        left = frames_of(self.asked) * SAMPLES_PER_FRAME - self.position
        return max(MOMENT, left / RATE - self.took)

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
        """The first sample of an answer may just have been played: its latency is known."""
        o = self.opening
        if o and o.pictured and self.position >= o.at:
            now = time.monotonic()
            self.trace.add("play", "waits for its place", o.pictured, now)
            self.first_frame = o.parts | {"first picture": o.pictured - o.queued,
                                          "its place": now - o.pictured, "total": now - o.since}
            self.opening = None

    # The two threads.

    def guard(self, run):
        try:
            run()
        except BaseException as error:
            if not self.closed:
                self.failed(error)

    def feed(self):
        """Push one block of sound whenever the clock lets one more be made."""
        while True:
            with self.lock:
                self.lock.wait_for(lambda: self.closed or
                                   frames_of(self.asked) * SAMPLES_PER_FRAME - self.position < LEAD)
                if self.short():            # no silence within words, if it can be helped
                    self.lock.wait_for(lambda: self.closed or not self.short(), self.slack())
                if self.closed:
                    return
                count = self.wanted()
                sound, prompt = self.take(count)
                if prompt != self.prompt:
                    self.live.change_prompt(prompt)
                    self.prompt = prompt
                self.live.push(sound)       # never has to wait: the lead is less than its queue
                self.tape = torch.cat([self.tape, sound])
                self.asked, self.pushed = self.asked + 1, self.pushed + count
                self.fed.append(time.monotonic())

    def give(self):
        """Hand out every block that comes, unless it was taken back on its way."""
        for frames in self.live:
            with self.lock:
                if self.live.given != frames.first + len(frames):
                    continue
                self.hand_out(frames, time.monotonic())
                self.lock.notify_all()

    def hand_out(self, frames, now):
        start, count = frames.first * SAMPLES_PER_FRAME, len(frames) * SAMPLES_PER_FRAME
        began = max(self.fed.popleft() if self.fed else now, self.out)
        took, self.out = now - began, now
        self.took = 0.7 * self.took + 0.3 * took if self.made else took
        sound = self.tape[start - self.rewound:][:count]
        old = max(0, len(self.tape) - TAPE)
        self.tape, self.rewound = self.tape[old:], self.rewound + old
        for at, event in self.notes:
            if start <= at < start + count:
                self.outbox.put(event)
        self.notes = [(at, event) for at, event in self.notes if at > self.position - count]
        if self.opening and self.opening.at is not None and self.opening.at < start + count:
            self.opening.pictured = self.opening.pictured or now
        self.outbox.put(Sound(self.offset + start, sound))
        for number, (picture, at) in enumerate(zip(to_bytes(frames.pictures), frames.starts)):
            self.outbox.put(Picture(self.offset // SAMPLES_PER_FRAME + frames.first + number,
                                    picture, self.offset + at))
        self.made, self.done = self.made + 1, self.done + 1
        self.trace.add("perform", f"block {self.made - 1}", began, now)
        self.outbox.put(Meter(len(frames) / max(took, 1e-6), 1000 * took, 1000 * DEADLINE,
                              1000 * (self.end() - self.position) / RATE, self.tokens_per_s,
                              dict(self.first_frame)))
