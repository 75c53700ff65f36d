"""A video of two numbers, where everything can be written down: whose trajectories, and a critic.

A "video" is two frames of one number each, so a data set of videos is a drawing in the plane:
frame 1 to the right, frame 2 upwards. Data are Gaussian spots, whose best velocity is known in
closed form, for both frames at once (a bidirectional teacher) and for one frame after the other
(an autoregressive one). Both teachers are perfect; only their trajectories differ. From a
bidirectional one the clean frame 1 depends on the noise of frame 2, which a causal student never
sees: one noisy frame leads to many clean ones, the map is not injective frame by frame, and the
best a regression can do is their mean. Causal Forcing (arXiv 2602.02214), section 3.

Shapes are those of the real thing, (B, F, C, h, w) with F = 2 and one number a frame. M spots.
"""

from dataclasses import dataclass

import torch
from torch import nn

from livetalk_ref.dmd import dmd_gradient, dmd_loss, score_sigma
from livetalk_ref.flow import (STUDENT_STEPS, Guidance, add_noise, flow_loss, per_frame,
                               sigma_grid, x0_from_velocity)
from livetalk_ref.ode import take, trajectory

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
        """The bidirectional teacher: the best velocity of both frames at one noise level."""
        s = sigma[:, :1]
        return as_video(best_velocity(x.flatten(1), s, self.centres, self.width))

    def first_velocity(self, x, sigma, cond=None):
        """The autoregressive teacher of frame 1, which knows nothing of frame 2."""
        v = best_velocity(x.flatten(1), sigma[:, :1], self.centres[:, :1], self.width)
        return v[..., None, None, None]

    def second_velocity(self, first):
        """Teacher of frame 2 behind a clean frame 1 (B, 1, 1, 1, 1), as a model."""
        far = (first.flatten(1) - self.centres[:, 0]).square()           # (B, M)
        belief = -far / (2 * self.width ** 2)

        def velocity(x, sigma, cond=None):
            v = best_velocity(x.flatten(1), sigma[:, :1], self.centres[:, 1:], self.width, belief)
            return v[..., None, None, None]

        return velocity

    def distance(self, videos):
        """How far videos are from the nearest spot's centre, in its widths: (B,)."""
        return torch.cdist(videos.flatten(1), self.centres).amin(1) / self.width


def as_video(points):
    """Points (B, 2) as videos (B, 2, 1, 1, 1)."""
    return points[..., None, None, None]


def best_velocity(x, sigma, centres, width, belief=0.0):
    """E[noise - x0 | x_sigma = x] of spots: x (B, k), sigma (B, 1), centres (M, k) -> (B, k).

    belief (B, M) adds to the log-probability of every spot.
    """
    spread = ((1 - sigma) * width) ** 2 + sigma ** 2                     # (B, 1)
    gap = x[:, None] - (1 - sigma)[..., None] * centres                  # (B, M, k)
    share = (belief - gap.square().sum(-1) / (2 * spread)).softmax(-1)   # (B, M)
    pull = (1 - sigma) * width ** 2 / spread                             # (B, 1)
    x0 = (share[..., None] * (centres + pull[..., None] * gap)).sum(1)
    return (x - x0) / sigma


def paths(spots, noise, whose):
    """Trajectories (B, 5, 2, 1, 1, 1) from noise (B, 2, 1, 1, 1): as `ode.trajectory` keeps them.

    whose: "bidirectional", or "causal" for frame 2 behind the clean end of frame 1.
    """
    nothing, plain = noise[:, :0], Guidance()
    if whose == "bidirectional":
        return trajectory(spots.velocity, noise, nothing, None, plain)
    first = trajectory(spots.first_velocity, noise[:, :1], nothing, None, plain)
    second = trajectory(spots.second_velocity(first[:, -1]), noise[:, 1:], nothing, None, plain)
    return torch.cat([first, second], dim=2)


class Causal(nn.Module):
    """A student that answers for frame 1 from frame 1, for frame 2 from both.

    x, sigma (B, 2, ..) and what stands before frame 2: frame 1 as noisy as it is, or clean.
    """

    def __init__(self):
        super().__init__()
        self.first, self.second = mlp(2), mlp(4)

    def forward(self, x, sigma, before, before_sigma):
        x, before = x.flatten(1), before.flatten(1)                      # (B, 2), (B, 1)
        one = self.first(torch.cat([x[:, :1], sigma[:, :1]], dim=1))
        two = self.second(torch.cat([before, before_sigma, x[:, 1:], sigma[:, 1:]], dim=1))
        return as_video(torch.cat([one, two], dim=1))


