"""The transformer once more, as one straight line of arithmetic written from the paper's
description of the forward order, sharing nothing with wan.py but the names of the weights.

Loops over frames, heads and pairs instead of batched shapes; attention spelled out.
"""

import math

import torch
import torch.nn.functional as F


class Straight:
    """`Straight(state, heads)(x, y, sigma, audio, text, block)` for one clip."""

    def __init__(self, state, heads, dtype=torch.float64):
        self.w = {key: value.to(dtype) for key, value in state.items()}
        self.heads, self.dtype = heads, dtype
        self.layers = 1 + max(int(k.split(".")[1]) for k in state if k.startswith("blocks."))

    def linear(self, name, x):
        return x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]

    def __call__(self, x, y, sigma, audio, text, block):
        """x (C, F, h, w) noisy, y (C + 1, F, h, w) reference and mask, sigma F numbers, audio
        (T, A) rows of video frames, text (L, D), block: latent frames that see each other (all
        earlier ones too). -> velocity (C, F, h, w)."""
        channels, frames, h, w = x.shape
        tokens = self.patches(torch.cat([x, y]).to(self.dtype))                # [frame][(h w), D]
        e, e6 = zip(*(self.time(s) for s in sigma))
        context = self.linear("text_embedding.2", gelu(self.linear("text_embedding.0",
                                                                   text.to(self.dtype))))
        heard = self.audio(audio.to(self.dtype), frames)                       # [frame] (32,)
        places = [(f, i, j) for f in range(frames) for i in range(h // 2) for j in range(w // 2)]
        count = (h // 2) * (w // 2)
        owner = [n // count for n in range(frames * count)]
        sees = torch.tensor([[a // block >= b // block for b in owner] for a in owner])
        for i in range(self.layers):
            if 2 <= i <= self.layers // 2:
                tokens = [t + self.linear(f"audio_cond_projs.{i - 2}", a)
                          for t, a in zip(tokens, heard)]
            tokens = self.block(f"blocks.{i}", tokens, e6, context, places, sees)
        out = []
        for t, one in zip(tokens, e):
            shift, scale = (self.w["head.modulation"][0] + one)
            out.append(self.linear("head.head", norm(t) * (1 + scale) + shift))
        v = torch.zeros(channels, frames, h, w, dtype=self.dtype)
        for f, patch in enumerate(out):
            for n, values in enumerate(patch):
                i, j = divmod(n, w // 2)
                pixels = values.view(2, 2, channels)                     # channel fastest
                v[:, f, 2 * i:2 * i + 2, 2 * j:2 * j + 2] = pixels.permute(2, 0, 1)
        return v

    def patches(self, x):
        made = torch.nn.functional.conv3d(x[None], self.w["patch_embedding.weight"],
                                          self.w["patch_embedding.bias"], stride=(1, 2, 2))[0]
        return [made[:, f].flatten(1).T for f in range(made.shape[1])]

    def time(self, sigma):
        half = self.w["time_embedding.0.weight"].shape[1] // 2
        angles = torch.tensor([1000 * float(sigma) * 10000 ** (-i / half) for i in range(half)],
                              dtype=torch.float64)
        raw = torch.cat([angles.cos(), angles.sin()]).to(self.dtype)
        e = self.linear("time_embedding.2", F.silu(self.linear("time_embedding.0", raw)))
        return e, self.linear("time_projection.1", F.silu(e)).view(6, -1)

    def audio(self, rows, frames):
        rows = torch.cat([rows[:1], rows[:1], rows[:1], rows])
        packed, weight = [], self.w["audio_proj.norm_out.weight"]
        for f in range(frames):
            four = torch.cat([rows[4 * f + n] for n in range(4)])
            packed.append(F.layer_norm(self.linear("audio_proj.proj", four), weight.shape,
                                       weight, self.w["audio_proj.norm_out.bias"]))
        return packed

    def block(self, name, tokens, e6, context, places, sees):
        m = [self.w[f"{name}.modulation"][0] + one for one in e6]        # [frame] (6, D)
        y = torch.cat([norm(t) * (1 + a[1]) + a[0] for t, a in zip(tokens, m)])
        y = self.attention(f"{name}.self_attn", y, y, places, sees)
        tokens = [t + a[2] * part for t, a, part in zip(tokens, m, y.chunk(len(tokens)))]
        x = torch.cat(tokens)
        z = norm(x) * self.w[f"{name}.norm3.weight"] + self.w[f"{name}.norm3.bias"]
        x = x + self.attention(f"{name}.cross_attn", z, context)
        out = []
        for t, a in zip(x.chunk(len(tokens)), m):
            hidden = gelu(self.linear(f"{name}.ffn.0", norm(t) * (1 + a[4]) + a[3]))
            out.append(t + a[5] * self.linear(f"{name}.ffn.2", hidden))
        return out

    def attention(self, name, x, context, places=None, sees=None):
        q = rms(self.linear(f"{name}.q", x)) * self.w[f"{name}.norm_q.weight"]
        k = rms(self.linear(f"{name}.k", context)) * self.w[f"{name}.norm_k.weight"]
        v = self.linear(f"{name}.v", context)
        heads = []
        for a, b, c in zip(q.chunk(self.heads, -1), k.chunk(self.heads, -1),
                           v.chunk(self.heads, -1)):
            if places:
                a, b = turn(a, places), turn(b, places)
            scores = a @ b.T / math.sqrt(a.shape[-1])
            if sees is not None:
                scores = scores.masked_fill(~sees, -math.inf)
            heads.append(scores.softmax(-1) @ c)
        return self.linear(f"{name}.o", torch.cat(heads, -1))


def turn(x, places):
    """Rotate adjacent pairs: the first share by time, then by row, then by column."""
    d = x.shape[-1]
    space = 2 * (d // 6)
    columns, start = list(x.unbind(-1)), 0
    for axis, share in enumerate((d - 2 * space, space, space)):
        where = torch.tensor([place[axis] for place in places], dtype=torch.float64)
        for i in range(share // 2):
            angle = where * 10000 ** (-2 * i / share)
            cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
            first, second = columns[start + 2 * i], columns[start + 2 * i + 1]
            columns[start + 2 * i] = first * cos - second * sin
            columns[start + 2 * i + 1] = first * sin + second * cos
        start += share
    return torch.stack(columns, -1)


def norm(x):
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)


def rms(x):
    return F.rms_norm(x, x.shape[-1:], eps=1e-6)


def gelu(x):
    return F.gelu(x, approximate="tanh")
