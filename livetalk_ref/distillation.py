"""A distillation on disk: where it starts, how it continues, and what it leaves to look at.

Its files are those of `runs.RunFolder`. Letters as in flow.py; L noise levels of a probe, P its
conditions.
"""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from livetalk_ref import curation, parallel, recipes, rollout, trajectories
from livetalk_ref.device import autocast, best_device
from livetalk_ref.dmd import Distiller, distill, dmd_gradient
from livetalk_ref.files import half
from livetalk_ref.flow import keep_known
from livetalk_ref.loading import check_channels, load_module, load_start
from livetalk_ref.runs import RunFolder, save
from livetalk_ref.train import step_generator
from livetalk_ref.world.latents import LatentClips

KEPT = (10, 25, 50, 75, 100, 150, 200, 300, 400, 500, 600, 700, 800)
LEVELS = (0.5, 0.9)         # at which a probe shows what the two scores believe
PROBES = 8                  # conditions of a probe
PATHS = 256                 # of the teacher, for the student's anchor
SEED = 12_345               # of a probe's noise, the same in every run


@torch.no_grad()
def look(distiller, cond):
    """What the three models make of fixed conditions: x (P, F, C, h, w), real and fake
    (L, P, F, C, h, w), the two scores' predictions of x0 from x with noise, and gradient.

    The same noise at every look, so that only the models differ. Known frames are the given ones
    in all of them: no model is asked for these.
    """
    d, g = distiller, step_generator(SEED, 0)
    with autocast(d.device, d.precision):
        x = rollout.sample(d.student, cond, g, steps=d.recipe.student_steps)
        noise = torch.randn(x.shape, generator=g).to(x)
        seen = [dmd_gradient(x, d.teacher, d.critic, noise, torch.full((len(x),), level).to(x),
                             cond, d.recipe.guidance) for level in LEVELS]
    gradient, fake, real = (torch.stack(parts) for parts in zip(*seen))
    fake, real = (keep_known(believed, x, cond.known) for believed in (fake, real))
    return {"x": x, "fake": fake, "real": real, "gradient": gradient}


def probed(out, update):
    """The file of the look that a run took after an update."""
    return Path(out) / f"probe-{update:06d}.safetensors"


def paths_of(recipe, count, data=None, teacher="teacher"):
    """batch(generator) of a teacher's paths for a recipe with an anchor, else None.

    count: training clips whose paths are used, rounded up to shards; data: clips of one's own.
    """
    if not recipe.anchor:
        return None
    made = trajectories.from_clips(data, teacher) if data else \
        trajectories.Trajectories.load(list(trajectories.from_shipped(count)))
    return partial(made.batch, recipe.batch, steps=recipe.student_steps)


def run(recipe, batch, out, resume=False, start=None, keep=KEPT, probe=None, compiled=False,
        save_every=60.0, paths=None, device=None, real=None):
    """Distil in a folder by a recipe, yielding a `DistillState` after every update of the student.

    batch(generator) -> Cond, and paths: see `dmd.distill`; start: a checkpoint to begin with
    instead of the recipe's; probe: the Cond that is looked at, or None; compiled: through
    torch.compile, which takes minutes first; real: the checkpoint of a real score of another size,
    instead of the teacher. Stopping early loses at most `save_every` seconds.
    """
    device = device or best_device()
    where = "cpu" if parallel.sharded() else device         # each rank moves its piece alone
    student = load_start(start or recipe.start, where).requires_grad_(True)
    teacher, s = load_start(real or "teacher", where), student.config
    check_channels("The real score", teacher.config, s.latent_channels, s.audio_dim, s.text_dim)
    # The critic begins as a teacher of the student's size, or as the student where there is none.
    critic = load_module("teacher", device=where)
    if critic.config != s:
        critic = load_start(real if teacher.config == s else start or recipe.start, where)
    critic.requires_grad_(True)
    parallel.place(student, teacher, critic)
    distiller = Distiller(student, teacher, critic, recipe)
    probe = None if probe is None else probe.to(device)

    def look_into(update):
        if probe is not None:
            seen = half({k: v.cpu() for k, v in look(distiller, probe).items()})
            if parallel.rank() == 0:
                save(probed(out, update), seen, recipe=recipe, levels=LEVELS)

    about = {"recipe": recipe, "config": student.config, "sampler": "rollout",
             "student_steps": recipe.student_steps} | ({"real": str(real)} if real else {})
    folder = RunFolder(out, about, keep, save_every, look=look_into)
    folder.begin(resume, distiller.pack, distiller.unpack)
    if compiled:
        for model in (distiller.student, distiller.teacher, distiller.critic):
            model.compile()
    yield from distill(distiller, lambda g: parallel.mine(batch(g))[0].to(device),
                       lambda g: [part.to(device) for part in parallel.mine(*paths(g))], folder)


@dataclass
class Distillation:
    """The stage `dmd`: a recipe of `recipes.NAMES` on cached conditions.

    count: training clips whose conditions are used, and the paths of the first PATHS of them; real:
    see `run`; data: clips of one's own, used as they are. UserError for another name.
    """

    recipe: str = "student"
    seed: int = 0
    count: int = curation.COUNT
    real: str | None = None
    data: LatentClips | None = None

    def run(self, name, out, steps, resume, start, rate, compiled, device):
        """Distil by so many updates, yielding a state after each."""
        r = recipes.recipe(self.recipe, self.seed, steps)
        r = replace(r, lr=rate * r.lr, critic_lr=rate * r.critic_lr)
        data = self.data and self.data.select(torch.arange(min(self.count, len(self.data))))
        made = curation.Conditions(data, torch.ones(len(data)), []) if data else \
            curation.conditions(r.conditions, self.count)
        yield from run(r, partial(made.batch, r.batch, r.frames),
                       out or f"runs/dmd/{self.recipe}-seed{self.seed}", resume, start,
                       probe=made.probe(PROBES, r.frames), compiled=compiled,
                       paths=paths_of(r, min(self.count, PATHS), data, self.real or "teacher"),
                       device=device, real=self.real)
