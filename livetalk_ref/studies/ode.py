"""How a student of the teacher's paths converges: every figure of the ODE stage, in pieces.

    straightness    how bent the teacher's paths are along sigma, plain and guided
    ode_training    held-out error, distance and sharpness along training, for several seeds and
                    set sizes at equal training; the teacher for comparison; blur step by step
    ode_variants    training with the released code's loss, which shows no clean past
    ode_benchmarks  short, converged, teacher and truth on three benchmarks, with comparisons
    ode_blocks      quality against block index, over 21 blocks
    ode_whose       a student of an autoregressive teacher's trajectories instead
"""

from functools import cached_property, partial

import torch

from livetalk_ref import loading, stages, trajectories
from livetalk_ref.errors import Progress, followed
from livetalk_ref.files import averaged, read_metrics
from livetalk_ref.flow import STUDENT_STEPS, TEACHER_STEPS, sigma_grid, x0_from_velocity
from livetalk_ref.generate import GUIDANCE, PLAIN
from livetalk_ref.judge.benchmarks import PAPERS, Benchmark
from livetalk_ref.judge.distances import compare_judged, rows_by_block, with_interval
from livetalk_ref.judge.evaluate import (LONG, ClipMaker, batched, evaluate_maker, evaluate_once,
                                         find_maker)
from livetalk_ref.judge.metrics import block_numbers
from livetalk_ref.ode import behind_noisy, causal_trajectory, trajectory
from livetalk_ref.rollout import SIGMAS
from livetalk_ref.runs import kept
from livetalk_ref.studies.work import Job, Study
from livetalk_ref.trajectories import straightness
from livetalk_ref.world.latents import cache_key

EVERY = 50      # updates that one point of a loss curve averages
TRAINING, WHOSE, BENCHMARKS = "ode_training", "ode_whose", "ode_benchmarks"
RIVAL = "livetalk"      # the variant of `ode.ode_loss` that ours is compared with


