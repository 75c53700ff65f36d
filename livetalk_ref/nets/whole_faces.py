"""A judge of melting: are eyes, nose, mouth and glasses of a face there, single and sharp?

A small CNN trained on rendered truth and on truth that was spoiled in some parts: left out by the
renderer, doubled, smeared, blended with another pose, warped. It never sees a generated video.
Letters: N pictures of 96x96, P parts.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from livetalk_ref.media import to_bytes
from livetalk_ref.nets.reader import trunk
from livetalk_ref.runs import save
from livetalk_ref.world import shards
from livetalk_ref.world.clips import clip_generator
from livetalk_ref.world.draw import places, render
from livetalk_ref.world.draw.paint import soften
from livetalk_ref.world.identity import sample_identities
from livetalk_ref.world.motion import reference_state
from livetalk_ref.world.state import COL, COLUMNS, SIZE

PARTS = ("left eye", "right eye", "nose", "mouth", "glasses")
MIRRORED = [1, 0, 2, 3, 4]
KINDS = ("missing", "doubled", "smeared", "blended", "warped")
LEFT_OUT = ("eyes", "eyes", "nose", "mouth", "glasses")     # of each part, by the renderer
RADII = (0.13, 0.13, 0.10, 0.17, 0.13)  # of the region of a part, in picture widths
VISIBLE = (0.07, 0.07, 0.12, 0.07, 0.07)    # mean change of a part's pixels, in [-1, 1], that a
                                            # person sees; noses are faint in some light
SURE = (0.7, 0.7, 0.7, 0.999, 0.7)  # a part is broken that is so this surely, as agrees best with
                                    # people who looked; a mouth that is quick may be soft
NONE, WHOLE, BROKEN = 0, 1, 2           # labels; -1 is unclear


class WholeFaces(nn.Module):
    """Pictures (N, 3, 96, 96) in [-1, 1] -> logits (N, P, 3) of none, whole, broken."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.net = nn.Sequential(*trunk(config), nn.Linear(config.hidden, 3 * len(PARTS)))

    def forward(self, x):
        return self.net(x).unflatten(1, (len(PARTS), 3))

    @torch.inference_mode()
    def broken(self, frames):
        """How surely each part of frames (T, 3, 96, 96) is broken: (T, P) in 0..1.

        Frame 0 is the reference. Glasses that it has must stay, and none may appear.
        """
        odds = torch.cat([self(x).softmax(-1) + self(x.flip(-1))[:, MIRRORED].softmax(-1)
                          for x in frames.split(64)]) / 2             # (T, P, 3)
        wears = odds[0, -1, WHOLE] > odds[0, -1, NONE]
        broken = 1 - odds[..., WHOLE]
        broken[:, -1] = 1 - odds[:, -1, WHOLE if wears else NONE]
        return broken


def suspicions(broken):
    """How surely each part of frames (T, P) is broken, (T, P): above 1 it is called so."""
    return broken / torch.tensor(SURE)


def suspicion(broken):
    """That of the worst part of frames, (T,)."""
    return suspicions(broken).amax(1)


def whole_share(broken):
    """Share of frames with no broken part, and the longest run of broken ones, in frames."""
    bad = (suspicion(broken) > 1).tolist()
    run = longest = 0
    for frame in bad:
        run = run + 1 if frame else 0
        longest = max(longest, run)
    return 1 - sum(bad) / len(bad), longest


@torch.inference_mode()
def still(codec, pictures):
    """Pictures (N, 3, H, W) as the codec shows them in videos in which nothing moves."""
    return codec.decode(codec.encode(pictures[:, None].expand(-1, 5, -1, -1, -1)))[:, -2]


