"""The audio encoder of the tiny world: a small frozen network that plays the part of wav2vec2.

It was trained to tell sounds apart (which phone is this, what does its mouth look like) on
spoken training sentences alone, then frozen; the DiT reads its features, as LiveTalk's reads
those of a speech recogniser. It sees one row of mel frames at a time and remembers nothing.
"""

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from livetalk_ref import DATA
from livetalk_ref.errors import UserError
from livetalk_ref.runs import read
from livetalk_ref.world import shards
from livetalk_ref.world.audio import AHEAD, ROW, MelRows
from livetalk_ref.world.state import FPS
from livetalk_ref.world.visemes import LETTERS, split_phone, visemes

# `weights --quick` has its own
CHECKPOINTS = Path(os.environ.get("LIVETALK_WEIGHTS") or DATA / "checkpoints")
WEIGHTS = CHECKPOINTS / "ear.safetensors"
FEATURES = 63
AUDIO_DIM = FEATURES + 1
PHONES = ("", *LETTERS)         # "" is a pause
FRAMES = 64                     # video frames of a training stretch
SPEECH = 1                      # raise it when what a stretch sounds like changes
MOUTH_SHARE, JITTER, SMOOTH = 10.0, 0.1, 0.05


@dataclass(frozen=True)
class EarConfig:
    """The size of an `Ear`; saved beside its weights."""

    row: int = ROW
    hidden: int = 320
    features: int = FEATURES
    dropout: float = 0.2


class Ear(nn.Module):
    """Rows of mel frames (N, ROW) -> features (N, 63) of zero mean and unit variance each."""

    def __init__(self, config=EarConfig()):
        super().__init__()
        c = self.config = config
        self.net = nn.Sequential(
            nn.Linear(c.row, c.hidden), nn.SiLU(), nn.Dropout(c.dropout),
            nn.Linear(c.hidden, c.hidden), nn.SiLU(), nn.Dropout(c.dropout),
            nn.Linear(c.hidden, c.features), nn.LayerNorm(c.features, elementwise_affine=False))
        self.mouth = nn.Linear(c.features, 3)
        self.phone = nn.Linear(c.features, len(PHONES))

    def forward(self, mels):
        return self.net(mels)


def ear_loss(ear, mels, mouth, phone, generator):
    """Mouth shape by squared error, phone by cross-entropy, of jittered rows.

    mels (N, ROW), mouth (N, 3), phone (N,) indices into PHONES.
    """
    heard = ear(mels + JITTER * torch.randn(mels.shape, generator=generator))
    shape = (ear.mouth(heard) - mouth).square().mean()
    return MOUTH_SHARE * shape + 0.3 * F.cross_entropy(ear.phone(heard), phone,
                                                       label_smoothing=SMOOTH)


def spoken_phones(phones, frames):
    """Which phone sounds at the times i / 16 s: (T,) indices into PHONES."""
    now = torch.zeros(frames, dtype=torch.long)
    for letter, start, end in (part for phone in phones for part in split_phone(*phone)):
        first, last = (-int(-t * FPS // 1) for t in (start, end))       # rounded up
        now[first:last] = PHONES.index(letter)
    return now


def make(split, number):
    """A stretch of speech as the models hear it: mel rows, mouth and phone of 64 frames."""
    from livetalk_ref.world import clips  # which needs our features for its own rows

    g = clips.clip_generator(split, number, seed=1)
    samples, phones = clips.soundtrack(FRAMES, g, "train" if split == "train" else "held_out")
    heard = clips.augment(samples, g) if split == "train" else samples
    return {"mels": MelRows().rows(heard, FRAMES).half(), "mouth": visemes(phones, FRAMES),
            "phone": spoken_phones(phones, FRAMES)}, []


def build(split, count):
    """Make `count` stretches of a split, yielding shard paths."""
    return shards.build(f"runs/speech/speech{SPEECH}", make, split, count)


@cache
def shipped():
    """The shipped ear, frozen. UserError where its file is missing or is not one."""
    tensors, facts = read(WEIGHTS)
    try:
        ear = Ear(EarConfig(**facts["config"]))
        ear.load_state_dict({name: value.float() for name, value in tensors.items()})
    except (KeyError, TypeError, RuntimeError) as error:
        raise UserError(f"{WEIGHTS.name} does not hold the weights of an ear: "
                        f"{str(error).splitlines()[0]}") from error
    return ear.eval().requires_grad_(False)


class AudioFeatures(MelRows):
    """Streaming audio rows (n, AUDIO_DIM) for the DiT, with the interface of `MelRows`. The last
    channel is a constant 1, so that silence and "no audio" (all zeros) differ."""

    def __init__(self):
        self.ear = shipped()
        super().__init__(AHEAD)

    def row(self, mels):
        """One row at a time, whatever arrives: the same bits from a file and from a stream."""
        with torch.no_grad():
            return F.pad(self.ear(mels), (0, 1), value=1.0)
