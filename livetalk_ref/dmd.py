"""Self Forcing with distribution matching: the student learns on its own rollouts.

Three sets of weights: the student (generator), the frozen teacher (real score, guided) and a
critic (fake score) that follows the student's distribution online. Letters as in flow.py.
LiveTalk sections 3.1 and 3.2, tables 3 and 4; DMD (Yin et al. 2024); Self Forcing (Huang et
al. 2025), algorithm 1.
"""

import time
from dataclasses import dataclass

import torch

from livetalk_ref import parallel, rollout
from livetalk_ref.device import best_precision
from livetalk_ref.flow import (STUDENT_STEPS, add_noise, flow_loss, guided, keep_known, shift_sigma,
                               x0_from_velocity)
from livetalk_ref.ode import ode_loss
from livetalk_ref.runs import NotFinite, RunFolder, pack, unpack
from livetalk_ref.train import descend, ema_update, step_generator

LOWEST, HIGHEST = 0.02, 0.98    # score noise levels are clamped to these
LOST = 1e-3     # share of a gradient that may be no number, and is then zero


@dataclass
class DistillState:
    """What a run reports after each update of the student; a line of metrics.jsonl."""

    step: int            # updates of the student made so far
    loss: float          # mean flow loss of the critic's updates before it
    gradient: float      # root mean square of the normalised DMD gradient
    grad_norm: float     # of the student's weights, before clipping
    exit: int            # step at which the rollout broke off
    size: float          # standard deviation of the student's latents
    distance: float      # mean |x - x0_real| over all frames; the gradient's normaliser is that
                         # over the generated ones
    lost: float          # share of the scores' predictions that were not finite
    seconds: float       # of this update
    seconds_left: float


def score_sigma(batch, generator):
    """Noise levels at which the two scores are compared (B,): uniform, shifted, clamped."""
    # Of 1000 levels the released code keeps 20 .. 980, after the shift.
    return shift_sigma(parallel.rand((batch,), generator)).clamp(LOWEST, HIGHEST)


@torch.no_grad()
def dmd_gradient(x, real, fake, noise, sigma, cond, guidance):
    """Direction from the real towards the fake distribution at x (B, F, C, h, w).

    (x0_fake - x0_real) / mean |x - x0_real|, the mean over each clip's generated frames: the
    score difference of reverse KL, normalised (DMD, eqs. 7 and 8). real and fake are models;
    the real one is guided. Zero on known frames. Also returns both predictions. NotFinite where
    more than LOST of it is no number.
    """
    # One noise level for a whole clip; the reference stays clean.
    level = sigma[:, None].expand(x.shape[:2])                           # (B, F)
    noisy = keep_known(add_noise(x, noise, level), x, cond.known)
    # Both scores as predictions of x0: the fake one plain, the real one guided (section 3.3).
    x0_fake = x0_from_velocity(noisy, level, fake(noisy, level, cond))
    x0_real = x0_from_velocity(noisy, level, guided(real, noisy, level, cond, guidance))
    made = (~cond.known)[..., None, None, None].expand_as(x)
    # DMD eq. 8: the size that makes gradients alike at all noise levels, over generated frames.
    size = ((x - x0_real).abs() * made).sum((1, 2, 3, 4)) / made.sum((1, 2, 3, 4))
    # DMD eq. 7: (fake score - real score) is proportional to x0_fake - x0_real.
    direction = (x0_fake - x0_real) / size.clamp(min=1e-6)[:, None, None, None, None]
    direction = direction * made
    if lost_share(direction) > LOST:
        raise NotFinite("the score difference of teacher and critic is not finite")
    return torch.nan_to_num(direction, 0.0, 0.0, 0.0), x0_fake, x0_real


def lost_share(x):
    """The share of values that are not finite."""
    return 1 - x.isfinite().double().mean().item()


def dmd_loss(x, gradient, cond):
    """A loss whose gradient with respect to x is `gradient`, over the generated frames' number.

    0.5 |x - stopgrad(x - gradient)|^2, in float64 as the released code does.
    """
    made = (~cond.known)[..., None, None, None].expand_as(x)
    # d loss / d x = x - target = gradient, and the chain rule takes it through the rollout.
    x = x.double()
    target = (x - gradient.double()).detach()
    return parallel.mean(0.5 * ((x - target).square() * made).sum(), made.sum())


def draw_exit(generator, steps=STUDENT_STEPS):
    """The step at which all blocks of a rollout break off, uniform over all of them."""
    return int(torch.randint(steps, (), generator=generator))        # one for all ranks


def student_loss(student, teacher, critic, cond, recipe, generator):
    """DMD loss on a new rollout of the student; also what it showed, for looking at."""
    # Self Forcing, algorithm 1: one random exit for all blocks, gradients at that step alone.
    exit, steps = draw_exit(generator, recipe.student_steps), recipe.student_steps
    x = rollout.sample(student, cond, generator, exit=exit, steps=steps)  # (B, F, C, h, w)
    # The gradient is a number for the rollout to follow: nothing flows through the scores.
    noise = parallel.randn(x.shape, generator).to(x)
    sigma = score_sigma(len(x), generator).to(x)
    gradient, fake, real = dmd_gradient(x.detach(), teacher, critic, noise, sigma, cond,
                                        recipe.guidance)
    seen = {"x": x.detach(), "fake": fake, "real": real, "sigma": sigma, "exit": exit,
            "gradient": gradient.square().mean().sqrt().item(), "size": x.std().item(),
            "distance": (x - real).abs().mean().item(),
            "lost": lost_share(torch.stack([fake, real]))}
    return dmd_loss(x, gradient, cond), seen


