"""Judging of lip sync: distances over offsets, Sync-C, Sync-D and the offset.

Letters: T frames, n = T - 4 windows, D dimensions.
"""

from dataclasses import dataclass

import torch

from livetalk_ref.errors import UserError
from livetalk_ref.nets.syncnet import FRAMES, SPOKEN, log_mel, speech
from livetalk_ref.world.state import SAMPLES_PER_FRAME, SIZE

REACH = 15                      # offsets of -15 .. 15 frames are tried, as in the original
SHORTEST = FRAMES - 1 + 2 * (REACH + 1)     # frames of a clip: 2.25 s


@dataclass(frozen=True)
class SyncReading:
    """What the judge says of a clip. Everything is None where too little is said to be judged."""

    confidence: float | None = None     # Sync-C: median minus minimum of the curve; more is better
    distance: float | None = None       # Sync-D: minimum of the curve, 0 .. 2; less is better
    offset: int | None = None           # frames by which the picture is later than the sound
    curve: torch.Tensor | None = None   # (31,) mean distance at offsets -15 .. 15


def lip_numbers(net, frames, samples):
    """The columns of a clip, as `sync` finds them: {name in DEFINITIONS: value}."""
    found = sync(net, frames, samples)
    return {"Sync-C": found.confidence, "Sync-D": found.distance, "Sync offset": found.offset}


def sync(net, frames, samples):
    """How well the lips of frames (T, 3, 96, 96) go with samples (1000 T,): a `SyncReading`.

    Distances are of vectors of unit length, so they compare with each other only, not with those
    of the original. UserError for a clip under 2.25 s, other sizes, or sound of another length.
    """
    if tuple(frames.shape[1:]) != (3, SIZE, SIZE):
        raise UserError(f"The judge of lip sync reads frames of shape (T, 3, {SIZE}, {SIZE}), "
                        f"not {tuple(frames.shape)}; resize them.")
    if len(frames) < SHORTEST:
        raise UserError(f"Lip sync needs a clip of at least {SHORTEST} frames, not {len(frames)}.")
    if len(samples) != SAMPLES_PER_FRAME * len(frames):
        raise UserError(f"{len(frames)} frames need {SAMPLES_PER_FRAME * len(frames)} samples, "
                        f"not {len(samples)}: cut the sound, or add silence.")
    if speech(log_mel(samples)).sum() < SPOKEN:
        return SyncReading()
    curve = offset_curve(net.embed_video(frames), net.embed_audio(samples))
    distance, best = curve.min(dim=0)
    return SyncReading((curve.median() - distance).item(), distance.item(),
                       best.item() - REACH, curve)


def offset_curve(seen, heard):
    """Mean distance of (n, D) and (n, D) when the picture is -15 .. 15 frames late: (31,)."""
    count = len(seen)
    return torch.stack([                                                 # window i - k was heard
        (seen[max(k, 0):count + min(k, 0)] - heard[max(-k, 0):count + min(-k, 0)])
        .norm(dim=1).mean() for k in range(-REACH, REACH + 1)])
