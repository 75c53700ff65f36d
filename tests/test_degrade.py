"""Damage: its measure grows with strength, and it stays the same over a clip."""

from collections import Counter

import pytest
import torch

from livetalk_ref.world.degrade import KINDS, Degradation, degrade, sample_degradation

STRENGTHS = (0.1, 0.4, 0.7, 1.0)


def pictures(count=4, size=96):
    """Smooth shapes with sharp borders, brightness about one half -> (T, 3, H, W)."""
    line = torch.linspace(-1, 1, size)
    y, x = torch.meshgrid(line, line, indexing="ij")
    frames = [torch.stack([torch.sin(5 * x + t) * 0.6, 0.8 * torch.sign(y * x - 0.1 * t),
                           (x ** 2 + y ** 2 < 0.3 + 0.02 * t) * 1.4 - 0.6])
              for t in range(count)]
    return torch.stack(frames).clamp(-1, 1)


def spoil(kind, strength, frames):
    return degrade(frames, Degradation(((kind, strength),), 3), torch.Generator())


def sharpness(frames):
    return frames.diff(dim=-1).square().mean()


def brightness(frames):
    return (frames * 0.5 + 0.5).mean()


def wrong(frames):
    return (frames - pictures()).square().mean()


@pytest.mark.parametrize("kind, measure, sign", [
    ("blur", sharpness, -1), ("noise", sharpness, 1), ("dark", brightness, -1),
    ("bright", brightness, 1), ("low_contrast", torch.std, -1), ("compression", wrong, 1),
    ("occlusion", wrong, 1),
])
def test_damage_grows_with_strength(kind, measure, sign):
    clean = measure(pictures())
    values = torch.stack([clean] + [measure(spoil(kind, s, pictures())) for s in STRENGTHS])
    assert (values.diff() * sign > 0).all(), values


@pytest.mark.parametrize("kind", KINDS)
def test_a_clip_is_spoilt_alike_from_its_first_frame_to_its_last(kind):
    still = pictures(1).expand(6, -1, -1, -1)
    out = spoil(kind, 0.8, still)
    assert out.shape == still.shape and out.min() >= -1 and out.max() <= 1
    change = (out[0] - still[0]).abs().mean()
    assert change > 0.01
    assert (out - out[:1]).abs().mean() < 0.35 * change
    alone = spoil(kind, 0.8, still[:1])                 # the reference spoilt on its own
    assert (alone[0] - out[0]).abs().mean() < 0.35 * change
    assert torch.isfinite(spoil(kind, 0.8, pictures(2, 50))).all()


def test_samples_are_varied_and_repeatable():
    generator = torch.Generator().manual_seed(0)
    drawn = [sample_degradation(generator) for _ in range(400)]
    again = sample_degradation(torch.Generator().manual_seed(0))
    assert drawn[0] == again and drawn[0] != drawn[1]
    kinds = Counter(kind for one in drawn for kind, _ in one.parts)
    assert set(kinds) == set(KINDS) and min(kinds.values()) > 40
    pairs = [{kind for kind, _ in one.parts} for one in drawn if len(one.parts) == 2]
    assert 120 < len(pairs) < 220 and {"dark", "bright"} not in pairs
    assert all(0.3 <= s <= 1 for one in drawn for _, s in one.parts)
