"""The toy of two frames: closed forms against brute force, paths that are learned, and what a
critic is for."""

import math

import pytest
import torch
from tiny import dice, noise

from livetalk_ref import toy
from livetalk_ref.flow import add_noise, sample
from livetalk_ref.ode import trajectory

RING = toy.Spots(torch.tensor([[1.5, 0.0], [0.0, 1.5], [-1.5, 0.0], [0.0, -1.5]]), 0.1)
THREE = toy.Spots(1.5 * torch.tensor([[math.cos(a), math.sin(a)] for a in (0.0, 2.1, 4.2)]), 0.3)
UPDATES = 300


def noises(count, seed=0):
    return noise(count, 2, 1, 1, 1, seed=seed)


@pytest.mark.parametrize("level", [0.3, 0.8, 1.0])
def test_the_best_velocity_is_the_mean_over_data_that_fit(level):
    """Against brute force: many videos, each weighed by how well it explains a noisy one."""
    x = torch.tensor([[0.4, -0.2], [1.2, 0.3], [-0.1, -0.9]])
    sigma = torch.full((3, 2), level)
    videos = RING.draw(200_000, dice()).flatten(1)
    far = torch.cdist(x, (1 - level) * videos).square() / (2 * level ** 2)
    x0 = (-far).softmax(1) @ videos
    got = RING.velocity(toy.as_video(x), sigma).flatten(1)
    assert torch.allclose(got, (x - x0) / level, atol=0.02 / level)


def test_the_loss_of_an_oracle_is_zero():
    """One noise level a frame."""
    x0, added = RING.draw(64, dice()), noises(64, 1)
    states = torch.stack([add_noise(x0, added, s.expand(64, 2)) for s in toy.sigma_grid(4).float()],
                         dim=1)

    def oracle(x, sigma):
        assert (sigma[:, 0] != sigma[:, 1]).any()
        return added - x0

    assert toy.student_loss(oracle, states, dice()) < 1e-10


def test_a_critic_keeps_points_apart():
    """With one that follows all spots are found; with none all points become one."""
    shares, off = {}, {}
    for name, critic in (("follows", toy.make(toy.Critic)), ("none", toy.no_critic)):
        generator = toy.make(toy.Generator)
        list(toy.distil(THREE, generator, critic, 400))
        x = toy.draw_points(generator, dice(9), 1000).detach()
        shares[name], off[name] = toy.coverage(THREE, x)
        if name == "none":
            assert x.flatten(1).std(0).max() < 0.25
    assert off["follows"] < 0.4 and shares["follows"].min() > 0.15
    assert off["none"] > 0.95


def test_a_regression_reaches_in_one_step_what_four_euler_steps_miss():
    noise = noises(2048)
    states = trajectory(RING.velocity, noise, noise[:, :0], None, toy.Guidance())
    student = toy.make(toy.Joint)
    losses = list(toy.train_student(student, states, UPDATES))
    assert sum(losses[-50:]) < 0.8 * sum(losses[:50])
    fresh = noises(500, 9)
    ends = trajectory(RING.velocity, fresh, fresh[:, :0], None, toy.Guidance())[:, -1]
    euler = sample(RING.velocity, fresh, fresh[:, :0], None, steps=4)
    assert (toy.jump(student, fresh) - ends).square().mean() < (euler - ends).square().mean()