def jitter(x, g):
    """Pictures in another light, and many of them softer, coarser or noisier, as codecs and
    samplers leave them: none of that makes a face less whole."""
    count = len(x)
    gain, light, loud = torch.rand(3, count, 1, 1, 1, generator=g)
    soft, coarse, noisy = torch.rand(3, count, 1, 1, 1, generator=g) < 0.4
    x = torch.where(soft, soften(x, 0.2 + 0.8 * torch.rand((), generator=g).item()), x)
    small = F.interpolate(x, int(torch.randint(SIZE // 2, SIZE, (), generator=g)),
                          mode="bilinear", antialias=True)
    x = torch.where(coarse, F.interpolate(small, SIZE, mode="bicubic"), x)
    x = x + noisy * 0.05 * loud * torch.randn(x.shape, generator=g)
    return (x * (0.85 + 0.3 * gain) + 0.2 * (light - 0.5)).clamp(-1, 1)


def mirror(x, labels, g):
    """Half of the pictures from left to right, their eyes changed over."""
    flip = torch.rand(len(x), generator=g) < 0.5
    return (torch.where(flip[:, None, None, None], x.flip(-1), x),
            torch.where(flip[:, None], labels[:, MIRRORED], labels))


def whole_faces_loss(net, x, labels):
    """Cross-entropy of the labels (N, P) that are clear."""
    return F.cross_entropy(net(x).flatten(0, 1).float(), labels.flatten(), ignore_index=-1)


def is_shifted(number):
    """Whether the faces of a shard are of the shifted kind."""
    return number % 4 == 3


def draw_faces(split, number, count):
    """Random faces with random stills, half of them with any mouth and brows that speech has:
    identity of `count`, state (count, S), generator."""
    g = clip_generator(split, number, seed=3)
    identity = sample_identities(count, g, shifted=is_shifted(number))
    state = torch.stack([reference_state(g) for _ in range(count)])
    state[:, COL["blink"]] = torch.rand(count, generator=g).mul(3).sub(2).clamp(min=0)
    speaks = torch.rand(count, generator=g) < 0.5
    for name in ("mouth_open", "mouth_width", "mouth_round", "brow"):
        low, high, _ = COLUMNS[name]
        drawn = low + (high - low) * torch.rand(count, generator=g)
        state[:, COL[name]] = torch.where(speaks, drawn, state[:, COL[name]])
    return identity, state, g


@torch.inference_mode()
def spoiled_faces(split, number, count=32):
    """`count` faces, half of them spoiled: pictures (N, 3, 96, 96) and labels (N, P)."""
    identity, state, g = draw_faces(split, number, count)
    truth = render(identity, state)
    wears = identity.option("glasses") > 0
    labels = torch.full((count, len(PARTS)), WHOLE)
    labels[:, -1] = torch.where(wears, WHOLE, NONE)
    masks = regions(identity, state)                                     # (N, P, 1, 96, 96)
    pictures = truth.clone()
    spoilt = {part: alternatives(truth, identity, state, part, g)
              for part in dict.fromkeys(LEFT_OUT)}      # a set has another order in every process
    for i in range(count):
        if torch.rand((), generator=g) < 0.5:
            continue
        strength = (0.5 + torch.rand((), generator=g)).clamp(max=1)      # faces fade, too
        for part, kind in draw_damage(bool(wears[i]), g):
            mask = masks[i, part]
            other = torch.lerp(pictures[i], spoilt[LEFT_OUT[part]][kind][i], strength * mask)
            change = ((other - truth[i]).abs() * mask).sum() / (3 * mask.sum())
            gone = (KINDS[kind], PARTS[part], strength) == ("missing", "glasses", 1)
            labels[i, part] = NONE if gone else BROKEN if change > VISIBLE[part] else -1
            pictures[i] = other
    touched = overlapping(pictures, truth, masks)           # a neighbour's damage reaches others
    labels[(labels == WHOLE) & touched] = -1
    return pictures, labels


def make_shard(folder, split, number):
    """Draw a shard of faces unless it is there; returns its path."""
    path = shards.shard_path(folder, split, number)
    if not path.exists():
        pictures, labels = spoiled_faces(split, number)
        save(path, {"pictures": to_bytes(pictures), "labels": labels}, rows=[])
    return path


def build(split, count):
    """Draw `count` faces, yielding shard paths."""
    job = partial(make_shard, f"runs/faces/{shards.cache_name()}", split)
    return shards.run(job, range(-(-count // shards.SHARD)))


def draw_damage(wears, g):
    """What is spoiled, pairs of indices into PARTS and KINDS: a part, two, or all in one way."""
    count = (1, 1, 2, len(PARTS))[int(torch.randint(4, (), generator=g))]
    parts = torch.randperm(len(PARTS) - (not wears), generator=g)[:count].tolist()
    kinds = torch.randint(len(KINDS), (len(parts),), generator=g).tolist()
    return [(part, kinds[0] if count > 2 else kind) for part, kind in zip(parts, kinds)]


def regions(identity, state):
    """Soft discs over the parts (N, P, 1, H, W)."""
    at = places(identity, state)                                         # (N, 4, 2)
    at = torch.cat([at, at[:, :2].mean(1, keepdim=True)], dim=1)         # glasses between the eyes
    axis = (torch.arange(SIZE) + 0.5) / SIZE
    x, y = (axis - at[..., i, None] for i in (0, 1))                     # (N, P, W), (N, P, H)
    wide = torch.tensor([1, 1, 1, 1, 0.5])[:, None]                      # glasses are twice as wide
    far = ((x * wide)[:, :, None] ** 2 + y[..., None] ** 2).sqrt()       # (N, P, H, W)
    radii = torch.tensor(RADII)[:, None, None]
    return ((radii - far) / 0.03 + 0.5).clamp(0, 1)[:, :, None]


def overlapping(pictures, truth, masks):
    """Which parts (N, P) look otherwise than in truth."""
    change = (pictures - truth).abs().mean(1)[:, None, None] * masks
    return change.sum((2, 3, 4)) / masks.sum((2, 3, 4)) > 0.2 * min(VISIBLE)


def alternatives(truth, identity, state, part, g):
    """The pictures in which a part is spoiled, one for each of KINDS: 5 of (N, 3, 96, 96)."""
    count = len(truth)
    shift = torch.randint(3, 9, (2,), generator=g) * torch.randint(-1, 2, (2,), generator=g)
    shift = shift if shift.any() else torch.tensor([0, 6])
    other, far = state[torch.randperm(count, generator=g)], torch.rand((), generator=g)
    moved = torch.lerp(state, other, 0.25 + 0.75 * far)     # near poses, and others
    keep = [i for name, i in COL.items() if name.startswith("key")]
    moved[:, keep] = state[:, keep]
    if part == "eyes":          # half of them open and shut at once, as where a blink melts
        shut, blinks = COL["blink"], torch.rand(count, generator=g) < 0.5
        moved[blinks] = state[blinks]
        moved[blinks, shut] = (state[blinks, shut] < 0.5).float()
    blur = 1.5 + 3.5 * torch.rand((), generator=g).item()
    return (render(identity, state, without=(part,)),
            (truth + truth.roll(shift.tolist(), (2, 3))) / 2,
            soften(truth, blur),
            (truth + render(identity, moved)) / 2,
            warp(truth, 3 + 4 * torch.rand((), generator=g).item(), g))


def warp(pictures, reach, g):
    """Pictures pulled about by a smooth field of some pixels."""
    field = torch.randn(len(pictures), 2, 12, 12, generator=g) * reach * 2 / SIZE
    field = F.interpolate(field, (SIZE, SIZE), mode="bicubic").movedim(1, -1)
    still = F.affine_grid(torch.eye(2, 3).expand(len(pictures), -1, -1), pictures.shape,
                          align_corners=False)
    return F.grid_sample(pictures, still + field, padding_mode="border", align_corners=False)
