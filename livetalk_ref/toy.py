"""A video of two numbers, where everything can be written down: regression on paths, and a critic.

A video is a point in the plane: frame 1 to the right, frame 2 upwards. Data are Gaussian spots,
whose best velocity has a closed form, so this teacher is perfect.
Shapes (B, F, C, h, w) with F = 2, one number a frame.
"""

from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import nn

from livetalk_ref.dmd import dmd_gradient, dmd_loss, score_sigma
from livetalk_ref.flow import (STUDENT_STEPS, Guidance, flow_loss, per_frame, sigma_grid,
                               x0_from_velocity)
from livetalk_ref.ode import take

HIDDEN, RATE, BATCH = 96, 3e-3, 512     # of the networks; videos of an update,
POINTS = 256                            # and points of one of distribution matching


@dataclass(frozen=True)
class Spots:
    """An even mixture of round Gaussian spots: videos whose frames belong together."""

    centres: torch.Tensor       # (M, 2)
    width: float                # standard deviation of a spot

    def draw(self, count, generator):
        """Videos (count, 2, 1, 1, 1)."""
        which = torch.randint(len(self.centres), (count,), generator=generator)
        noise = torch.randn(count, 2, generator=generator)
        return as_video(self.centres[which] + self.width * noise)

    def velocity(self, x, sigma, cond=None):
        """The best velocity of both frames at one noise level."""
        return as_video(best_velocity(x.flatten(1), sigma[:, :1], self.centres, self.width))

    def distance(self, videos):
        """How far videos are from the nearest spot's centre, in its widths: (B,)."""
        return torch.cdist(videos.flatten(1), self.centres).amin(1) / self.width


def as_video(points):
    """Points (B, k) as videos (B, k, 1, 1, 1)."""
    return points[..., None, None, None]


def best_velocity(x, sigma, centres, width):
    """E[noise - x0 | x_sigma = x] of spots: x (B, k), sigma (B, 1), centres (M, k) -> (B, k)."""
    spread = ((1 - sigma) * width) ** 2 + sigma ** 2                     # (B, 1)
    gap = x[:, None] - (1 - sigma)[..., None] * centres                  # (B, M, k)
    share = (-gap.square().sum(-1) / (2 * spread)).softmax(-1)           # (B, M)
    pull = (1 - sigma) * width ** 2 / spread                             # (B, 1)
    x0 = (share[..., None] * (centres + pull[..., None] * gap)).sum(1)
    return (x - x0) / sigma


class Joint(nn.Module):
    """A network that sees both frames: a student like its bidirectional teacher, or a critic."""

    def __init__(self):
        super().__init__()
        self.both = mlp(4, 2)

    def forward(self, x, sigma, *_):
        return as_video(self.both(torch.cat([x.flatten(1), sigma], dim=1)))


Critic = Joint      # the velocity of what a generator makes, learned from its points


def mlp(inputs, outputs):
    return nn.Sequential(nn.Linear(inputs, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, HIDDEN),
                         nn.SiLU(), nn.Linear(HIDDEN, outputs))


def student_loss(student, states, generator):
    """x0 regression on paths (B, 5, 2, 1, 1, 1), one noise level a frame, as `ode.ode_loss`."""
    index = torch.randint(STUDENT_STEPS, states.shape[:1] + (2,), generator=generator)
    sigma = sigma_grid(STUDENT_STEPS).to(states)[index]                  # (B, 2)
    x, end = take(states, index), states[:, -1]
    return (x0_from_velocity(x, sigma, student(x, sigma)) - end).square().mean()


def make(kind, seed=0):
    """A network with random weights of its own seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return kind()


def descend(optimizer, loss):
    """One update down a loss; returns its value."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def train_student(student, states, steps, seed=0):
    """Fit a student to paths by so many updates of 512 each, yielding the loss after each."""
    g = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(student.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        some = torch.randint(len(states), (BATCH,), generator=g)
        loss = descend(optimizer, student_loss(student, states[some], g))
        schedule.step()
        yield loss


@torch.no_grad()
def jump(student, x, sigma=1.0):
    """What a student believes of states x (B, 2, 1, 1, 1) at one noise level: x0, in one step."""
    level = torch.full((len(x), 2), sigma)
    return x - per_frame(level, x) * student(x, level)


# Distribution matching in the same plane, by the very functions of dmd.py. A generator turns noise
# into a point in one step; its critic is a small network that has to follow.

def free(x):
    """A condition for videos (B, 2, ..) that gives nothing: no frame is known."""
    return SimpleNamespace(known=torch.zeros(x.shape[:2], dtype=torch.bool))


class Generator(nn.Module):
    """A network from noise (B, 2, 1, 1, 1) to points: any distribution, if it is trained to."""

    def __init__(self, spread=0.5):
        super().__init__()
        self.net, self.spread = mlp(2, 2), spread

    def forward(self, noise):
        z = noise.flatten(1)
        return as_video(self.spread * z + self.net(z))


def no_critic(x):
    """A stand-in for a critic, to do without one: it believes in x, whatever the noise."""
    return lambda noisy, level, cond: (noisy - x) / per_frame(level, noisy)


def draw_points(generator, g, count=POINTS):
    """What a generator makes of new noise: points (count, 2, 1, 1, 1)."""
    return generator(torch.randn(count, 2, 1, 1, 1, generator=g))


def distil(spots, generator, critic, updates=600, lr=5e-3, critic_lr=5e-3, ratio=5, warmup=100,
           seed=0):
    """Move a generator towards the spots, yielding the points of each of its updates.

    critic: a `Critic`, trained `ratio` times an update and `warmup` times before the first, or
    `no_critic`.
    """
    g = torch.Generator().manual_seed(seed)
    student = torch.optim.Adam(generator.parameters(), lr, betas=(0.0, 0.99))
    learns = isinstance(critic, nn.Module)
    follower = torch.optim.Adam(critic.parameters(), critic_lr) if learns else None
    for update in range(updates):
        if learns:
            for _ in range(ratio + (warmup if update == 0 else 0)):
                follow(generator, critic, follower, g)
        x = draw_points(generator, g)
        fake = critic if learns else critic(x.detach())
        sigma, noise = score_sigma(len(x), g), torch.randn(x.shape, generator=g)
        gradient, _, _ = dmd_gradient(x.detach(), spots.velocity, fake, noise, sigma, free(x),
                                      Guidance())
        descend(student, dmd_loss(x, gradient, free(x)))
        yield x.detach()                             # (B, 2, 1, 1, 1)


def follow(generator, critic, optimizer, g):
    """One update of a critic on new points of the generator."""
    with torch.no_grad():
        x = draw_points(generator, g)
    noise, sigma = torch.randn(x.shape, generator=g), score_sigma(len(x), g)
    descend(optimizer, flow_loss(critic, x, noise, sigma, free(x).known, free(x)))


def coverage(spots, x):
    """Share of the points near each spot (M,), and the share near none (a number)."""
    far = torch.cdist(x.flatten(1), spots.centres) / spots.width         # (B, M)
    near = far < 3
    return near.float().mean(0), 1 - near.any(1).float().mean().item()
