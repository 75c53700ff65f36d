"""Causal video autoencoder: 16x in space, 4x in time, streaming block by block.

Frames are coded in groups of four; the first frame is a group of its own (repeated four
times), so a single picture is a one-frame video, as in Wan's VAE. Group t sees group t and
earlier ones only. Letters: B batch, T = 4F - 3 frames, F latent frames, C latent channels.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from livetalk_ref.errors import UserError

GROUP = 4    # video frames a latent frame
STRIDE = 16  # pixels a latent cell
QUIET = 0.2  # weight of restless latents in the loss
STILL = 0.01        # mean change of a cell's pixels, in [-1, 1], at which it moves
EQUIVARIANT = 0.05  # share of training batches that are scaled down


@dataclass(frozen=True)
class CodecConfig:
    """The size of a `Codec`; saved beside its weights."""

    latent_channels: int = 40           # Wan 2.2's VAE of this stride has 48
    encoder: tuple = (48, 96, 128)      # widths at 1/4, 1/8 and 1/16 of the picture's size
    decoder: tuple = (40, 80, 160)      # most of its work at 1/16, where a pixel is one of 4 x 256
    noise: float = 0.1                  # of training latents: 0 to so much, by chance


class Residual(nn.Module):
    """Two 3x3 convolutions beside the identity, which is all it does at first.

    No normalisation: it costs more time than the convolutions, and accuracy (Lim et al. 2017).
    """

    def __init__(self, width):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x):
        return x + self.conv2(F.silu(self.conv1(F.silu(x))))


class Light(nn.Module):
    """A depthwise 3x3 convolution and two layers across channels beside the identity: a twelfth
    of a `Residual`'s work (Liu et al. 2022, without the normalisation)."""

    def __init__(self, width):
        super().__init__()
        self.space = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.up = nn.Conv2d(width, 2 * width, 1)
        self.down = nn.Conv2d(2 * width, width, 1)
        nn.init.zeros_(self.down.weight)
        nn.init.zeros_(self.down.bias)

    def forward(self, x):
        return x + self.down(F.silu(self.up(self.space(x))))


def narrow(x, channels):
    """Average neighbouring channels down to `channels`: (N, c, h, w) -> (N, channels, h, w)."""
    return x.unflatten(1, (channels, -1)).mean(2)


