"""How a student of the teacher's paths converges: every figure of the ODE stage, in pieces.

    straightness    how bent the teacher's paths are along sigma, plain and guided
    ode_training    held-out error, distance and sharpness along training, for several seeds; the
                    teacher for comparison
    ode_benchmarks  short, converged, teacher and truth on three benchmarks, with comparisons; also
                    a student of the released code's loss, which shows no clean past (first seed)
"""

from functools import cached_property, partial

import torch

from livetalk_ref import loading, stages, trajectories
from livetalk_ref.errors import Progress, followed
from livetalk_ref.files import averaged, read_metrics
from livetalk_ref.flow import STUDENT_STEPS, TEACHER_STEPS, sigma_grid, x0_from_velocity
from livetalk_ref.generate import GUIDANCE, PLAIN
from livetalk_ref.judge.benchmarks import PAPERS, Benchmark
from livetalk_ref.judge.distances import compare_judged, with_interval
from livetalk_ref.judge.evaluate import batched, evaluate_maker, evaluate_once, find_maker
from livetalk_ref.ode import behind_noisy, trajectory
from livetalk_ref.rollout import SIGMAS
from livetalk_ref.runs import kept
from livetalk_ref.studies.work import Job, Study
from livetalk_ref.trajectories import straightness
from livetalk_ref.world.latents import cache_key

EVERY = 50      # updates that one point of a loss curve averages
TRAINING, BENCHMARKS = "ode_training", "ode_benchmarks"
RIVAL = "livetalk"      # the variant of `ode.ode_loss` that ours is compared with


class OdeStudy(Study):
    """All jobs; the methods that do them return rows."""

    sizes = {
        "pairs": (1024, 32),                            # paths to learn from
        "seeds": ((0, 1), (0, 1)),
        "steps": (stages.ODE_STEPS["converged"], 4),
        "short": (stages.ODE_STEPS["short"], 1),
        "kept": (stages.ODE_KEPT, (1, 4)),              # updates that are judged
        "errors": (64, 4),                              # held-out paths for the error
        "clips": (32, 4),                               # held-out clips along training
        "sets": (PAPERS, ("studio",)),
        "judged": (48, 4),                              # clips of a benchmark
        "walked": (8, 2)}                              # whole paths of the teacher

    def key(self):
        codec = loading.load_module("codec")
        return loading.checkpoints_key(cache_key(codec), "codec", "teacher")

    def jobs(self):
        made = [Job("straightness", "straightness", self.bend),
                Job("trajectories", None, partial(self.walk, self.pairs, "train")),
                Job("held-out-trajectories", None, partial(self.walk, self.errors, "held_out")),
                Job("reference", TRAINING, self.reference)]
        for seed in self.seeds:
            made += self.training(f"seed{seed}", {"count": self.pairs, "seed": seed})
        rival = {"count": self.pairs, "seed": self.seeds[0], "variant": RIVAL}
        made.append(Job(f"train-{RIVAL}", None, partial(self.train, RIVAL, rival)))
        for name in self.sets:
            made += [Job(f"{name}-{model}", BENCHMARKS, partial(self.judge, name, model))
                     for model in (*self.models, "codec")]
            made.append(Job(f"compare-{name}", BENCHMARKS, partial(self.compare, name)))
        return made

    def training(self, label, options):
        """One run, and a job for each of its kept weights."""
        return [Job(f"train-{label}", TRAINING, partial(self.train, label, options)),
                *(Job(f"{label}-{step}", TRAINING, partial(self.snapshot, label, step, options))
                  for step in self.kept)]

    @cached_property
    def models(self):
        """{name: what `find_maker` takes} of what the benchmarks compare."""
        ours = self.folder / f"seed{self.seeds[0]}"
        return {"teacher": ("teacher",), "teacher-4": ("teacher", STUDENT_STEPS),
                "student_ode_short": (kept(ours, self.short),),
                f"student_{RIVAL}": (kept(self.folder / RIVAL, self.steps),),
                "student_ode": (kept(ours, self.steps),)}

    @cached_property
    def held_out(self):
        paths = trajectories.from_shipped(self.errors, "held_out")
        return trajectories.Trajectories.load(list(paths)).select(range(self.errors))

    def row(self, maker):
        """A maker's row on held-out clips."""
        return evaluate_maker(maker, self.ground("held_out", self.clips))[0]["rows"][0]

    def bend(self):
        bench = Benchmark.build(loading.load_module("codec"), "held_out", self.walked)
        model, rows = loading.load_module("teacher"), []
        for label, guidance in (("plain", PLAIN), ("guided", GUIDANCE)):
            states = []
            for path in walks(model, bench, guidance):
                states.append(path)
                yield
            rows += straightness_rows(torch.cat(states), label)
        return rows

    def walk(self, count, split):
        with Progress(f"trajectories, {split}: shard",
                      trajectories.count_shards(count)) as progress:
            for _ in trajectories.from_shipped(count, split):
                progress()
                yield

    def train(self, label, options):
        states = stages.run_stage("ode", self.folder / label, self.steps, resume=True,
                                  compiled=self.compiled, keep=self.kept, **options)
        yield from followed(label, states)
        return [options | row for row in averaged(read_metrics(self.folder / label), EVERY)]

    def snapshot(self, label, step, options):
        path = kept(self.folder / label, step)
        errors = level_errors(loading.load_module(path, "dit"), self.held_out)
        row = self.row(find_maker(path, name="student"))
        return [options | {"update": step} | errors | row]

    def reference(self):
        rows = [self.row(find_maker("codec", name="truth through the codec"))]
        for steps in (STUDENT_STEPS, TEACHER_STEPS):
            yield
            rows.append(self.row(find_maker("teacher", steps, GUIDANCE,
                                            name=f"teacher, guided, {steps} steps")))
        return rows

    def judge(self, name, model):
        found, _ = self.judged_on(name, model)
        runs = found["cost"]["evaluations_per_clip"]
        return [{"set": name} | found["rows"][0] | {"evaluations_per_clip": runs}]

    def judged_on(self, name, model):
        """What is known of a model on a benchmark: its figures, and the `Judged` clips."""
        made = find_maker(*self.models.get(model, (model,)), name=model)
        return evaluate_once(made, self.ground(name, self.judged))

    def compare(self, name):
        """Who is better, paired over the clips of a set."""
        rows, truth = [], self.ground(name, self.judged).truth.rendered
        _, ours = self.judged_on(name, "student_ode")
        for other in ("teacher-4", "teacher", "student_ode_short", f"student_{RIVAL}"):
            yield
            _, theirs = self.judged_on(name, other)
            rows += compare_judged(f"student_ode against {other}", ours, theirs, truth)
        return [{"set": name} | row for row in rows]


