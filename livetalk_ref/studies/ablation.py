"""The ablation: every row of the recipes trained, judged along the way, held against predictions.

A run is a row of recipes.py with a seed. It is trained in FOLDER/NAME-seedN, and its averaged
weights are judged at some updates on studio, and at the end on what `JUDGED` names besides. What
was expected stands in data/studies/self_forcing.json, written before the runs.

    ablation                    all that is known, and a row for each prediction
    ablation_looks.safetensors  8-bit latents that notebooks decode filmstrips from:
        end NAME-seed0          (63, C, h, w) one long clip of the averaged student at the end
        x, real, fake NAME-seed0 UUU    (P, 9, C, h, w) after UUU updates on fixed conditions: the
                                student's video, and what teacher and critic believe of it;
                                of the runs of `FILMED` the video alone
        told NAME-seed0 UUU     (Q, 4) `gaps` of every condition of the probe: the first half of
                                them have damaged references, the others good ones
    student                     the shipped student against the guided teacher on all benchmarks
"""

import json
from dataclasses import replace
from functools import partial

import torch

from livetalk_ref import DATA, curation, distillation, loading, stages
from livetalk_ref.device import best_device
from livetalk_ref.errors import followed
from livetalk_ref.files import averaged, eight_bits, read_metrics
from livetalk_ref.judge.benchmarks import PAPERS
from livetalk_ref.judge.cost import count_flops
from livetalk_ref.judge.distances import compare_judged, diversity
from livetalk_ref.judge.evaluate import (BATCH, LONG, evaluate_once, find_maker,
                                         make_student_latents)
from livetalk_ref.recipes import ROWS, recipe
from livetalk_ref.runs import kept, read, save
from livetalk_ref.studies.work import Job, Study
from livetalk_ref.world.clips import FRAMES
from livetalk_ref.world.latents import WINDOW

# Every row once, then the spread of those with more seeds.
PLAN = sorted(((name, seed) for name, row in ROWS.items() for seed in range(row.seeds)),
              key=lambda run: run[1])
STARTS = ("student_ode_short", "student_ode")
FEWER = (2, 1)          # steps of students whose ODE start is made here
JUDGED = (("studio", LONG), ("wild", WINDOW))       # besides studio, at the end
DARK = (("dark", WINDOW),)                          # and the students of dark references
EVERY = 5               # updates that one point of a training curve averages
CURVE = ("loss", "gradient", "grad_norm", "size", "distance")
PARTS = ("x", "real", "fake")
TAKEN_APART = ("baseline", "final", "final-raw", "dark")
PICTURED = ("baseline", "dark")     # those whose pictures ship too, not only `gaps`
# Those whose first and last videos ship.
FILMED = ("curated", "converged", "final", "quick-critic", "mild", "two-steps", "two-steps-mild",
          "one-step", "one-step-mild", "dark-quick", "dark-curated")
LEVEL = 0               # of `distillation.LEVELS`: at which beliefs are kept
SURELY = 0.975          # share of bootstrap draws in which what is surely better is better
PREDICTIONS = DATA / "studies/self_forcing.json"


