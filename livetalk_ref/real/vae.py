"""Wan's video autoencoder of diffusers behind the interface of our own codec.

8x in space, 4x in time, 16 channels. Latents are brought to zero mean and unit variance channel
by channel; encoding takes the mean of the posterior, no sample. Decoding keeps the causal
convolutions' last inputs as its state, so a stream is the whole decode.
Letters: B batch, T = 4F - 3 frames, F latent frames, C channels. Wan 2.1 section 4.1.
"""

import torch
import torch.nn.functional as F
from torch import nn

from livetalk_ref.cache import BLOCK
from livetalk_ref.errors import UserError
from livetalk_ref.real.weights import from_folder

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
