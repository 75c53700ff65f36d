"""The ablation: every row of the recipes trained, judged along the way, and written down.

    python -m livetalk_ref ablation --minutes 60            # as often as it takes
    python -m livetalk_ref ablation --at-once 4             # on a GPU: several runs beside another

A run is a row of recipes.py with a seed. It is trained in FOLDER/NAME-seedN, and its averaged
weights are judged at some updates, over 21 latent frames and at the end over 63. What is done
is kept job by job, and training continues from its last checkpoint, so it can be stopped at any
moment; a run that another process works on is left to it. data/results/ablation.json holds all
that is known, rows that were not run included, which say so.
"""

import json
import math
import signal
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from multiprocessing import get_context
from pathlib import Path

import torch

from livetalk_ref import curation, distillation, load
from livetalk_ref.device import best_device
from livetalk_ref.generate import KEPT, settle
from livetalk_ref.judge import benchmark, long, looks, panel
from livetalk_ref.judge.convergence import Study
from livetalk_ref.judge.distances import diversity
from livetalk_ref.judge.evaluate import batches, rolled
from livetalk_ref.judge.jobs import Job, beside, carried_out, followed
from livetalk_ref.judge.results import RESULTS, averaged, read_metrics, write_result
from livetalk_ref.recipes import ROWS, recipe
from livetalk_ref.train import kept, save
from livetalk_ref.world.latents import WINDOW

RESULT = "ablation"
# The order of need: both ends, what lies between, their spread, the decay, then what else.
PLAN = (("baseline", 0), ("final", 0), ("curated", 0), ("converged", 0), ("aggressive", 0),
        ("final-raw", 0), ("baseline", 1), ("final", 1), ("baseline", 2), ("final", 2),
        ("quick-critic", 0), ("anchored", 0), ("baseline-long", 0), ("oracle", 0),
        ("harsh", 0), ("only-converged", 0), ("only-aggressive", 0), ("only-guidance", 0))
STARTS = ("student_ode_short", "student_ode")
EVERY = 5               # updates that one point of a training curve averages
CURVE = ("loss", "gradient", "grad_norm", "size", "distance")


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


FULL = Size()
QUICK = Size(plan=(("baseline", 0), ("final", 0)), updates=2, points=(1, 2), clips=2, long=2,
             varied=1, seeds=2, count=32, shown=1)


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
    """All runs of one size in one folder; the methods that are jobs are generators."""

    def __init__(self, size, folder, results=RESULTS, compiled=False):
        super().__init__(size, folder, results, compiled)

    def runs(self):
        """Every run with its jobs: {name: [Job]}; first what the others are compared with."""
        made = {name: [Job(f"{name}-{frames}", (RESULT,), partial(self.judge, name, name, 0, 0,
                                                                 frames))
                       for frames in (WINDOW, long.LATENTS)]
                for name in ("codec", *STARTS, "teacher")}
        for name, seed in self.size.plan:
            made[f"{name}-seed{seed}"] = self.run_jobs(name, seed)
        return made

    def run_jobs(self, name, seed):
        updates, label = self.recipe(name, seed).updates, f"{name}-seed{seed}"
        points = [point for point in self.size.points if point < updates] + [updates]
        jobs = [Job(f"{label}-train", (RESULT,), partial(self.train, name, seed))]
        return jobs + [Job(f"{label}-{point}-{frames}", (RESULT,),
                           partial(self.judge, name, kept(self.folder / label, point), seed,
                                   point, frames))
                       for frames, some in ((WINDOW, points), (long.LATENTS, points[-1:]))
                       for point in some]

    def jobs(self):
        return [job for jobs in self.runs().values() for job in jobs]

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
                else long_ground(s.name, s.long, load.load_module("codec"), self.judges,
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
            avatar, given = load.load(str(model)), ground.bench
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

    # What is written.

    def about(self, name, seed):
        if name not in ROWS:
            return {"row": name}
        return {"row": name, "title": ROWS[name].title, "like": ROWS[name].like,
                "knob": ROWS[name].knob, "seed": seed}

    def write(self):
        """data/results/ablation.json of what is done so far; rows not run say so."""
        rows, seconds = [], 0.0
        for job in self.jobs():
            if self.place(job).is_file():
                done = json.loads(self.place(job).read_text())
                rows, seconds = rows + done["rows"][RESULT], seconds + done["seconds"]
        finished = {(row["row"], row["seed"]) for row in rows if row.get("part") == "training"}
        rows += [self.about(name, seed) | {"part": "not run"} for name, seed in self.size.plan
                 if (name, seed) not in finished]
        return write_result(RESULT, "python -m livetalk_ref ablation", rows,
                            sorted({seed for _, seed in self.size.plan}),
                            {"seconds": round(seconds)}, self.results,
                            best_device())              # trained there


def curve(run):
    """The figures of a run's metrics.jsonl, averaged over 5 updates, as rows."""
    return [{"part": "training", "update": row.pop("step")} | row
            for row in averaged(read_metrics(run), EVERY, CURVE)]


@contextmanager
def claimed(path):
    """`with claimed(path) as mine`: is this process the one that works on it? Ends with it."""
    import fcntl        # not on every system: only the command needs it

    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


def work(study, end):
    """Do what is not done and nobody does, run after run, yielding a line for each job."""
    for name, jobs in study.runs().items():
        with claimed(study.folder / "claims" / name) as mine:
            if not mine:
                yield f"under way elsewhere  {name}"
                continue
            for job in jobs:
                if study.place(job).is_file():
                    continue
                if not (yield from carried_out(study, job, end)):
                    return
                study.write()


def work_beside(study, minutes, threads):
    """One of several processes."""
    torch.set_num_threads(threads)
    signal.signal(signal.SIGTERM, signal.default_int_handler)   # so that nothing half made stays
    with suppress(KeyboardInterrupt):
        for line in work(study, time.monotonic() + 60 * minutes):
            print(line, flush=True)


def key():
    """Names the folder: other conditions and other weights begin another ablation."""
    return load.checkpoints_key(curation.key(), "teacher", *STARTS)


def run(quick=False, minutes=None, only_list=False, compiled=False, at_once=1, size=None,
        folder="runs/ablation"):
    """Work for so many minutes, in `at_once` processes, yielding lines about what is done."""
    minutes = math.inf if minutes is None else minutes
    folder = Path(f"{folder}-quick" if quick else folder) / key()
    study = Ablation(size or (QUICK if quick else FULL), folder,
                     folder / "results" if quick else RESULTS, compiled)
    if only_list:
        yield from (f"{'done' if study.place(job).is_file() else 'to do'}  {job.name}"
                    for job in study.jobs())
        return
    threads = max(1, torch.get_num_threads() // at_once)
    others = [get_context("spawn").Process(target=work_beside, args=(study, minutes, threads))
              for _ in range(at_once - 1)]
    torch.set_num_threads(threads)
    with beside(others):
        yield from work(study, time.monotonic() + 60 * minutes)
    yield str(study.write())
    yield str(looks.collect(study))
