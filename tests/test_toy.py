"""The toy of two frames: closed forms against brute force, whose paths can be learned, and what a
critic is for."""

import math

import pytest
import torch
from tiny import dice, noise

from livetalk_ref import toy
from livetalk_ref.dmd import score_sigma
from livetalk_ref.flow import add_noise
from livetalk_ref.ode import trajectory

PAIR = toy.Spots(torch.tensor([[1.0, 1.0], [-1.0, -1.0]]), 0.08)
RING = toy.Spots(torch.tensor([[1.5, 0.0], [0.0, 1.5], [-1.5, 0.0], [0.0, -1.5]]), 0.1)
BLOBS = toy.Spots(torch.tensor([[1.0, 1.0], [-1.0, -1.0]]), 0.3)
THREE = toy.Spots(1.5 * torch.tensor([[math.cos(a), math.sin(a)] for a in (0.0, 2.1, 4.2)]), 0.3)
UPDATES = 300


def noises(count, seed=0):
    return noise(count, 2, 1, 1, 1, seed=seed)


@pytest.fixture(scope="module")
def walked():
    """Paths of both teachers from the same noise."""
    return {whose: toy.paths(PAIR, noises(2048), whose) for whose in ("bidirectional", "causal")}


@pytest.fixture(scope="module")
def students(walked):
    found = {whose: toy.make() for whose in walked}
    for whose, student in found.items():
        losses = list(toy.train_student(student, walked[whose], UPDATES))
        assert sum(losses[-50:]) < sum(losses[:50])
    return found


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
    first = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1, 1)               # which frame 2 follows
    x = torch.zeros(2, 1, 1, 1, 1)
    v = PAIR.second_velocity(first)(x, torch.ones(2, 1)).flatten()
    assert torch.allclose(v, torch.tensor([-1.0, 1.0]), atol=1e-4)      # v = noise - x0


def test_paths_are_those_of_the_real_thing():
    start = noises(50)
    states = toy.paths(RING, start, "bidirectional")
    whole = trajectory(RING.velocity, start, start[:, :0], None, toy.Guidance(), kept=48)
    assert torch.equal(states, whole[:, ::12]) and states.shape == (50, 5, 2, 1, 1, 1)
    for whose in ("bidirectional", "causal"):
        ends = toy.paths(RING, start, whose)[:, -1]
        assert RING.distance(ends).median() < 2                         # both draw data


def test_only_a_bidirectional_teachers_first_frame_depends_on_the_second_ones_noise(walked):
    other = torch.cat([noises(2048)[:, :1], noises(2048, 1)[:, 1:]], dim=1)
    moved = {whose: (toy.paths(PAIR, other, whose) - states)[:, -1, 0].abs().max().item()
             for whose, states in walked.items()}
    assert moved["causal"] == 0.0 and moved["bidirectional"] > 1
    assert toy.spread_of_first(walked["bidirectional"]) > 5 * toy.spread_of_first(walked["causal"])


def test_a_causal_student_regresses_to_the_conditional_mean(students):
    """Trained against written down: E[sign(n1 + n2) | n1] = erf(n1 / sqrt 2), or sign(n1). So its
    streamed videos are no data where the map was not injective."""
    level = torch.linspace(-2, 2, 41)
    x = toy.as_video(torch.stack([level, torch.zeros(41)], dim=1))
    believed = {whose: toy.jump(student, x)[:, 0].flatten() for whose, student in students.items()}
    mean = torch.erf(level / math.sqrt(2))
    assert (believed["bidirectional"] - mean).abs().mean() < 0.12
    far = level.abs() > 0.5
    assert (believed["causal"] - level.sign()).abs()[far].mean() < 0.15
    assert (believed["bidirectional"] - level.sign()).abs()[far].mean() > 0.15
    wrong = {whose: (PAIR.distance(toy.roll(student, 1000, dice(3))) > 4).float().mean().item()
             for whose, student in students.items()}
    assert wrong["bidirectional"] > 1.5 * wrong["causal"]


def test_the_loss_of_an_oracle_is_zero_and_a_student_is_causal():
    """One noise level a frame; frame 2 sees frame 1 as noisy as that is."""
    x0, added = RING.draw(64, dice()), noises(64, 1)
    states = torch.stack([add_noise(x0, added, s.expand(64, 2)) for s in toy.sigma_grid(4).float()],
                         dim=1)

    def oracle(x, sigma, before, before_sigma):
        assert torch.equal(before, x[:, :1]) and torch.equal(before_sigma, sigma[:, :1])
        assert (sigma[:, 0] != sigma[:, 1]).any()
        return added - x0

    assert toy.student_loss(oracle, states, dice()) < 1e-10
    student, x = toy.Causal(), noises(4)                                # which does not look ahead
    changed = torch.cat([x[:, :1], x[:, 1:] + 1], dim=1)
    one = torch.ones(4, 2)
    after, before = (student(y, one, x[:, :1], one[:, :1]) for y in (changed, x))
    gap = (after - before).abs()
    assert gap[:, 0].max() == 0.0 and gap[:, 1].min() > 0


@pytest.mark.parametrize(("start", "spot"), [((0.5, 0.3), 0), ((-0.2, -0.4), 1)])
def test_little_noise_seeks_the_nearer_mode_and_all_levels_the_middle(start, spot):
    ends = []
    for levels in (toy.low_sigma, score_sigma):
        blob = toy.Blob(start, 0.6)
        assert len(list(toy.distil(BLOBS, blob, None, 300, lr=1e-2, levels=levels))) == 300
        ends.append((blob.centre.detach(), blob.log_width.exp().item()))
    (one, width), (middle, wide) = ends
    assert (one - BLOBS.centres[spot]).norm() < 0.1 and abs(width - 0.3) < 0.05
    assert middle.norm() < 0.1
    spread = math.sqrt(0.3 ** 2 + 1)            # of both spots together, along each axis
    assert abs(wide - spread) < 0.1


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