class Ablation(Study):
    """All runs; the methods that are jobs return rows."""

    sizes = {
        "plan": (PLAN, (("baseline", 0), ("one-step", 0))),
        "updates": (None, 2),                           # instead of the rows' own
        "points": ((50, 100), (1,)),                    # updates that are judged, and the last
        "ode": (400, 2),                                # of an ODE start of fewer steps
        "pairs": (1024, 32),                            # paths that it learns from
        "clips": (48, 2),                               # of a set, over 21 latent frames
        "long": (12, 2),                                # and over 63
        "varied": (8, 1),               # of them made with `again` seeds, for diversity
        "again": (3, 2),
        "count": (curation.COUNT, 32),  # clips whose conditions are trained on
        "sets": (PAPERS, ("studio",))}
    device = best_device()              # trained there

    @property
    def seeds(self):
        return sorted({seed for _, seed in self.plan})

    def key(self):
        return loading.checkpoints_key(curation.key(), "teacher", *STARTS)

    def jobs(self):
        """First what the others are compared with, then run after run."""
        places = [("studio", WINDOW), *JUDGED, *DARK]
        made = [self.judging(name, name, {"row": name}, 0, *where)
                for name in ("codec", *STARTS, "teacher") for where in places
                if (name, where[0]) != ("codec", "dark")]
        for steps in {recipe(name).student_steps for name, _ in self.plan} & set(FEWER):
            label = f"ode-{steps}"
            made.append(Job(label, None, partial(self.begin, label, steps)))
            made += [self.judging(label, self.start_of(steps), {"row": label}, 0, *where)
                     for where in places]
        for name, seed in self.plan:
            made += self.run_jobs(f"{name}-seed{seed}", recipe(name, seed, self.updates),
                                  {"row": name, "seed": seed})
        made.append(Job("looks", None, self.collect))
        return made + [Job(f"student-{name}", "student", partial(self.versus, name))
                       for name in self.sets]

    def start_of(self, steps):
        """The averaged weights of the ODE start of so many steps."""
        return self.folder / f"ode-{steps}" / "ema.safetensors"

    def begin(self, label, steps):
        """Train a student of fewer steps on the teacher's paths."""
        states = stages.run_stage("ode", self.folder / label, self.ode, resume=True,
                                  compiled=self.compiled, keep=(), count=self.pairs,
                                  student_steps=steps)
        yield from followed(label, states)
        return []

    def run_jobs(self, label, r, about):
        """Train one run, judge it on its way and at its end, and compare it with its start."""
        if r.student_steps in FEWER:
            r = replace(r, start=str(self.start_of(r.student_steps)))
        points = [*(point for point in self.points if point < r.updates), r.updates]
        when = [(point, "studio", WINDOW) for point in points]
        dark = DARK if "dark" in r.conditions else ()
        when += [(r.updates, *where) for where in (*JUDGED, *dark)]
        weights = partial(kept, self.folder / label)
        return [Job(f"{label}-train", "ablation", partial(self.train, label, r, about)),
                *(self.judging(f"{label}-{point}", weights(point), about, point, *where)
                  for point, *where in when),
                Job(f"{label}-compare", "ablation",
                    partial(self.compare, about, weights(r.updates), r.start))]

    def judging(self, label, *what):
        name = "-".join(map(str, what[-2:]))
        return Job(f"{label}-{name}", "ablation", partial(self.judge, *what))

    def ground_of(self, name, frames):
        """What clips of so many latent frames are judged on; those of dark are studio's with
        references that have next to no light."""
        count = self.clips if frames == WINDOW else self.long
        ground = self.ground("studio" if name == "dark" else name, count, frames)
        if name != "dark":
            return ground
        data = ground.given.data
        seen = data.latents.clone()
        seen[:, 0] = curation.darken(seen[:, 0], ground.bench.codec)
        return replace(ground, bench=replace(ground.bench, name="dark"),
                       given=replace(ground.given, data=replace(data, latents=seen)))

    def train(self, label, r, about):
        made = curation.conditions(r.conditions, self.count)
        states = distillation.run(
            r, partial(made.batch, r.batch, r.frames), self.folder / label, resume=True,
            keep=(*self.points, r.updates), compiled=self.compiled,
            probe=made.probe(distillation.PROBES, r.frames),
            paths=distillation.paths_of(r, self.pairs))
        yield from followed(label, states)
        curve = averaged(read_metrics(self.folder / label), EVERY, CURVE)
        return [about | {"part": "training", "update": row.pop("step")} | row for row in curve]

    def judge(self, model, about, update, name, frames):
        """A row of numbers of a checkpoint, or of truth through the codec."""
        ground = self.ground_of(name, frames)
        if model == "codec":
            row = ground.references[0]
        else:
            found, _ = evaluate_once(find_maker(model, frames=frames), ground)
            row = found["rows"][0]
        return [about | {"part": "judged"} | row
                | {"name": about["row"], "update": update, "set": name, "frames": frames}]

    def compare(self, about, after, before):
        """What changed surely from a run's start to its end, clip by clip of studio."""
        ground = self.ground_of("studio", WINDOW)
        both = [evaluate_once(find_maker(model), ground)[1] for model in (after, before)]
        rows = compare_judged("end - start", *both, ground.truth.rendered)
        return [about | {"part": "compared"} | row for row in rows]

    def combine(self, result, rows):
        """The rows, and one for each prediction."""
        if result != "ablation" or self.quick:
            return rows, {}
        claims = json.loads(PREDICTIONS.read_text())["claims"]
        return rows + [{"part": "claim"} | claim | verdict(claim, rows) for claim in claims], {}

    def diversity(self, model, ground):
        """How different clips of one condition are that differ in their seed, on average."""
        count = min(self.varied, len(ground.bench))
        some = replace(ground.bench, data=ground.bench.data.select(range(count)))
        films = (find_maker(model, seed=seed).films(some, BATCH)
                 for seed in range(self.again))
        read = [torch.stack([ground.judges.reader.read(film).features for film in made])
                for made in films]                                      # (N, T, 32) of each seed
        return {"diversity": round(sum(map(diversity, torch.stack(read, 1))) / count, 4)}

    def versus(self, name):
        """The shipped student and the guided teacher on a set, and their paired difference."""
        ground, judged = self.ground(name, self.clips), {}
        decoded = ground.bench.data.latents[:1].float()
        decoding = count_flops(lambda: ground.bench.codec.decode(decoded)) / (FRAMES - 1)
        rows = [ground.references[0] | {"name": "codec"}]
        for who in ("teacher", "student"):
            yield
            found, judged[who] = evaluate_once(find_maker(who), ground)
            flops = found["cost"]["flops_per_frame"]
            rows.append(found["rows"][0] | self.diversity(who, ground) | {
                "evaluations a clip": found["cost"]["evaluations_per_clip"],
                "GFLOP a frame": round((flops - decoding) / 1e9, 4),
                "GFLOP a frame, decoded": round(flops / 1e9, 4)})
        rows += compare_judged("student - teacher", judged["student"], judged["teacher"],
                               ground.truth.rendered)
        return [row | {"set": name} for row in rows]

    def collect(self):
        """Write the latents that filmstrips are decoded from, for the first seed."""
        found, given = {}, self.ground_of("studio", LONG).given
        one = replace(given, data=given.data.select([0]))
        for name in (name for name, seed in self.plan if not seed):
            label, updates = f"{name}-seed0", recipe(name, 0, self.updates).updates
            model = loading.load_module(kept(self.folder / label, updates), "dit")
            made, = make_student_latents(model, one, frames=LONG,
                                         steps=recipe(name).student_steps)
            found[f"end {label}"] = made[0]
            for update in looked_when(name, self.points, updates):
                path = distillation.probed(self.folder / label, update)
                if path.is_file():
                    parts = PARTS if name in PICTURED else PARTS[:1] if name in FILMED else ()
                    found |= looked_at(read(path)[0], f"{label} {update}", parts)
        save(self.results / "ablation_looks.safetensors", eight_bits(found),
             made_by="python -m livetalk_ref.studies ablation", level=distillation.LEVELS[LEVEL])


