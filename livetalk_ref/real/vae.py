"""Codecs of Wan's latents with the interface of our own: diffusers' autoencoder, a light decoder.

8x in space, 4x in time, 16 channels. Latents are brought to zero mean and unit variance channel
by channel; encoding takes the mean of the posterior, no sample. Decoding keeps the causal
convolutions' last inputs as its state, so a stream is the whole decode. The light decoder has the
layout of the public file taew2_1.safetensors (TAEHV, MIT licence): 2-D convolutions that in nine
places read the frame before as well. It is far cheaper and less sharp: look at teeth and lips.
Letters: B batch, F latent frames, T = 4F - 3 frames, or frames at some depth, C channels.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from livetalk_ref.cache import BLOCK
from livetalk_ref.errors import UserError
from livetalk_ref.real.weights import compare, from_folder, stored_shapes, stored_tensor

GROUP = 4           # video frames a latent frame
STRIDE = 8          # pixels a latent cell
PATCH = 2           # latent cells a token's side
ROOMY = 32          # GiB of a card on which a block is decoded at once, for 4.5 more


class ChannelNorm(nn.Module):
    """The decoder's norm over channels, in one pass where they lie innermost: x / |x| sqrt(C) is
    x over its root mean square."""

    def __init__(self, gamma):
        super().__init__()
        self.gamma = gamma

    def forward(self, x):
        y = F.rms_norm(x.movedim(1, -1), (x.shape[1],), self.gamma.flatten(), 1e-20)
        return y.movedim(-1, 1)


def quicken(decoder):
    """Let a decoder of diffusers move half the bytes, by its layout and its norms."""
    for layer in list(decoder.modules()):
        # Channels innermost, as a GPU's convolutions have them, else it turns around each input.
        if isinstance(layer, (nn.Conv2d, nn.Conv3d)):
            layer.to(memory_format=torch.channels_last if layer.weight.ndim == 4
                     else torch.channels_last_3d)
        for name, norm in layer.named_children():
            if hasattr(norm, "gamma"):
                setattr(layer, name, ChannelNorm(norm.gamma))


def frames_at_once(device):
    """Latent frames that a device decodes in one call, which moves fewer bytes: see `ROOMY`."""
    roomy = device.type == "cuda" and torch.cuda.mem_get_info(device)[1] >= ROOMY * 2 ** 30
    return BLOCK if roomy else 1


class WanCodec(nn.Module):
    """`encode` and `decode_step` as those of `codec.Codec`, by an `AutoencoderKLWan`. It decodes in
    dtype; the one picture that is encoded stays in every block, so this is done in float32."""

    def __init__(self, vae, dtype=torch.float32):
        super().__init__()
        self.vae, self.dtype, self.at_once = vae.float(), dtype, frames_at_once(vae.device)
        for part in (vae.post_quant_conv, vae.decoder):
            part.to(dtype)
        quicken(vae.decoder)
        for name in ("mean", "std"):
            values = torch.tensor(getattr(vae.config, f"latents_{name}"))
            self.register_buffer(name, values.view(-1, 1, 1, 1).to(vae.device))

    def encode(self, x):
        """Pictures (B, T, 3, H, W) in [-1, 1], T = 4F - 3 -> latents (B, F, C, H/8, W/8).

        UserError for a picture size that does not divide into tokens.
        """
        _, t, _, h, w = x.shape
        if h % (STRIDE * PATCH) or w % (STRIDE * PATCH) or t % GROUP != 1:
            raise UserError(f"The autoencoder takes 4n + 1 frames with sides that are multiples "
                            f"of {STRIDE * PATCH}, not {t} frames of {h}x{w}.")
        x = x.transpose(1, 2).float()                                    # (B, 3, T, H, W)
        z = self.vae.encode(x, return_dict=False)[0].mode()              # (B, C, F, h, w)
        return ((z - self.mean) / self.std).to(self.dtype).transpose(1, 2)

    def decode_step(self, z, before=None):
        """Latent frames (B, F, C, h, w) -> their frames (B, 4F, 3, H, W) and the new state.

        Without a state it is the first one, F = 1, which is a single picture: (B, 1, 3, H, W).
        """
        z = z.transpose(1, 2)                                            # (B, C, F, h, w)
        z = self.vae.post_quant_conv((z.float() * self.std + self.mean).to(self.dtype))
        layers = self.vae._cached_conv_counts["decoder"]
        z = z.contiguous(memory_format=torch.channels_last_3d)
        state = list(before) if before else [None] * layers              # the decoder writes here
        x = self.vae.decoder(z, feat_cache=state, feat_idx=[0], first_chunk=before is None)
        return x.transpose(1, 2).clamp(-1, 1), tuple(state)


def load_vae(folder, device="cpu", dtype=torch.float32):
    """A `WanCodec` from a folder in diffusers' layout, safetensors only. UserError without it."""
    from diffusers import AutoencoderKLWan

    vae = from_folder(AutoencoderKLWan, folder, "autoencoder in diffusers' layout (config.json and "
                      "diffusion_pytorch_model.safetensors)", torch_dtype=torch.float32,
                      low_cpu_mem_usage=False)
    return WanCodec(vae.to(device), dtype)


# The light decoder: channels, those after it, frames of one.
STAGES = ((256, 128, 1), (128, 64, 2), (64, 64, 2))
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
