"""How good are the judges themselves? What they say of rendered truth, whose answers are known.

The clips are the disjoint split "check", unseen by whatever was trained. The reader is tried on
them as rendered, through the codec and spoilt; on pairs of faces that differ in a single factor;
the SyncNet on true and shifted sound; and all judges on known damage of growing strength.
"""

import torch

from livetalk_ref.judge import corrupt, metrics
from livetalk_ref.judge.panel import Judges, expression_right
from livetalk_ref.judge.reader import COLUMNS, READ
from livetalk_ref.judge.sync import sync
from livetalk_ref.world import clips
from livetalk_ref.world.degrade import degrade, sample_degradation
from livetalk_ref.world.draw import render
from livetalk_ref.world.identity import CATEGORICAL, CONTINUOUS, Identity, sample_identities
from livetalk_ref.world.motion import reference_state

SPLIT = "check"
STEPS = (0.0, 0.25, 0.5, 1.0)       # how far two faces' one factor is apart, in its range
FACES = 32                          # pairs for each factor and step
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)


def share_explained(read, truth):
    """R2 of every column of read against truth, both (M, K): (K,); nan where truth is constant."""
    spread = (truth - truth.mean(0)).square().sum(0)
    return 1 - (read - truth).square().sum(0) / spread.where(spread > 0, torch.nan)


@torch.inference_mode()
def views(number, codec):
    """A clip of the split, and its frames as rendered, through the codec, and spoilt."""
    clip = clips.script(SPLIT, number, clips.FRAMES, degraded=0.0)
    frames = clips.film(clip)
    g = torch.Generator().manual_seed(number)
    return clip, {"rendered": frames,
                  "through the codec": codec.decode(codec.encode(frames[None]))[0],
                  "spoilt": degrade(frames, sample_degradation(g), g)}


def reader_rows(reader, codec, count, watch=None):
    """What the reader reads right in `count` clips: R2 of every column, share of expressions."""
    read, truth, right = {}, [], {}
    for number in range(count):
        clip, shown = views(number, codec)
        truth.append(clip.state[:, COLUMNS])
        starts, prompts = zip(*clip.prompts)
        for name, frames in shown.items():
            reading = reader.read(frames)
            read.setdefault(name, []).append(reading.state)
            right.setdefault(name, []).append(expression_right(reading, prompts, list(starts)))
        if watch:
            watch()
    rows = []
    for name, parts in read.items():
        explained = share_explained(torch.cat(parts), torch.cat(truth)).tolist()
        told = [share for share in right[name] if share is not None]
        rows.append({"judge": "reader", "truth": name, "clips": count,
                     "expression right": round(sum(told) / len(told), 4)} |
                    {f"{column} R2": round(value, 4) for column, value in zip(READ, explained)
                     if value == value})
    return rows


def pairs(factor, step, count):
    """Two batches of faces that are alike but for one factor: two `Identity` of `count`.

    step: the share of a continuous factor's range between them; any other choice of a
    categorical one, whatever the step. 0: the same faces twice. All else is the same for all.
    """
    generator = torch.Generator().manual_seed(0)
    a = sample_identities(count, generator)
    continuous, categorical = a.continuous.clone(), a.categorical.clone()
    if step and factor in CONTINUOUS:
        column, (low, high) = list(CONTINUOUS).index(factor), CONTINUOUS[factor]
        first = low + (1 - step) * (high - low) * torch.rand(count, generator=generator)
        a.continuous[:, column], continuous[:, column] = first, first + step * (high - low)
    elif step:
        column, options = list(CATEGORICAL).index(factor), len(CATEGORICAL[factor])
        other = torch.randint(1, options, (count,), generator=generator)
        categorical[:, column] = (categorical[:, column] + other) % options
    return a, Identity(continuous, categorical)


@torch.inference_mode()
def alike(reader, faces):
    """Cosines (N,) of two batches of faces, each doing something else."""
    generator = torch.Generator().manual_seed(1)
    vectors = [reader.read(render(face, torch.stack([reference_state(generator)
                                                     for _ in range(len(face))]))).identity
               for face in faces]
    return (vectors[0] * vectors[1]).sum(1)


def verified(same, other):
    """How often a pair of one face is more alike than a pair of two: the area under the ROC."""
    gap = same[:, None] - other[None]
    return ((gap > 0).double().mean() + (gap == 0).double().mean() / 2).item()


def identity_rows(reader, count=FACES, factors=(*CONTINUOUS, *CATEGORICAL), watch=None):
    """Pairs that differ in one factor, step by step: how far the embedding moves, and how often
    such a pair is told from a pair of one face. The last rows are of all factors together."""
    rows = []
    for factor in factors:
        same = alike(reader, pairs(factor, 0.0, count))
        for step in STEPS if factor in CONTINUOUS else (0.0, 1.0):
            cosine = alike(reader, pairs(factor, step, count))
            rows.append({"judge": "identity", "factor": factor, "step": step, "pairs": count,
                         "drift": round(1 - cosine.mean().item(), 4),
                         "verified": round(verified(same, cosine), 4)})
        if watch:
            watch()
    for kind, names in (("continuous", CONTINUOUS), ("categorical", CATEGORICAL)):
        for step in STEPS if kind == "continuous" else (0.0, 1.0):
            some = [row for row in rows if row["factor"] in names and row["step"] == step]
            if some:
                rows.append({"judge": "identity", "factor": f"all {kind}", "step": step,
                             "pairs": count * len(some)} |
                            {key: round(sum(row[key] for row in some) / len(some), 4)
                             for key in ("drift", "verified")})
    return rows


@torch.inference_mode()
def damage_rows(reader, net, codec, count, watch=None):
    """Every number of the table for truth after each corruption, at growing strength, on
    average over `count` clips in which somebody speaks."""
    found, number, spoken = {}, 0, 0
    while spoken < count:
        clip, shown = views(number, codec)
        number += 1
        if sync(net, shown["rendered"], clip.samples).offset is None:
            continue
        frames, g = shown["rendered"], torch.Generator().manual_seed(number)
        truth = metrics.Truth.of(clip.state, frames, shown["through the codec"])
        other = corrupt.another_face(clip, g)
        for name, damage in corrupt.corruptions(other).items():
            for strength in STRENGTHS:
                some, sound = damage(frames, clip.samples, strength,
                                     torch.Generator().manual_seed(number))
                row, _ = Judges(reader, net).numbers(some, sound, truth)
                found.setdefault((name, strength), []).append(row)
        spoken += 1
        if watch:
            watch()
    return [{"judge": "damage", "corruption": name, "strength": strength, "clips": count} |
            mean(rows) for (name, strength), rows in found.items()]


def mean(rows):
    """The means of many rows' numbers, where there are any."""
    columns = {key: [row[key] for row in rows if row[key] is not None] for key in rows[0]}
    return {key: round(sum(values) / len(values), 4) for key, values in columns.items() if values}
