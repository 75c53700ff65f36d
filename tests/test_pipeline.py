"""The pipeline: the session's pictures bit for bit, side by side, closed cleanly."""

import threading

import pytest
import torch
from test_stream import AVATAR, LONG, WHOLE, pictures, session

from livetalk_ref.errors import UserError
from livetalk_ref.generate import Pipeline
from livetalk_ref.stream import frames_of, samples_for

PATIENCE = 60       # seconds after which a thread that should have ended is stuck


def watch(monkeypatch, part, look):
    """Have a function called before each pass of the model, or each step of the decoder."""
    owner, name = {"model": (AVATAR.model, "forward"), "codec": (AVATAR.codec, "decode_step")}[part]
    works = getattr(owner, name)

    def watched(*args, **kwargs):
        look()
        return works(*args, **kwargs)

    monkeypatch.setattr(owner, name, watched)


def produce(live, size=4_000):
    """Push everything from another thread, and end."""
    def run():
        for piece in LONG.split(size):
            live.push(piece)
        live.end()

    threading.Thread(target=run, daemon=True).start()


@pytest.mark.parametrize("size", [900, 12_000, len(LONG)])
def test_frames_are_those_of_the_session_bit_for_bit(size):
    with Pipeline(session()) as live:
        produce(live, size)
        made = list(live)
    plain = session()
    assert [frames.first for frames in made] == [frames_of(b) for b in range(len(made))]
    assert torch.equal(pictures(made), pictures([plain.push(LONG), plain.flush()]))


def test_the_next_block_is_denoised_while_one_is_decoded(monkeypatch):
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

    watch(monkeypatch, "model", model)
    watch(monkeypatch, "codec", codec)
    with Pipeline(session()) as live:
        thread = threading.Thread(target=live.push, args=(LONG[:samples_for(8, 1)],), daemon=True)
        thread.start()
        made = [frames for _, frames in zip(range(8), live)]
    assert torch.equal(pictures(made), WHOLE)


@pytest.mark.parametrize("part, limit", [("model", 12), ("codec", 6)])
def test_errors_of_the_threads_come_out(part, limit, monkeypatch):
    """Frames made before it come first."""
    calls = []

    def fail():
        calls.append(1)
        if len(calls) > limit:
            raise MemoryError("no memory left")

    watch(monkeypatch, part, fail)
    with Pipeline(session()) as live:
        live.push(LONG[:samples_for(3, 1)])
        taken = iter(live)
        made = [next(taken), next(taken)]
        with pytest.raises(MemoryError, match="no memory left"):
            next(taken)
    assert torch.equal(pictures(made), WHOLE[:21])


def test_bad_input_is_told_at_once_and_who_stops_listening_is_not_kept_waiting():
    """The sound that the next block needs never comes."""
    with Pipeline(session()) as live:
        with pytest.raises(UserError, match="16 kHz mono"):
            live.push(torch.zeros(3, 3))
        live.push(LONG[:samples_for(2, 1)])
        firsts = [frames.first for _, frames in zip(range(2), live)]
    assert firsts == [0, 9]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_pipeline_is_the_session():
    try:
        AVATAR.model.cuda(), AVATAR.codec.cuda()
        plain = session()
        want = pictures([plain.push(LONG), plain.flush()])
        with Pipeline(session()) as live:
            produce(live)
            assert torch.equal(pictures(live), want)
    finally:
        AVATAR.model.cpu(), AVATAR.codec.cpu()
