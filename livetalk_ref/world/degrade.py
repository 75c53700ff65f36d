"""Spoilt video: the same damage over a whole clip, its reference picture included.

Raw training data is like that: a blurry still belongs to a blurry video. A model trained on it
keeps the damage it is shown instead of repairing it, and a reference may arrive damaged.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from livetalk_ref.world.chance import Dice
from livetalk_ref.world.draw.paint import soften

KINDS = ("occlusion", "blur", "dark", "bright", "low_contrast", "noise", "compression")


@dataclass(frozen=True)
class Degradation:
    """What is wrong with a clip: kinds with strengths in 0..1, and a seed for what is fixed.

    The seed decides the place and form of an occlusion and the fixed pattern of the noise, so
    two calls with one Degradation spoil two pieces of a clip alike.
    """
    parts: tuple        # ((kind, strength), ..) in the order light meets them: KINDS
    seed: int

    @staticmethod
    def of(facts):
        """From [parts, seed] as JSON keeps them; None from None."""
        return facts and Degradation(tuple(map(tuple, facts[0])), facts[1])


def sample_degradation(generator):
    """One kind of damage, or two together half the time."""
    dice = Dice(generator)
    kinds = {dice.pick(KINDS)}
    if dice.chance(0.5):
        kinds |= {dice.pick(KINDS)}
    if "dark" in kinds:
        kinds.discard("bright")
    parts = tuple((kind, dice.uniform(0.3, 1.0)) for kind in KINDS if kind in kinds)
    return Degradation(parts, int(torch.randint(2 ** 31, (), generator=generator)))


def degrade(frames, degradation, generator):
    """Spoils a clip -> (T, 3, H, W) in [-1, 1].

    frames: (T, 3, H, W) in [-1, 1], frame 0 being the reference. generator: fresh noise of each
    frame; everything else is decided by the degradation.
    """
    for kind, strength in degradation.parts:
        fixed = torch.Generator().manual_seed(degradation.seed)
        frames = APPLY[kind](frames, strength, fixed, generator)
    return frames.clamp(-1, 1)                                          # (T, 3, H, W)


def _blur(frames, strength, fixed, fresh):
    """A Gaussian of 0.6 to 3 pixels at 96 pixels: at half strength teeth are gone."""
    return soften(frames, (0.6 + 2.4 * strength) * frames.shape[-1] / 96)


def _dark(frames, strength, fixed, fresh):
    """A picture of medium brightness falls to 20 % .. 11 % of white."""
    return _unit(frames) * (0.45 - 0.23 * strength) * 2 - 1


def _bright(frames, strength, fixed, fresh):
    return (_unit(frames) * (1.2 + 0.9 * strength) + 0.25 * strength).clamp(0, 1) * 2 - 1


def _low_contrast(frames, strength, fixed, fresh):
    return frames * (0.75 - 0.55 * strength)


def _unit(frames):
    return frames * 0.5 + 0.5


def _noise(frames, strength, fixed, fresh):
    """Grain of two pixels: most of it stays in place, for a codec must be able to carry it."""
    size = [max(1, side // 2) for side in frames.shape[-2:]]
    grain = 0.17 * torch.randn(1, 3, *size, generator=fixed) \
        + 0.04 * torch.randn(len(frames), 3, *size, generator=fresh)
    grain = F.interpolate(grain, frames.shape[-2:], mode="bilinear")    # (T, 3, H, W)
    return frames + strength * grain.to(frames)


def _compression(frames, strength, fixed, fresh):
    """Quantises the cosine transform of 8x8 blocks, as JPEG does: blocks and ringing."""
    height, width = frames.shape[-2:]
    planes = F.pad(frames, [0, -width % 8, 0, -height % 8], mode="replicate")
    n = torch.arange(8.0)
    basis = torch.cos(math.pi / 8 * (n + 0.5) * n[:, None]) * 0.5
    basis[0] *= 0.5 ** 0.5
    basis = basis.to(frames)                                            # (8, 8)
    blocks = planes.unflatten(-1, (-1, 8)).unflatten(-3, (-1, 8))       # (T, 3, Y, 8, X, 8)
    blocks = blocks.transpose(-3, -2)                                   # (T, 3, Y, X, 8, 8)
    step = (0.04 + 0.36 * strength) * (1 + 0.6 * (n + n[:, None])).to(frames)
    levels = ((basis @ blocks @ basis.T) / step).round() * step
    blocks = (basis.T @ levels @ basis).transpose(-3, -2)
    return blocks.flatten(-4, -3).flatten(-2)[..., :height, :width]     # (T, 3, H, W)


def _occlusion(frames, strength, fixed, fresh):
    """Something in front of the camera: a bar, a blob or fingers, soft at its edge."""
    dice = Dice(fixed)
    height, width = frames.shape[-2:]
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width),
                          indexing="ij")
    distance = dice.pick((_bar, _blob, _fingers))(x, y, 0.5 + 0.5 * strength, dice)
    cover = torch.sigmoid(-distance / 0.03).to(frames)                  # (H, W)
    shade = dice.uniform(-0.9, 0.5)
    colour = torch.tensor([shade + dice.uniform(-0.1, 0.3), shade, shade - dice.uniform(0, 0.2)])
    return frames + cover * (colour.to(frames)[:, None, None] - frames)


def _bar(x, y, size, dice):
    """Signed distance to a slanted bar across the picture, beside its middle."""
    angle = dice.uniform(0, math.pi)
    across = math.cos(angle) * x + math.sin(angle) * y
    return (across - dice.sign() * dice.uniform(0.15, 0.6)).abs() - 0.22 * size


def _blob(x, y, size, dice):
    place_x, place_y = dice.uniform(-0.6, 0.6), dice.uniform(-0.5, 0.7)
    flat = dice.uniform(0.7, 1.4)
    return torch.hypot((x - place_x) * flat, (y - place_y) / flat) - 0.45 * size


def _fingers(x, y, size, dice):
    """Four capsules side by side that reach in from the left or the right."""
    side, middle = dice.sign(), dice.uniform(-0.4, 0.5)
    x = side * x
    distance = torch.full_like(x, 9.0)
    for finger in range(4):
        tip = 0.7 - size * dice.uniform(0.5, 0.8)
        beyond = (tip - x).clamp(min=0)
        drop = y - middle - (finger - 1.5) * 0.24 * size
        distance = torch.minimum(distance, torch.hypot(beyond, drop) - 0.12 * size)
    return distance


APPLY = {"occlusion": _occlusion, "blur": _blur, "dark": _dark, "bright": _bright,
         "low_contrast": _low_contrast, "noise": _noise, "compression": _compression}
