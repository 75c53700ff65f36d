"""Distribution matching: the gradient is the score difference, and three models stay three."""

from dataclasses import replace

import pytest
import tiny
import torch
from tiny import shake

from livetalk_ref import rollout
from livetalk_ref.dmd import (Distiller, critic_loss, distill, dmd_gradient, dmd_loss, draw_exit,
                              student_loss)
from livetalk_ref.errors import UserError
from livetalk_ref.flow import Guidance, add_noise
from livetalk_ref.ode import ode_loss
from livetalk_ref.recipes import Recipe
from livetalk_ref.train import step_generator
from livetalk_ref.wan import Config, WanDiT

SMALL = Config(dim=48, ffn_dim=64, heads=2, layers=4, text_dim=8, audio_dim=5, latent_channels=4,
               audio_hidden=8)
PLAIN = Guidance()


def condition(clips=2, frames=6, seed=0):
    return tiny.condition(SMALL, tiny.dice(seed), clips, frames)


def models(count=3):
    return [shake(WanDiT(SMALL), seed) for seed in range(count)]


def distiller(**knobs):
    """A student, a teacher and a critic that starts as the teacher."""
    student, real, _ = models()
    return Distiller(student, real, models(2)[1], Recipe(**knobs))


class Gaussian:
    """The exact velocity of data N(mean, spread^2): its x0 prediction is the posterior mean."""

    def __init__(self, mean, spread):
        self.mean, self.spread = mean, spread

    def variance(self, sigma):
        return ((1 - sigma) * self.spread) ** 2 + sigma ** 2

    def score(self, x, sigma):
        """Gradient of the log-density of noisy data."""
        return -(x - (1 - sigma) * self.mean) / self.variance(sigma)

    def __call__(self, x, level, cond):
        s = level[..., None, None, None]
        gain = (1 - s) * self.spread ** 2 / self.variance(s)
        x0 = self.mean + gain * (x - (1 - s) * self.mean)
        return (x - x0) / s


def test_gradient_of_two_gaussians_is_the_score_difference():
    """x0 = (x + sigma^2 score) / (1 - sigma), so the closed form follows from the scores."""
    real, fake, cond, shown = Gaussian(0.5, 0.8), Gaussian(-0.3, 1.4), condition(), []
    g = torch.Generator().manual_seed(1)

    def critic(x, level, cond):
        shown.append(x)
        return fake(x, level, cond)

    x, noise = (torch.randn(2, 6, 4, 4, 4, generator=g).double() for _ in range(2))
    cond, sigma = replace(cond, ref=cond.ref.double()), torch.tensor([0.3, 0.9]).double()
    gradient, _, x0_real = dmd_gradient(x, real, critic, noise, sigma, cond, PLAIN)
    assert torch.equal(shown[0][:, 0], x[:, 0])                         # the reference stays clean
    s = sigma[:, None, None, None, None]
    noisy = add_noise(x, noise, sigma[:, None].expand(2, 6))
    by_scores = s ** 2 / (1 - s) * (fake.score(noisy, s) - real.score(noisy, s))
    size = (x - x0_real)[:, 1:].abs().mean((1, 2, 3, 4), keepdim=True)
    assert torch.allclose(gradient[:, 1:], (by_scores / size)[:, 1:], atol=1e-10)


def test_loss_has_the_gradient_it_is_told_and_none_on_the_reference():
    cond, g = condition(), torch.Generator().manual_seed(4)
    x = torch.randn(2, 6, 4, 4, 4, generator=g, requires_grad=True)
    gradient = torch.randn(x.shape, generator=g)
    dmd_loss(x, gradient, cond).backward()
    count = 2 * 5 * 4 * 4 * 4                                   # of generated numbers
    assert torch.allclose(x.grad[:, 1:] * count, gradient[:, 1:], atol=1e-5)
    assert (x.grad[:, 0] == 0).all()


def test_updates_follow_the_recipe_and_three_models_stay_three():
    """Critic updates for each of the student's, warm-up first, and an average that starts late;
    the teacher, who may be larger than its critic as OmniAvatar-14B is, never moves."""
    asked, counts, large = [], [], shake(WanDiT(replace(SMALL, dim=96, layers=6)), 1)

    def batch(g):
        asked.append(1)
        return condition(seed=int(torch.randint(99, (), generator=g)))

    student, critic, _ = three = (*models(2), large)
    d = Distiller(student, large, critic, Recipe(updates=4, ratio=2, warmup=3, ema_from=0.5,
                                                 ema=0.9))
    assert (d.student, d.critic, d.teacher) == three
    before = [[p.detach().clone() for p in m.parameters()] for m in three]
    for state in distill(d, batch):
        counts.append(len(asked))
        same = all(torch.equal(v, d.average[k]) for k, v in d.student.state_dict().items())
        assert same == (state.step <= 2) and state.gradient > 0.01
    assert counts == [6, 9, 12, 15]
    moved = [max((a - b).abs().max().item() for a, b in zip(old, m.parameters()))
             for old, m in zip(before, three)]
    assert min(moved[:2]) > 1e-5 and moved[2] == 0
    assert all(p.grad is None for p in large.parameters())


@pytest.mark.parametrize("anchor", [0.0, 100.0])
def test_an_anchor_holds_the_student_to_the_paths(anchor):
    cond = condition()
    d = distiller(updates=8, ratio=1, warmup=0, lr=3e-3, anchor=anchor)
    paths = torch.randn(2, 5, *cond.known.shape[1:], 4, 4, 4, generator=step_generator(0, 9)), cond

    def error():
        return ode_loss(d.student, paths, step_generator(0, 1)).item()

    before = error()
    list(distill(d, lambda g: cond, lambda g: paths))
    assert (error() < 0.95 * before) == (anchor > 0)


