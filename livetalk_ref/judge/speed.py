"""What made a block fast: every change beside the way it was before, in turns.

Each line runs the same work in both ways, one after the other, many times, and tells the median
of the processor time that a single thread took: other programs on the machine disturb it least.
The last line is a way that was left alone, for it changes the pictures.
"""

import time
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from statistics import median
from unittest.mock import patch

import torch

from livetalk_ref import wan
from livetalk_ref.cache import BLOCK, POLICIES, KVCache
from livetalk_ref.judge import bench
from livetalk_ref.load import load_module
from livetalk_ref.rollout import SIGMAS, draw, remember
from livetalk_ref.stream import AHIS

REPEATS = 60


def plain_norm(self, x):
    """Root-mean-square norm, operation by operation."""
    y = x.float()
    y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + self.eps)
    return y.to(x.dtype) * self.weight


def plain_modulate(x, shift, scale):
    """Scale and shift, likewise."""
    return x * (1 + scale) + shift


@contextmanager
def small_operations():
    """The model with norms and modulation as they are written in papers."""
    with ExitStack() as stack:
        stack.enter_context(patch.object(wan.RMSNorm, "forward", plain_norm))
        stack.enter_context(patch.object(wan, "modulate", plain_modulate))
        stack.enter_context(patch.object(wan, "frequencies", wan.frequencies.__wrapped__))
        yield


@contextmanager
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def in_turns(before, after, repeats=REPEATS):
    """Milliseconds of processor time of two calls, (median, median), and what both returned."""
    results, took = (before(), after()), ([], [])
    for _ in range(repeats):
        for work, times in zip((before, after), took):
            began = time.process_time()
            work()
            times.append(1000 * (time.process_time() - began))
    return *map(median, took), *results


@torch.inference_mode()
def passes(avatar, picture):
    """One pass of a later block behind a full cache: {name: (before, after)}."""
    cond = bench.heard_by(bench.prepare(replace(avatar, sampler="rollout"), picture), BLOCK)
    cache, x = KVCache(POLICIES["ahis"]), draw(cond, torch.Generator().manual_seed(0))[0]
    while len(cache.frames) < AHIS.sinks + AHIS.window:
        cache = remember(avatar.model, x, cond, cache)
    sigma = SIGMAS[1].to(x).expand(1, BLOCK)

    def run(cond=cond, mode=torch.inference_mode, ops=ExitStack):
        with mode(), ops():
            return avatar.model(x, sigma, cond, cache=cache)[0]

    unread = replace(cond, text_keys=None)
    return {"keys and values of the prompt made once": (lambda: run(unread), run),
            "inference_mode instead of no_grad": (lambda: run(mode=torch.no_grad), run),
            "norms and modulation in fewer operations": (lambda: run(ops=small_operations), run),
            "all three": (lambda: run(unread, torch.no_grad, small_operations), run)}


@torch.inference_mode()
def decodings(codec):
    """Decoding one latent frame: {name: (before, after)}."""
    side, decoder = 6, codec.decoder
    z = torch.randn(1, 1, codec.config.latent_channels, side, side,
                    generator=torch.Generator().manual_seed(0))
    memory = codec.state(decoder, z[:, 0])
    rows, rough = load_module("codec"), load_module("codec").bfloat16()
    rows.decoder.to(memory_format=torch.contiguous_format)

    def run(module=codec, kind=torch.float32, **keep):
        with torch.inference_mode():
            frames, _ = module.decoder(z.to(kind) / module.scale, memory.to(kind), **keep)
            return frames[:, -1].float()

    return {"the first latent frame makes one picture, not four": (run, lambda: run(keep=1)),
            "convolutions with channels last": (lambda: run(rows), run),
            "left alone: decoding in bfloat16": (run, lambda: run(rough, torch.bfloat16))}


def compare(avatar, picture, repeats=REPEATS):
    """(rows, cost): every change and how much it changes a result; milliseconds before, after."""
    rows, times = [], []
    with one_thread():
        for unit, found in (("pass", passes(avatar, picture)),
                            ("latent frame", decodings(avatar.codec))):
            for name, (before, after) in found.items():
                was, now, old, new = in_turns(before, after, repeats)
                gap = ((old - new).abs().max() / old.abs().max()).item()
                rows.append({"change": name, "of": unit, "largest difference": float(f"{gap:.2g}")})
                times.append({"change": name, "before_ms": round(was, 2),
                              "after_ms": round(now, 2)})
    return rows, {"threads": 1, "repeats": repeats, "rows": times}
