"""A distillation on disk: where it starts, how it continues, and what it leaves to look at.

    last.safetensors            everything, so that a killed run continues exactly
    ema.safetensors             averaged weights: the student; ema-000050 .. are those on the way
    metrics.jsonl               a line for every update of the student
    probe-000050.safetensors    `look`: what student, teacher and critic make of fixed conditions

Letters as in flow.py; L noise levels of a probe, P its conditions.
"""

import dataclasses
import json
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from livetalk_ref import curation, recipes, rollout, trajectories
from livetalk_ref.device import best_device
from livetalk_ref.dmd import Distiller, Recipe, distill, dmd_gradient, hold_known
from livetalk_ref.folders import as_json, foreign, forget_after, make_folder
from livetalk_ref.load import load_module
from livetalk_ref.packing import half
from livetalk_ref.train import autocast, kept, read, save, step_generator

KEPT = (10, 25, 50, 75, 100, 150, 200, 300, 400, 500, 600, 700, 800)
LEVELS = (0.5, 0.9)         # at which a probe shows what the two scores believe
PROBES = 8                  # conditions of a probe
PATHS = 2000                # of the teacher, for an anchor, rounded up to shards
SEED = 12_345               # of a probe's noise, the same in every run


@dataclass
class RunState:
    """What a run reports after each update of the student; a line of metrics.jsonl."""

    step: int            # updates of the student so far
    loss: float          # of the critic, mean over its updates
    gradient: float      # this and the next as in `dmd.DistillState`
    grad_norm: float
    exit: int
    size: float
    distance: float
    seconds: float       # of this update
    seconds_left: float


@torch.no_grad()
def look(distiller, cond):
    """What the three models make of fixed conditions: x (P, F, C, h, w), real and fake
    (L, P, F, C, h, w), the two scores' predictions of x0 from x with noise, and gradient.

    The same noise at every look, so that only the models differ. Known frames are the given ones
    in all of them: no model is asked for these.
    """
    d, g = distiller, step_generator(SEED, 0)
    with autocast(d.device, d.precision):
        x = rollout.sample(d.student, cond, g)
        noise = torch.randn(x.shape, generator=g).to(x)
        seen = [dmd_gradient(x, d.teacher, d.critic, noise, torch.full((len(x),), level).to(x),
                             cond, d.recipe.guidance) for level in LEVELS]
    gradient, fake, real = (torch.stack(parts) for parts in zip(*seen))
    fake, real = (hold_known(believed, cond, x) for believed in (fake, real))
    return {"x": x, "fake": fake, "real": real, "gradient": gradient}


def probed(out, update):
    """The file of the look that a run took after an update."""
    return Path(out) / f"probe-{update:06d}.safetensors"


class Folder:
    """The files of a distillation."""

    def __init__(self, out, recipe, keep=KEPT, probe=None, save_every=60.0):
        self.out, self.recipe, self.keep = Path(out), recipe, keep
        self.probe, self.save_every, self.saved = probe, save_every, time.monotonic()
        make_folder(self.out)

    def restore(self, distiller):
        """Continue from the last checkpoint, if there is one. UserError for another recipe's."""
        path = self.out / "last.safetensors"
        if path.is_file():
            tensors, facts = read(path)
            if "recipe" not in facts:
                raise foreign(self.out, "stage")
            known = as_json(Recipe()) | facts["recipe"]     # an older file knows fewer knobs
            if known != as_json(self.recipe):
                raise foreign(self.out, "recipe")
            try:
                distiller.unpack(tensors)
            except (KeyError, RuntimeError) as error:
                raise foreign(self.out, "model") from error
            forget_after(self.out, distiller.update)

    def begin(self, distiller):
        """A new run forgets what was here, and looks at where it starts."""
        forget_after(self.out, 0)
        self.look(distiller)

    def look(self, distiller):
        if self.probe is not None:
            seen = half({k: v.cpu() for k, v in look(distiller, self.probe).items()})
            save(probed(self.out, distiller.update), seen, recipe=self.recipe, levels=LEVELS)

    def after(self, state, distiller):
        """Log one update; keep, look and save when it is time."""
        with open(self.out / "metrics.jsonl", "a") as file:
            file.write(json.dumps(dataclasses.asdict(state)) + "\n")
        about = {"config": distiller.student.config, "sampler": "rollout", "step": state.step,
                 "recipe": self.recipe}
        last = state.step == self.recipe.updates
        if state.step in self.keep:
            save(kept(self.out, state.step), half(distiller.average), **about)
        if state.step in self.keep or last:
            self.look(distiller)
        if last or time.monotonic() - self.saved > self.save_every:
            save(self.out / "ema.safetensors", distiller.average, **about)
            save(self.out / "last.safetensors", distiller.pack(), recipe=self.recipe)
            self.saved = time.monotonic()


def paths_of(recipe, count=PATHS):
    """batch(generator) of the teacher's paths for a recipe with an anchor, else None.

    count: training clips whose paths are used, at most PATHS; whole shards of them.
    """
    if not recipe.anchor:
        return None
    data = trajectories.Trajectories.load(list(trajectories.from_shipped(min(PATHS, count))))
    return partial(data.batch, recipe.batch)


def run(recipe, batch, out, resume=False, start=None, keep=KEPT, probe=None, compiled=False,
        save_every=60.0, paths=None, device=None):
    """Distil in a folder by a recipe, yielding a `RunState` after every update of the student.

    batch(generator) -> Cond, and paths: see `dmd.distill`; start: a checkpoint to begin with
    instead of the recipe's; probe: the Cond that is looked at, or None; compiled: through
    torch.compile, which takes minutes first. Stopping early loses at most `save_every` seconds.
    """
    device = device or best_device()
    student = load_module(start or recipe.start, "dit", device).requires_grad_(True)
    distiller = Distiller(student, load_module("teacher", device=device), recipe)
    folder = Folder(out, recipe, keep, None if probe is None else probe.to(device), save_every)
    if resume:
        folder.restore(distiller)
    if distiller.update == 0:
        folder.begin(distiller)
    if compiled:
        for model in (distiller.student, distiller.teacher, distiller.critic):
            model.compile()
    first, clock = distiller.update, time.monotonic()
    before = clock
    for state in distill(distiller, lambda g: batch(g).to(device),
                         lambda g: [part.to(device) for part in paths(g)]):
        now = time.monotonic()
        left = (now - clock) / (state.update - first) * (recipe.updates - state.update)
        made = RunState(state.update, state.critic_loss, state.gradient, state.grad_norm,
                        state.exit, state.size, state.distance, now - before, left)
        folder.after(made, distiller)
        before = now
        yield made


def folder_of(name, seed=0):
    """Where the run of a recipe's name and seed is kept, when nothing else is said."""
    return Path(f"runs/dmd/{name}-seed{seed}")


def train_recipe(recipe="student", seed=0, updates=None, out=None, resume=False, start=None,
                 compiled=False, count=curation.COUNT, device=None):
    """Distil by a recipe of `recipes.NAMES`, yielding a `RunState` after every update.

    updates, instead of the recipe's; out, instead of `folder_of`; count: training clips whose
    conditions and paths are used. UserError for another name, and for a start that has no weights.
    """
    r = recipes.recipe(recipe, seed, updates)
    made = curation.conditions(r.conditions, count)
    yield from run(r, partial(made.batch, r.batch, r.frames), out or folder_of(recipe, seed),
                   resume, start, probe=made.probe(PROBES, r.frames), compiled=compiled,
                   paths=paths_of(r, count), device=device)
