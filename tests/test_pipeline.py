"""The pipeline: the session's pictures bit for bit, side by side, closed cleanly."""

import threading
from types import SimpleNamespace

import pytest
import torch
from test_stream import AVATAR, HAPPY, LONG, PICTURE, WHOLE, pictures, session
from tiny import dice

from livetalk_ref.errors import UserError
from livetalk_ref.generate import Pipeline
from livetalk_ref.stream import AvatarSession, frames_of, samples_for

PATIENCE = 60       # seconds after which a thread that should have ended is stuck


class Codec:
    """The stand-in's codec with somebody looking over its shoulder: `watch` before each step."""

    def __init__(self, watch):
        self.watch = watch

    def encode(self, x):
        return AVATAR.codec.encode(x)

    def decode_step(self, z, memory):
        self.watch()
        return AVATAR.codec.decode_step(z, memory)


class Model(torch.nn.Module):
    """The stand-in's model, likewise."""

    def __init__(self, watch):
        super().__init__()
        self.inner, self.watch = AVATAR.model, watch
        self.read_text = self.inner.read_text

    def forward(self, *args, **kwargs):
        self.watch()
        return self.inner(*args, **kwargs)


def watched(model=lambda: None, codec=lambda: None, **options):
    avatar = SimpleNamespace(**vars(AVATAR) | {"model": Model(model), "codec": Codec(codec)})
    return AvatarSession(avatar, PICTURE, HAPPY, dice(), **options)


def produce(live, size=4_000, samples=LONG):
    """Push everything from another thread, and end."""
    def run():
        for piece in samples.split(size):
            live.push(piece)
        live.end()

    threading.Thread(target=run, daemon=True).start()


def flushed():
    plain = session()
    return pictures([plain.push(LONG), plain.flush()])


@pytest.mark.parametrize("size", [900, 12_000, len(LONG)])
def test_frames_are_those_of_the_session_bit_for_bit(size):
    with Pipeline(session()) as live:
        produce(live, size)
        made = list(live)
    assert [frames.first for frames in made] == [frames_of(b) for b in range(len(made))]
    assert torch.equal(pictures(made), flushed())
    assert torch.equal(pictures(made)[:len(WHOLE)], WHOLE)


def test_the_next_block_is_denoised_while_one_is_decoded():
    """Each decoding waits for the next block's denoising to begin: in turns, it never would."""
    started = [threading.Event() for _ in range(9)]
    steps, decodings = [], []

    def model():
        if len(steps) % 5 == 0:
            started[len(steps) // 5].set()
        steps.append(1)

    def codec():
        decodings.append(1)
        following = (len(decodings) - 1) // 3 + 1
        assert following == 8 or started[following].wait(PATIENCE)

    with Pipeline(watched(model, codec)) as live:
        thread = threading.Thread(target=live.push, args=(LONG[:samples_for(8, 1)],), daemon=True)
        thread.start()
        made = [frames for _, frames in zip(range(8), live)]
    assert torch.equal(pictures(made), WHOLE)


@pytest.mark.parametrize("where", ["model", "codec"])
def test_errors_of_the_threads_come_out(where):
    """Frames made before it come first."""
    calls, limit = [], {"model": 12, "codec": 6}[where]

    def fail():
        calls.append(1)
        if len(calls) > limit:
            raise MemoryError("no memory left")

    with Pipeline(watched(**{where: fail})) as live:
        live.push(LONG[:samples_for(3, 1)])
        taken = iter(live)
        made = [next(taken), next(taken)]
        with pytest.raises(MemoryError, match="no memory left"):
            next(taken)
    assert torch.equal(pictures(made), WHOLE[:21])


def test_bad_input_is_told_at_once_and_harms_nothing():
    with Pipeline(session()) as live:
        with pytest.raises(UserError, match="16 kHz mono"):
            live.push(torch.zeros(3, 3))
        produce(live)
        assert torch.equal(pictures(live), flushed())


def test_who_stops_listening_is_not_kept_waiting():
    """The sound that the next block needs never comes."""
    with Pipeline(session()) as live:
        live.push(LONG[:samples_for(2, 1)])
        firsts = [frames.first for _, frames in zip(range(2), live)]
    assert firsts == [0, 9]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_pipeline_is_the_session():
    avatar = SimpleNamespace(**vars(AVATAR) | {
        "model": Model(lambda: None).cuda(), "codec": AVATAR.codec.cuda()})
    try:
        plain = AvatarSession(avatar, PICTURE, HAPPY, dice())
        want = pictures([plain.push(LONG), plain.flush()])
        with Pipeline(AvatarSession(avatar, PICTURE, HAPPY, dice())) as live:
            produce(live)
            assert torch.equal(pictures(live), want)
    finally:
        AVATAR.model.cpu(), AVATAR.codec.cpu()
