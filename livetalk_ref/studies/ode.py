"""How a student of the teacher's paths converges: every figure of the ODE stage, in pieces.

    straightness    how bent the teacher's paths are along sigma, plain and guided
    ode_training    held-out error, distance and sharpness along training, for several seeds and
                    set sizes at equal training; the teacher for comparison; blur step by step
    ode_variants    training with the released code's loss, which shows no clean past
    ode_benchmarks  short, converged, teacher and truth on three benchmarks, with comparisons
    ode_blocks      quality against block index, over 7 blocks and over 21
    ode_whose       a student of an autoregressive teacher's trajectories instead
"""

from dataclasses import dataclass
from functools import cached_property, partial

import torch

from livetalk_ref import loading, stages, trajectories
from livetalk_ref.errors import Progress
from livetalk_ref.files import averaged, read_metrics
from livetalk_ref.flow import STUDENT_STEPS, TEACHER_STEPS, sigma_grid, x0_from_velocity
from livetalk_ref.generate import GUIDANCE, PLAIN
from livetalk_ref.judge.benchmarks import PAPERS, Benchmark
from livetalk_ref.judge.distances import compare_judged, rows_by_block, with_interval
from livetalk_ref.judge.evaluate import (
    LONG,
    ClipMaker,
    batched,
    evaluate_maker,
    evaluate_once,
    find_maker,
)
from livetalk_ref.judge.metrics import block_numbers
from livetalk_ref.ode import behind_noisy, causal_trajectory, trajectory
from livetalk_ref.trajectories import straightness
from livetalk_ref.rollout import SIGMAS
from livetalk_ref.studies.work import Job, Study, followed
from livetalk_ref.runs import kept
from livetalk_ref.world.latents import WINDOW, cache_key

EVERY = 50      # updates that one point of a loss curve averages
BATCH = 8       # whole paths at a time
STRAIGHTNESS = "straightness"
TRAINING, VARIANTS, WHOSE = "ode_training", "ode_variants", "ode_whose"
BENCHMARKS, BLOCKS = "ode_benchmarks", "ode_blocks"
RIVAL = "livetalk"      # the variant of `ode.ode_loss` that ours is compared with


@dataclass(frozen=True)
class OdeSize:
    """How much of everything."""

    pairs: tuple = (250, 1000, 2000)
    seeds: tuple = (0, 1, 2)                # of the largest set; the others get the first
    steps: int = stages.ODE_STEPS["converged"]
    short: int = stages.ODE_STEPS["short"]
    kept: tuple = stages.ODE_KEPT
    held_out: int = 64                      # trajectories for the error
    judged: int = 48                        # held-out clips along training
    sets: tuple = PAPERS
    clips: int = 100                        # of a benchmark
    long_sets: tuple = ("studio",)
    long: int = 24                          # long clips of one of these
    walked: int = 16                        # whole paths of the teacher
    causal_pairs: int = 1000                # one of `pairs`
    causal_clips: int = 1280                # that the autoregressive teacher is trained on
    causal_steps: int = 3000


FULL = OdeSize()
QUICK = OdeSize(pairs=(16, 32), seeds=(0, 1), steps=4, short=1, kept=(1, 4), held_out=4, judged=4,
                sets=("studio",), clips=4, long=2, walked=2, causal_pairs=16, causal_clips=32,
                causal_steps=4)


