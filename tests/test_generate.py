"""generate.py: windows that continue, frames that stay, on random weights."""

import pytest
import torch
from tiny import write_checkpoints

from livetalk_ref import loading
from livetalk_ref.errors import UserError
from livetalk_ref.flow import Guidance, group_audio
from livetalk_ref.generate import (
    audio_windows,
    conditions,
    count_frames,
    count_windows,
    evaluations,
    stream,
)
from livetalk_ref.portrait import portrait_of
from livetalk_ref.world.ear import AudioFeatures
from livetalk_ref.world.latents import OVERLAP, WINDOW

PROMPT = "a happy person nods"
FAST = {"steps": 2, "guidance": Guidance(1, 1)}


@pytest.fixture(scope="module")
def avatar(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    write_checkpoints(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "CHECKPOINTS", folder)
        return loading.load("teacher")


@pytest.fixture(scope="module")
def picture():
    return portrait_of(3)


def sound(frames, extra=0):
    g = torch.Generator().manual_seed(5)
    return 0.1 * torch.randn(300_000, generator=g)[:frames * 1000 + extra]


@pytest.fixture(scope="module")
def long_run(avatar, picture):
    """Two windows: 81 and 19 of 68 frames; the last begun 1000 samples count."""
    return list(stream(avatar, picture, sound(99, 1), PROMPT, seed=4, **FAST))


def test_a_window_continues_the_one_before(long_run):
    first, second = long_run
    assert [(w.index, w.count) for w in long_run] == [(0, 2), (1, 2)]
    assert torch.equal(second.latents[:, :OVERLAP], first.latents[:, -OVERLAP:])
    assert (second.latents[:, OVERLAP:] - first.latents[:, OVERLAP:]).abs().max() > 0.1


def test_the_first_latent_frame_is_the_reference(avatar, picture, long_run):
    with torch.no_grad():
        ref = avatar.codec.encode(picture[None, None])
        assert torch.equal(long_run[0].latents[:, :1], ref)
        assert torch.equal(long_run[0].frames[:1], avatar.codec.decode(ref)[0])


def test_windows_are_decoded_as_one_video(avatar, long_run):
    first, second = long_run
    with torch.no_grad():
        whole = avatar.codec.decode(torch.cat([first.latents, second.latents[:, OVERLAP:]], 1))
    frames = torch.cat([first.frames, second.frames])
    assert len(frames) == 100
    assert torch.equal(frames, whole[0, :100])


def test_longer_sound_leaves_earlier_windows_and_the_same_seed_gives_the_same_bits(
        avatar, picture, long_run):
    short = list(stream(avatar, picture, sound(81), PROMPT, seed=4, **FAST))
    assert len(short) == 1 and torch.equal(short[0].frames, long_run[0].frames)


def test_seed_prompt_and_sound_matter(avatar, picture, long_run):
    def once(loudness=1, prompt=PROMPT, seed=4):
        samples = loudness * sound(20)
        return next(stream(avatar, picture, samples, prompt, seed=seed, **FAST)).frames

    base = once()
    for other in (once(seed=5), once(prompt="an angry man"), once(loudness=0)):
        assert base.shape == other.shape == (20, 3, 96, 96)
        assert (base - other).abs().max() > 1e-3


@pytest.mark.parametrize("samples, frames, windows", [
    (1, 1, 1), (1000, 1, 1), (1001, 2, 1), (81_000, 81, 1), (81_001, 82, 2), (149_000, 149, 2),
    (149_001, 150, 3), (57_600_000, 57_600, 847)])
def test_counts(samples, frames, windows):
    assert count_frames(torch.empty(samples)) == frames
    assert count_windows(frames) == windows


def test_one_sample_makes_one_frame(avatar, picture):
    window, = stream(avatar, picture, torch.zeros(1), "", **FAST)
    assert window.frames.shape == (1, 3, 96, 96)


@pytest.mark.parametrize("frames, extra", [(30, 0), (81, 0), (99, 1), (150, 700)])
def test_sound_in_windows_is_the_whole_sound_cut(frames, extra):
    """Two roads: streamed window by window, and all rows at once."""
    samples = sound(frames, extra)
    parts = list(audio_windows(samples))
    latent_frames = WINDOW + (len(parts) - 1) * (WINDOW - OVERLAP)
    rows = AudioFeatures().rows(samples, frames=4 * latent_frames - 3)
    whole = group_audio(rows[None])
    assert whole.shape[1] == latent_frames
    for i, part in enumerate(parts):
        start = i * (WINDOW - OVERLAP)
        assert torch.equal(part, whole[:, start:start + WINDOW])


def test_conditions_name_what_is_known(avatar, picture):
    conds = list(conditions(avatar, picture, sound(99), PROMPT))
    assert [c.known.sum().item() for c in conds] == [1, OVERLAP]
    assert all(c.known[0, :k].all() for c, k in zip(conds, (1, OVERLAP)))
    assert torch.equal(conds[0].ref, conds[1].ref) and conds[0].text.shape == (1, 16, 64)


def test_unknown_word_and_odd_picture(avatar, picture):
    with pytest.raises(UserError, match="unknown word 'grinz'.*grins"):
        next(stream(avatar, picture, sound(5), "grinz"))
    with pytest.raises(UserError, match="multiples of 16"):
        next(stream(avatar, picture[:, :90], sound(5), ""))


@pytest.mark.parametrize("guidance", [Guidance(1, 1), Guidance(2, 2), Guidance(2, 3)])
def test_evaluations_are_those_the_model_sees(avatar, picture, guidance, monkeypatch):
    seen = []
    forward = avatar.model.forward
    monkeypatch.setattr(avatar.model, "forward",
                        lambda x, *rest: seen.append(len(x)) or forward(x, *rest))
    list(stream(avatar, picture, sound(2), "", steps=3, guidance=guidance))
    assert sum(seen) == evaluations(1, 3, guidance)


def test_a_notebook_can_train_after_generating(avatar, picture):
    """No inference tensor is left behind in a cache that training would meet."""
    model = avatar.model
    next(stream(avatar, picture, sound(2), "", **FAST))
    cond = next(conditions(avatar, picture, sound(2), ""))
    model.requires_grad_(True)
    model(torch.zeros(1, WINDOW, 16, 6, 6), torch.ones(1, WINDOW), cond).sum().backward()
    assert model.head.head.weight.grad.abs().sum() > 0
    model.zero_grad(set_to_none=True)
    model.requires_grad_(False)
