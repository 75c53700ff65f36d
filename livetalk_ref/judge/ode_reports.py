"""The figures in data/results that belong to the trajectories."""

import time

import torch

from livetalk_ref.flow import TEACHER_STEPS, sigma_grid
from livetalk_ref.generate import GUIDANCE, PLAIN
from livetalk_ref.judge.evaluate import HeldOut, noise_of
from livetalk_ref.judge.stats import bootstrap
from livetalk_ref.load import load_module
from livetalk_ref.ode import straightness, trajectory

BATCH = 8


def walks(model, held_out, guidance, seed=0, watch=None):
    """Whole paths (batch, 49, 21, C, h, w) of a teacher for held-out conditions."""
    for first in range(0, len(held_out.data), BATCH):
        some = held_out.data.select(range(first, min(first + BATCH, len(held_out.data))))
        x0, cond = some.window(0, 1)
        noise = noise_of(x0, seed, first)
        yield trajectory(model, noise, x0[:, :1], cond, guidance, TEACHER_STEPS, watch)


def straightness_rows(states, label):
    """One row a step of paths (N, K + 1, F, C, h, w): deviation, and curvature at its start,
    with 95 % intervals over the paths; the known frame 0 does not count."""
    grid = sigma_grid(states.shape[1] - 1)
    deviation, curvature = straightness(states[:, :, 1:])
    rows = []
    for k in range(deviation.shape[1]):
        row = {"guidance": label, "step": k, "sigma": round((grid[k] + grid[k + 1]).item() / 2, 5)}
        row |= interval("deviation", deviation[:, k])
        if k:                                       # a bend lies between two steps
            row |= {"bend": round(grid[k].item(), 5)} | interval("curvature", curvature[:, k - 1])
        rows.append(row)
    return rows


def interval(name, values):
    """A mean and its 95 % interval as two entries of a row."""
    mean, *edges = bootstrap(values.tolist())
    return {name: round(mean, 5), f"{name} 95%": [round(edge, 5) for edge in edges]}


def straightness_report(count=16):
    """How bent the teacher's paths are along sigma, plain and guided, on held-out conditions."""
    held_out, teacher = HeldOut.make(load_module("codec"), count), load_module("teacher")
    rows, cost = [], {}
    for label, guidance in (("plain", PLAIN), ("guided", GUIDANCE)):
        began = time.perf_counter()
        rows += straightness_rows(torch.cat(list(walks(teacher, held_out, guidance))), label)
        cost[f"{label} seconds"] = round(time.perf_counter() - began, 1)
    return rows, cost
