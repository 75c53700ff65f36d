"""The block-by-block rollout: ONE loop for training, for offline generation and for streaming.

A block is 3 latent frames. Each is denoised in 4 steps behind the cache of the clean blocks
before it, then passes once more through the model at sigma 0, which gives the keys and values
that the cache keeps. Training breaks off at an exit step, the only one with gradients; under
`torch.no_grad()` the same code streams. A `model` here is any callable that with a cache gives
`model(x, sigma, cond, cache=cache) -> v, new`, see `wan.WanDiT`. Letters as in flow.py, k frames
of a block. LiveTalk section 3.1, Self Forcing (Huang et al. 2025) algorithm 1.
"""

from dataclasses import dataclass
from itertools import islice

import torch

from livetalk_ref import parallel
from livetalk_ref.cache import BLOCK, EMPTY, FULL, KVCache
from livetalk_ref.errors import UserError
from livetalk_ref.flow import (STUDENT_STEPS, add_noise, exact, keep_known, student_sigmas,
                               x0_from_velocity)

SIGMAS = student_sigmas()      # 1, .9375, .8333, .625
LAST = STUDENT_STEPS - 1


@dataclass(frozen=True)
class Block:
    """A finished block, and the cache it was made with: rolling on from there is the undo."""

    index: int
    x0: torch.Tensor       # clean latents                                  (B, k, C, h, w)
    past: KVCache          # without this block


def split(cond, block=BLOCK):
    """The conditions of one block after the other. Raises UserError for a broken last block."""
    frames = cond.known.shape[1]
    if frames % block:
        raise UserError(f"{frames} latent frames do not divide into blocks of {block}; "
                        f"use {frames + block - frames % block} of them.")
    return (cond.frames(start, start + block) for start in range(0, frames, block))


def draw(cond, generator, steps=STUDENT_STEPS):
    """All noise of a block, (steps, B, k, C, h, w): to start from, then one for each later step.

    Drawn where the generator is, on the CPU as a rule, and never less of it, so that a block's
    noise does not depend on where those before it stopped. generator: one, or one a clip.
    """
    clips, frames = cond.known.shape
    own = slice(None)
    if isinstance(generator, torch.Generator):
        generator, own = [generator] * clips * parallel.size(), parallel.own()
    # All of it at once: a rollout that exits early draws as much as one that does not.
    shape = (steps, frames, *cond.ref.shape[1:])
    noise = [torch.randn(shape, generator=g, device=g.device) for g in generator]
    return torch.stack(noise[own], 1).to(cond.ref)


def denoise(model, noise, cond, cache, exit=None):
    """Noise (steps, B, k, C, h, w) to one block of clean latents (B, k, C, h, w).

    The prediction of step `exit`, None for the last, is the block. Gradients, if they are on,
    see that step alone.
    """
    training, steps = torch.is_grad_enabled(), len(noise)
    exit = steps - 1 if exit is None else exit
    sigmas = exact(student_sigmas(steps), noise)[:, None, None]          # (steps, 1, 1)
    sigmas = sigmas.expand(-1, *noise.shape[1:3])                        # (steps, B, k)
    # The reference is pasted before each step and into the result (OmniAvatar).
    x, ref = noise[0], cond.ref[:, None]
    for step in range(exit + 1):
        x = keep_known(x, ref, cond.known)      # in a rollout the very first frame alone is known
        # Gradient truncation: only the exit step has gradients (Self Forcing, algorithm 1).
        with torch.set_grad_enabled(training and step == exit):
            v, _ = model(x, sigmas[step], cond, cache=cache)
            # Jump to the clean end: x0 = x_sigma - sigma v.
            x0 = keep_known(x0_from_velocity(x, sigmas[step], v), ref, cond.known)
        if step < exit:
            # Take it back to the next level with FRESH noise: a consistency sampler, not Euler
            # (Self Forcing, algorithm 1; LiveTalk section 3.1).
            x = add_noise(x0, noise[step + 1], sigmas[step + 1])
    return x0


@torch.no_grad()
def remember(model, x0, cond, cache):
    """Make the cache that holds one more finished block (B, k, C, h, w), by the clean pass."""
    # One more pass at sigma 0: later blocks read keys and values of clean frames, never of noisy.
    _, new = model(x0, x0.new_zeros(x0.shape[:2]), cond, cache=cache)
    return cache.append(new)


def rollout(model, conds, generator, cache=EMPTY, exit=None, steps=STUDENT_STEPS):
    """Yield a `Block` for every block's `Cond` of an iterable, for as long as it gives some.

    A block is yielded before its clean pass, so it can be shown while that is computed; the
    next condition is asked for afterwards.
    """
    # Denoise, show, remember: the whole of streaming.
    for index, cond in enumerate(conds):
        x0 = denoise(model, draw(cond, generator, steps), cond, cache, exit)
        yield Block(index, x0, cache)
        cache = remember(model, x0, cond, cache)


def sample(model, cond, generator, policy=FULL, exit=None, steps=STUDENT_STEPS):
    """All blocks of a condition one behind the other: latents (B, F, C, h, w).

    The last block's clean pass, which nobody would read, is not made.
    """
    conds = list(split(cond))
    blocks = rollout(model, conds, generator, KVCache(policy), exit, steps)
    return torch.cat([block.x0 for block in islice(blocks, len(conds))], dim=1)
