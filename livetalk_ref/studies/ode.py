"""How a student of the teacher's paths converges: every figure of the ODE stage, in pieces.

    straightness    how bent the teacher's paths are along sigma, plain and guided
    ode_training    held-out error, distance and sharpness along training, for several seeds and
                    set sizes at equal training; the teacher for comparison; blur step by step
    ode_variants    training with the released code's loss, which shows no clean past
    ode_benchmarks  short, converged, teacher and truth on three benchmarks, with comparisons
    ode_blocks      quality against block index, over 7 blocks and over 21
    ode_whose       a student of an autoregressive teacher's trajectories instead
"""

from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch

from livetalk_ref import loading, stages, trajectories
from livetalk_ref.errors import Progress
from livetalk_ref.files import averaged, read_metrics
from livetalk_ref.flow import STUDENT_STEPS, TEACHER_STEPS, sigma_grid
from livetalk_ref.generate import GUIDANCE, PLAIN
from livetalk_ref.judge import benchmark, evaluate, long, stats, students
from livetalk_ref.ode import trajectory
from livetalk_ref.trajectories import straightness
from livetalk_ref.studies.work import Job, Study, followed
from livetalk_ref.runs import kept
from livetalk_ref.world import latents

EVERY = 50      # updates that one point of a loss curve averages
BATCH = 8       # whole paths at a time
STRAIGHTNESS = "straightness"
TRAINING, VARIANTS, WHOSE = "ode_training", "ode_variants", "ode_whose"
BENCHMARKS, BLOCKS = "ode_benchmarks", "ode_blocks"
RIVAL = "livetalk"      # the variant of `ode.ode_loss` that ours is compared with


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    pairs: tuple = (250, 1000, 2000)
    seeds: tuple = (0, 1, 2)                # of the largest set; the others get the first
    steps: int = stages.ODE_STEPS["converged"]
    short: int = stages.ODE_STEPS["short"]
    kept: tuple = stages.ODE_KEPT
    held_out: int = 64                      # trajectories for the error
    judged: int = 48                        # held-out clips along training
    sets: tuple = ("studio", "wild", "celeb")
    clips: int = 100                        # of a benchmark
    long_sets: tuple = ("studio",)
    long: int = 24                          # long clips of one of these
    walked: int = 16                        # whole paths of the teacher
    causal_pairs: int = 1000                # one of `pairs`
    causal_clips: int = 1280                # that the autoregressive teacher is trained on
    causal_steps: int = 3000


FULL = Size()
QUICK = Size(pairs=(16, 32), seeds=(0, 1), steps=4, short=1, kept=(1, 4), held_out=4, judged=4,
             sets=("studio",), clips=4, long=2, walked=2, causal_pairs=16, causal_clips=32,
             causal_steps=4)