class OdeStudy(Study):
    """All jobs of one size; the methods that do them are generators that return rows."""

    name, sizes = "ode", {"size": (FULL, QUICK)}

    def __init__(self, *given, **more):
        super().__init__(*given, **more)
        self.seeds = self.size.seeds
        self.causal = self.folder / "teacher_causal" if self.quick else trajectories.CAUSAL

    def key(self):
        codec = loading.load_module("codec")
        return loading.checkpoints_key(cache_key(codec), "codec", "teacher")

    def jobs(self):
        s = self.size
        most, first = s.pairs[-1], s.seeds[0]
        made = [Job("straightness", (STRAIGHTNESS,), self.bend),
                Job("trajectories", (), partial(self.walk, most, "train")),
                Job("held-out-trajectories", (), partial(self.walk, s.held_out, "held_out")),
                Job("reference", (TRAINING,), self.reference)]
        for pairs, seed in [(most, n) for n in s.seeds] + [(n, first) for n in s.pairs[:-1]]:
            made += self.training(f"pairs{pairs}-seed{seed}", TRAINING,
                                  {"count": pairs, "seed": seed})
        made += [Job(f"exits-{step}", (TRAINING,), partial(self.exits, step))
                 for step in (s.short, s.steps)]
        for seed in s.seeds:
            made += self.training(f"{RIVAL}-pairs{most}-seed{seed}", VARIANTS,
                                  {"count": most, "seed": seed, "variant": RIVAL})
        for name in s.sets:
            made += [Job(f"{name}-{model}", (BENCHMARKS, BLOCKS), partial(self.judge, name, model))
                     for model in (*self.models, "codec")]
            made += [Job(f"compare-{name}", (BENCHMARKS,), partial(self.compare, name))]
        made += [Job(f"long-{name}-{model}", (BLOCKS,), partial(self.judge, name, model, LONG))
                 for name in s.long_sets for model in self.models]
        causal = {"count": s.causal_pairs, "seed": first, "teacher": "causal"}
        made += [Job("teacher_causal", (), self.tune),
                 Job("causal-trajectories", (), partial(self.walk, s.causal_pairs, "train",
                                                        "causal")),
                 Job("causal-reference", (WHOSE,), self.causal_reference)]
        return made + self.training(f"causal-pairs{s.causal_pairs}-seed{first}", WHOSE, causal)

    def training(self, label, into, options):
        """One run, and a job for each of its kept weights."""
        return [Job(f"train-{label}", (into,), partial(self.train, label, into, options)),
                *(Job(f"{label}-{step}", (into,), partial(self.snapshot, label, step, into,
                                                          options)) for step in self.size.kept)]

    @cached_property
    def models(self):
        """{name: (checkpoint, steps, guidance)} of what the benchmarks compare."""
        found = {"teacher": ("teacher", None, None), "teacher-4": ("teacher", 4, None),
                 "teacher-4-plain": ("teacher", 4, PLAIN)}
        for seed in self.size.seeds:
            run = f"pairs{self.size.pairs[-1]}-seed{seed}"
            for name, folder, step in (("student_ode_short", run, self.size.short),
                                       (f"student_{RIVAL}", f"{RIVAL}-{run}", self.size.steps),
                                       ("student_ode", run, self.size.steps)):
                found[f"{name}-{seed}"] = kept(self.folder / folder, step), None, None
        return found

    @cached_property
    def held_out(self):
        paths = trajectories.from_shipped(self.size.held_out, "held_out")
        return trajectories.Trajectories.load(list(paths)).select(range(self.size.held_out))

    def row(self, name, *model, **options):
        """A maker's row on held-out clips."""
        made = model[0] if isinstance(model[0], ClipMaker) else \
            find_maker(*model, name=name, **options)
        return evaluate_maker(made, self.ground("held_out", self.size.judged))[0]["rows"][0]

    # The jobs.

    def bend(self):
        bench = Benchmark.build(loading.load_module("codec"), "held_out", self.size.walked)
        model, rows = loading.load_module("teacher"), []
        for label, guidance in (("plain", PLAIN), ("guided", GUIDANCE)):
            states = []
            for path in walks(model, bench, guidance, partial(trajectory, kept=TEACHER_STEPS)):
                states.append(path)
                yield
            rows += straightness_rows(torch.cat(states), label)
        return {STRAIGHTNESS: rows}

    def walk(self, count, split, teacher="bidirectional"):
        with Progress(f"trajectories, {split}, {teacher}: shard",
                      trajectories.count_shards(count)) as progress:
            for _ in trajectories.from_shipped(count, split, teacher, run=self.causal):
                progress()
                yield
        return {}

    def train(self, label, into, options):
        states = stages.run_stage("ode", self.folder / label, self.size.steps, resume=True,
                                  compiled=self.compiled, keep=self.size.kept,
                                  causal=self.causal, **options)
        yield from followed(label, states)
        return {into: [options | row for row in averaged(read_metrics(self.folder / label),
                                                         EVERY)]}

    def tune(self):
        states = stages.run_stage("teacher_causal", self.causal, self.size.causal_steps,
                                  resume=True, compiled=self.compiled,
                                  count=self.size.causal_clips)
        yield from followed("teacher_causal", states)
        return {}

    def snapshot(self, label, step, into, options):
        yield
        path = kept(self.folder / label, step)
        return {into: [options | {"update": step} | level_errors(loading.load_module(path, "dit"),
                                                                 self.held_out)
                       | self.row("student", path)]}

    def exits(self, step):
        """What the student believes after each of its four steps: how much does it blur?"""
        yield
        path = kept(self.folder / f"pairs{self.size.pairs[-1]}-seed{self.size.seeds[0]}", step)
        return {TRAINING: [{"update": step, "exit": k + 1} | self.row("exit", path, exit=k)
                           for k in range(4)]}

    def reference(self):
        rows = [self.row("truth through the codec", "codec")]
        for label, guidance in (("plain", PLAIN), ("guided", GUIDANCE)):
            for steps in (STUDENT_STEPS, TEACHER_STEPS):
                yield
                rows.append(self.row(f"teacher, {label}, {steps} steps", "teacher", steps, guidance)
                            | {"steps": steps, "guidance": label})
        return {TRAINING: rows}

    def causal_reference(self):
        yield
        model = trajectories.load_teacher("causal", run=self.causal)

        def films(bench, batch, watch):
            for path in walks(model, bench, GUIDANCE, causal_trajectory):
                yield from bench.decode(path[:, -1])

        return {WHOSE: [self.row(None, ClipMaker("autoregressive teacher", films, model))]}

    def judge(self, name, model, frames=WINDOW):
        """A model on a benchmark: its row there, and one for each of its 7 or 21 blocks."""
        yield
        ground, (found, judged) = self.judged(name, model, frames)
        cost = {key: found["cost"][key] for key in ("evaluations_per_clip", "flops_per_frame")}
        rows = rows_by_block(model, judged.notes, judged.features, ground.truth.rendered.features)
        blocks = {BLOCKS: [{"set": name, "blocks": len(rows)} | row for row in rows]}
        return blocks if frames != WINDOW else {
            BENCHMARKS: [{"set": name} | found["rows"][0] | cost]} | blocks

    def judged(self, name, model, frames=WINDOW):
        """A benchmark, and what is known of a model there, block by block as well."""
        s = self.size
        ground = self.ground(name, s.clips if frames == WINDOW else s.long, frames)
        made = find_maker(*self.models.get(model, (model,)), frames=frames, name=model)
        state = ground.bench.data.state
        return ground, evaluate_once(made, ground, lambda film, reading, i: block_numbers(
            film, reading, state[i]))

    def compare(self, name):
        """Who is better, paired over the clips of a set."""
        rows = []
        for seed in self.size.seeds:
            for other in ("teacher-4", "teacher-4-plain", "teacher", f"student_ode_short-{seed}",
                          f"student_{RIVAL}-{seed}"):
                yield
                ground, (_, ours) = self.judged(name, f"student_ode-{seed}")
                _, (_, theirs) = self.judged(name, other)
                rows += [{"set": name} | row for row in compare_judged(
                    f"student_ode-{seed} against {other}", ours, theirs, ground.truth.rendered)]
        return {BENCHMARKS: rows}


@torch.no_grad()
def level_errors(model, data, batch=8):
    """Mean squared x0 error on `Trajectories`, all blocks at one noise level: {"error 1": ..}."""
    found = {}
    for level, sigma in enumerate(SIGMAS.tolist()):
        total = 0.0
        for first in range(0, len(data), batch):
            some = data.select(range(first, min(first + batch, len(data))))
            x, end = some.states[:, level].float(), some.states[:, -1].float()
            at = torch.full(x.shape[:2], sigma)
            x0 = x0_from_velocity(x, at, behind_noisy(model, x, at, end, some.cond()))
            total += (x0 - end).square().mean((1, 2, 3, 4)).sum().item()
        found[f"error {sigma:.4g}"] = round(total / len(data), 5)
    return found


def walks(model, bench, guidance, walk, seed=0):
    """Whole paths (batch, K, 21, C, h, w) of a teacher for a benchmark's conditions."""
    for some, dice in batched(bench, BATCH, seed):
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


STUDY = OdeStudy