def critic_loss(student, critic, cond, generator, steps=STUDENT_STEPS):
    """Flow-matching loss of the critic on a new rollout of the student, known frames left out."""
    with torch.no_grad():
        # A new rollout with an exit of its own: the critic must know the student's x0 of every
        # step, since these are what `student_loss` shows it.
        exit = draw_exit(generator, steps)
        x = rollout.sample(student, cond, generator, exit=exit, steps=steps)
    noise = parallel.randn(x.shape, generator).to(x)
    # LiveTalk eq. 3 writes this as a regression of x0; its code, as here, of the velocity.
    return flow_loss(critic, x, noise, score_sigma(len(x), generator).to(x), cond.known, cond)


class Distiller:
    """The three models, their optimisers and one update of everything.

    real is the teacher, which is frozen; fake_start becomes the critic. They are two models, of
    one size or of two: LiveTalk's teacher has 14B parameters, its critic starts from the 1.3B.
    Only `student` and `critic` move.
    """

    def __init__(self, student, real, fake_start, recipe):
        self.recipe, self.student, self.teacher = recipe, student, real.requires_grad_(False)
        self.critic = fake_start.requires_grad_(True)
        # Three sets of weights: shared ones would make the gradient zero (fake = real) or let
        # the student's updates move its own judge.
        self.average = {k: v.detach().clone() for k, v in student.state_dict().items()}
        self.update = 0
        # Without a memory of old gradients: betas (0, 0.999), both critic and student (table 4).
        self.optimizers = [torch.optim.AdamW(m.parameters(), lr, recipe.betas,
                                             weight_decay=recipe.weight_decay)
                           for m, lr in ((student, recipe.lr), (self.critic, recipe.critic_lr))]
        self.device = next(student.parameters()).device
        self.precision = best_precision(self.device)

    def train_critic(self, batch, generator):
        """One update of the critic on a batch(generator) -> Cond; returns its loss."""
        # Flow matching on what the student makes now (eq. 3): the critic follows it online.
        def loss(g):
            return critic_loss(self.student, self.critic, batch(g), g, self.recipe.student_steps)

        return descend(loss, generator, self.critic, self.optimizers[1:], self.recipe.clip,
                       "critic", self.precision)[0]

    def train_student(self, batch, generator, paths=None):
        """One update of the student; returns what `student_loss` saw and the gradient's norm."""
        seen = {}

        def loss(g):
            value, shown = student_loss(self.student, self.teacher, self.critic, batch(g),
                                        self.recipe, g)
            seen.update(shown)
            # Beyond the paper: the ODE regression goes on besides and holds the student.
            if self.recipe.anchor:
                value = value + self.recipe.anchor * ode_loss(self.student, paths(g), g)
            return value

        _, norm = descend(loss, generator, self.student, self.optimizers[:1], self.recipe.clip,
                          "student", self.precision)
        self.update += 1
        # The average begins late, for the first updates move far (table 4).
        late = self.update > self.recipe.ema_from * self.recipe.updates
        ema_update(self.average, self.student, self.recipe.ema if late else 0.0)
        return seen | {"grad_norm": norm}

    def pack(self):
        """Everything that an exact continuation needs, as one flat dict of tensors."""
        critic = {f"critic.{k}": v for k, v in self.critic.state_dict().items()}
        return pack(self.student, self.average, self.optimizers, self.update) | critic

    def unpack(self, tensors):
        """Put a `pack` back; returns the updates made until then."""
        critic = {k[7:]: v for k, v in tensors.items() if k.startswith("critic.")}
        self.critic.load_state_dict(critic)
        self.update = unpack(tensors, self.student, self.average, self.optimizers)
        self.average = {k: v.to(self.device) for k, v in self.average.items()}
        return self.update


def distill(distiller, batch, paths=None, folder=None):
    """Train from where the distiller stands to the recipe's end, yielding a `DistillState` after
    every update of the student.

    batch(generator) -> Cond of recipe.batch clips and recipe.frames latent frames; paths, for
    an anchor, the same for `ode_loss`. Update n depends on the weights and on (seed, n) alone,
    so a saved distiller continues exactly; in a `RunFolder` it is logged and saved.
    """
    r, first, clock = distiller.recipe, distiller.update, time.monotonic()
    folder, before = folder or RunFolder(None, {}), clock
    while distiller.update < r.updates:
        g = step_generator(r.seed, distiller.update)
        # The critic learns first, 5 updates for one (LiveTalk table 4), and before all warms up.
        updates = r.ratio + (r.warmup if distiller.update == 0 else 0)
        with folder.guard(distiller.update + 1):
            losses = [distiller.train_critic(batch, g) for _ in range(updates)]
            seen = distiller.train_student(batch, g, paths)
        now, made = time.monotonic(), distiller.update
        left = (now - clock) / (made - first) * (r.updates - made)
        state = DistillState(made, sum(losses) / len(losses), *(
            seen[name] for name in ("gradient", "grad_norm", "exit", "size", "distance", "lost")),
            now - before, left)
        folder.after(state, distiller.average, distiller.pack, last=made == r.updates)
        before = now
        yield state