def widen(x, channels):
    """Repeat channels up to `channels`."""
    return x.repeat_interleave(channels // x.shape[1], dim=1)


class Down(nn.Module):
    """Half the size. The shortcut moves pixels into channels (Chen et al. 2024, DC-AE): a deep
    coder that starts as a plain average learns many times faster."""

    def __init__(self, width, out):
        super().__init__()
        self.conv = nn.Conv2d(width, out, 3, stride=2, padding=1)

    def forward(self, x):
        return self.conv(x) + narrow(F.pixel_unshuffle(x, 2), self.conv.out_channels)


class Up(nn.Module):
    """Twice the size, the mirror image of `Down`."""

    def __init__(self, width, out):
        super().__init__()
        self.conv = nn.Conv2d(width, 4 * out, 1)

    def forward(self, x):
        return F.pixel_shuffle(self.conv(x) + widen(x, self.conv.out_channels), 2)


class Channels(nn.Module):
    """Another number of channels by a convolution beside averaging or repeating."""

    def __init__(self, width, out, size=1):
        super().__init__()
        self.conv = nn.Conv2d(width, out, size, padding=size // 2)
        self.shortcut = narrow if out < width else widen

    def forward(self, x):
        return self.conv(x) + self.shortcut(x, self.conv.out_channels)


class CausalMix(nn.Module):
    """Residual 3x3 convolution over this latent frame and the one before: (B, F, c, h, w)."""

    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(2 * width, width, 3, padding=1)

    def forward(self, x, before):
        """before (B, c, h, w) is the frame in front of x; also returns the next `before`."""
        shifted = torch.cat([before[:, None], x[:, :-1]], dim=1)
        pair = torch.cat([shifted, x], dim=2).flatten(0, 1)              # (B F, 2c, h, w)
        return x + self.conv(F.silu(pair)).unflatten(0, x.shape[:2]), x[:, -1]


def group_frames(x):
    """(B, 4F - 3, 3, H, W) -> (B, 4F, 3, H, W): the first frame stands for a whole group."""
    return torch.cat([x[:, :1].expand(-1, GROUP - 1, -1, -1, -1), x], dim=1)


class Encoder(nn.Module):
    """Pictures to latents; frames are merged into groups at an eighth of the size."""

    def __init__(self, c):
        super().__init__()
        a, b, d = c.encoder
        self.per_frame = nn.Sequential(nn.PixelUnshuffle(4), nn.Conv2d(48, a, 3, padding=1),
                                       Light(a), Down(a, b), Light(b), Light(b))
        self.merge = nn.Sequential(Channels(GROUP * b, d), Residual(d), Residual(d), Down(d, d))
        self.mix = CausalMix(d)
        self.out = nn.Sequential(Residual(d), Residual(d), nn.Conv2d(d, c.latent_channels, 1))
        self.width = d

    def forward(self, x, before):
        """x (B, 4F, 3, H, W) whole groups -> (B, F, C, H/16, W/16) and the next `before`."""
        b, t = x.shape[:2]
        x = self.per_frame(x.flatten(0, 1))                              # (B 4F, c, H/8, W/8)
        x = x.reshape(b * t // GROUP, -1, *x.shape[2:])                  # (B F, 4c, H/8, W/8)
        x = self.merge(x).unflatten(0, (b, -1))
        x, before = self.mix(x, before)
        return self.out(x.flatten(0, 1)).unflatten(0, (b, -1)), before


class Decoder(nn.Module):
    """Latents to pictures; groups are split into frames at an eighth of the size."""

    def __init__(self, c):
        super().__init__()
        a, b, d = c.decoder
        self.stem = nn.Conv2d(c.latent_channels, d, 1)
        self.mix = CausalMix(d)
        self.split = nn.Sequential(Residual(d), Residual(d), Up(d, d), Channels(d, GROUP * b))
        self.per_frame = nn.Sequential(
            Light(b), Light(b), Up(b, a),                                # 1/4 of the size
            Light(a), nn.Conv2d(a, 48, 1), nn.PixelShuffle(4))           # full size
        self.width = d

    def forward(self, z, before, keep=GROUP):
        """z (B, F, C, h, w) -> the last `keep` frames of every group, (B, keep F, 3, 16h, 16w),
        and the next `before`."""
        b = len(z)
        x = self.stem(z.flatten(0, 1)).unflatten(0, (b, -1))
        x, before = self.mix(x, before)
        x = self.split(x.flatten(0, 1))                                  # (B F, 4c, 2h, 2w)
        x = x.unflatten(1, (GROUP, -1))[:, -keep:].flatten(0, 1)         # (B F keep, c, 2h, 2w)
        x = self.per_frame(x)
        return x.unflatten(0, (b, -1)), before


class Codec(nn.Module):
    """The autoencoder with one global latent scale. Raises UserError for a bad picture size."""

    def __init__(self, config=CodecConfig()):
        super().__init__()
        self.config = config
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        self.register_buffer("scale", torch.ones(()))   # set once, so that latents have unit size

    def state(self, module, like):
        """What a coder remembers before its first frame: nothing."""
        return like.new_zeros(like.shape[0], module.width, *like.shape[-2:])

    def encode(self, x):
        """Pictures (B, T, 3, H, W) in [-1, 1], T = 4F - 3 -> latents (B, F, C, H/16, W/16)."""
        b, t, _, h, w = x.shape
        if h % STRIDE or w % STRIDE or t % GROUP != 1:
            raise UserError(f"The codec takes 4n + 1 frames with sides that are multiples of "
                            f"{STRIDE}, not {t} frames of {h}x{w}.")
        before = x.new_zeros(b, self.encoder.width, h // STRIDE, w // STRIDE)
        return self.encoder(group_frames(x), before)[0] * self.scale

    def decode_step(self, z, before=None):
        """Latent frames (B, F, C, h, w) -> their frames (B, 4F, 3, H, W) and the new state.

        Without a state only the last picture of the first one is made. Walks frame by frame, so
        whole and streamed decoding agree bit for bit.
        """
        made = []
        for one in z.split(1, dim=1):
            known = self.state(self.decoder, z[:, 0]) if before is None else before
            frames, before = self.decoder(one / self.scale, known, 1 if before is None else GROUP)
            made.append(frames.clamp(-1, 1))
        return torch.cat(made, dim=1), before

    def decode(self, z):
        """Latents (B, F, C, h, w) -> pictures (B, 4F - 3, 3, H, W) in [-1, 1]."""
        return self.decode_step(z)[0]

    def forward(self, x, generator=None):
        """Training pass over all frames at once: reconstruction, its target, and latents.

        Noise on the latents, of a level drawn for each clip, keeps the decoder calm about a
        sampler's errors and leaves nothing in the latents that so small an error would change.
        Once in a while both latents and target are scaled down by a cell, so that a face that
        grows or moves by half a cell moves its latents alike (Kouzelis et al. 2025, EQ-VAE).
        """
        z = self.encode(x) / self.scale
        shown = z
        if torch.rand((), generator=generator) < EQUIVARIANT:
            cells = z.shape[-1] - 1
            shown, x = resize(z, cells), resize(x, STRIDE * cells)
        level = self.config.noise * torch.rand(len(z), 1, 1, 1, 1, generator=generator)
        noise = level * torch.randn(shown.shape, generator=generator)
        y, _ = self.decoder(shown + noise.to(z), self.state(self.decoder, shown[:, 0]))
        return y[:, GROUP - 1:], x, z


def resize(x, side):
    """Videos or latents (B, T, C, H, W) scaled to `side` pixels or cells."""
    small = F.interpolate(x.flatten(0, 1).float(), (side, side), mode="bilinear", antialias=True)
    return small.unflatten(0, x.shape[:2])


def codec_loss(y, x, z, weight, pictures):
    """L1 and squares of pixels, weighted by a map, L1 of their gradients, quiet latents, and a
    leash on their size.

    y, x (B, T, 3, H, W), z latents, weight (B, T, 1, H, W) is larger where detail matters;
    pictures (B, T, 3, H, W) are what was encoded.
    """
    wrong = y - x
    pixel = ((wrong.abs() + 2 * wrong.square()) * weight).mean()
    edges = sum((y.diff(dim=d) - x.diff(dim=d)).abs().mean() for d in (1, 3, 4))
    leash = (z.square().mean() - 1).clamp(min=0) + z.mean().square()
    return pixel + 0.2 * edges + 0.01 * leash + QUIET * restlessness(z, pictures)


def restlessness(z, x):
    """Mean square change of latents (B, F, C, h, w) from frame to frame where the pictures
    (B, 4F - 3, 3, H, W) stand still: what a model of the latents would have to guess in vain."""
    moved = F.avg_pool2d(x.diff(dim=1).abs().mean(2), STRIDE)            # (B, 4F - 4, h, w)
    moved = F.max_pool2d(moved, 3, 1, 1).unflatten(1, (-1, GROUP)).amax(2)   # (B, F - 1, h, w)
    before = torch.cat([torch.zeros_like(moved[:, :1]), moved[:, :-1]], dim=1)
    still = torch.exp(-torch.maximum(moved, before) / STILL)
    return (still * z.diff(dim=1).square().mean(2)).sum() / (still.sum() + 1)


def psnr(y, x):
    """Peak signal-to-noise ratio in dB of pictures in [-1, 1]."""
    return 10 * torch.log10(4 / (y - x).square().mean())
