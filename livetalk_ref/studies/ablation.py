"""The ablation: every row of the recipes trained, judged along the way, and written down.

A run is a row of recipes.py with a seed. It is trained in FOLDER/NAME-seedN, and its averaged
weights are judged at some updates, over 21 latent frames and at the end over 63.

    ablation                    all that is known
    ablation_looks.safetensors  8-bit latents that notebooks decode filmstrips from:
        end NAME-seed0          (63, C, h, w) one long clip of the averaged student at the end
        x, real, fake NAME-seed0 UUU    (P, 9, C, h, w) after UUU updates on fixed conditions: the
                                student's video, and what teacher and critic believe of it
        told NAME-seed0 UUU     (Q, 4) `gaps` of every condition of the probe: the first half of
                                them have damaged references, the others good ones
    student                     the shipped student against the guided teacher on all benchmarks
"""

from dataclasses import dataclass, replace
from functools import partial

import torch

from livetalk_ref import curation, distillation, loading
from livetalk_ref.device import best_device
from livetalk_ref.files import averaged, eight_bits, read_metrics
from livetalk_ref.judge.benchmarks import CLIPS, PAPERS
from livetalk_ref.judge.cost import count_flops
from livetalk_ref.judge.distances import compare_judged, diversity
from livetalk_ref.judge.evaluate import (
    BATCH,
    LONG,
    evaluate_maker,
    evaluate_once,
    find_maker,
    make_student_latents,
)
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
class AblationSize:
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
    judged: int = CLIPS                     # clips of each set for the shipped student
    sets: tuple = PAPERS


FULL = AblationSize()
QUICK = AblationSize(plan=(("baseline", 0), ("final", 0)), updates=2, points=(1, 2), clips=2,
                     long=2, varied=1, seeds=2, count=32, sets=("studio",), judged=2)


def mean_diversity(model, ground, count, seeds):
    """Mean diversity of a benchmark's first `count` conditions, each made with so many seeds."""
    some = replace(ground.bench, data=ground.bench.data.select(range(count)))
    films = (find_maker(model, seed=seed).films(some, BATCH, None) for seed in range(seeds))
    features = [torch.stack([ground.judges.reader.read(film).features for film in made])
                for made in films]
    return round(sum(diversity(one) for one in torch.stack(features, 1)) / count, 4)


class Ablation(Study):
    """All runs of one size; the methods that are jobs are generators."""

    name, sizes = "ablation", {"size": (FULL, QUICK)}

    def __init__(self, *given, **more):
        super().__init__(*given, **more)
        self.seeds = sorted({seed for _, seed in self.size.plan})
        self.device = best_device()             # trained there

    def key(self):
        return loading.checkpoints_key(curation.key(), "teacher", *STARTS)

    def jobs(self):
        """First what the others are compared with, then run after run."""
        made = [Job(f"{name}-{frames}", (RESULT,), partial(self.judge, name, name, 0, 0, frames))
                for name in ("codec", *STARTS, "teacher") for frames in (WINDOW, LONG)]
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
                       for frames, some in ((WINDOW, points), (LONG, points[-1:]))
                       for point in some]

    def recipe(self, name, seed):
        return recipe(name, seed, self.size.updates)

    def ground_of(self, frames):
        """What clips of so many latent frames are judged on."""
        s = self.size
        return self.ground(s.name, s.clips if frames == WINDOW else s.long, frames)

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
                         for row in training_curve(self.folder / label)]}

    def judge(self, name, model, seed, update, frames):
        """A row of numbers of a checkpoint, or of truth through the codec."""
        yield
        ground = self.ground_of(frames)
        if model == "codec":
            row = ground.references[0]
        else:
            found, _ = evaluate_maker(find_maker(model, frames=frames, name=name), ground)
            row = found["rows"][0]
        row = row | {"name": name, "update": update, "frames": frames}
        if model != "codec" and frames == WINDOW:
            yield
            row["diversity"] = mean_diversity(model, ground, self.size.varied, self.size.seeds)
        return {RESULT: [self.about(name, seed) | {"part": "judged"} | row]}

    def versus(self, name):
        """The shipped student and the guided teacher on a set, and their paired difference."""
        s, ground = self.size, self.ground(name, self.size.judged)
        truth, decoded = ground.truth.rendered, ground.bench.data.latents[:1].float()
        rows, judged, cost = [], {}, {}
        for who in ("teacher", STUDENT):
            yield
            found, judged[who] = evaluate_once(find_maker(who), ground)
            price, flops = found["cost"], found["cost"]["flops_per_frame"]
            alone = flops - count_flops(lambda: ground.bench.codec.decode(decoded)) / (FRAMES - 1)
            rows = rows or [found["rows"][1] | {"name": "codec"}]
            rows.append(found["rows"][0] | {
                "diversity": mean_diversity(who, ground, min(s.varied, s.judged), s.seeds),
                "evaluations a clip": price["evaluations_per_clip"],
                "GFLOP a frame": round(alone / 1e9, 4),
                "GFLOP a frame, decoded": round(flops / 1e9, 4)})
            cost[f"{name}: {who}"] = round(price["seconds_per_frame"], 4)
        rows += compare_judged(f"{STUDENT} - teacher", judged[STUDENT], judged["teacher"], truth)
        return {STUDENT: [row | {"set": name} for row in rows], "cost": cost}

    def collect(self):
        """Write the latents that filmstrips are decoded from, for the first seed."""
        yield
        found = {}
        for name in (name for name, seed in self.size.plan if not seed):
            label, updates = f"{name}-seed0", self.recipe(name, 0).updates
            avatar = loading.load(str(kept(self.folder / label, updates)))
            given = self.ground_of(LONG)
            one = replace(given.given, data=given.given.data.select([0]))
            made, = make_student_latents(avatar.model, one, frames=LONG)
            found[f"end {label}"] = made[0]
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


def training_curve(run):
    """The figures of a run's metrics.jsonl, averaged over 5 updates, as rows."""
    return [{"part": "training", "update": row.pop("step")} | row
            for row in averaged(read_metrics(run), EVERY, CURVE)]


STUDY = Ablation
