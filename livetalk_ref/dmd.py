"""Self Forcing with distribution matching: the student learns on its own rollouts.

Three sets of weights: the student (generator), the frozen teacher (real score, guided) and a
critic (fake score) that follows the student's distribution online. Letters as in flow.py.
LiveTalk sections 3.1 and 3.2, tables 3 and 4; DMD (Yin et al. 2024); Self Forcing (Huang et
al. 2025), algorithm 1.
"""

import copy
from dataclasses import dataclass

import torch
from torch import nn

from livetalk_ref import rollout
from livetalk_ref.flow import (STUDENT_STEPS, Guidance, add_noise, flow_loss, guided,
                               shift_sigma, x0_from_velocity)
from livetalk_ref.ode import ode_loss
from livetalk_ref.train import (autocast, best_precision, ema_update, pack, step_generator,
                                unpack)

LOWEST, HIGHEST = 0.02, 0.98    # score noise levels are clamped to these


@dataclass(frozen=True)
class Recipe:
    """One row of the paper's table 3: only these knobs differ between runs."""

    start: str = "student_ode"          # or "student_ode_short": how converged the ODE start is
    conditions: str = "curated"         # or "raw": degraded references, vague prompts; "oracle"
    lr: float = 2e-4                    # of the student
    critic_lr: float = 4e-5
    guidance: Guidance = Guidance(8 / 3, 8 / 3)     # of the real score
    anchor: float = 0.0                 # weight of the ODE loss, which goes on besides
    updates: int = 200                  # of the student
    ratio: int = 5                      # critic updates for each of them
    warmup: int = 20                    # critic updates before the first one
    ema: float = 0.99                   # averages the student ...
    ema_from: float = 0.2               # ... from this share of the run on
    clip: float = 10.0
    betas: tuple = (0.0, 0.999)
    weight_decay: float = 0.01
    batch: int = 8
    frames: int = 21                    # latent frames of a rollout
    seed: int = 0


@dataclass
class DistillState:
    """What a run reports after each update of the student."""

    update: int          # student updates made so far
    critic_loss: float   # mean flow loss of the critic's updates before it
    gradient: float      # root mean square of the normalised DMD gradient
    grad_norm: float     # of the student's weights, before clipping
    exit: int            # step at which the rollout broke off
    size: float          # standard deviation of the student's latents
    distance: float      # mean |x - x0_real| over all frames; the gradient's normaliser is that
                         # over the generated ones


def score_sigma(batch, generator):
    """Noise levels at which the two scores are compared (B,): uniform, shifted, clamped."""
    return shift_sigma(torch.rand(batch, generator=generator)).clamp(LOWEST, HIGHEST)


def hold_known(values, cond, put):
    """`values` with `put` on the known frames: the reference is given, not generated."""
    return torch.where(cond.known[..., None, None, None], put, values)


@torch.no_grad()
def dmd_gradient(x, real, fake, noise, sigma, cond, guidance):
    """Direction from the real towards the fake distribution at x (B, F, C, h, w).

    (x0_fake - x0_real) / mean |x - x0_real|, the mean over each clip's generated frames: the
    score difference of reverse KL, normalised (DMD, eqs. 7 and 8). real and fake are models;
    the real one is guided. Zero on known frames. Also returns both predictions.
    """
    level = sigma[:, None].expand(x.shape[:2])                           # (B, F)
    noisy = hold_known(add_noise(x, noise, level), cond, x)
    x0_fake = x0_from_velocity(noisy, level, fake(noisy, level, cond))
    x0_real = x0_from_velocity(noisy, level, guided(real, noisy, level, cond, guidance))
    made = (~cond.known)[..., None, None, None].expand_as(x)
    size = ((x - x0_real).abs() * made).sum((1, 2, 3, 4)) / made.sum((1, 2, 3, 4))
    direction = (x0_fake - x0_real) / size.clamp(min=1e-6)[:, None, None, None, None]
    return torch.nan_to_num(direction * made), x0_fake, x0_real


def dmd_loss(x, gradient, cond):
    """A loss whose gradient with respect to x is `gradient`, over the generated frames' number.

    0.5 |x - stopgrad(x - gradient)|^2, in float64 as the released code does.
    """
    made = (~cond.known)[..., None, None, None].expand_as(x)
    x = x.double()
    target = (x - gradient.double()).detach()
    return 0.5 * ((x - target).square() * made).sum() / made.sum()


def draw_exit(generator):
    """The step at which all blocks of a rollout break off, uniform over the four."""
    return int(torch.randint(STUDENT_STEPS, (), generator=generator))


