"""Pipeline: an `AvatarSession` in which block b is denoised while block b - 1 is decoded.

    push -> [sound] -> denoising -> [latents] -> decoding -> [frames] -> iteration

Two threads with a bounded queue before, between and behind them; on CUDA the decoder also has
a stream of its own. Who pushes faster than pictures are taken has to wait, so producer and
consumer must not be one thread. What goes wrong in a thread is raised to both. The pictures
are those of the plain session bit for bit. LiveTalk section 4.
"""

from collections import deque
from functools import partial
from threading import Condition, Thread

import torch

from livetalk_ref.errors import UserError
from livetalk_ref.stream import FRAMES, SAMPLES_PER_FRAME, sound

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
    closes it in any case. ready: blocks of pictures made in advance at most.
    """

    def __init__(self, session, ready=READY):
        self.session = session
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
        for piece in sound(samples).split(PIECE):
            self.calls.put(partial(self.session.hear, piece))

    def end(self):
        """Flush the session, and let the iteration end behind the last frame."""
        self.calls.put(self.session.remainder)
        self.calls.close()

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
        """Wait for block after block of `Frames`."""
        return self.frames

    def work(self, source, step, sink):
        """Take a step with all that comes. The end or an error is passed on behind what is made;
        of an error the producer hears at once."""
        error = None
        try:
            for item in source:
                for made in step(item):
                    sink.put(made)
        except BaseException as raised:
            error = raised
        for channel in (self.calls, source, sink):
            channel.close(error)

    def denoise(self, call):
        """Yield the blocks that a call makes, on CUDA each with the event of its latents."""
        for block in call():
            made = self.stream and torch.cuda.current_stream(self.stream.device).record_event()
            yield block, made

    def decode(self, item):
        """Yield the frames of a block, once the event says that its latents are there."""
        block, made = item
        with torch.cuda.stream(self.stream):                # without one this does nothing
            if made:
                made.wait(self.stream)
                block.x0.record_stream(self.stream)
            frames = self.session.decode(block)
        yield frames
