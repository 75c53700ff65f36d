"""Distances of sets of clips against their definitions, and how sure they and differences are."""

import math

import pytest
import torch
from tiny import noise

from livetalk_ref.errors import UserError
from livetalk_ref.judge import distances


def test_frechet_of_gaussians_is_the_closed_form():
    g = torch.Generator().manual_seed(0)
    a = torch.randn(200_000, 2, generator=g) * torch.tensor([1.0, 2.0])
    b = torch.randn(200_000, 2, generator=g) * torch.tensor([3.0, 2.0]) + torch.tensor([1.0, 0])
    assert distances.frechet(a, b) == pytest.approx(1 + (3 - 1) ** 2, rel=0.02)
    assert distances.frechet(a, a) == pytest.approx(0, abs=1e-6)


def test_clip_samples_know_the_order_of_frames():
    features = noise(3, 50, 32).cumsum(1)
    mean, spread, step = distances.clip_samples(features).split(10, dim=2)
    x = features[:, 8:, :10]
    assert mean.shape == (3, 1, 10) and torch.allclose(mean[1, 0, 4], x[1, :, 4].mean())
    assert torch.allclose(spread[:, 0], x.var(1).sqrt())
    assert torch.allclose(step[2, 0, 3], (x[2, 1:, 3] - x[2, :-1, 3]).pow(2).mean().sqrt())
    mixed = features[:, torch.cat([torch.arange(8), 8 + torch.randperm(42)])]
    other = distances.clip_samples(mixed).split(10, dim=2)
    assert torch.allclose(other[0], mean, atol=1e-4) and (other[2] > step).all()


def test_distances_grow_with_the_gap_and_their_floor_is_a_second_set():
    true, second, sample = (noise(40, 24, 32, seed=s) for s in (1, 2, 3))
    rows = [distances.distances(sample + gap, true, draws=40) for gap in (0.0, 0.1, 0.2, 0.4)]
    floor = distances.distances(second, true, draws=40)
    for name in ("frechet", "clip frechet"):
        values = [row[name][0] for row in rows]
        assert values == sorted(set(values)), name
        assert all(low < value < high for value, low, high in (row[name] for row in rows))
        width = floor[name][2] - floor[name][1]
        assert abs(rows[0][name][0] - floor[name][0]) < 2 * width, name
        assert rows[-1][name][1] > floor[name][2], name
    assert distances.distances(sample, true, draws=40) == rows[0]


def test_the_interval_is_as_wide_as_other_sets_of_clips_differ():
    """Against sixty other pairs of sets; close to truth the bootstrap is known to exaggerate."""
    weak = 0.85 ** torch.arange(32)

    def row(seed, gap, draws):
        made, true = (weak * (noise(50, 1, 32, seed=i) + noise(50, 16, 32, seed=i + 1))
                      for i in (4 * seed, 4 * seed + 2))
        return distances.distances(made + gap * weak, true, draws).values()

    for gap, low, high in ((0.7, 0.6, 1.7), (0.0, 1.0, 3.5)):
        others = torch.tensor([[value for value, _, _ in row(seed, gap, 1)] for seed in range(60)])
        widths = torch.tensor([[b - a for _, a, b in row(seed, gap, 60)] for seed in (0, 1, 2)])
        ratio = widths.mean(0) / (2 * 1.96 * others.std(0))
        assert (ratio > low).all() and (ratio < high).all(), (gap, ratio)


def test_two_models_are_compared_on_the_same_draws():
    true, near = noise(30, 24, 32), noise(30, 24, 32, seed=1) + 0.2
    row = distances.distances(near, true, draws=60)
    better = distances.compare_distances(near, near + 0.05, true, draws=60)
    for name, found in better.items():
        low, high = found["95%"]
        assert low < found["difference"] < high and found["superiority"] > 0.9, name
        assert high - low < row[name][2] - row[name][1], name
    same = distances.compare_distances(near, near, true, draws=20)["frechet"]
    assert same == {"difference": 0, "95%": [0, 0], "superiority": 0.5}


def test_distances_need_two_sets_of_one_size():
    with pytest.raises(UserError, match="not 3 and 4"):
        distances.distances(noise(3, 40, 32), noise(4, 40, 32))
    with pytest.raises(UserError, match="two at least"):
        distances.distances(noise(1, 40, 32), noise(1, 40, 32))


def test_diversity_is_the_mean_pairwise_distance():
    still = noise(1, 30, 32).repeat(3, 1, 1)
    assert distances.diversity(still) == 0
    still[1, :, 0] += 3
    still[2, :, 1] += 4
    assert distances.diversity(still) == pytest.approx((3 + 4 + 5) / 3, rel=1e-5)


def test_intervals_cover_the_mean_and_leave_out_what_does_not_apply():
    row = distances.with_interval("x", [0.0, 1.0] * 50 + [None])
    low, high = row["x 95%"]
    assert row["x"] == 0.5 and low < 0.5 < high
    assert high - low == pytest.approx(2 * 1.96 * 0.5 / math.sqrt(100), rel=0.15)
    assert distances.with_interval("x", [None]) == {}
    rows = [{"sharpness": 1.0, "flicker": None}, {"sharpness": 3.0, "flicker": None}]
    row = distances.judged_row("x", rows, noise(2, 24, 32), noise(2, 24, 32))
    assert row["sharpness"] == 2 and row["sharpness 95%"] == [1.0, 3.0] and "flicker" not in row
    assert row["clips"] == 2 and row["frechet"] == pytest.approx(0, abs=1e-3)


def test_pairs_are_surer_than_two_means():
    hard = 5 * noise(100)                       # what clips have in common for both models
    a, b = (hard + 0.3 + 0.5 * noise(100, seed=1)).tolist(), hard.tolist()
    found = distances.compare_paired(a, b, b, "higher")
    gap, (low, high) = torch.tensor(a) - torch.tensor(b), found["95%"]
    assert found["difference"] == pytest.approx(gap.mean().item(), abs=1e-4)
    assert high - low == pytest.approx(2 * 1.96 * gap.std().item() / 10, rel=0.1)
    assert low > 0 and found["superiority"] > 0.99
    assert distances.compare_paired(b, a, b, "higher")["superiority"] < 0.01
    assert distances.compare_paired(a, b, b, "lower")["superiority"] < 0.01
    apart_low, apart_high = distances.with_interval("a", a)["a 95%"]
    assert high - low < 0.2 * (apart_high - apart_low)


def test_close_to_truth_compares_distances_from_it_and_none_is_left_out():
    truth, near, far = [10.0] * 40, [9.0, 11.0] * 20, [14.0] * 40
    found = distances.compare_paired(near, far, truth, "close to truth")
    assert found["difference"] == -3 and found["superiority"] == 1
    a, b = [1.0, None, 3.0, 9.0], [0.0, 5.0, 1.0, None]
    assert distances.compare_paired(a, b, a, "higher")["difference"] == 1.5
    assert distances.compare_paired([1.0], [None], [1.0], "higher") is None
