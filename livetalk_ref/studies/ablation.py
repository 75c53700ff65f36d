"""The ablation: every row of the recipes trained, judged along the way, and written down.

A run is a row of recipes.py with a seed. It is trained in FOLDER/NAME-seedN, and its averaged
weights are judged at some updates, over 21 latent frames and at the end over 63.

    ablation                    all that is known, rows that were not run included, which say so
    ablation_looks.safetensors  8-bit latents that notebooks decode filmstrips from:
        end NAME-seed0          (63, C, h, w) one long clip of the averaged student at the end
        x, real, fake NAME-seed0 UUU    (P, 9, C, h, w) after UUU updates on fixed conditions: the
                                student's video, and what teacher and critic believe of it
        told NAME-seed0 UUU     (Q, 4) `gaps` of every condition of the probe: the first half of
                                them have damaged references, the others good ones
    student                     the shipped student against the guided teacher on all benchmarks
"""

from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import torch

from livetalk_ref import curation, distillation, loading
from livetalk_ref.device import best_device
from livetalk_ref.files import averaged, eight_bits, read_metrics
from livetalk_ref.generate import KEPT, settle
from livetalk_ref.judge import benchmark, long, panel, scoreboard, sets
from livetalk_ref.judge.cost import count_flops
from livetalk_ref.judge.distances import diversity
from livetalk_ref.judge.evaluate import batches, rolled
from livetalk_ref.judge.students import compare
from livetalk_ref.recipes import ROWS, recipe
from livetalk_ref.studies.work import Job, Study, followed
from livetalk_ref.runs import kept, read, save
from livetalk_ref.world.clips import FRAMES
from livetalk_ref.world.latents import WINDOW

RESULT, STUDENT = "ablation", "student"
# The order of need: both ends, what lies between, their spread, the decay, then what else.
PLAN = (("baseline", 0), ("final", 0), ("curated", 0), ("converged", 0), ("aggressive", 0),
        ("final-raw", 0), ("baseline", 1), ("final", 1), ("baseline", 2), ("final", 2),
        ("quick-critic", 0), ("anchored", 0), ("baseline-long", 0), ("oracle", 0),
        ("harsh", 0), ("only-converged", 0), ("only-aggressive", 0), ("only-guidance", 0))
STARTS = ("student_ode_short", "student_ode")
EVERY = 5               # updates that one point of a training curve averages
CURVE = ("loss", "gradient", "grad_norm", "size", "distance")
TAKEN_APART = ("baseline", "final", "final-raw", "baseline-long")
PICTURED = ("baseline", "baseline-long")        # those whose pictures ship too, not only `gaps`
LEVEL = 0               # of `distillation.LEVELS`: at which beliefs are kept


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    plan: tuple = PLAN
    updates: int | None = None              # instead of the rows' own
    points: tuple = (25, 50, 100, 200, 400, 600, 800)   # updates that are judged
    name: str = "studio"                    # the benchmark
    clips: int = 48                         # of it, over 21 latent frames
    long: int = 16                          # and over 63
    varied: int = 8                         # of them made with `seeds` seeds, for diversity
    seeds: int = 3
    count: int = curation.COUNT             # clips whose conditions are trained on
    shown: int = 2                          # clips whose latents are kept for filmstrips
    judged: int = sets.CLIPS                # clips of each set for the shipped student
    sets: tuple = tuple(sets.FIRST)


FULL = Size()
QUICK = Size(plan=(("baseline", 0), ("final", 0)), updates=2, points=(1, 2), clips=2, long=2,
             varied=1, seeds=2, count=32, shown=1, sets=("studio",), judged=2)


def long_ground(name, count, codec, judges, folder):
    """A `benchmark.Ground` of long clips, cut to the 63 latent frames that are judged."""
    bench, frames = long.build(codec, name, count), 4 * long.LATENTS - 3
    d = bench.data
    data = replace(d, latents=d.latents[:, :long.LATENTS], audio=d.audio[:, :frames],
                   state=d.state[:, :frames])
    cut = replace(bench, data=data, samples=bench.samples[:, :1000 * frames],
                  heard=bench.heard[:, :1000 * frames])
    folder = Path(folder) / "long-truth"
    return benchmark.Ground(cut, judges, panel.yardstick(judges, cut, cut, folder), "1")