class Convergence(Study):
    """All jobs of one size; the methods that do them are generators that return rows."""

    name = "ode"

    def __init__(self, quick=False, compiled=False, size=None, **where):
        super().__init__(quick, compiled, **where)
        self.size, self.grounds = size or (QUICK if quick else FULL), {}
        self.seeds = self.size.seeds
        self.causal = self.folder / "teacher_causal" if quick else trajectories.CAUSAL

    def key(self):
        world = latents.cache_key(loading.load_module("codec"))
        return loading.checkpoints_key(world, "codec", "teacher")

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
        made += [Job(f"long-{name}-{model}", (BLOCKS,), partial(self.roll, name, model))
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
    def bench(self):
        return students.HeldOutBench(self.size.judged)

    @cached_property
    def held_out(self):
        paths = trajectories.from_shipped(self.size.held_out, "held_out")
        return trajectories.Trajectories.load(list(paths)).select(range(self.size.held_out))

    def ground(self, name):
        """A benchmark's clips and judges, with judges that see every block too."""
        if name not in self.grounds:
            self.grounds[name] = benchmark.Ground.make(name, self.size.clips)
        return self.grounds[name]

    # The jobs.

    def bend(self):
        held_out = evaluate.HeldOut.make(loading.load_module("codec"), self.size.walked)
        model, rows = loading.load_module("teacher"), []
        for label, guidance in (("plain", PLAIN), ("guided", GUIDANCE)):
            states = []
            for path in walks(model, held_out, guidance):
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
        return {into: loss_curve(self.folder / label, options)}

    def tune(self):
        states = stages.run_stage("teacher_causal", self.causal, self.size.causal_steps,
                                  resume=True, compiled=self.compiled,
                                  count=self.size.causal_clips)
        yield from followed("teacher_causal", states)
        return {}

    def snapshot(self, label, step, into, options):
        yield
        model = loading.load_module(kept(self.folder / label, step), "dit")
        return {into: [options | {"update": step} | students.level_errors(model, self.held_out)
                       | self.bench.student("student", model)]}

    def exits(self, step):
        """What the student believes after each of its four steps: how much does it blur?"""
        yield
        run = self.folder / f"pairs{self.size.pairs[-1]}-seed{self.size.seeds[0]}"
        model = loading.load_module(kept(run, step), "dit")
        return {TRAINING: [{"update": step, "exit": k + 1}
                           | self.bench.student("exit", model, exit=k) for k in range(4)]}

    def reference(self):
        yield
        model, rows = loading.load_module("teacher"), [self.bench.truth()]
        for name, guidance in (("plain", PLAIN), ("guided", GUIDANCE)):
            for steps in (STUDENT_STEPS, TEACHER_STEPS):
                rows.append(self.bench.teacher(f"teacher, {name}, {steps} steps", model,
                                               steps=steps, guidance=guidance)
                            | {"steps": steps, "guidance": name})
        return {TRAINING: rows}

    def causal_reference(self):
        yield
        model = trajectories.load_teacher("causal", run=self.causal)
        return {WHOSE: [self.bench.causal_teacher("autoregressive teacher", model, GUIDANCE)]}

    def judge(self, name, model):
        """A model on a benchmark: its line there, and one for each of its 7 blocks."""
        yield
        ground, judges = self.ground(name), students.BlockJudges.of(self.ground(name).judges)
        made = replace(benchmark.maker(*self.models.get(model, (model,))), name=model)
        facts, judged = benchmark.evaluate(made, replace(ground, judges=judges))
        students.keep(self.folder / f"judged-{name}-{model}.safetensors", judged)
        price = {key: facts["cost"][key] for key in ("evaluations_per_clip", "flops_per_frame")}
        lines = long.by_block(model, judges.seen, judged.features, ground.truth.rendered.features)
        return {BENCHMARKS: [{"set": name} | facts["rows"][0] | price],
                BLOCKS: [{"set": name, "blocks": 7} | line for line in lines]}

    def compare(self, name):
        """Who is better, paired over the clips of a set."""
        yield
        truth, rows, pairs = self.ground(name).truth.rendered, [], []
        for seed in self.size.seeds:
            pairs += [(f"student_ode-{seed}", other) for other in (
                "teacher-4", "teacher-4-plain", "teacher", f"student_ode_short-{seed}",
                f"student_{RIVAL}-{seed}")]
        for pair in pairs:
            ours, theirs = (students.kept_judged(self.folder / f"judged-{name}-{model}.safetensors")
                            for model in pair)
            rows += [{"set": name} | row for row in students.compare(
                " against ".join(pair), ours, theirs, truth)]
        return {BENCHMARKS: rows}

    def roll(self, name, model):
        """A model on a set's long clips, block by block; so is the truth, once."""
        yield
        path, steps, guidance = self.models[model]
        lines = students.long_lines(model, loading.load(path), name, self.size.long, self.folder,
                                    steps, guidance)
        return {BLOCKS: [{"set": name, "blocks": long.BLOCKS} | line for line in lines]}


def loss_curve(run, options):
    """The training loss of a run, averaged over 50 updates, as rows."""
    return [options | row for row in averaged(read_metrics(run), EVERY)]


def walks(model, held_out, guidance, seed=0):
    """Whole paths (batch, 49, 21, C, h, w) of a teacher for held-out conditions."""
    for first in range(0, len(held_out.data), BATCH):
        some = held_out.data.select(range(first, min(first + BATCH, len(held_out.data))))
        x0, cond = some.window(0, 1)
        noise = evaluate.noise_of(x0, seed, first)
        yield trajectory(model, noise, x0[:, :1], cond, guidance, TEACHER_STEPS)


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
    mean, *edges = stats.bootstrap(values.tolist())
    return {name: round(mean, 5), f"{name} 95%": [round(edge, 5) for edge in edges]}


STUDY = Convergence