def student_loss(student, teacher, critic, cond, recipe, generator):
    """DMD loss on a new rollout of the student; also what it showed, for looking at."""
    exit = draw_exit(generator)
    x = rollout.sample(student, cond, generator, exit=exit)              # (B, F, C, h, w)
    noise = torch.randn(x.shape, generator=generator).to(x)
    sigma = score_sigma(len(x), generator).to(x)
    gradient, fake, real = dmd_gradient(x.detach(), teacher, critic, noise, sigma, cond,
                                        recipe.guidance)
    seen = {"x": x.detach(), "fake": fake, "real": real, "sigma": sigma, "exit": exit,
            "gradient": gradient.square().mean().sqrt().item(), "size": x.std().item(),
            "distance": (x - real).abs().mean().item()}
    return dmd_loss(x, gradient, cond), seen


def critic_loss(student, critic, cond, generator):
    """Flow-matching loss of the critic on a new rollout of the student, known frames left out."""
    with torch.no_grad():
        x = rollout.sample(student, cond, generator, exit=draw_exit(generator))
    noise = torch.randn(x.shape, generator=generator).to(x)
    return flow_loss(critic, x, noise, score_sigma(len(x), generator).to(x), cond.known, cond)


class Distiller:
    """The three models, their optimisers and one update of everything.

    The teacher is frozen; the critic starts as a copy of it. Only `student` and `critic` move.
    """

    def __init__(self, student, teacher, recipe):
        self.recipe, self.student, self.teacher = recipe, student, teacher.requires_grad_(False)
        self.critic = copy.deepcopy(teacher).requires_grad_(True)
        self.average = {k: v.detach().clone() for k, v in student.state_dict().items()}
        self.update = 0
        self.optimizers = [torch.optim.AdamW(m.parameters(), lr, recipe.betas,
                                             weight_decay=recipe.weight_decay)
                           for m, lr in ((student, recipe.lr), (self.critic, recipe.critic_lr))]
        self.device = next(student.parameters()).device
        self.precision = best_precision(self.device)

    def train_critic(self, cond, generator):
        """One update of the critic; returns its loss."""
        with autocast(self.device, self.precision):
            loss = critic_loss(self.student, self.critic, cond, generator)
        self._descend(loss, self.critic, self.optimizers[1])
        return loss.item()

    def train_student(self, cond, generator, paths=None):
        """One update of the student; returns what `student_loss` saw and the gradient's norm."""
        with autocast(self.device, self.precision):
            loss, seen = student_loss(self.student, self.teacher, self.critic, cond,
                                      self.recipe, generator)
            if self.recipe.anchor:
                anchor = ode_loss(self.student, paths(generator), generator)
                loss = loss + self.recipe.anchor * anchor
        norm = self._descend(loss, self.student, self.optimizers[0])
        self.update += 1
        if self.update > self.recipe.ema_from * self.recipe.updates:
            ema_update(self.average, self.student, self.recipe.ema)
        else:
            ema_update(self.average, self.student, 0.0)         # the average begins here
        return seen | {"grad_norm": norm}

    def pack(self):
        """Everything that an exact continuation needs, as one flat dict of tensors."""
        critic = {f"critic.{k}": v for k, v in self.critic.state_dict().items()}
        return pack(self.student, self.average, self.optimizers, self.update) | critic

    def unpack(self, tensors):
        """Put a `pack` back."""
        critic = {k[7:]: v for k, v in tensors.items() if k.startswith("critic.")}
        self.critic.load_state_dict(critic)
        self.update = unpack(tensors, self.student, self.average, self.optimizers)
        self.average = {k: v.to(self.device) for k, v in self.average.items()}

    def _descend(self, loss, model, optimizer):
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), self.recipe.clip)
        optimizer.step()
        optimizer.zero_grad()
        return norm.item()


def distill(distiller, batch, paths=None):
    """Train from where the distiller stands to the recipe's end, yielding a `DistillState` after
    every update of the student.

    batch(generator) -> Cond of recipe.batch clips and recipe.frames latent frames; paths, for
    an anchor, the same for `ode_loss`. Update n depends on the weights and on (seed, n) alone,
    so a saved distiller continues exactly.
    """
    r = distiller.recipe
    while distiller.update < r.updates:
        g = step_generator(r.seed, distiller.update)
        updates = r.ratio + (r.warmup if distiller.update == 0 else 0)
        losses = [distiller.train_critic(batch(g), g) for _ in range(updates)]
        seen = distiller.train_student(batch(g), g, paths)
        yield DistillState(distiller.update, sum(losses) / len(losses), *(
            seen[name] for name in ("gradient", "grad_norm", "exit", "size", "distance")))
