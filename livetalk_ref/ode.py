"""ODE initialisation: the teacher's trajectories, and the regression that makes a student.

The guided teacher walks its probability-flow ODE in 48 steps; the states at the student's four
noise levels and the clean end are kept. The student learns to jump from any of them to the end,
in one pass over all blocks in which no block reads a later one. Letters as in flow.py; K states
kept besides the end. LiveTalk section 3.1 and table 4, Self Forcing (Huang et al. 2025).
"""

import torch

from livetalk_ref import parallel
from livetalk_ref.cache import BLOCK, block_causal_mask
from livetalk_ref.flow import (STUDENT_STEPS, TEACHER_STEPS, euler, keep_known, sigma_grid,
                               x0_from_velocity)

LEVELS = {"self_forcing": 1, "livetalk": 0}     # clean ones, besides the noisy
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


def take(states, index):
    """The state of number index (B, F) for every frame of states (B, K, F, C, h, w)."""
    index = index[:, None, :, None, None, None].expand(-1, 1, -1, *states.shape[3:])
    return states.gather(1, index)[:, 0]                                 # (B, F, C, h, w)


def behind_noisy(model, x, sigma, cond):
    """Velocities when a block reads the earlier blocks as noisy as they are: one pass."""
    # What the released code trains on, and what diffusion forcing does.
    return model(x, sigma, cond, mask=block_causal_mask(x.shape[1], 1, BLOCK).to(x.device))


def ode_loss(model, batch, generator, variant=VARIANT):
    """Mean squared x0 error of a student on trajectories: one noise level a block, at random.

    batch: states (B, steps + 1, F, C, h, w) and their Cond, F a multiple of 3. Variants:
    "livetalk", the released code's, all noisy; "self_forcing", where a block may also be clean
    and then does not count.
    """
    states, cond = batch
    blocks, steps = (len(states), states.shape[2] // BLOCK), states.shape[1] - 1
    # Every block draws its own noise level among the student's (LiveTalk section 3.1, table 4).
    index = parallel.randint(steps + LEVELS[variant], blocks, generator)
    index = index.repeat_interleave(BLOCK, dim=1).to(states.device)      # (B, F)
    sigma = sigma_grid(steps).to(states)[index]
    # The state of the teacher's path at that level; the target is where the path ends.
    x, end = take(states, index), states[:, -1]
    # From any level straight to the end, in one jump: this is what makes four steps enough.
    x0 = x0_from_velocity(x, sigma, behind_noisy(model, x, sigma, cond))
    error = (x0 - end).square().mean(dim=(2, 3, 4))                      # (B, F)
    # Self Forcing: a block that came clean has nothing to learn.
    counts = sigma > 0
    return parallel.mean((error * counts).sum(), counts.sum())     # all may have been clean
