"""Pipeline: an `AvatarSession` in which a block is decoded while the next one is denoised.

Two threads; on CUDA the decoder also has a stream of its own. One block at most is made ahead of
who iterates. The pictures are those of the plain session bit for bit. LiveTalk section 4.
"""

from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import torch

from livetalk_ref.stream import sound


class Pipeline:
    """`push` sound from any thread, `end` it, and iterate over the `Frames` of one block each.

    The session belongs to the pipeline until it is closed: `with Pipeline(session) as live:`.
    What goes wrong in a thread is raised to who iterates, behind what is made.
    """

    def __init__(self, session):
        self.session, self.sounds = session, SimpleQueue()
        cuda = session.device.type == "cuda"
        self.stream = torch.cuda.Stream(session.device) if cuda else None

    def push(self, samples):
        """Hear (N,) samples, see `stream.sound`."""
        self.sounds.put(sound(samples))

    def end(self):
        """Flush the session, and let the iteration end behind the last frame."""
        self.sounds.put(None)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.end()

    def __iter__(self):
        """Wait for block after block of `Frames`."""
        blocks = self.blocks()
        with ThreadPoolExecutor(2) as threads:
            try:
                coming = threads.submit(self.denoise, blocks)
                while made := coming.result():
                    coming = threads.submit(self.denoise, blocks)
                    yield threads.submit(self.decode, *made).result()
            finally:
                self.end()                      # wakes a thread that waits for sound

    def blocks(self):
        """Yield the blocks of all that is pushed, and of the silence that completes the last."""
        for samples in iter(self.sounds.get, None):
            yield from self.session.hear(samples)
        yield from self.session.remainder()

    def denoise(self, blocks):
        """The next block, on CUDA with the event of its latents; None behind the last."""
        for block in blocks:
            made = self.stream and torch.cuda.current_stream(self.stream.device).record_event()
            return block, made

    def decode(self, block, made):
        """The frames of a block, once the event says that its latents are there."""
        with torch.cuda.stream(self.stream):                # without one this does nothing
            if made:
                made.wait(self.stream)
                block.x0.record_stream(self.stream)
            return self.session.decode(block)