@torch.no_grad()
def level_errors(model, data, batch=8):
    """Mean squared x0 error on `Trajectories`, all blocks at one noise level: {"error 1": ..}."""
    found = {}
    for level, sigma in enumerate(SIGMAS.tolist()):
        errors = []
        for some in map(data.select, torch.arange(len(data)).split(batch)):
            x, end = some.states[:, level].float(), some.states[:, -1].float()
            at = torch.full(x.shape[:2], sigma)
            x0 = x0_from_velocity(x, at, behind_noisy(model, x, at, some.cond()))
            errors.append((x0 - end).square().mean((1, 2, 3, 4)))
        found[f"error {sigma:.4g}"] = round(torch.cat(errors).mean().item(), 5)
    return found


def walks(model, bench, guidance, batch=8, seed=0):
    """Whole paths (batch, 49, 21, C, h, w) of a teacher for a benchmark's conditions."""
    for some, dice in batched(bench, batch, seed):
        x0, cond = some.window(0, 1)
        noise = torch.stack([torch.randn(x0.shape[1:], generator=g) for g in dice])
        yield trajectory(model, noise, x0[:, :1], cond, guidance, TEACHER_STEPS)


def straightness_rows(states, label):
    """One row a step of paths (N, K + 1, F, C, h, w): deviation, and curvature at its start,
    with 95 % intervals over the paths; the known frame 0 does not count."""
    grid = sigma_grid(states.shape[1] - 1)
    deviation, curvature = straightness(states[:, :, 1:])
    rows = []
    for k in range(deviation.shape[1]):
        row = {"guidance": label, "step": k, "sigma": round((grid[k] + grid[k + 1]).item() / 2, 5)}
        row |= with_interval("deviation", deviation[:, k].tolist(), 5)
        if k:                                       # a bend lies between two steps
            row |= {"bend": round(grid[k].item(), 5)}
            row |= with_interval("curvature", curvature[:, k - 1].tolist(), 5)
        rows.append(row)
    return rows