def looked_when(name, points, last):
    """The updates of a run after which its look ships."""
    return (0, *points, last) if name in TAKEN_APART else (0, last) if name in FILMED else ()


def looked_at(seen, label, parts):
    """{key: latents} of one look at a run: `gaps`, and of some of PARTS two conditions' pictures,
    the first behind a damaged reference, the last behind a good one."""
    shown = {"x": seen["x"], "real": seen["real"][LEVEL], "fake": seen["fake"][LEVEL]}
    return {f"told {label}": gaps(seen)} | {f"{part} {label}": shown[part][[0, -1]]
                                            for part in parts}


def gaps(seen):
    """(Q, 4): spread of the student's latents, |student - teacher's belief|, |student - critic's
    belief|, |critic's - teacher's belief|, over the generated frames of every condition."""
    x = seen["x"][:, 1:].float()
    real, fake = (seen[part][LEVEL, :, 1:].float() for part in ("real", "fake"))
    apart = [(a - b).abs().mean((1, 2, 3, 4)) for a, b in ((x, real), (x, fake), (fake, real))]
    return torch.stack([x.flatten(1).std(1), *apart], dim=1)


def verdict(claim, rows):
    """What came of a prediction, one value a seed, and whether it holds for all of them.

    "surely better": of each list of numbers at least one is better, end against start, in
    SURELY of the bootstrap draws. Else a number of a row at the end (or after "update"), over that
    of the row "against" if there is one, is "at most" or "at least" so much; of two runs that are
    not equally long, after the last update that both have.
    """
    if "surely better" in claim:
        found = {(row["seed"], row["number"]): row["superiority"] for row in rows
                 if row["part"] == "compared" and row["row"] == claim["row"]}
        seeds = sorted({seed for seed, _ in found})
        worst = [min(max(found.get((seed, number), 0.0) for number in numbers)
                     for numbers in claim["surely better"]) for seed in seeds]
        return {"superiority": worst, "holds": bool(worst) and min(worst) >= SURELY}
    ours = by_update(claim, claim["row"], rows)
    theirs = by_update(claim, claim["against"], rows) if "against" in claim else {None: {0: 1.0}}
    values, start = [], theirs.get(None, {}).get(0)     # which stays what it is at every update
    for seed, found in ours.items():
        other = theirs.get(seed, {}) if start is None else dict.fromkeys(found, start)
        both = [n for n in found.keys() & other.keys() if n == claim.get("update", n)]
        values += [round(found[n] / other[n], 4) for n in sorted(both)[-1:]]
    holds = (all(value <= claim["at most"] for value in values) if "at most" in claim else
             all(value >= claim["at least"] for value in values))
    return {"values": values, "holds": bool(values) and holds}


def by_update(claim, name, rows):
    """{seed: {update: a claim's number}} of a row; a start's seed is None, and its update 0."""
    found = {}
    for row in rows:
        if (row["part"] == "judged" and row["row"] == name and claim["number"] in row
                and (row["set"], row["frames"]) == (claim["set"], claim.get("frames", WINDOW))):
            found.setdefault(row.get("seed"), {})[row["update"]] = row[claim["number"]]
    return found
