"""ODE initialisation: the teacher's trajectories, and the regression that makes a student.

The guided teacher walks its probability-flow ODE in 48 steps; the states at the student's four
noise levels and the clean end are kept. The student learns to jump from any of them to the end,
in one pass over all blocks in which no block reads a later one. Letters as in flow.py; K states
kept besides the end. LiveTalk section 3.1 and table 4, Self Forcing (Huang et al. 2025).
"""

from dataclasses import replace

import torch

from livetalk_ref.cache import BLOCK, KVCache, Policy, block_causal_mask
from livetalk_ref.flow import (
    STUDENT_STEPS,
    TEACHER_STEPS,
    add_noise,
    draw_sigma,
    euler,
    guided,
    keep_known,
    sigma_grid,
    x0_from_velocity,
)

ABSOLUTE = Policy(relative=False)
LEVELS = {"self_forcing": 1, "livetalk": 0, "teacher_forced": 0}    # clean ones, besides the noisy
VARIANT = "self_forcing"    # what a stream reads is clean: "livetalk" never shows that


def trajectory(model, noise, clean, cond, guidance, kept=STUDENT_STEPS, watch=None):
    """States along the teacher's path, (B, kept + 1, F, C, h, w): noise first, clean end last.

    Of its 48 steps every (48 / kept)-th: indices 0, 12, 24, 36 and the end. Arguments as for
    `flow.euler`; `watch` is called with each of its steps.
    """
    states = [keep_known(noise, clean)]
    for step in euler(model, noise, clean, cond, TEACHER_STEPS, guidance):
        # Indices 12, 24, 36 of 48 are the student's noise levels, whatever the shift.
        if (step.index + 1) % (TEACHER_STEPS // kept) == 0:
            states.append(step.x)
        if watch:
            watch(step)
    return torch.stack(states, dim=1)


@torch.no_grad()
def causal_trajectory(model, noise, clean, cond, guidance, watch=None):
    """States along the path of an autoregressive teacher, (B, 5, F, C, h, w): one block after the
    other, each behind the clean ends of the blocks before it. `clean` is the reference."""
    cache, new, made = KVCache(), [], []

    def behind(x, sigma, cond):         # guidance puts its branches into one batch, and so
        v, new[:] = model(x, sigma, cond, cache=cache)      # into one cache
        return v

    for start in range(0, noise.shape[1], BLOCK):
        part = cond.frames(start, start + BLOCK)
        known = clean if start == 0 else noise[:, :0]
        # The teacher's 48 steps for this block, behind clean keys and values of those before.
        states = trajectory(behind, noise[:, start:start + BLOCK], known, part, guidance,
                            watch=watch)
        end = states[:, -1]
        guided(behind, end, end.new_zeros(end.shape[:2]), part, guidance)    # the clean pass
        cache = cache.append(new)
        made.append(states)
    return torch.cat(made, dim=2)


def straightness(states):
    """How far a path (B, K + 1, F, C, h, w) is from the straight line between its ends.

    Two measures along the noise levels `sigma_grid(K)`. Deviation (B, K): squared distance of
    a step's velocity from the chord's, over the chord's square; 0 everywhere is a straight
    path, which one Euler step would follow (Liu et al. 2022). Curvature (B, K - 1): change of
    the velocity per unit of sigma between neighbouring steps, over the chord's size.
    """
    # A straight path has one velocity, its chord's, and could be followed in one step.
    x = states.flatten(2).double()                                       # (B, K + 1, D)
    grid = sigma_grid(x.shape[1] - 1).to(x.device)[:, None]
    v = x.diff(dim=1) / grid.diff(dim=0)                                 # (B, K, D)
    chord = x[:, :1] - x[:, -1:]        # sigma runs from 1 to 0, so this is a velocity
    size = chord.norm(dim=-1)                                            # (B, 1)
    between = (grid[2:] - grid[:-2])[:, 0].abs() / 2    # from one step's middle to the next
    deviation = (v - chord).norm(dim=-1).square() / size.square()
    return deviation, v.diff(dim=1).norm(dim=-1) / (between * size)


def per_block(values):
    """One value a block (B, F / 3) -> one a latent frame (B, F)."""
    return values.repeat_interleave(BLOCK, dim=1)


def take(states, index):
    """The state of number index (B, F) for every frame of states (B, K, F, C, h, w)."""
    index = index[:, None, :, None, None, None].expand(-1, 1, -1, *states.shape[3:])
    return states.gather(1, index)[:, 0]                                 # (B, F, C, h, w)


def behind_noisy(model, x, sigma, clean, cond):
    """Velocities when a block reads the earlier blocks as noisy as they are: one pass."""
    return model(x, sigma, cond, mask=block_causal_mask(x.shape[1], 1, BLOCK).to(x.device))


def behind_clean(model, x, sigma, clean, cond):
    """Velocities when a block reads the earlier blocks clean (teacher forcing), as in streaming.

    One pass over `clean` fills a cache for all blocks at once; in a second one every noisy
    block reads what lies before it there, and itself.
    """
    mask = block_causal_mask(x.shape[1], 1, BLOCK).to(x.device)
    own = mask & mask.T                                     # a block's own frames
    _, new = model(clean, torch.zeros_like(sigma), cond, KVCache(ABSOLUTE), mask)
    past = replace(KVCache(ABSOLUTE).append(new), now=0)    # the noisy frames start at 0 too
    return model(x, sigma, cond, past, torch.cat([mask & ~own, own], dim=1))[0]


def ode_loss(model, batch, generator, variant=VARIANT):
    """Mean squared x0 error of a student on trajectories: one noise level a block, at random.

    batch: states (B, steps + 1, F, C, h, w) and their Cond, F a multiple of 3. Variants:
    "livetalk", the released code's, all noisy; "self_forcing", where a block may also be clean
    and then does not count; "teacher_forced", the paper's word, behind clean blocks alone.
    """
    states, cond = batch
    blocks, steps = (len(states), states.shape[2] // BLOCK), states.shape[1] - 1
    # Every block draws its own noise level among the student's (LiveTalk section 3.1, table 4).
    index = torch.randint(steps + LEVELS[variant], blocks, generator=generator)
    index = per_block(index).to(states.device)                           # (B, F)
    sigma = sigma_grid(steps).to(states)[index]
    # The state of the teacher's path at that level; the target is where the path ends.
    x, end = take(states, index), states[:, -1]
    velocity = behind_clean if variant == "teacher_forced" else behind_noisy
    # From any level straight to the end, in one jump: this is what makes four steps enough.
    x0 = x0_from_velocity(x, sigma, velocity(model, x, sigma, end, cond))
    error = (x0 - end).square().mean(dim=(2, 3, 4))                      # (B, F)
    counts = sigma > 0
    return (error * counts).sum() / counts.sum().clamp(min=1)   # all may have been clean


def teacher_forced_loss(model, batch, generator):
    """Flow-matching loss of an autoregressive teacher: noisy blocks behind clean ones.

    batch: clean latents (B, F, C, h, w) and their Cond; every block draws its own noise level.
    Known frames are fed clean and do not count. Causal Forcing (arXiv 2602.02214).
    """
    x0, cond = batch
    # Diffusion forcing's levels, a block, but with clean blocks in front (teacher forcing).
    sigma = draw_sigma((len(x0), x0.shape[1] // BLOCK), generator)
    sigma = per_block(sigma).to(x0)                                      # (B, F)
    noise = torch.randn(x0.shape, generator=generator).to(x0)
    x = keep_known(add_noise(x0, noise, sigma), x0, cond.known)
    v = behind_clean(model, x, sigma, x0, cond)
    error = (v - (noise - x0)).square().mean(dim=(2, 3, 4))
    return (error * ~cond.known).sum() / (~cond.known).sum()
