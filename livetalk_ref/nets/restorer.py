"""A small network that mends reference pictures and says how bad they are.

It is trained on (damaged, clean) pairs of the drawn world and sees pictures as the codec shows
them, for references are kept as latents. Three numbers come with the mended picture: how likely
the other one is damaged, how far it is from the clean one, and how far the mended one still is,
so that what cannot be mended is known. It plays the part of LiveTalk's face restoration and of
its filters of quality (section 3.3). N pictures.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from livetalk_ref.codec import Channels, Down, Residual, Up
from livetalk_ref.world.degrade import degrade, sample_degradation

LEVELS = 127.5              # from [-1, 1] to 1/255


@dataclass(frozen=True)
class RestorerConfig:
    """The size of a `Restorer`; saved beside its weights."""

    widths: tuple = (48, 48, 96)        # at 1/4, 1/8 and 1/16 of the picture's size


class Restorer(nn.Module):
    """Pictures (N, 3, H, W) in [-1, 1] -> mended pictures and three numbers."""

    def __init__(self, config=RestorerConfig()):
        super().__init__()
        self.config = config
        a, b, c = config.widths
        self.first = nn.Sequential(nn.PixelUnshuffle(4), Channels(48, a, 3), Residual(a))
        self.second = nn.Sequential(Down(a, b), Residual(b))
        self.third = nn.Sequential(Down(b, c), Residual(c))
        self.back = nn.Sequential(Up(c, b), Residual(b))
        self.out = nn.Sequential(Residual(a), nn.Conv2d(a, 48, 3, padding=1), nn.PixelShuffle(4))
        self.up = Up(b, a)
        self.judge = nn.Sequential(nn.Linear(2 * (a + b + c), 48), nn.SiLU(), nn.Linear(48, 3))
        nn.init.zeros_(self.out[1].weight)          # at first it leaves pictures as they are
        nn.init.zeros_(self.out[1].bias)

    def forward(self, x):
        """-> mended (N, 3, H, W) and (N, 3): the logit of damage, and the logarithms of how far x
        and the mended picture are from the clean one, mean absolute differences in 1/255."""
        one = self.first(x)                                              # (N, a, H/4, W/4)
        two = self.second(one)
        three = self.third(two)                                          # (N, c, H/16, W/16)
        pooled = torch.cat([part for y in (one, two, three)
                            for part in (y.mean((2, 3)), y.amax((2, 3)))], dim=1)
        two = two + self.back(three)
        return x + self.out(one + self.up(two)), self.judge(pooled)

    @torch.inference_mode()
    def mend(self, pictures):
        """Pictures (N, 3, H, W) -> mended ones, and (N,) each: the probability of damage, its
        size, and what remains of it, both in 1/255."""
        parts = [self(part) for part in pictures.split(64)]
        mended, said = (torch.cat(p) for p in zip(*parts))
        return mended.clamp(-1, 1), said[:, 0].sigmoid(), *said[:, 1:].exp().unbind(1)


def difference(x, y):
    """Mean absolute difference of pictures (N, 3, H, W) in 1/255: (N,)."""
    return (x - y).abs().mean((1, 2, 3)) * LEVELS


def spoil(pictures, generator, clean=0.4):
    """Damage pictures (N, 3, H, W), each in its own way, all but a share of them; also which."""
    spoilt, bad = pictures.clone(), torch.rand(len(pictures), generator=generator) >= clean
    for i in bad.nonzero().flatten().tolist():
        damage = sample_degradation(generator)
        spoilt[i] = degrade(pictures[i:i + 1], damage, generator)[0]
    return spoilt, bad


@torch.no_grad()
def through(codec, pictures):
    """Pictures (N, 3, H, W) as the codec shows them."""
    return codec.decode(codec.encode(pictures[:, None]))[:, 0]


def restorer_loss(restorer, seen, clean, bad):
    """L1 of pixels and of their gradients, and what is said of them.

    seen, clean (N, 3, H, W): what the restorer is given, and what it should make of it; bad (N,)
    bool: whether it was damaged.
    """
    mended, said = restorer(seen)
    wrong = mended - clean
    edges = sum((mended.diff(dim=d) - clean.diff(dim=d)).abs().mean() for d in (2, 3))
    with torch.no_grad():
        truth = torch.stack([difference(seen, clean), difference(mended.float(), clean)], 1)
        truth = (truth + 0.1).log()                                      # (N, 2)
    doubt = F.binary_cross_entropy_with_logits(said[:, 0].float(), bad.float())
    return wrong.abs().mean() + 0.2 * edges + 0.05 * ((said[:, 1:] - truth).abs().mean() + doubt)
