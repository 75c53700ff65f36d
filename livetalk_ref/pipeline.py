"""Pipeline: an `AvatarSession` in which block b is denoised while block b - 1 is decoded.

    push -> [sound] -> denoising -> [latents] -> decoding -> [frames] -> iteration

Two threads with a bounded queue before, between and behind them; on CUDA the decoder also has
a stream of its own. Who pushes faster than pictures are taken has to wait, so producer and
consumer must not be one thread. What goes wrong in a thread is raised to both. The pictures
are those of the plain session bit for bit. LiveTalk section 4.
"""

from collections import deque
from functools import partial
from threading import Condition, Lock, Thread

import torch

from livetalk_ref.errors import UserError
from livetalk_ref.stream import FRAMES, SAMPLES_PER_FRAME, frames_of, sound

PIECE = FRAMES * SAMPLES_PER_FRAME      # samples that complete at most one block
CALLS = 8       # pieces of sound that may wait
READY = 2       # blocks of pictures that may wait


class Channel:
    """A queue of bounded length between two threads, which anybody can close."""

    def __init__(self, size):
        self.items, self.size = deque(), size
        self.closed, self.error, self.changed = False, None, Condition()

    def put(self, item):
        """Wait for room. When closed, raises the error it was closed with, or UserError."""
        with self.changed:
            self.changed.wait_for(lambda: self.closed or len(self.items) < self.size)
            if self.closed:
                raise self.error or UserError("The pipeline is closed; start another one.")
            self.items.append(item)
            self.changed.notify_all()

    def __iter__(self):
        return self

    def __next__(self):
        """Wait for an item. What is still there comes before the error, or the end."""
        with self.changed:
            self.changed.wait_for(lambda: self.closed or self.items)
            if not self.items:
                raise self.error or StopIteration
            self.changed.notify_all()
            return self.items.popleft()

    def clear(self):
        with self.changed:
            self.items.clear()
            self.changed.notify_all()

    def close(self, error=None):
        """Nothing more goes in. The first closing counts."""
        with self.changed:
            if not self.closed:
                self.closed, self.error = True, error
            self.changed.notify_all()


class Pipeline:
    """`push` from one thread, iterate over the `Frames` of one block each in another.

    The session belongs to the pipeline until it is closed. `with Pipeline(session) as live:`
    closes it in any case. ready: blocks of pictures made in advance at most. To interrupt, a
    session must be able to take back these, two in the queues' other places, and those that
    the consumer holds unshown: its `undo` is at least ready + 2 + these.
    """

    def __init__(self, session, ready=READY):
        self.session, self.prompt = session, None
        self.epoch, self.given = 0, frames_of(session.state.blocks)
        self.turn = Condition()             # to be held while the session's state changes,
        self.door = Lock()                  # and this while frames are handed out
        self.urgent = False                 # an interruption waits for its turn
        self.calls, self.latents, self.frames = Channel(CALLS), Channel(1), Channel(ready)
        cuda = session.device.type == "cuda"
        self.stream = torch.cuda.Stream(session.device) if cuda else None
        self.threads = [
            Thread(target=self.work, args=(self.calls, self.denoise, self.latents), daemon=True),
            Thread(target=self.work, args=(self.latents, self.decode, self.frames), daemon=True)]
        for thread in self.threads:
            thread.start()

    def push(self, samples):
        """Hear (N,) samples, see `stream.sound`; waits while too much is queued."""
        epoch = self.epoch
        for piece in sound(samples).split(PIECE):
            self.calls.put((epoch, partial(self.session.hear, piece)))

    def idle(self):
        """Queue the session's `idle` behind what was pushed before."""
        self.calls.put((self.epoch, self.session.rest))

    def flush(self):
        """Queue the session's `flush` behind what was pushed before."""
        self.calls.put((self.epoch, self.session.remainder))

    def change_prompt(self, prompt, recache=False):
        """Queue the session's `change_prompt` behind what was pushed before."""
        self.prompt = partial(self.session.use, self.session.read(prompt), recache)
        self.calls.put((self.epoch, self.prompt))

    def end(self):
        """Flush, and let the iteration end behind the last frame."""
        self.flush()
        self.calls.close()

    def feed(self, chunks):
        """Push all of an iterable from a thread of its own, then `end`. What goes wrong in the
        iterable is raised to the consumer, behind what is made. Closing does not wait for it."""
        def run():
            try:
                for samples in chunks:
                    self.push(samples)
                self.end()
            except BaseException as error:
                self.calls.close(error)

        Thread(target=run, daemon=True).start()

    def interrupt(self, shown):
        """Interrupt the session and drop all that is queued, but for a change of prompt. Waits for
        the block under way. The consumer shows what it has up to the number returned."""
        self.urgent = True
        with self.turn:
            self.urgent = False
            self.turn.notify_all()
            if shown > self.given:
                raise UserError(f"{shown} frames cannot have been shown: {self.given} are out.")
            # A block may be out before its clean pass is over.
            self.turn.wait_for(lambda: self.latents.closed
                               or shown <= frames_of(self.session.state.blocks))
            kept = self.session.interrupt(shown)
            if self.prompt:
                self.prompt()
            with self.door:
                for channel in (self.calls, self.latents, self.frames):
                    channel.clear()
                self.epoch, self.given = self.epoch + 1, kept
        return kept

    def close(self):
        """Stop within one block, and drop what is queued."""
        for channel in (self.calls, self.latents, self.frames):
            channel.close()
            channel.clear()
        for thread in self.threads:
            thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def __iter__(self):
        return self

    def __next__(self):
        """Wait for the next block of `Frames`."""
        for epoch, frames in self.frames:
            with self.door:
                if epoch == self.epoch:
                    self.given = frames.first + len(frames)
                    return frames
        raise StopIteration

    def work(self, source, step, sink):
        """Take a step with all that comes. The end or an error is passed on behind what is made;
        of an error the producer hears at once."""
        error = None
        try:
            for epoch, item in source:
                for made in step(epoch, item):
                    sink.put((epoch, made))
        except BaseException as raised:
            error = raised
        for channel in (self.calls, source, sink):
            channel.close(error)

    def denoise(self, epoch, call):
        """Yield the blocks that a call makes. What an interruption has overtaken is dropped;
        while a block is passed on, the turn is free."""
        blocks = None
        while True:
            with self.turn:
                self.turn.wait_for(lambda: not self.urgent)
                if epoch != self.epoch:
                    return
                blocks = iter(call() or ()) if blocks is None else blocks
                block = next(blocks, None)
                self.turn.notify_all()
            if block is None:
                return
            made = self.stream and torch.cuda.current_stream(self.stream.device).record_event()
            yield block, made

    def decode(self, epoch, item):
        """Yield the frames of a block, once the event says that its latents are there."""
        block, made = item
        if epoch != self.epoch:
            return
        with torch.cuda.stream(self.stream):                # without one this does nothing
            if made:
                made.wait(self.stream)
                block.x0.record_stream(self.stream)
            frames = self.session.decode(block)
        yield frames
