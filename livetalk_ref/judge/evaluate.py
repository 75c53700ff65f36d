"""Clips generated for held-out conditions, judged beside the truth and truth through the codec.

Conditions are a `HeldOut` here, whose prompts change within a clip, or a benchmark (sets.py).
"""

from dataclasses import dataclass
from itertools import islice

import torch

from livetalk_ref.cache import FULL, KVCache
from livetalk_ref.curation import trim
from livetalk_ref.flow import euler
from livetalk_ref.generate import PLAIN
from livetalk_ref.judge import metrics
from livetalk_ref.judge.panel import expression_right
from livetalk_ref.rollout import LAST, rollout, split
from livetalk_ref.world import clips as world
from livetalk_ref.world import latents
from livetalk_ref.world.state import COL

BATCH = 16
SLICE = slice(8, None, 4)     # frames whose features count: neighbours say the same twice


@dataclass
class HeldOut:
    """Clean held-out clips of 81 frames: cached latents and conditions, and rendered truth."""

    data: latents.LatentClips
    numbers: list
    codec: torch.nn.Module
    split: str

    @staticmethod
    def make(codec, count=64, split="held_out"):
        """Build or reuse the cache of the first `count` clips of a split."""
        paths = list(latents.build(codec, split, count, frames=world.FRAMES, degraded=0.0))
        data = latents.LatentClips.load(paths).select(torch.arange(count))
        return HeldOut(data, list(range(count)), codec, split)

    def film(self):
        """Rendered truth, clip by clip: (81, 3, 96, 96)."""
        for number in self.numbers:
            yield world.film(world.script(self.split, number, world.FRAMES, degraded=0.0))

    def decode(self, latents):
        """Latents (N, 21, C, h, w) as pictures, clip by clip: (81, 3, 96, 96)."""
        with torch.inference_mode():
            for z in latents:
                yield self.codec.decode(z[None].float())[0]


def noise_seed(seed, number):
    """The seed of clip `number`'s noise, so that a clip does not depend on those beside it."""
    return seed * 1_000_003 + number


def noise_of(x0, seed, first):
    """Noise like x0 (B, F, C, h, w) for the clips from number `first` on."""
    return torch.stack([torch.randn(x0.shape[1:], generator=torch.Generator().manual_seed(
        noise_seed(seed, first + i))) for i in range(len(x0))])


def batches(model, held_out, steps=48, guidance=PLAIN, seed=0, batch=BATCH, watch=None):
    """Latents (batch, 21, C, h, w) for the held-out conditions, one batch after the other.

    Rows of a second prompt are left out where no frame reads them: they cost and change nothing.
    watch is called with every `flow.Step` of the sampler.
    """
    for first in range(0, len(held_out.data), batch):
        some = held_out.data.select(torch.arange(first, min(first + batch, len(held_out.data))))
        x0, cond = some.window(0, 1)
        noise = noise_of(x0, seed, first)
        for step in euler(model, noise, x0[:, :1], trim(cond), steps, guidance):
            if watch:
                watch(step)
        yield step.x


@torch.no_grad()
def rolled(model, held_out, seed=0, batch=BATCH, watch=None, policy=FULL, frames=latents.WINDOW,
           exit=LAST):
    """The same from a student: block after block behind its cache, in 4 steps, without guidance.

    Latents (batch, frames, C, h, w); watch is called with every `rollout.Block`.
    """
    for first in range(0, len(held_out.data), batch):
        some = held_out.data.select(torch.arange(first, min(first + batch, len(held_out.data))))
        conds = list(split(trim(some.window(0, 1, frames)[1])))
        dice = [torch.Generator().manual_seed(noise_seed(seed, first + i))
                for i in range(len(some))]
        made = []
        for block in islice(rollout(model, conds, dice, KVCache(policy), exit), len(conds)):
            made.append(block.x0)
            if watch:
                watch(block)
        yield torch.cat(made, dim=1)


def generate(model, held_out, **options):
    """Latents (N, 21, C, h, w) for all held-out conditions; options as for `batches`."""
    return torch.cat(list(batches(model, held_out, **options)))


@torch.inference_mode()
def judge(clips, held_out, reader, still=None):
    """Judge clips, an iterable of frames (81, 3, H, W): per-clip rows and features (M, 32).

    still: for every clip where its truth never moves, (H, W) bool, or None.
    """
    rows, features = [], []
    for i, frames in enumerate(clips):
        reading = reader.read(frames)
        features.append(reading.features[SLICE])
        rows.append(judge_clip(frames, reading, held_out.data, i, still and still[i]))
    return rows, torch.cat(features)


def judge_clip(frames, reading, data, i, still):
    """All numbers of one clip; None where one does not apply."""
    truth = data.state[i].float()
    row = {f"{name} correlation": metrics.mouth_correlation(
        reading.column(f"mouth_{name}"), truth[:, COL[f"mouth_{name}"]])
        for name in ("open", "width")}
    row["expression right"] = expression_right(reading, data.prompts[i], data.starts[i].tolist())
    row["identity cosine"] = (reading.identity[1:] @ reading.identity[0]).mean().item()
    row["sharpness"] = metrics.sharpness(frames[8:])
    row["motion"] = frames[8:].diff(dim=0).abs().mean().item() * 127.5
    row["unrest"] = metrics.unrest(frames, still) if still is not None and still.any() else None
    return row


def summarise(name, rows, features, truth_features):
    """One line of a table: means, 95 % intervals and the Fréchet distance to truth's features."""
    line = {"name": name, "clips": len(rows)}
    for key in rows[0]:
        if any(row[key] is not None for row in rows):
            mean, low, high = metrics.bootstrap([row[key] for row in rows])
            line[key], line[f"{key} 95%"] = round(mean, 4), [round(low, 4), round(high, 4)]
    line["frechet"] = round(metrics.frechet(features, truth_features), 3)
    return line
