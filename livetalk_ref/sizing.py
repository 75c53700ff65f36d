"""What each GPU of a sharded training holds, counted from the models' shapes before any is bought.

Weights, gradients, moments and averages are exact: a rank keeps ceil(n / R) rows of every weight
(FSDP2), in float32. What the backward pass needs is counted by tensors a token, and is right to a
fifth (tests/test_sizing.py). Letters: R GPUs, D width, S tokens a latent frame, B clips a GPU.
"""

from functools import cache
from math import ceil, prod

import torch

from livetalk_ref.cache import BLOCK
from livetalk_ref.wan import SIZES, WanDiT

GIB = 2 ** 30
# Bytes that a block keeps for its gradient, of D and of ffn_dim a token and of D a text row; and
# those of a key with its value.
KEPT = {"fp32": (88, 8, 20, 8), "bf16": (70, 4, 12, 6)}


@cache
def model_shapes(config):
    """Shapes of a model's weights: {name: shape}. No memory is taken."""
    with torch.device("meta"):
        return {name: p.shape for name, p in WanDiT(config).named_parameters()}


def held_numbers(config, gpus=1):
    """How many of a model's weights the first of R ranks holds, who has the most."""
    return sum(ceil(shape[0] / gpus) * prod(shape[1:]) for shape in model_shapes(config).values())


def gathered_numbers(config):
    """Weights that a rank of several has whole for a moment: all outside the blocks, the block
    that computes and the next; and the gradients of the first two."""
    shapes = model_shapes(config)
    block = sum(prod(s) for name, s in shapes.items() if name.startswith("blocks.0."))
    rest = sum(prod(s) for name, s in shapes.items() if not name.startswith("blocks."))
    return 3 * block + 2 * rest


def activation_bytes(config, clips, frames, side, checkpoint=False, precision="bf16", passes=1,
                     rows=512):
    """Bytes that latents (B, frames, C, side, side) leave for the gradient, in one pass or block
    by block in several, which all read the text's rows.

    checkpoint: blocks keep what goes into them, and one of them is computed anew at a time.
    """
    wide, hidden, text, _ = KEPT[precision]
    tokens = clips * frames * (side // config.patch) ** 2
    block = tokens * (wide * config.dim + hidden * config.ffn_dim)
    block += clips * passes * rows * text * config.dim
    given = 4 * tokens * config.dim
    return block + config.layers * given if checkpoint else config.layers * block


def rollout_cache_bytes(config, clips, frames, side, precision="bf16"):
    """Bytes of keys and values of the past that a rollout's graph holds: block i reads i - 1."""
    past = sum(range(0, frames, BLOCK))
    return past * clips * (side // config.patch) ** 2 * config.dim * config.layers \
        * KEPT[precision][3]


def memory_rows(stage="dmd", student="livetalk-1.3b", teacher="omniavatar-14b",
                gpus=(8, 16, 64), clips=1, frames=21, side=64, checkpoint=True,
                precision="bf16"):
    """GiB on each of R GPUs by what they hold, a row for every R.

    stage: "teacher", "ode" or "dmd", the last with a critic of the student's size and a frozen
    real score of another, "teacher"; a recipe's anchor is one pass more. student, teacher: names
    of `wan.SIZES`. The moments are AdamW's.
    """
    own, real, rows = SIZES[student], SIZES[teacher], []
    learners = 2 if stage == "dmd" else 1                       # student and critic
    for count in gpus:
        n = held_numbers(own, count)
        parts = {
            "weights": 4 * n * learners, "gradients": 4 * n, "moments": 8 * n * learners,
            "average": 4 * n, "real score": 4 * held_numbers(real, count) * (stage == "dmd"),
            "gathered": 4 * (count > 1) * max(map(gathered_numbers,
                                                  (own, real)[:1 + (stage == "dmd")])),
            "16-bit copies": 2 * held_numbers(own) * learners * (precision == "bf16"),
            "activations": activation_bytes(own, clips, frames, side, checkpoint, precision,
                                            frames // BLOCK if stage == "dmd" else 1),
            "cache": rollout_cache_bytes(own, clips, frames, side, precision) * (stage == "dmd")}
        rows.append({"GPUs": count} | {k: v / GIB for k, v in parts.items()}
                    | {"sum": sum(parts.values()) / GIB})
    return rows