class OdeStudy(Study):
    """All jobs; the methods that do them return rows."""

    sizes = {
        "pairs": ((250, 1000, 2000), (16, 32)),         # paths in each training set
        "seeds": ((0, 1, 2), (0, 1)),                   # of the largest; others get the first
        "steps": (stages.ODE_STEPS["converged"], 4),
        "short": (stages.ODE_STEPS["short"], 1),
        "kept": (stages.ODE_KEPT, (1, 4)),              # updates that are judged
        "errors": (64, 4),                              # held-out paths for the error
        "clips": (48, 4),                               # held-out clips along training
        "sets": (PAPERS, ("studio",)),
        "judged": (100, 4),                             # clips of a benchmark
        "long": (24, 2),                                # long clips of the first set
        "walked": (16, 2),                              # whole paths of the teacher
        "causal_pairs": (1000, 16),                     # one of `pairs`
        "causal_clips": (1280, 32),     # that the autoregressive teacher is trained on
        "causal_steps": (3000, 4)}

    @property
    def causal(self):
        """Where the autoregressive teacher is: a quick study trains its own."""
        return self.folder / "teacher_causal" if self.quick else trajectories.CAUSAL

    def key(self):
        codec = loading.load_module("codec")
        return loading.checkpoints_key(cache_key(codec), "codec", "teacher")

    def jobs(self):
        most, first = self.pairs[-1], self.seeds[0]
        made = [Job("straightness", "straightness", self.bend),
                Job("trajectories", None, partial(self.walk, most, "train")),
                Job("held-out-trajectories", None, partial(self.walk, self.errors, "held_out")),
                Job("reference", TRAINING, self.reference)]
        for pairs, seed in [(most, n) for n in self.seeds] + [(n, first) for n in self.pairs[:-1]]:
            made += self.training(f"pairs{pairs}-seed{seed}", TRAINING, count=pairs, seed=seed)
        made += [Job(f"exits-{step}", TRAINING, partial(self.exits, step))
                 for step in (self.short, self.steps)]
        for seed in self.seeds:
            made += self.training(f"{RIVAL}-pairs{most}-seed{seed}", "ode_variants", count=most,
                                  seed=seed, variant=RIVAL)
        for name in self.sets:
            made += [Job(f"{name}-{model}", BENCHMARKS, partial(self.judge, name, model))
                     for model in (*self.models, "codec")]
            made.append(Job(f"compare-{name}", BENCHMARKS, partial(self.compare, name)))
        name = self.sets[0]
        made += [Job(f"long-{name}-{model}", "ode_blocks", partial(self.judge_blocks, name, model))
                 for model in self.models]
        few = self.causal_pairs
        made += [Job("teacher_causal", None, self.tune),
                 Job("causal-trajectories", None, partial(self.walk, few, "train", "causal")),
                 Job("causal-reference", WHOSE, self.causal_reference)]
        return made + self.training(f"causal-pairs{few}-seed{first}", WHOSE, count=few,
                                    seed=first, teacher="causal")

    def training(self, label, result, **options):
        """One run, and a job for each of its kept weights."""
        return [Job(f"train-{label}", result, partial(self.train, label, options)),
                *(Job(f"{label}-{step}", result, partial(self.snapshot, label, step, options))
                  for step in self.kept)]

    @cached_property
    def models(self):
        """{name: what `find_maker` takes} of what the benchmarks compare."""
        found = {"teacher": ("teacher",), "teacher-4": ("teacher", STUDENT_STEPS)}
        for seed in self.seeds:
            run = f"pairs{self.pairs[-1]}-seed{seed}"
            for name, folder, step in (("student_ode_short", run, self.short),
                                       (f"student_{RIVAL}", f"{RIVAL}-{run}", self.steps),
                                       ("student_ode", run, self.steps)):
                found[f"{name}-{seed}"] = (kept(self.folder / folder, step),)
        return found

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
            for path in walks(model, bench, guidance, partial(trajectory, kept=TEACHER_STEPS)):
                states.append(path)
                yield
            rows += straightness_rows(torch.cat(states), label)
        return rows

    def walk(self, count, split, teacher="bidirectional"):
        with Progress(f"trajectories, {split}, {teacher}: shard",
                      trajectories.count_shards(count)) as progress:
            for _ in trajectories.from_shipped(count, split, teacher, run=self.causal):
                progress()
                yield

    def train(self, label, options):
        states = stages.run_stage("ode", self.folder / label, self.steps, resume=True,
                                  compiled=self.compiled, keep=self.kept, causal=self.causal,
                                  **options)
        yield from followed(label, states)
        return [options | row for row in averaged(read_metrics(self.folder / label), EVERY)]

    def tune(self):
        states = stages.run_stage("teacher_causal", self.causal, self.causal_steps, resume=True,
                                  compiled=self.compiled, count=self.causal_clips)
        yield from followed("teacher_causal", states)

    def snapshot(self, label, step, options):
        path = kept(self.folder / label, step)
        errors = level_errors(loading.load_module(path, "dit"), self.held_out)
        row = self.row(find_maker(path, name="student"))
        return [options | {"update": step} | errors | row]

    def exits(self, step):
        """What the student believes after each of its four steps: how much does it blur?"""
        path = kept(self.folder / f"pairs{self.pairs[-1]}-seed{self.seeds[0]}", step)
        return [{"update": step, "exit": k + 1} | self.row(find_maker(path, name="exit", exit=k))
                for k in range(STUDENT_STEPS)]

    def reference(self):
        rows = [self.row(find_maker("codec", name="truth through the codec"))]
        for label, guidance in (("plain", PLAIN), ("guided", GUIDANCE)):
            for steps in (STUDENT_STEPS, TEACHER_STEPS):
                yield
                rows.append(self.row(find_maker("teacher", steps, guidance,
                                                name=f"teacher, {label}, {steps} steps")))
        return rows

    def causal_reference(self):
        model = trajectories.load_teacher("causal", run=self.causal)

        def films(bench, batch, watch):
            for path in walks(model, bench, GUIDANCE, causal_trajectory):
                yield from bench.decode(path[:, -1])

        return [self.row(ClipMaker("autoregressive teacher", films, model))]

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
        for seed in self.seeds:
            _, ours = self.judged_on(name, f"student_ode-{seed}")
            for other in ("teacher-4", "teacher", f"student_ode_short-{seed}",
                          f"student_{RIVAL}-{seed}"):
                yield
                _, theirs = self.judged_on(name, other)
                rows += compare_judged(f"student_ode-{seed} against {other}", ours, theirs, truth)
        return [{"set": name} | row for row in rows]

    def judge_blocks(self, name, model):
        """A model on long clips of a benchmark: a row for each block."""
        ground = self.ground(name, self.long, LONG)
        state, truth = ground.bench.data.state, ground.truth.rendered.features
        made = find_maker(*self.models[model], frames=LONG, name=model)
        _, judged = evaluate_maker(made, ground, note=lambda film, reading, i: block_numbers(
            film, reading, state[i]))
        rows = rows_by_block(model, judged.notes, judged.features, truth)
        return [{"set": name, "blocks": len(rows)} | row for row in rows]


@torch.no_grad()
def level_errors(model, data, batch=8):
    """Mean squared x0 error on `Trajectories`, all blocks at one noise level: {"error 1": ..}."""
    found = {}
    for level, sigma in enumerate(SIGMAS.tolist()):
        errors = []
        for some in map(data.select, torch.arange(len(data)).split(batch)):
            x, end = some.states[:, level].float(), some.states[:, -1].float()
            at = torch.full(x.shape[:2], sigma)
            x0 = x0_from_velocity(x, at, behind_noisy(model, x, at, end, some.cond()))
            errors.append((x0 - end).square().mean((1, 2, 3, 4)))
        found[f"error {sigma:.4g}"] = round(torch.cat(errors).mean().item(), 5)
    return found


def walks(model, bench, guidance, walk, batch=8, seed=0):
    """Whole paths (batch, K, 21, C, h, w) of a teacher for a benchmark's conditions."""
    for some, dice in batched(bench, batch, seed):
        x0, cond = some.window(0, 1)
        noise = torch.stack([torch.randn(x0.shape[1:], generator=g) for g in dice])
        yield walk(model, noise, x0[:, :1], cond, guidance)


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
