"""Rollouts three times as long as a training clip, and quality against block index.

A student's errors feed on each other: every block is made behind the blocks it made before. Seven
blocks may be too few to see it, so here are 21, and every number is told block by block. The
teacher, for comparison, works in windows that begin with the end of the one before. Letters:
N clips, T video frames, C latent channels.
"""

from functools import partial

import torch

from livetalk_ref.cache import BLOCK
from livetalk_ref.flow import euler
from livetalk_ref.generate import FRESH, PLAIN, count_blocks
from livetalk_ref.judge import metrics, sets
from livetalk_ref.judge.distances import frechet
from livetalk_ref.judge.evaluate import BATCH, noise_seed
from livetalk_ref.judge.stats import bootstrap
from livetalk_ref.stream import frames_of
from livetalk_ref.world import shards
from livetalk_ref.world.latents import OVERLAP, WINDOW
from livetalk_ref.world.state import COL, FPS

BLOCKS = 21
LATENTS = BLOCKS * BLOCK                                    # 63 latent frames: 15.6 s
WINDOWS = 1 + -(-(LATENTS - WINDOW) // FRESH)               # of the teacher, which cover them
FRAMES = 4 * (WINDOW + (WINDOWS - 1) * FRESH) - 3           # video frames of a long clip


def encode_clip(codec, name, split, number):
    """Long clip `number` of a set -> the tensors and facts that a shard keeps."""
    return sets.encode(codec, sets.script(name, number, FRAMES))


def build(codec, name, count, folder="runs/latents", workers=None):
    """The first `count` long clips of a set as a `Benchmark`, kept like the set's own."""
    split, folder = f"{name}-{sets.VERSION}-long", sets.cache(codec, folder)
    make = partial(encode_clip, codec, name)
    return sets.load(codec, name, list(shards.build(folder, make, split, count, workers)), count)


def windows(model, bench, steps, guidance=PLAIN, seed=0, batch=BATCH, watch=None):
    """Long latents (batch, .., C, h, w) of a teacher, one window behind the other."""
    for first in range(0, len(bench.data), batch):
        some = bench.data.select(range(first, min(first + batch, len(bench.data))))
        dice = [torch.Generator().manual_seed(noise_seed(seed, first + i))
                for i in range(len(some))]
        made = some.latents[:, :1].float()
        for index in range(WINDOWS):
            _, cond = some.window(index * FRESH, OVERLAP if index else 1)
            clean = made[:, -OVERLAP:] if index else made
            noise = torch.stack([torch.randn(WINDOW, *made.shape[2:], generator=g) for g in dice])
            for step in euler(model, noise, clean, cond, steps, guidance):
                if watch:
                    watch(step)
            made = torch.cat([made, step.x[:, clean.shape[1]:]], dim=1)
        yield made


def span(block):
    """The video frames of a block as a slice; frame 0, the reference, is given and left out."""
    return slice(max(1, frames_of(block)), frames_of(block + 1))


@torch.inference_mode()
def clip_blocks(frames, reading, state):
    """Numbers of every block of a clip: frames (T, 3, H, W), its `Reading`, true state (T, S)."""
    alike = reading.identity @ reading.identity[0]                       # (T,)
    level = (metrics.brightness(frames) + 1 / 255).log2()
    wrong = (reading.column("mouth_open") - state[:, COL["mouth_open"]].float()).abs()
    rows = []
    for block in range(count_blocks(len(frames))):
        part = span(block)
        rows.append({"sharpness": metrics.sharpness(frames[part]),
                     "motion": metrics.change(frames[part]).mean().item(),
                     "mouth error": wrong[part].mean().item(),
                     "identity cosine": alike[part].mean().item(),
                     "exposure": (level[part] - level[0]).abs().mean().item()})
    return rows


def judge(films, bench, reader, blocks, watch=None):
    """Judge the first blocks of films (T, 3, H, W): per clip a row for each block, and features
    (N, T, 32)."""
    rows, features, end = [], [], frames_of(blocks)
    for i, frames in enumerate(films):
        reading = reader.read(frames[:end])
        rows.append(clip_blocks(frames[:end], reading, bench.data.state[i][:end]))
        features.append(reading.features)
        if watch:
            watch()
    return rows, torch.stack(features)


def by_block(name, rows, features, truth):
    """Table lines, one a block: means over clips with 95 % intervals, and the Fréchet distance
    to the truth's features (N, T, 32) of the same block."""
    lines = []
    for block in range(len(rows[0])):
        part = span(block)
        line = {"name": name, "block": block, "seconds": round(part.start / FPS, 2)}
        for key in rows[0][block]:
            mean, *edges = bootstrap([clip[block][key] for clip in rows])
            line[key], line[f"{key} 95%"] = round(mean, 4), [round(edge, 4) for edge in edges]
        line["frechet"] = round(frechet(features[:, part].flatten(0, 1),
                                        truth[:, part].flatten(0, 1)), 3)
        lines.append(line)
    return lines
