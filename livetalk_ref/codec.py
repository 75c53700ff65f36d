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


@dataclass(frozen=True)
class CodecConfig:
    """The size of a `Codec`; saved beside its weights."""

    latent_channels: int = 16
    widths: tuple = (64, 128, 128)  # at 1/4, 1/8 and 1/16 of the picture's size
    noise: float = 0.05             # decoder is trained on latents with this much noise


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
        a, b, d = c.widths
        self.per_frame = nn.Sequential(nn.PixelUnshuffle(4), nn.Conv2d(48, a, 3, padding=1),
                                       Residual(a), Down(a, b))
        self.merge = nn.Sequential(Channels(GROUP * b, d), Residual(d), Down(d, d))
        self.mix = CausalMix(d)
        self.out = nn.Sequential(Residual(d), Channels(d, c.latent_channels))
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
        a, b, d = c.widths
        self.stem = Channels(c.latent_channels, d, 3)
        self.mix = CausalMix(d)
        self.split = nn.Sequential(Residual(d), Residual(d), Up(d, d), Channels(d, GROUP * b))
        self.per_frame = nn.Sequential(
            Residual(b), Up(b, a),                                       # 1/4 of the size
            Residual(a), Residual(a),
            nn.Conv2d(a, 48, 3, padding=1), nn.PixelShuffle(4))          # full size
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
        """One latent frame (B, 1, C, h, w) -> its frames (B, 4, 3, H, W) and the new state.

        Without a state it is the first frame, and only the last of the four pictures is made.
        """
        first = before is None
        if first:
            before = self.state(self.decoder, z[:, 0])
        frames, before = self.decoder(z / self.scale, before, 1 if first else GROUP)
        return frames.clamp(-1, 1), before

    def decode(self, z):
        """Latents (B, F, C, h, w) -> pictures (B, 4F - 3, 3, H, W) in [-1, 1].

        Walks frame by frame with `decode_step`, so whole and streamed decoding agree bit for bit.
        """
        frames, before = [], None
        for i in range(z.shape[1]):
            step, before = self.decode_step(z[:, i:i + 1], before)
            frames.append(step)
        return torch.cat(frames, dim=1)

    def forward(self, x, generator=None):
        """Training pass over all frames at once: reconstruction (B, T, ...) and latents.

        Noise on the latents keeps the decoder calm about a sampler's small errors.
        """
        z = self.encode(x) / self.scale
        noise = torch.randn(z.shape, generator=generator).to(z) * self.config.noise
        y, _ = self.decoder(z + noise, self.state(self.decoder, z[:, 0]))
        return y[:, GROUP - 1:], z


def codec_loss(y, x, z, weight):
    """L1 and squares of pixels, weighted by a map, L1 of their gradients, and a leash on the
    latents' size.

    y, x (B, T, 3, H, W), z latents, weight (B, T, 1, H, W) is larger where detail matters.
    """
    wrong = y - x
    pixel = ((wrong.abs() + 2 * wrong.square()) * weight).mean()
    edges = sum((y.diff(dim=d) - x.diff(dim=d)).abs().mean() for d in (1, 3, 4))
    leash = (z.square().mean() - 1).clamp(min=0) + z.mean().square()
    return pixel + 0.2 * edges + 0.01 * leash


def psnr(y, x):
    """Peak signal-to-noise ratio in dB of pictures in [-1, 1]."""
    return 10 * torch.log10(4 / (y - x).square().mean())
