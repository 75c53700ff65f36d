"""Every number of the judges moves the right way under a known corruption of growing strength."""

import math

import pytest
import torch

from livetalk_ref.judge import metrics
from livetalk_ref.world.face import render_clip
from livetalk_ref.world.identity import sample_identities
from livetalk_ref.world.state import COL, S


@pytest.fixture(scope="module")
def clip():
    """Twenty frames of a face whose mouth moves and whose background rests."""
    state = torch.zeros(20, S)
    state[:, COL["mouth_open"]] = torch.sin(torch.arange(20.0)).abs()
    return render_clip(sample_identities(1, torch.Generator().manual_seed(3)), state, 64)


def rising(values):
    return all(b > a for a, b in zip(values, values[1:]))


def test_correlation_equals_the_definition():
    g = torch.Generator().manual_seed(0)
    a = torch.randn(50, generator=g)
    b = a + torch.randn(50, generator=g)
    want = torch.corrcoef(torch.stack([a, b]))[0, 1].item()
    assert metrics.correlation(a, b) == pytest.approx(want, abs=1e-6)
    assert metrics.mouth_correlation(a, a * 0) is None


def test_delay_lowers_the_mouth_correlation():
    track = torch.sin(torch.arange(80.0) * 0.7)
    values = [metrics.mouth_correlation(track.roll(-d), track) for d in (0, 1, 2, 3)]
    assert values[0] == pytest.approx(1) and rising([-v for v in values])


def test_blur_lowers_sharpness(clip):
    def blur(x, times):
        for _ in range(times):
            x = torch.nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        return x
    assert rising([-metrics.sharpness(blur(clip, n)) for n in (0, 1, 2, 4)])


def test_flicker_raises_unrest_and_truth_has_none(clip):
    still = metrics.still_places(clip)
    assert 0.2 < still.float().mean() < 0.98
    noise = torch.randn(clip.shape, generator=torch.Generator().manual_seed(0))
    values = [metrics.unrest(clip + a * noise, still) for a in (0, 0.01, 0.03, 0.1)]
    assert values[0] < 0.5 and rising(values)


def test_a_passing_hand_is_no_unrest(clip):
    still = metrics.still_places(clip)
    passing = clip.clone()
    passing[9:11, :, :30] = 0
    assert metrics.unrest(passing, still) < 0.5


def test_frechet_of_gaussians_is_the_closed_form():
    g = torch.Generator().manual_seed(0)
    a = torch.randn(200_000, 2, generator=g) * torch.tensor([1.0, 2.0])
    b = torch.randn(200_000, 2, generator=g) * torch.tensor([3.0, 2.0]) + torch.tensor([1.0, 0])
    assert metrics.frechet(a, b) == pytest.approx(1 + (3 - 1) ** 2, rel=0.02)
    assert metrics.frechet(a, a) == pytest.approx(0, abs=1e-6)


def test_frechet_uses_the_full_covariance():
    """Two correlated Gaussians: against the formula with a matrix square root by another road."""
    g = torch.Generator().manual_seed(1)
    a = torch.randn(500, 4, generator=g) @ torch.randn(4, 4, generator=g)
    b = torch.randn(500, 4, generator=g) @ torch.randn(4, 4, generator=g) + 1
    product = torch.cov(a.double().T) @ torch.cov(b.double().T)
    root = torch.linalg.eigvals(product).sqrt().real.sum()
    want = (a.double().mean(0) - b.double().mean(0)).square().sum() \
        + torch.cov(a.double().T).trace() + torch.cov(b.double().T).trace() - 2 * root
    assert metrics.frechet(a, b) == pytest.approx(want.item(), rel=1e-6)


def test_bootstrap_covers_the_mean():
    mean, low, high = metrics.bootstrap([0.0, 1.0] * 50 + [None])
    assert mean == 0.5 and low < 0.5 < high
    assert high - low == pytest.approx(2 * 1.96 * 0.5 / math.sqrt(100), rel=0.15)