def made_by(avatar, bench, frames, seed=0):
    """Latents (batch, frames, C, h, w) of an `Avatar` for a benchmark, batch after batch."""
    if avatar.is_student:
        return rolled(avatar.model, bench, seed, policy=KEPT, frames=frames)
    steps, guidance = settle(avatar)
    if frames == WINDOW:
        return batches(avatar.model, bench, steps, guidance, seed)
    return (x[:, :frames] for x in long.windows(avatar.model, bench, steps, guidance, seed))


def varied(avatar, ground, count, seeds):
    """Mean diversity of a set's first `count` conditions, each made with so many seeds."""
    some = replace(ground.bench, data=ground.bench.data.select(range(count)))
    features = []
    for seed in range(seeds):
        made = torch.cat(list(made_by(avatar, some, WINDOW, seed)))
        features.append(torch.stack([ground.judges.reader.read(film).features
                                     for film in some.decode(made)]))
    return sum(diversity(one) for one in torch.stack(features, 1)) / count


class Ablation(Study):
    """All runs of one size; the methods that are jobs are generators."""

    name, early = "ablation", (RESULT,)

    def __init__(self, quick=False, compiled=False, size=None, **where):
        super().__init__(quick, compiled, **where)
        self.size, self.grounds = size or (QUICK if quick else FULL), {}
        self.seeds = sorted({seed for _, seed in self.size.plan})
        self.device = best_device()             # trained there

    def key(self):
        return loading.checkpoints_key(curation.key(), "teacher", *STARTS)

    def jobs(self):
        """First what the others are compared with, then run after run."""
        made = [Job(f"{name}-{frames}", (RESULT,), partial(self.judge, name, name, 0, 0, frames))
                for name in ("codec", *STARTS, "teacher") for frames in (WINDOW, long.LATENTS)]
        for name, seed in self.size.plan:
            made += self.run_jobs(name, seed)
        made.append(Job("looks", (), self.collect))
        return made + [Job(f"student-{name}", (STUDENT,), partial(self.versus, name))
                       for name in self.size.sets]

    def run_jobs(self, name, seed):
        updates, label = self.recipe(name, seed).updates, f"{name}-seed{seed}"
        points = [point for point in self.size.points if point < updates] + [updates]
        jobs = [Job(f"{label}-train", (RESULT,), partial(self.train, name, seed))]
        return jobs + [Job(f"{label}-{point}-{frames}", (RESULT,),
                           partial(self.judge, name, kept(self.folder / label, point), seed,
                                   point, frames))
                       for frames, some in ((WINDOW, points), (long.LATENTS, points[-1:]))
                       for point in some]

    def recipe(self, name, seed):
        return recipe(name, seed, self.size.updates)

    @cached_property
    def judges(self):
        return panel.Judges.load()

    def ground_of(self, frames):
        """What clips of so many latent frames are judged on."""
        if frames not in self.grounds:
            s = self.size
            self.grounds[frames] = benchmark.Ground.make(s.name, s.clips) if frames == WINDOW \
                else long_ground(s.name, s.long, loading.load_module("codec"), self.judges,
                                 self.folder)
        return self.grounds[frames]

    # The jobs.

    def train(self, name, seed):
        label, r = f"{name}-seed{seed}", self.recipe(name, seed)
        made = curation.conditions(r.conditions, self.size.count)
        states = distillation.run(
            r, partial(made.batch, r.batch, r.frames), self.folder / label, resume=True,
            keep=(*self.size.points, r.updates), compiled=self.compiled,
            probe=made.probe(distillation.PROBES, r.frames),
            paths=distillation.paths_of(r, self.size.count))
        yield from followed(label, states)
        return {RESULT: [self.about(name, seed) | row
                         for row in curve(self.folder / label)]}

    def judge(self, name, model, seed, update, frames):
        """A line of numbers of a checkpoint, or of truth through the codec; keeps some latents."""
        yield
        ground, avatar = self.ground_of(frames), None
        if model == "codec":
            parts = [ground.bench.data.latents.float()]
        else:
            avatar, given = loading.load(str(model)), ground.bench
            if frames != WINDOW:            # a teacher's last window reaches beyond the 63
                given = long.build(ground.bench.codec, self.size.name, self.size.long)
            parts = made_by(avatar, given, frames)
        latents = []
        for part in parts:
            latents.append(part)
            yield
        latents = torch.cat(latents)
        judged = ground.judges.judge(ground.bench.decode(latents), ground.bench,
                                     ground.truth.truths)
        line = benchmark.line(name, judged.rows, judged.features, ground.truth.rendered.features)
        line |= {"update": update, "frames": frames}
        if avatar and frames == WINDOW:
            yield
            line["diversity"] = round(varied(avatar, ground, self.size.varied, self.size.seeds), 4)
        if name in ROWS:
            save(self.folder / "shown" / f"{name}-seed{seed}-{update}-{frames}.safetensors",
                 {"latents": latents[:self.size.shown].half()})
        return {RESULT: [self.about(name, seed) | {"part": "judged"} | line]}

    def versus(self, name):
        """The shipped student and the guided teacher on a set, and their paired difference."""
        yield
        s, board = self.size, scoreboard.Board((name,), self.size.judged)
        ground = board.ground(name)
        truth, coded = ground.truth.rendered, ground.truth.coded
        ours, judged = benchmark.evaluate(benchmark.maker(STUDENT), ground)
        yield
        theirs, known = board.entry(name, scoreboard.BEST)
        rows = [benchmark.line("codec", coded.rows, coded.features, truth.features)]
        cost = {}
        for who, found in (("teacher", theirs), (STUDENT, ours)):
            avatar, price = loading.load(who), found["cost"]
            many = round(varied(avatar, ground, min(s.varied, s.judged), s.seeds), 4)
            decoding = count_flops(lambda a=avatar: a.codec.decode(
                ground.bench.data.latents[:1].float())) / (FRAMES - 1)
            rows.append(found["rows"][0] | {
                "name": who, "diversity": many,
                "evaluations a clip": price["evaluations_per_clip"],
                "GFLOP a frame": scoreboard.giga(price["flops_per_frame"] - decoding),
                "GFLOP a frame, decoded": scoreboard.giga(price["flops_per_frame"])})
            cost[f"{name}: {who}"] = round(price["seconds_per_frame"], 4)
        rows += compare(f"{STUDENT} - teacher", judged, known, truth)
        return {STUDENT: [row | {"set": name} for row in rows], "cost": cost}

    def collect(self):
        """Write the latents that filmstrips are decoded from, for the first seed."""
        yield
        found = {}
        for name in (name for name, seed in self.size.plan if not seed):
            label, updates = f"{name}-seed0", self.recipe(name, 0).updates
            path = self.folder / "shown" / f"{label}-{updates}-{long.LATENTS}.safetensors"
            found[f"end {label}"] = read(path)[0]["latents"][0].clone()
            if name in TAKEN_APART:
                for update in (0, *self.size.points, updates):
                    path = distillation.probed(self.folder / label, update)
                    if path.is_file():
                        found |= looked_at(read(path)[0], f"{label} {update}", name in PICTURED)
        save(self.results / "ablation_looks.safetensors", eight_bits(found),
             made_by="python -m livetalk_ref.studies ablation", level=distillation.LEVELS[LEVEL])
        return {}

    # What is written.

    def about(self, name, seed):
        if name not in ROWS:
            return {"row": name}
        return {"row": name, "title": ROWS[name].title, "like": ROWS[name].like,
                "knob": ROWS[name].knob, "seed": seed}

    def combine(self, result, rows):
        """Rows that were not run say so."""
        finished = {(row["row"], row["seed"]) for row in rows if row.get("part") == "training"}
        return rows if result == STUDENT else rows + [
            self.about(name, seed) | {"part": "not run"} for name, seed in self.size.plan
            if (name, seed) not in finished]


def looked_at(seen, label, pictures):
    """{key: latents} of one look at a run: `gaps`, and two conditions' pictures, the first behind
    a damaged reference, the last behind a good one."""
    found = {f"told {label}": gaps(seen)}
    if pictures:
        some = [0, len(seen["x"]) - 1]
        found[f"x {label}"] = seen["x"][some]
        for part in ("real", "fake"):
            found[f"{part} {label}"] = seen[part][LEVEL, some]
    return found


def gaps(seen):
    """(Q, 4): spread of the student's latents, |student - teacher's belief|, |student - critic's
    belief|, |critic's - teacher's belief|, over the generated frames of every condition."""
    x = seen["x"][:, 1:].float()
    real, fake = (seen[part][LEVEL, :, 1:].float() for part in ("real", "fake"))
    apart = [(a - b).abs().mean((1, 2, 3, 4)) for a, b in ((x, real), (x, fake), (fake, real))]
    return torch.stack([x.flatten(1).std(1), *apart], dim=1)


def curve(run):
    """The figures of a run's metrics.jsonl, averaged over 5 updates, as rows."""
    return [{"part": "training", "update": row.pop("step")} | row
            for row in averaged(read_metrics(run), EVERY, CURVE)]


STUDY = Ablation
