"""Trajectories and the regression on them, against closed forms and independent roads."""

import pytest
import torch
from test_wan import SMALL, example, shake, worst
from tiny import dice

from livetalk_ref import ode, trajectories
from livetalk_ref.flow import (Guidance, add_noise, keep_known, per_frame, sample, sigma_grid,
                               x0_from_velocity)
from livetalk_ref.wan import WanDiT

GRID = sigma_grid(4).float()
PLAIN = Guidance()


def latents(seed, frames=9, batch=2):
    return torch.randn(batch, frames, 4, 4, 4, generator=dice(seed))


def setting(frames=9):
    """Random weights, noise, clean latents that begin with the reference, a condition."""
    model = shake(WanDiT(SMALL)).requires_grad_(False)
    _, _, cond = example(SMALL, 2, frames)
    return model, latents(3, frames), keep_known(latents(4, frames), cond.ref[:, None]), cond


def straight_states(x0, noise):
    """Five states on the straight line from noise to x0: (B, 5, F, C, h, w)."""
    return torch.stack([add_noise(x0, noise, s.expand(x0.shape[:2])) for s in GRID], dim=1)


class Student:
    """A model without cache that answers with a given function of (x, sigma) and keeps both."""

    def __init__(self, answer):
        self.answer = answer

    def __call__(self, x, sigma, cond, mask=None):
        self.x, self.sigma, self.mask = x, sigma, mask
        return self.answer(x, sigma)


# Trajectories

def test_states_are_those_at_the_students_noise_levels():
    """On a straight path the state kept at index 0, 12, 24, 36 must lie at exactly its sigma."""
    x0, noise = latents(1), latents(2)
    states = ode.trajectory(lambda x, sigma, cond: (x - x0) / per_frame(sigma, x), noise,
                            x0[:, :1], None, PLAIN)
    want = straight_states(x0, noise)
    want[:, :, 0] = x0[:, None, 0]                      # the known frame is clean all along
    assert torch.allclose(states, want, atol=1e-5)


def test_kept_states_are_part_of_the_whole_path():
    model, noise, x0, cond = setting()
    seen = []
    guidance = Guidance(2.0, 3.0)
    five = ode.trajectory(model, noise, x0[:, :1], cond, guidance, watch=seen.append)
    whole = ode.trajectory(model, noise, x0[:, :1], cond, guidance, kept=48)
    assert whole.shape[1] == 49 and len(seen) == 48
    assert torch.equal(whole[:, ::12], five)
    end, plain = (sample(model, noise, x0[:, :1], cond, steps=48, guidance=g)
                  for g in (guidance, PLAIN))
    assert torch.equal(five[:, -1], end) and worst(plain, end) > 0.01
    assert torch.equal(five[:, 0, 1:], noise[:, 1:])


def radius(sigma, s):
    """Data of deviation s: its probability-flow path is noise * radius(sigma), exactly."""
    return ((1 - sigma) ** 2 * s ** 2 + sigma ** 2).sqrt()


def test_straightness_of_a_known_curve():
    s, grid = 0.25, sigma_grid(48)
    states = latents(1).double()[:, None] * radius(grid, s)[:, None, None, None, None]
    deviation, _ = trajectories.straightness(states)       # the curvature: see test_studies.py
    middle = (grid[1:] + grid[:-1]) / 2
    slope = (middle - (1 - middle) * s ** 2) / radius(middle, s)          # radius'
    assert torch.allclose(deviation, (slope / (1 - s) - 1).square().expand(2, -1), atol=0.02)
    assert deviation[:, -1].min() > 0.5             # straight in noise, bent near the data


# The regression

@pytest.mark.parametrize("variant", ["livetalk", "self_forcing"])
def test_loss_of_the_oracle_is_zero_and_of_its_opposite_is_not(variant):
    x0, noise = latents(1), latents(2)
    batch = straight_states(x0, noise), None
    for seed in range(5):
        right = Student(lambda x, sigma: noise - x0)
        wrong = Student(lambda x, sigma: x0 - noise)
        assert ode.ode_loss(right, batch, dice(seed), variant) < 1e-10
        assert ode.ode_loss(wrong, batch, dice(seed), variant) > 1


@pytest.mark.parametrize("variant, levels", [("livetalk", 4), ("self_forcing", 5)])
def test_every_block_draws_its_own_noise_level(variant, levels):
    """And is fed the very state of that level: here each state is filled with its own index."""
    states = torch.arange(5.0)[None, :, None, None, None, None].expand(64, 5, 21, 1, 2, 2)
    student = Student(lambda x, sigma: torch.zeros_like(x))
    ode.ode_loss(student, (states, None), dice(), variant)
    index = student.x[:, :, 0, 0, 0].long()                              # (64, 21)
    assert torch.equal(GRID[index], student.sigma)
    blocks = index.unflatten(1, (7, 3))
    assert (blocks == blocks[:, :, :1]).all()
    share = torch.bincount(blocks[:, :, 0].flatten(), minlength=5) / (64 * 7)
    assert (share[:levels] - 1 / levels).abs().max() < 0.07 and share[levels:].sum() == 0
    assert (blocks[:, 0, 0] != blocks[:, 1, 0]).any()


def test_loss_is_the_mean_over_all_frames_of_the_x0_error():
    model, noise, x0, cond = setting()
    states = straight_states(x0, noise)
    student = Student(lambda x, sigma: model(x, sigma, cond))
    for variant in ("livetalk", "self_forcing"):
        loss = ode.ode_loss(student, (states, cond), dice(2), variant)
        made = x0_from_velocity(student.x, student.sigma, model(student.x, student.sigma, cond))
        noisy = student.sigma > 0                   # livetalk: always
        assert variant == "self_forcing" or noisy.all()
        assert loss.item() == pytest.approx((made - x0)[noisy].square().mean().item(), rel=1e-5)


def test_no_block_learns_from_a_later_one():
    """Gradient of one block's output by another block's input: exactly 0.0 for later ones. In a
    block each frame reads those behind it."""
    model, noise, _, cond = setting()
    x = noise.requires_grad_()
    v = ode.behind_noisy(model, x, torch.full((2, 9), 0.625), cond)
    for block in range(3):
        g, = torch.autograd.grad(v[:, 3 * block:3 * block + 3].square().sum(), x,
                                 retain_graph=True)
        reach = g.abs().amax(dim=(0, 2, 3, 4)).view(3, 3).amax(1)
        assert reach[block + 1:].sum() == 0.0 and (reach[:block + 1] > 1e-4).all()
        g, = torch.autograd.grad(v[:, 3 * block].square().sum(), x, retain_graph=True)
        assert g[:, 3 * block + 2].abs().max() > 1e-4
