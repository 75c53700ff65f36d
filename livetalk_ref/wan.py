"""WanDiT: the Wan 2.1 video transformer with OmniAvatar's audio path and reference image.

One class for the course's miniature and for the released LiveTalk-1.3B: parameter names and
shapes are those of the released checkpoint. Letters: B batch, F latent frames, S tokens a
frame, N = F S tokens, D width, H heads, L text rows, A audio features a video frame.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from livetalk_ref.errors import UserError
from livetalk_ref.flow import ROWS_PER_LATENT


@dataclass(frozen=True)
class Config:
    """The size of a WanDiT; saved beside its weights."""

    dim: int
    ffn_dim: int
    heads: int
    layers: int
    text_dim: int
    audio_dim: int             # features of one audio row (one video frame)
    latent_channels: int
    audio_hidden: int = 32
    freq_dim: int = 256
    patch: int = 2             # patch (1, 2, 2)
    eps: float = 1e-6
    bf16_time: bool = False    # the timestep is embedded as bf16 holds it: 833.3 as 832

    @property
    def audio_layers(self):
        """Blocks that get audio added in front: 2 .. layers / 2 inclusive."""
        return range(2, self.layers // 2 + 1)


TINY = Config(dim=192, ffn_dim=512, heads=3, layers=8, text_dim=64, audio_dim=64,
              latent_channels=40, audio_hidden=96)
LIVETALK_1P3B = Config(dim=1536, ffn_dim=8960, heads=12, layers=30, text_dim=4096,
                       audio_dim=10752, latent_channels=16, bf16_time=True)
OMNIAVATAR_14B = replace(LIVETALK_1P3B, dim=5120, ffn_dim=13824, heads=40, layers=40)
SIZES = {"tiny": TINY, "livetalk-1.3b": LIVETALK_1P3B, "omniavatar-14b": OMNIAVATAR_14B}


def sinusoid(position, dim):
    """Sinusoidal embedding of positions, [cos | sin]: (...,) -> (..., dim), float64."""
    angle = position.double()[..., None] * frequencies(dim, position.device)
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


@lru_cache(maxsize=4)
@torch.inference_mode(False)   # what is kept serves training as well
def frequencies(dim, device):
    """The dim / 2 frequencies of `sinusoid`, from 1 down to almost 1 / 10000."""
    return 10000 ** (-torch.arange(dim // 2, dtype=torch.float64, device=device) / (dim // 2))


@lru_cache(maxsize=16)         # streams with a window come back to the same few
@torch.inference_mode(False)
def rope_table(frames, height, width, head_dim, device=None):
    """Cosine and sine of every token of a video, float32 (F h w, head_dim / 2, 2), on a device.

    frames: how many, or a tuple of where each of them stands in time. The channels of a head
    are split over time, height and width; each axis rotates adjacent pairs with its own
    frequencies, theta 10000 (Su et al. 2021, in 3-D as in Wan 2.1).
    """
    # Three axes share a head's channels: time takes what two thirds of them leave (Wan 2.1).
    times = frames if isinstance(frames, tuple) else range(frames)
    space = 2 * (head_dim // 6)
    axes = []
    for axis, (places, dim) in enumerate(((times, head_dim - 2 * space),
                                          (range(height), space), (range(width), space))):
        freqs = 10000 ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
        angle = torch.outer(torch.tensor(places, dtype=torch.float64), freqs)
        shape = [1, 1, 1, dim // 2]
        shape[axis] = len(places)
        axes.append(angle.view(shape).expand(len(times), height, width, -1))
    angle = torch.cat(axes, dim=-1).flatten(0, 2)
    return torch.stack([angle.cos(), angle.sin()], dim=-1).to(device, torch.float32)


def rotate(x, table):
    """Apply RoPE to queries or keys (B, H, N, d) by a table (N, d / 2, 2)."""
    # A pair of neighbouring channels is a complex number, and its place in the video an angle.
    pairs = x.float().unflatten(-1, (-1, 2))                             # (B, H, N, d / 2, 2)
    if torch.compiler.is_compiling():       # which fuses real products alone
        (a, b), (cos, sin) = pairs.unbind(-1), table.unbind(-1)
        turned = torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1)
    else:                                   # one product in place of six passes over memory
        turned = torch.view_as_real(torch.view_as_complex(pairs) * torch.view_as_complex(table))
    return turned.flatten(-2).to(x.dtype)


def per_token(mask, frames, tokens):
    """A mask (F, M) over latent frames as one over tokens; others, and None, stay as they are."""
    if mask is None or mask.shape[0] != frames:
        return mask
    return mask.repeat_interleave(tokens, 0).repeat_interleave(tokens, 1)


class RMSNorm(nn.Module):
    """Root-mean-square norm over the full width, in float32."""

    def __init__(self, dim, eps):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        y = F.rms_norm(x.float(), x.shape[-1:], eps=self.eps)
        return y.to(x.dtype) * self.weight


class Attention(nn.Module):
    """Multi-head attention with query and key norms over all heads together."""

    def __init__(self, dim, heads, eps):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))
        self.norm_q, self.norm_k = RMSNorm(dim, eps), RMSNorm(dim, eps)

    def split(self, x):
        """(B, N, D) -> one part for each head, (B, H, N, d)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def read(self, context):
        """Keys before RoPE and values of a context (B, M, D), each (B, H, M, d)."""
        return self.split(self.norm_k(self.k(context))), self.split(self.v(context))

    def forward(self, x, new, rope=None, mask=None, past=None):
        """x (B, N, D) reads the keys and values `new`, and before them cached ones, `past`.

        rope is the table of x and `new`; past keys are rotated, and may have room for new ones
        behind. mask (.., N, P + M) bool, True = may read, counts the P cached tokens too.
        """
        q, (k, v) = self.split(self.norm_q(self.q(x))), new
        if rope is not None:
            q, k = rotate(q, rope), rotate(k, rope)
        if past is not None:
            k, v = behind(past[0], past[1].shape[2], k), torch.cat([past[1], v], dim=2)
        y = F.scaled_dot_product_attention(q, k, v.to(q.dtype), attn_mask=mask)
        return self.o(y.transpose(1, 2).flatten(2))                      # (B, N, D)


