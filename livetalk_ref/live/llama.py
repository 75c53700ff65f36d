"""A small language model of the Llama kind, run token by token behind a cache.

The weights' names and layout are those of GGUF files: queries and keys hold the two numbers that
RoPE turns together side by side. B is 1: one dialogue. n new tokens, m cached ones, D width, H
heads, G key heads, d = D / H. `tests/test_live_think.py` holds it against transformers' Llama.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass(frozen=True)
class LlamaConfig:
    """Sizes of SmolLM2-135M."""

    vocabulary: int = 49152
    width: int = 576
    hidden: int = 1536
    layers: int = 30
    heads: int = 9
    key_heads: int = 3
    theta: float = 100_000.0
    eps: float = 1e-5


def turn(x, angles):
    """RoPE: turn neighbouring pairs of (heads, n, d) by (n, d / 2) angles."""
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)


class Layer(nn.Module):
    """Attention with grouped keys, then a gated feed-forward net, both behind an RMS norm."""

    def __init__(self, c):
        super().__init__()
        self.heads, self.key_heads = c.heads, c.key_heads
        keys = c.width // c.heads * c.key_heads
        self.attn_norm = nn.RMSNorm(c.width, c.eps)
        self.attn_q = nn.Linear(c.width, c.width, bias=False)
        self.attn_k = nn.Linear(c.width, keys, bias=False)
        self.attn_v = nn.Linear(c.width, keys, bias=False)
        self.attn_output = nn.Linear(c.width, c.width, bias=False)
        self.ffn_norm = nn.RMSNorm(c.width, c.eps)
        self.ffn_gate = nn.Linear(c.width, c.hidden, bias=False)
        self.ffn_up = nn.Linear(c.width, c.hidden, bias=False)
        self.ffn_down = nn.Linear(c.hidden, c.width, bias=False)

    def forward(self, x, angles, past):
        h = self.attn_norm(x)                                               # (n, D)
        q = turn(self.split(self.attn_q(h), self.heads), angles)            # (H, n, d)
        k = turn(self.split(self.attn_k(h), self.key_heads), angles)        # (G, n, d)
        v = self.split(self.attn_v(h), self.key_heads)
        if past is not None:
            k, v = torch.cat([past[0], k], 1), torch.cat([past[1], v], 1)   # (G, m + n, d)
        n, m = q.shape[1], k.shape[1] - q.shape[1]
        mask = torch.ones(n, m + n, dtype=torch.bool).tril(m)
        h = F.scaled_dot_product_attention(q[None], k[None], v[None], mask, enable_gqa=True)[0]
        x = x + self.attn_output(h.transpose(0, 1).flatten(1))
        h = self.ffn_norm(x)
        return x + self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h)), (k, v)

    @staticmethod
    def split(x, heads):
        return x.unflatten(-1, (heads, -1)).transpose(0, 1)                 # (heads, n, d)


class Llama(nn.Module):
    """Tokens (n,) behind a cache -> logits (V,) of the next one, and the longer cache."""

    def __init__(self, config=LlamaConfig()):
        super().__init__()
        c = self.config = config
        self.token_embd = nn.Embedding(c.vocabulary, c.width)               # is the head, too
        self.blk = nn.ModuleList(Layer(c) for _ in range(c.layers))
        self.output_norm = nn.RMSNorm(c.width, c.eps)

    @torch.no_grad()
    def forward(self, tokens, cache=None):
        """cache: a (keys, values) pair for every layer, a value that is never written to."""
        past = cache or [None] * len(self.blk)
        m = past[0][0].shape[1] if cache else 0
        d = self.config.width // self.config.heads
        speed = self.config.theta ** (-torch.arange(0, d, 2) / d)           # (d / 2,)
        angles = torch.arange(m, m + len(tokens))[:, None] * speed          # (n, d / 2)
        x, new = self.token_embd(tokens), []
        for layer, kept in zip(self.blk, past):
            x, kept = layer(x, angles, kept)
            new.append(kept)
        return self.output_norm(x[-1]) @ self.token_embd.weight.T, new