def test_the_real_score_is_guided_as_the_recipe_says():
    """A critic that is the teacher leaves no gradient but that of guidance."""
    student, teacher, _ = models()
    sizes = [student_loss(student, teacher, teacher, condition(), Recipe(guidance=guidance),
                          step_generator(0, 0))[1]["gradient"]
             for guidance in (PLAIN, Guidance(2.0, 2.0), Guidance(4.0, 4.0))]
    assert sizes[0] == 0 < sizes[1] < sizes[2]


def test_the_critics_loss_reaches_the_critic_alone():
    student, _, critic = models()
    critic_loss(student, critic, condition(), step_generator(0, 0)).backward()
    assert critic.head.head.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in student.parameters())


def test_a_run_has_the_rates_and_the_seed_of_its_recipe():
    d = distiller(lr=3e-4, critic_lr=5e-5)
    for model, optimizer, lr in zip((d.student, d.critic), d.optimizers, (3e-4, 5e-5)):
        group, = optimizer.param_groups
        assert group["lr"] == lr and group["params"][0] is next(model.parameters())
    runs = [distiller(updates=1, ratio=1, warmup=0, seed=seed) for seed in (4, 4, 5)]
    same, again, other = (next(distill(d, lambda g: condition())).loss for d in runs)
    assert same == again != other


def test_the_exit_is_any_of_the_steps_equally_often():
    for steps in (4, 2, 1):
        g = torch.Generator().manual_seed(0)
        drawn = [draw_exit(g, steps) for _ in range(4000)]
        assert [drawn.count(step) / 4000 for step in range(steps)] == pytest.approx(
            [1 / steps] * steps, abs=0.03)


def test_the_critic_follows_rollouts_of_every_exit_at_the_scores_noise_levels():
    """Not the finished videos alone: the student's loss compares the scores at all exits."""
    levels, passes = [], []

    def student(x, sigma, cond, cache):
        passes.append(sigma[0, 0].item())
        return torch.zeros_like(x), [(x[:, None, :, :1, :1, 0],) * 2]

    def critic(x, sigma, cond):
        levels.append(sigma[0, -1].item())
        return torch.zeros_like(x)

    lengths, g = [], torch.Generator().manual_seed(0)
    for _ in range(400):
        passes.clear()
        critic_loss(student, critic, condition(clips=1, frames=3), g)
        lengths.append(len([sigma for sigma in passes if sigma]))
    assert [lengths.count(n) / 400 for n in (1, 2, 3, 4)] == pytest.approx([0.25] * 4, abs=0.08)
    assert abs(sorted(levels)[200] - 5 / 6) < 0.06              # shift 5 of one half
    assert min(levels) > 0.0199 and 0.04 < levels.count(max(levels)) / 400 < 0.15
    assert max(levels) == pytest.approx(0.98)


@pytest.mark.parametrize("steps", [1, 2])
def test_a_student_of_fewer_steps(steps, monkeypatch):
    """Its rollouts, in the losses of student and critic, and its anchor have so many."""
    d = distiller(updates=1, ratio=2, warmup=0, anchor=1.0, student_steps=steps)
    seen, true = [], rollout.sample
    monkeypatch.setattr(rollout, "sample", lambda *a, **k: seen.append(k) or true(*a, **k))
    cond = condition()
    paths = torch.randn(2, steps + 1, 6, 4, 4, 4), cond
    state, = distill(d, lambda g: cond, lambda g: paths)
    assert [k["steps"] for k in seen] == [steps] * 3 and all(k["exit"] < steps for k in seen)
    assert state.grad_norm > 0


@pytest.mark.parametrize("part", ["critic", "student", "teacher"])
def test_a_run_stops_before_it_learns_what_is_no_number(part):
    """The sentence names the update and the part, and no weight of that part has moved."""
    d = distiller(updates=3, ratio=1, warmup=0)
    states = distill(d, lambda g: condition())
    next(states)
    if part == "student":
        d.student.head.head.weight.register_hook(lambda g: g * torch.nan)
    else:
        getattr(d, part).register_forward_hook(
            lambda m, a, out: out * torch.nan if torch.is_tensor(out) else out)
    before = {k: v.clone() for k, v in d.pack().items()}
    word = {"critic": "loss of the critic", "student": "gradient of the student",
            "teacher": "score difference of teacher and critic"}[part]
    with pytest.raises(UserError, match=f"before update 2, for the {word} is not finite; no file"):
        next(states)
    moved = {k.split(".")[0] for k, v in d.pack().items() if not torch.equal(v, before[k])}
    assert "model" not in moved and "ema" not in moved
    assert ("critic" in moved) == (part != "critic")


def test_few_values_that_are_no_numbers_are_zeros():
    cond, g = condition(clips=4), torch.Generator().manual_seed(3)
    x, noise = (torch.randn(4, 6, 4, 4, 4, generator=g) for _ in range(2))
    sigma, real, fake = torch.full((4,), 0.5), Gaussian(0.5, 0.8), Gaussian(-0.3, 1.4)

    def spoilt(x, level, cond):
        v = fake(x, level, cond)
        v[2, 3, 1, 1, 1] = torch.inf
        return v

    gradient, _, _ = dmd_gradient(x, real, spoilt, noise, sigma, cond, PLAIN)
    whole, _, _ = dmd_gradient(x, real, fake, noise, sigma, cond, PLAIN)
    assert gradient[2, 3, 1, 1, 1] == 0 and (gradient != whole).sum() == 1