class Joint(nn.Module):
    """A student that sees both frames, as its bidirectional teacher does; called like `Causal`."""

    def __init__(self):
        super().__init__()
        self.both = mlp(4, 2)

    def forward(self, x, sigma, before, before_sigma):
        return as_video(self.both(torch.cat([x.flatten(1), sigma], dim=1)))


def mlp(inputs, outputs=1):
    return nn.Sequential(nn.Linear(inputs, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, HIDDEN),
                         nn.SiLU(), nn.Linear(HIDDEN, outputs))


def student_loss(student, states, generator, teacher_forced=False):
    """x0 regression on paths (B, 5, 2, 1, 1, 1), one noise level a frame, as `ode.ode_loss`."""
    index = torch.randint(STUDENT_STEPS, states.shape[:1] + (2,), generator=generator)
    sigma = sigma_grid(STUDENT_STEPS).to(states)[index]                  # (B, 2)
    x, end = take(states, index), states[:, -1]
    before, level = (end, torch.zeros_like(sigma)) if teacher_forced else (x, sigma)
    v = student(x, sigma, before[:, :1], level[:, :1])
    return (x0_from_velocity(x, sigma, v) - end).square().mean()


def make(kind=Causal, seed=0):
    """A student with random weights of its own seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return kind()


def train_student(student, states, steps, seed=0, teacher_forced=False):
    """Fit a student to paths by so many updates of 512 each, yielding the loss after each."""
    g = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(student.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        some = torch.randint(len(states), (BATCH,), generator=g)
        loss = student_loss(student, states[some], g, teacher_forced)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        yield loss.item()


@torch.no_grad()
def jump(student, x, sigma=1.0):
    """What a student believes of states x (B, 2, 1, 1, 1) at one noise level: x0, in one step."""
    level = torch.full((len(x), 2), sigma)
    return x - per_frame(level, x) * student(x, level, x[:, :1], level[:, :1])


@torch.no_grad()
def roll(student, count, generator):
    """Videos (count, 2, 1, 1, 1) of a student: frame after frame in 4 steps with fresh noise."""
    made = torch.zeros(count, 2, 1, 1, 1)
    for frame in range(2):
        x0 = torch.zeros_like(made)                 # does not matter: sigma begins at 1
        for level in sigma_grid(STUDENT_STEPS)[:-1].tolist():
            sigma = torch.full((count, 2), level)
            x = add_noise(x0, torch.randn(made.shape, generator=generator), sigma)
            v = student(x, sigma, made[:, :1], torch.zeros(count, 1))
            x0 = x - per_frame(sigma, x) * v
        made[:, frame] = x0[:, frame]
    return made


def spread_of_first(states, bins=24):
    """How many clean frames 1 one noisy frame 1 leads to: the mean standard deviation of the
    clean end among paths whose noise of frame 1 is nearly the same. 0: an injective map."""
    noise, end = (states[:, k, 0].flatten() for k in (0, -1))
    order = noise.argsort()
    groups = end[order][:len(end) // bins * bins].view(bins, -1)         # (bins, n)
    return groups.std(dim=1).mean().item()


# Distribution matching in the same plane: the very functions of dmd.py, whose teacher, the spots,
# is perfect. A generator turns noise into a point in one step; its critic is exact where that can
# be written down (`Blob`), else a small network that has to follow (`Critic`).

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
    """A stand-in for a critic, to do without one: it believes in x, whatever the noise."""
    return lambda noisy, level, cond: (noisy - x) / per_frame(level, noisy)


@dataclass
class ToyState:
    """What a run reports after each update of the generator."""

    update: int
    critic_loss: float
    gradient: float         # root mean square
    x: torch.Tensor         # (B, 2, 1, 1, 1) what the generator made


def draw_points(generator, g, count=POINTS):
    """What a generator makes of new noise: points (count, 2, 1, 1, 1)."""
    return generator(torch.randn(count, 2, 1, 1, 1, generator=g))


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
        x = draw_points(generator, g)
        fake = generator.velocity if critic is None else critic(x.detach()) if not learns \
            else critic
        sigma, noise = levels(len(x), g), torch.randn(x.shape, generator=g)
        gradient, _, _ = dmd_gradient(x.detach(), spots.velocity, fake, noise, sigma, Free.of(x),
                                      Guidance())
        student.zero_grad()
        dmd_loss(x, gradient, Free.of(x)).backward()
        student.step()
        yield ToyState(update + 1, sum(losses) / len(losses),
                       gradient.square().mean().sqrt().item(), x.detach())


def follow(generator, critic, optimizer, g):
    """One update of a critic on new points of the generator; returns its loss."""
    with torch.no_grad():
        x = draw_points(generator, g)
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
