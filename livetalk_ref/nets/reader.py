"""The face reader: what a face does and who it is, read from single pictures.

A small CNN trained on rendered truth only (and on truth through the codec), never on generated
video. N pictures of 96x96, K what is read.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from livetalk_ref.world.identity import CATEGORICAL, CONTINUOUS
from livetalk_ref.world.state import COL, EXPRESSIONS, SIZE

READ = ("mouth_open", "mouth_width", "mouth_round", "blink", "gaze_x", "gaze_y",
        "turn", "nod", "tilt", *EXPRESSIONS[1:])
COLUMNS = [COL[name] for name in READ]
TURNED = ("gaze_x", "gaze_y", "turn", "tilt")       # a mirror, or its light, changes these
ALIKE = torch.tensor([name not in TURNED for name in READ])
OPTIONS = [len(options) for options in CATEGORICAL.values()]
CLEAR = 0.2          # weaker expressions count as neutral
FEATURES = 32


@dataclass(frozen=True)
class ReaderConfig:
    """The size of a `Reader`, or of a `WholeFaces`; saved beside its weights."""

    widths: tuple = (32, 48, 64, 64)
    hidden: int = 192


def trunk(config):
    """Convolutions and a layer from pictures (N, 3, 96, 96) to (N, hidden)."""
    layers, width = [nn.PixelUnshuffle(2)], 12                           # 48x48
    for i, out in enumerate(config.widths):                              # 48, 24, 12, 6
        layers += [nn.Conv2d(width, out, 3, stride=1 if i == 0 else 2, padding=1),
                   nn.GroupNorm(8, out), nn.SiLU(), nn.Conv2d(out, out, 3, padding=1), nn.SiLU()]
        width = out
    return nn.Sequential(*layers, nn.Flatten(),
                         nn.Linear((SIZE // 16) ** 2 * width, config.hidden), nn.SiLU())


class Reader(nn.Module):
    """Pictures (N, 3, 96, 96) in [-1, 1] -> what is read, see `forward` and its helpers."""

    def __init__(self, config=ReaderConfig()):
        super().__init__()
        self.config = config
        self.trunk = trunk(config)
        self.state = nn.Linear(config.hidden, len(READ))
        self.identity = nn.Linear(config.hidden, len(CONTINUOUS) + sum(OPTIONS))
        self.register_buffer("mean", torch.zeros(config.hidden))
        self.register_buffer("basis", torch.zeros(config.hidden, FEATURES))

    def forward(self, x):
        """-> state (N, K) in the order of READ, identity factors (N, .), hidden (N, H)."""
        hidden = self.trunk(x)
        return self.state(hidden), self.identity(hidden), hidden

    @torch.inference_mode()
    def read(self, frames):
        """Everything about frames (T, 3, H, W): a `Reading` of T rows.

        What a mirror image shares with its picture is read from both: the mean errs less.
        """
        parts = [(*self(part), self(part.flip(-1))[0]) for part in frames.split(64)]
        state, identity, hidden, mirrored = (torch.cat(p) for p in zip(*parts))
        state = torch.where(ALIKE.to(state.device), (state + mirrored) / 2, state)
        return Reading(state, embed(identity), (hidden - self.mean) @ self.basis)

    def fit_features(self, hidden):
        """Set the basis of the Fréchet features: principal directions of truth (M, H)."""
        self.mean.copy_(hidden.mean(0))
        _, _, directions = torch.pca_lowrank(hidden - self.mean, FEATURES, niter=4)
        self.basis.copy_(directions)


@dataclass
class Reading:
    """state (T, K), identity embedding (T, E) of unit length, Fréchet features (T, 32)."""

    state: torch.Tensor
    identity: torch.Tensor
    features: torch.Tensor

    def column(self, name):
        """One read column, (T,)."""
        return self.state[:, READ.index(name)]

    def expression(self):
        """The index into EXPRESSIONS of every frame, (T,); faint ones are neutral."""
        weights = self.state[:, READ.index(EXPRESSIONS[1]):]
        strongest, which = weights.max(dim=1)
        return torch.where(strongest > CLEAR, which + 1, 0)


def embed(factors):
    """Identity embedding of unit length from factor scores: z-scores and centred choices."""
    continuous = factors[:, :len(CONTINUOUS)]
    choices = [F.softmax(part, dim=1) - 1 / part.shape[1]
               for part in factors[:, len(CONTINUOUS):].split(OPTIONS, dim=1)]
    return F.normalize(torch.cat([continuous, *choices], dim=1), dim=1)


def reader_loss(reader, x, state, identity):
    """Regression of state columns and factors, cross-entropy of categories.

    x (N, 3, H, W), state (N, S), identity of N faces.
    """
    read, factors, _ = reader(x)
    loss = (read - state[:, COLUMNS]).square().mean() * 20
    low, high = torch.tensor(list(CONTINUOUS.values())).T
    scores = (identity.continuous - (low + high) / 2) / ((high - low) / 12 ** 0.5)      # z-scores
    loss = loss + 0.1 * (factors[:, :len(CONTINUOUS)] - scores).square().mean()
    logits = factors[:, len(CONTINUOUS):].split(OPTIONS, dim=1)
    choices = [F.cross_entropy(part, identity.categorical[:, i]) for i, part in enumerate(logits)]
    return loss + 0.1 * sum(choices) / len(choices)
