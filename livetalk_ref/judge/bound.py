"""What can the sound tell of the mouth at all? A ceiling for every avatar's mouth correlation.

A regression network reads the mouth from the audio rows of a whole clip, past and future, with
nothing else to do. Where it fails on voices and sentences it has not heard, no model of these
rows can know better. Letters: N clips, T frames, A audio features.
"""

import torch
import torch.nn.functional as F
from torch import nn

from livetalk_ref.judge.metrics import mouth_correlation
from livetalk_ref.judge.stats import bootstrap
from livetalk_ref.train import TrainConfig, train
from livetalk_ref.world.ear import AUDIO_DIM
from livetalk_ref.world.state import COL

NAMES = ("mouth_open", "mouth_width", "mouth_round")
COLUMNS = [COL[name] for name in NAMES]
UPDATES, BATCH, WIDTH = 1000, 32, 128


class MouthRegression(nn.Module):
    """Audio rows (N, T, A) -> opening, width, rounding (N, T, 3); every frame hears 13 rows."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv1d(AUDIO_DIM, WIDTH, 5, padding=2), nn.GELU(), nn.Dropout(0.2),
            nn.Conv1d(WIDTH, WIDTH, 5, padding=2), nn.GELU(), nn.Dropout(0.2),
            nn.Conv1d(WIDTH, WIDTH, 5, padding=2), nn.GELU(), nn.Dropout(0.2),
            nn.Conv1d(WIDTH, len(NAMES), 1))

    def forward(self, rows):
        return self.net(rows.mT).mT


def fit(data, updates=UPDATES, seed=0):
    """A `MouthRegression` trained on the audio and states of `LatentClips`."""
    torch.manual_seed(seed)
    model = MouthRegression()

    def loss(model, g):
        some = torch.randint(len(data), (BATCH,), generator=g)
        return F.mse_loss(model(data.audio[some].float()), data.state[some][..., COLUMNS].float())

    config = TrainConfig(updates, lr=2e-3, cooldown=1.0, weight_decay=0.05, seed=seed)
    for _ in train(model, loss, config):
        pass
    return model.eval()


@torch.inference_mode()
def compare(model, data):
    """One row: the mean correlation of every column over the clips that speak."""
    read = model(data.audio.float())
    row = {"reader": "regression from the sound", "clips": len(data)}
    for name, column, at in zip(NAMES, read.unbind(-1), COLUMNS):
        values = [mouth_correlation(a, b) for a, b in zip(column, data.state[..., at])]
        mean, low, high = bootstrap(values)
        key = f"{name.removeprefix('mouth_')} correlation"
        row[key], row[f"{key} 95%"] = round(mean, 4), [round(low, 4), round(high, 4)]
    return row
