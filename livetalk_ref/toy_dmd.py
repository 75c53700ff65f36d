"""Distribution matching in the plane: the very functions of dmd.py on data of two numbers.

Data are the Gaussian spots of toy.py, whose score is known exactly: a perfect teacher. A generator
turns noise into a point in one step. Its critic is exact where that can be written down (`Blob`),
else a small network that has to follow (`Critic`). Shapes as there, videos (B, 2, 1, 1, 1).
"""

from dataclasses import dataclass

import torch
from torch import nn

from livetalk_ref.dmd import dmd_gradient, dmd_loss, score_sigma
from livetalk_ref.flow import Guidance, flow_loss, per_frame
from livetalk_ref.toy import as_video, best_velocity, mlp

BATCH = 256
PLAIN = Guidance()


@dataclass(frozen=True)
class Free:
    """A condition that gives nothing: no frame is known."""

    known: torch.Tensor         # (B, 2) bool, all False

    @staticmethod
    def of(x):
        return Free(torch.zeros(x.shape[:2], dtype=torch.bool))


class Blob(nn.Module):
    """One round Gaussian, the simplest generator: noise is moved and scaled."""

    def __init__(self, centre=(0.0, 0.0), width=1.0):
        super().__init__()
        self.centre = nn.Parameter(torch.tensor(centre))
        self.log_width = nn.Parameter(torch.tensor(width).log())

    def forward(self, noise):
        return as_video(self.centre + self.log_width.exp() * noise.flatten(1))

    def velocity(self, x, sigma, cond=None):
        """The exact critic: the best velocity of what it makes."""
        v = best_velocity(x.flatten(1), sigma[:, :1], self.centre.detach()[None],
                          self.log_width.exp().item())
        return as_video(v)


class Generator(nn.Module):
    """A network from noise (B, 2, 1, 1, 1) to points: any distribution, if it is trained to."""

    def __init__(self, spread=0.5):
        super().__init__()
        self.net, self.spread = mlp(2, 2), spread

    def forward(self, noise):
        z = noise.flatten(1)
        return as_video(self.spread * z + self.net(z))


class Critic(nn.Module):
    """The velocity of what a generator makes, learned from its points."""

    def __init__(self):
        super().__init__()
        self.net = mlp(4, 2)

    def forward(self, x, sigma, cond=None):
        return as_video(self.net(torch.cat([x.flatten(1), sigma], dim=1)))


def no_critic(x):
    """What to put in a critic's place to do without: it believes in x, whatever the noise."""
    return lambda noisy, level, cond: (noisy - x) / per_frame(level, noisy)


@dataclass
class ToyState:
    """What a run reports after each update of the generator."""

    update: int
    critic_loss: float
    gradient: float         # root mean square
    x: torch.Tensor         # (B, 2, 1, 1, 1) what the generator made


def draw(generator_net, g, count=BATCH):
    return generator_net(torch.randn(count, 2, 1, 1, 1, generator=g))


def low_sigma(batch, generator):
    """Little noise only: there the two distributions meet as they are, not blurred together."""
    return 0.1 + 0.2 * torch.rand(batch, generator=generator)


def distil(spots, generator, critic=None, updates=600, lr=5e-3, critic_lr=5e-3, ratio=5,
           warmup=100, seed=0, levels=score_sigma):
    """Move a generator towards the spots, yielding a `ToyState` after each of its updates.

    critic: a `Critic`, trained `ratio` times an update and `warmup` times before the first; None
    for the exact one of a `Blob`; or `no_critic`. levels(B, g) draws the noise levels (B,) at
    which the scores are compared.
    """
    g = torch.Generator().manual_seed(seed)
    student = torch.optim.Adam(generator.parameters(), lr, betas=(0.0, 0.99))
    learns = isinstance(critic, nn.Module)
    follower = torch.optim.Adam(critic.parameters(), critic_lr) if learns else None
    for update in range(updates):
        losses = [0.0]
        if learns:
            losses = [follow(generator, critic, follower, g)
                      for _ in range(ratio + (warmup if update == 0 else 0))]
        x = draw(generator, g)
        fake = generator.velocity if critic is None else critic(x.detach()) if not learns \
            else critic
        sigma, noise = levels(len(x), g), torch.randn(x.shape, generator=g)
        gradient, _, _ = dmd_gradient(x.detach(), spots.velocity, fake, noise, sigma, Free.of(x),
                                      PLAIN)
        student.zero_grad()
        dmd_loss(x, gradient, Free.of(x)).backward()
        student.step()
        yield ToyState(update + 1, sum(losses) / len(losses),
                       gradient.square().mean().sqrt().item(), x.detach())


def follow(generator, critic, optimizer, g):
    """One update of a critic on new points of the generator; returns its loss."""
    with torch.no_grad():
        x = draw(generator, g)
    noise, sigma = torch.randn(x.shape, generator=g), score_sigma(len(x), g)
    loss = flow_loss(critic, x, noise, sigma, Free.of(x).known, Free.of(x))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def coverage(spots, x):
    """Share of the points near each spot (M,), and the share near none (a number)."""
    far = torch.cdist(x.flatten(1), spots.centres) / spots.width         # (B, M)
    near = far < 3
    return near.float().mean(0), 1 - near.any(1).float().mean().item()
