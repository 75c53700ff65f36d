"""Distribution matching in the plane: closed forms, and what a critic is for."""

import math

import pytest
import torch

from livetalk_ref import toy
from livetalk_ref.dmd import score_sigma
from livetalk_ref.flow import add_noise
from livetalk_ref.toy import Spots, make
from livetalk_ref.toy import Blob, Critic, Generator, coverage, distil, low_sigma, no_critic

PAIR = Spots(torch.tensor([[1.0, 1.0], [-1.0, -1.0]]), 0.3)
THREE = Spots(1.5 * torch.tensor([[math.cos(a), math.sin(a)] for a in (0.0, 2.1, 4.2)]), 0.3)


def dice(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_blobs_critic_is_exact():
    """Against brute force: regress what it makes on its noisy points."""
    blob, n = Blob((0.4, -0.3), 0.7), 200_000
    x0 = blob(torch.randn(n, 2, 1, 1, 1, generator=dice())).detach().flatten(1)
    noise = torch.randn(n, 2, generator=dice(1))
    x = 0.4 * x0 + 0.6 * noise                                          # sigma 0.6
    line = torch.linalg.lstsq(torch.cat([x, torch.ones(n, 1)], 1), noise - x0).solution
    at = torch.tensor([[0.5, 0.2], [-1.0, 0.9]])
    want = torch.cat([at, torch.ones(2, 1)], 1) @ line
    got = blob.velocity(at[..., None, None, None], torch.full((2, 2), 0.6)).flatten(1)
    assert torch.allclose(got, want, atol=0.02)


def test_without_a_critic_it_believes_in_x_itself():
    x, noise = (torch.randn(5, 2, 1, 1, 1, generator=dice(s)) for s in (0, 1))
    level = torch.full((5, 2), 0.7)
    noisy = add_noise(x, noise, level)
    v = no_critic(x)(noisy, level, None)
    assert torch.allclose(noisy - 0.7 * v, x, atol=1e-6)


@pytest.mark.parametrize(("start", "spot"), [((0.5, 0.3), 0), ((-0.2, -0.4), 1)])
def test_little_noise_seeks_the_nearer_mode_and_all_levels_the_middle(start, spot):
    ends = []
    for levels in (low_sigma, score_sigma):
        blob = Blob(start, 0.6)
        *_, last = distil(PAIR, blob, None, 300, lr=1e-2, levels=levels)
        assert last.update == 300 and last.critic_loss == 0
        ends.append((blob.centre.detach(), blob.log_width.exp().item()))
    (one, width), (middle, wide) = ends
    assert (one - PAIR.centres[spot]).norm() < 0.1 and abs(width - 0.3) < 0.05
    assert middle.norm() < 0.1
    spread = math.sqrt(0.3 ** 2 + 1)            # of both spots together, along each axis
    assert abs(wide - spread) < 0.1


def test_a_critic_keeps_points_apart():
    """With one that follows all spots are found; with none all points become one."""
    shares, off = {}, {}
    for name, critic in (("follows", make(Critic)), ("none", no_critic)):
        generator = make(Generator)
        losses = [state.critic_loss for state in distil(THREE, generator, critic, 400)]
        x = toy.draw_points(generator, dice(9), 1000).detach()
        shares[name], off[name] = coverage(THREE, x)
        if name == "none":
            assert x.flatten(1).std(0).max() < 0.25
        else:
            assert sum(losses[-50:]) != 0
    assert off["follows"] < 0.4 and shares["follows"].min() > 0.15
    assert off["none"] > 0.95


def test_one_seed_gives_one_run():
    runs = [[state.gradient for state in distil(THREE, make(Generator), make(Critic), 3, warmup=2)]
            for _ in range(2)]
    assert runs[0] == runs[1]


def test_coverage_counts_points():
    at = torch.cat([PAIR.centres[:1].repeat(3, 1), torch.zeros(1, 2)])[..., None, None, None]
    shares, off = coverage(PAIR, at)
    assert shares.tolist() == [0.75, 0.0] and off == 0.25
