"""Filmstrips of the ablation, decoded from the latents that looks.py keeps.

Letters: P conditions of a probe (its first reference is damaged, its last is good), F latent
frames, T video frames. Runs that are not there are left out. Pictures are returned, not shown.
"""

import torch

from livetalk_ref import viz
from livetalk_ref.judge import looks
from livetalk_ref.recipes import ROWS
from livetalk_ref.world.state import FPS


@torch.inference_mode()
def decoded(codec, latents):
    """Latents (P, F, C, h, w), or (F, C, h, w), as lists of frames (T, 3, H, W)."""
    return [codec.decode(z[None].float())[0] for z in latents.reshape(-1, *latents.shape[-4:])]


def along(codec, tensors, name, moments=4, height=64, seed=0):
    """A run's own videos while it trains, a row an update: left behind a damaged reference, right
    behind a good one. -> PIL image or None"""
    track = looks.track(tensors, "x", f"{name}-seed{seed}")
    if not track:
        return None
    tiles = []
    for x in track.values():
        for film in decoded(codec, x):
            when = torch.linspace(0, len(film) - 1, moments).round().long()
            tiles.append(film[when])
    later = [f"{t / FPS:.1f} s" for t in when.tolist()[1:]]
    heads = [head for kind in ("damaged", "good")[:len(x)] for head in (kind, *later)]
    return viz.sheet(torch.cat(tiles), len(heads), height, [str(update) for update in track],
                     heads)


def beliefs(codec, tensors, name, at=0.7, height=56, seed=0):
    """One moment of both conditions, a column an update: what the student made, and what teacher
    and critic believe of it. -> PIL image or None"""
    run, rows = f"{name}-seed{seed}", {}
    for part, who in (("x", "student"), ("real", "teacher"), ("fake", "critic")):
        track = looks.track(tensors, part, run)
        films = [decoded(codec, x) for x in track.values()]
        for kind, row in zip(("damaged", "good"), zip(*films)):
            rows[kind, who] = [film[round(at * (len(film) - 1))] for film in row]
    if not rows:
        return None
    keys = sorted(rows, key=lambda key: key[0])         # stable: condition by condition
    return viz.sheet(torch.stack([tile for key in keys for tile in rows[key]]), len(track), height,
                     [f"{kind}: {who}" for kind, who in keys], list(track))


def matrix(codec, tensors, moments=8, height=60, seed=0, names=tuple(ROWS)):
    """How the long clips of all rows end up: rows are recipes, columns time. -> PIL image or
    None. One condition, one noise; a row that was not run is left out."""
    clips = {ROWS[name].title: decoded(codec, tensors[key])[0]
             for name in names if (key := f"end {name}-seed{seed}") in tensors}
    return viz.filmstrip(clips, moments, height) if clips else None
