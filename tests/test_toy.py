"""The toy of two frames: closed forms against brute force, paths that are learned, and what a
critic is for."""

import math

import pytest
import torch
from tiny import dice, noise

from livetalk_ref import toy
from livetalk_ref.flow import sample
from livetalk_ref.ode import trajectory

RING = toy.Spots(torch.tensor([[1.5, 0.0], [0.0, 1.5], [-1.5, 0.0], [0.0, -1.5]]), 0.1)
THREE = toy.Spots(1.5 * torch.tensor([[math.cos(a), math.sin(a)] for a in (0.0, 2.1, 4.2)]), 0.3)


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


def test_a_critic_keeps_points_apart():
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
    start, fresh = noise(2048, 2, 1, 1, 1), noise(500, 2, 1, 1, 1, seed=9)
    states = trajectory(RING.velocity, start, start[:, :0], None, toy.Guidance())
    student = toy.make(toy.Joint)
    losses = list(toy.train_student(student, states, 300))
    assert sum(losses[-50:]) < 0.8 * sum(losses[:50])
    ends = trajectory(RING.velocity, fresh, fresh[:, :0], None, toy.Guidance())[:, -1]
    euler = sample(RING.velocity, fresh, fresh[:, :0], None, steps=4)
    assert (toy.jump(student, fresh) - ends).square().mean() < (euler - ends).square().mean()