def behind(past, held, new):
    """Keys `new` (B, H, M, d) behind the P = held cached ones of past: (B, H, P + M, d)."""
    if past.shape[2] == held:                                            # without room
        return torch.cat([past, new], dim=2)
    past[:, :, held:] = new
    return past


def modulate(x, shift, scale):
    """Scale and shift per latent frame: x (B, F, S, D), shift and scale (B, F, 1, D)."""
    return torch.addcmul(shift, x, 1 + scale)


class Block(nn.Module):
    """Self-attention, text cross-attention, feed-forward; time modulates the first and last."""

    def __init__(self, c):
        super().__init__()
        self.self_attn = Attention(c.dim, c.heads, c.eps)
        self.cross_attn = Attention(c.dim, c.heads, c.eps)
        self.norm3 = nn.LayerNorm(c.dim, c.eps)
        self.ffn = nn.Sequential(nn.Linear(c.dim, c.ffn_dim), nn.GELU("tanh"),
                                 nn.Linear(c.ffn_dim, c.dim))
        self.modulation = nn.Parameter(torch.randn(1, 6, c.dim) / math.sqrt(c.dim))
        self.eps = c.eps
        self.recomputes = False     # in the backward pass, all but what came in

    def forward(self, *given):
        """`compute`, which may keep its arguments alone for the backward pass."""
        # A block writes to no cache, so what is computed twice is remembered once.
        if self.recomputes and torch.is_grad_enabled():
            return checkpoint(self.compute, *given, use_reentrant=False)
        return self.compute(*given)

    def compute(self, x, time, text, rope, mask, text_mask, past=None):
        """x (B, F, S, D), time (B, F, 6, D), text (B, L, D) or its (key, value), (B, H, L, d)
        -> x, and the keys and values of these frames, (B, H, N, d)."""
        frames = x.shape[1]
        if torch.is_tensor(text):
            text = self.cross_attn.read(text)
        # The noise level of each frame sets shifts, scales and gates (adaptive layer norm, DiT).
        shift1, scale1, gate1, shift2, scale2, gate2 = (self.modulation + time).split(1, dim=2)

        def norm(y):
            return F.layer_norm(y, y.shape[-1:], eps=self.eps)

        # 1. Self-attention over these frames and the cached ones before them.
        y = modulate(norm(x), shift1, scale1).flatten(1, 2)              # (B, N, D)
        new = self.self_attn.read(y)
        y = self.self_attn(y, new, rope, mask, past).unflatten(1, (frames, -1))
        x = torch.addcmul(x, gate1, y)
        # 2. Cross-attention to the prompt, which the noise level does not modulate.
        y = self.cross_attn(self.norm3(x).flatten(1, 2), text, mask=text_mask)
        x = x + y.unflatten(1, (frames, -1))
        # 3. Feed-forward. All three add to the residual stream.
        return torch.addcmul(x, gate2, self.ffn(modulate(norm(x), shift2, scale2))), new


