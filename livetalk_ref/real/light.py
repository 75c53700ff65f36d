"""A light decoder of Wan's latents, in the layout of the public file taew2_1.safetensors.

TAEHV (MIT licence): 2-D convolutions that in nine places read the frame before as well, which is
all their state. Far cheaper than Wan's and less sharp: look at teeth and lips.
Letters: B batch, F latent frames, T frames at some depth, c channels.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from livetalk_ref.cache import BLOCK
from livetalk_ref.errors import UserError
from livetalk_ref.real.weights import compare, stored_shapes, stored_tensor

STAGES = ((256, 128, 1), (128, 64, 2), (64, 64, 2))     # channels, those after it, frames of one
conv = partial(nn.Conv2d, kernel_size=3, padding=1)


class Memory(nn.Module):
    """A residual block that reads every frame beside the one before it."""

    def __init__(self, width):
        super().__init__()
        self.conv = nn.Sequential(conv(2 * width, width), nn.ReLU(), conv(width, width), nn.ReLU(),
                                  conv(width, width))

    def forward(self, x, before):
        """x (B, T, c, h, w) behind the frame before (B, 1, c, h, w) -> the same shape."""
        pair = torch.cat([x, torch.cat([before, x[:, :-1]], dim=1)], dim=2)
        return F.relu(x + self.conv(pair.flatten(0, 1)).unflatten(0, x.shape[:2]))


class Grow(nn.Module):
    """One frame becomes several: (B T, c, h, w) -> (B T frames, c, h, w)."""

    def __init__(self, width, frames):
        super().__init__()
        self.frames, self.conv = frames, nn.Conv2d(width, width * frames, 1, bias=False)

    def forward(self, x):
        return self.conv(x).unflatten(1, (self.frames, -1)).flatten(0, 1)


class LightCodec(nn.Module):
    """`decode_step` of this decoder, `encode` of the codec whose latents it reads."""

    at_once = BLOCK         # latent frames of a call: it takes little memory

    def __init__(self, codec):
        super().__init__()
        layers = [nn.Identity(), conv(16, STAGES[0][0]), nn.ReLU()]
        for width, after, frames in STAGES:
            layers += [*(Memory(width) for _ in range(3)), nn.Upsample(scale_factor=2),
                       Grow(width, frames), conv(width, after, bias=False)]
        self.decoder = nn.Sequential(*layers, nn.ReLU(), conv(STAGES[-1][1], 3))
        self.encode = codec and codec.encode

    def decode_step(self, z, before=None):
        """Latent frames (B, F, 16, h, w) -> pictures (B, 4F, 3, 8h, 8w) and the new state; without
        a state the first latent frame is a single picture."""
        x, state = 3 * (z.flatten(0, 1) / 3).tanh(), []                  # softly within -3 .. 3
        for layer in self.decoder:
            if isinstance(layer, Memory):
                x = x.unflatten(0, (len(z), -1))                         # (B, T, c, ..)
                past = before[len(state)] if before else torch.zeros_like(x[:, :1])
                state.append(x[:, -1:])
                x = layer(x, past).flatten(0, 1)
            else:
                x = layer(x)
        x = 2 * x.unflatten(0, (len(z), -1)).clamp(0, 1) - 1             # (B, 4F, 3, ..)
        return (x if before else x[:, 3:]), tuple(state)


def load_light(path, codec, device="cpu", dtype=torch.float32):
    """A `LightCodec` with a file's decoder; its encoder is left. UserError for another layout."""
    with torch.device("meta"):
        light = LightCodec(codec)
    wanted = {key: tuple(value.shape) for key, value in light.state_dict().items()}
    shapes = {k: v for k, v in stored_shapes(path)[0].items() if k.startswith("decoder.")}
    if found := compare(shapes, wanted):
        raise UserError(f"{path} does not have the layout of taew2_1.safetensors: {found}.")
    light.load_state_dict({key: stored_tensor(path, key, device, dtype) for key in wanted},
                          assign=True)
    return light.eval().requires_grad_(False)