class Head(nn.Module):
    """Modulated projection of every token to its patch of velocity."""

    def __init__(self, c):
        super().__init__()
        self.head = nn.Linear(c.dim, c.patch * c.patch * c.latent_channels)
        self.modulation = nn.Parameter(torch.randn(1, 2, c.dim) / math.sqrt(c.dim))
        self.eps = c.eps

    def forward(self, x, time):
        """x (B, F, S, D), time (B, F, D) -> (B, F, S, patch * patch * C)."""
        shift, scale = (self.modulation + time[:, :, None]).split(1, dim=2)
        return self.head(modulate(F.layer_norm(x, x.shape[-1:], eps=self.eps), shift, scale))


class AudioPack(nn.Module):
    """Four audio rows of a latent frame packed into one small vector."""

    def __init__(self, c):
        super().__init__()
        self.proj = nn.Linear(ROWS_PER_LATENT * c.audio_dim, c.audio_hidden)
        self.norm_out = nn.LayerNorm(c.audio_hidden)

    def forward(self, x):
        return self.norm_out(self.proj(x))


class WanDiT(nn.Module):
    """Velocity of noisy latents given reference image, audio and text.

    `WanDiT(config)(x, sigma, cond)`: x (B, F, C, h, w) with h and w multiples of the patch,
    sigma (B, F) in [0, 1], `Cond` -> v (B, F, C, h, w). Raises UserError for a condition that
    does not fit x. LiveTalk section 3.1; forward order of Wan 2.1 with OmniAvatar's additions.

    With a `KVCache` the frames of x follow those cached and read them too; the result is then
    (v, new), where `cache.append(new)` is the cache that holds the frames of x as well.
    """

    def __init__(self, config):
        super().__init__()
        c = self.config = config
        self.patch_embedding = nn.Conv3d(2 * c.latent_channels + 1, c.dim,
                                         (1, c.patch, c.patch), (1, c.patch, c.patch))
        self.text_embedding = nn.Sequential(nn.Linear(c.text_dim, c.dim), nn.GELU("tanh"),
                                            nn.Linear(c.dim, c.dim))
        self.time_embedding = nn.Sequential(nn.Linear(c.freq_dim, c.dim), nn.SiLU(),
                                            nn.Linear(c.dim, c.dim))
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(c.dim, 6 * c.dim))
        self.blocks = nn.ModuleList(Block(c) for _ in range(c.layers))
        self.head = Head(c)
        self.audio_proj = AudioPack(c)
        self.audio_cond_projs = nn.ModuleList(nn.Linear(c.audio_hidden, c.dim)
                                              for _ in c.audio_layers)
        nn.init.zeros_(self.head.head.weight)
        nn.init.zeros_(self.head.head.bias)

    def forward(self, x, sigma, cond, cache=None, mask=None):
        """mask bool limits self-attention, None shows all, see `cache.block_causal_mask`: over
        latent frames (F, M), M counting the cached ones too, or over tokens (N, S M)."""
        check_cond(x, cond, self.config)
        frames, (height, width) = x.shape[1], (n // self.config.patch for n in x.shape[3:])
        # Sigma is a number a frame: known and noisy frames, or blocks, may stand side by side.
        tokens = self.embed(x, cond)                                     # (B, F, S, D)
        t = (1000 * sigma).to(torch.bfloat16 if self.config.bf16_time else sigma.dtype)
        # The released weights know t = 1000 sigma as bf16 holds it.
        time = self.time_embedding(sinusoid(t, self.config.freq_dim).to(x.dtype))
        time6 = self.time_projection(time).unflatten(-1, (6, -1))        # (B, F, 6, D)
        # Keys that were made beforehand, or every block reads the text itself.
        text = cond.text_keys or [self.text_embedding(cond.text)] * len(self.blocks)
        audio = self.audio_proj(cond.audio)                              # (B, F, 32)
        # Behind a cache the frames of x stand after the cached ones (section 4).
        places = frames if cache is None else cache.positions(frames)
        rope = rope_table(places, height, width, self.config.dim // self.config.heads, x.device)
        before, rope = rope.tensor_split([len(rope) - frames * height * width])
        mask = per_token(mask, frames, height * width)
        if (text_mask := cond.text_mask) is not None:                    # (B, 1, N, L)
            text_mask = text_mask.repeat_interleave(height * width, dim=1)[:, None]
        # Audio is added to the tokens in front of blocks 2 .. layers / 2, all of a frame alike
        # (OmniAvatar); there is no cross-attention to it.
        added, room = [], 0 if torch.is_grad_enabled() else len(rope)   # these need old keys whole
        for i, block in enumerate(self.blocks):
            if i in self.config.audio_layers:
                inject = self.audio_cond_projs[i - self.config.audio_layers.start]
                tokens = tokens + inject(audio)[:, :, None]
            # These frames read the cached ones, and give keys and values of their own back.
            past = cache and cache.read(i, room, lambda keys: rotate(keys, before))
            tokens, new = block(tokens, time6, text[i], rope, mask, text_mask, past)
            if cache is not None:                                        # (B, H, F, S, d)
                added.append([t.unflatten(2, (frames, -1)) for t in new])
        v = self.unpatchify(self.head(tokens, time), height, width)
        return v if cache is None else (v, added)

    def read_text(self, text):
        """For every block the keys and values of a text (B, L, text_dim): `Cond.text_keys`."""
        text = self.text_embedding(text)                                 # (B, L, D)
        return tuple(block.cross_attn.read(text) for block in self.blocks)

    def embed(self, x, cond):
        """Tokens of [noisy latent, reference latent, mask] patches: (B, F, S, D)."""
        b, f, _, h, w = x.shape
        # The reference latent goes to every frame; a mask channel is 1 where to generate.
        ref = cond.ref[:, None].expand(-1, f, -1, -1, -1)
        generate = (~cond.known)[..., None, None, None].to(x).expand(-1, -1, 1, h, w)
        x = torch.cat([x, ref, generate], dim=2)                         # (B, F, 2C + 1, h, w)
        p = self.config.patch
        x = x.unflatten(4, (w // p, p)).unflatten(3, (h // p, p))        # (B, F, c, h', p, w', p)
        x = x.permute(0, 1, 3, 5, 2, 4, 6).flatten(4).flatten(2, 3)      # (B, F, S, c p p)
        # A convolution whose stride is its kernel is a linear map of patches, and faster so.
        return F.linear(x, self.patch_embedding.weight.flatten(1), self.patch_embedding.bias)

    def unpatchify(self, x, height, width):
        """(B, F, S, p p C), channel fastest -> (B, F, C, h, w)."""
        p = self.config.patch
        x = x.unflatten(3, (p, p, -1)).unflatten(2, (height, width))     # (B, F, h', w', p, p, C)
        return x.permute(0, 1, 6, 2, 4, 3, 5).flatten(5, 6).flatten(3, 4)


def check_cond(x, cond, config):
    """Say in one sentence what does not fit."""
    b, f, c, h, w = x.shape
    want = {"ref": (b, c, h, w), "known": (b, f),
            "audio": (b, f, ROWS_PER_LATENT * config.audio_dim)}
    for name, shape in want.items():
        got = tuple(getattr(cond, name).shape)
        if got != shape:
            raise UserError(f"cond.{name} has shape {got}, but latents {tuple(x.shape)} "
                            f"need {shape}.")
    if h % config.patch or w % config.patch:
        raise UserError(f"Latents of {h}x{w} do not divide into patches of {config.patch}; "
                        f"choose a picture size that does.")
