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

from dataclasses import replace
from functools import partial

import torch

from livetalk_ref import curation, distillation, loading
from livetalk_ref.device import best_device
from livetalk_ref.errors import followed
from livetalk_ref.files import averaged, eight_bits, read_metrics
from livetalk_ref.judge.benchmarks import CLIPS, PAPERS
from livetalk_ref.judge.cost import count_flops
from livetalk_ref.judge.distances import compare_judged, diversity
from livetalk_ref.judge.evaluate import (BATCH, LONG, evaluate_maker, evaluate_once, find_maker,
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
EVERY = 5               # updates that one point of a training curve averages
CURVE = ("loss", "gradient", "grad_norm", "size", "distance")
TAKEN_APART = ("baseline", "final", "final-raw", "baseline-long")
PICTURED = ("baseline", "baseline-long")        # those whose pictures ship too, not only `gaps`
LEVEL = 0               # of `distillation.LEVELS`: at which beliefs are kept


class Ablation(Study):
    """All runs; the methods that are jobs return rows."""

    sizes = {
        "plan": (PLAN, (("baseline", 0), ("final", 0))),
        "updates": (None, 2),                           # instead of the rows' own
        "points": ((25, 50, 100, 200, 400, 600, 800), (1, 2)),      # updates that are judged
        "clips": (48, 2),                               # of studio, over 21 latent frames
        "long": (16, 2),                                # and over 63
        "varied": (8, 1),               # of them made with `again` seeds, for diversity
        "again": (3, 2),
        "count": (curation.COUNT, 32),  # clips whose conditions are trained on
        "judged": (CLIPS, 2),           # clips of each set for the shipped student
        "sets": (PAPERS, ("studio",))}
    device = best_device()              # trained there

    @property
    def seeds(self):
        return sorted({seed for _, seed in self.plan})

    def key(self):
        return loading.checkpoints_key(curation.key(), "teacher", *STARTS)

    def jobs(self):
        """First what the others are compared with, then run after run."""
        made = [self.judging(name, name, {"row": name}, 0, frames)
                for name in ("codec", *STARTS, "teacher") for frames in (WINDOW, LONG)]
        for name, seed in self.plan:
            made += self.run_jobs(f"{name}-seed{seed}", recipe(name, seed, self.updates),
                                  {"row": name, "seed": seed})
        made.append(Job("looks", None, self.collect))
        return made + [Job(f"student-{name}", "student", partial(self.versus, name))
                       for name in self.sets]

    def run_jobs(self, label, r, about):
        """Train one run, and judge it on its way and at its end."""
        points = [*(point for point in self.points if point < r.updates), r.updates]
        when = [(point, WINDOW) for point in points] + [(r.updates, LONG)]
        return [Job(f"{label}-train", "ablation", partial(self.train, label, r, about)),
                *(self.judging(f"{label}-{point}", kept(self.folder / label, point), about, point,
                               frames) for point, frames in when)]

    def judging(self, label, *what):
        return Job(f"{label}-{what[-1]}", "ablation", partial(self.judge, *what))

    def ground_of(self, frames):
        """What clips of so many latent frames are judged on."""
        return self.ground("studio", self.clips if frames == WINDOW else self.long, frames)

    def train(self, label, r, about):
        made = curation.conditions(r.conditions, self.count)
        states = distillation.run(
            r, partial(made.batch, r.batch, r.frames), self.folder / label, resume=True,
            keep=(*self.points, r.updates), compiled=self.compiled,
            probe=made.probe(distillation.PROBES, r.frames),
            paths=distillation.paths_of(r, self.count))
        yield from followed(label, states)
        curve = averaged(read_metrics(self.folder / label), EVERY, CURVE)
        return [about | {"part": "training", "update": row.pop("step")} | row for row in curve]

    def judge(self, model, about, update, frames):
        """A row of numbers of a checkpoint, or of truth through the codec."""
        ground = self.ground_of(frames)
        if model == "codec":
            row = ground.references[0]
        else:
            found, _ = evaluate_maker(find_maker(model, frames=frames), ground)
            row = found["rows"][0]
        if model != "codec" and frames == WINDOW:
            yield
            row = row | self.diversity(model, ground)
        return [about | {"part": "judged"} | row
                | {"name": about["row"], "update": update, "frames": frames}]

    def diversity(self, model, ground):
        """How different clips of one condition are that differ in their seed, on average."""
        count = min(self.varied, len(ground.bench))
        some = replace(ground.bench, data=ground.bench.data.select(range(count)))
        films = (find_maker(model, seed=seed).films(some, BATCH, None)
                 for seed in range(self.again))
        read = [torch.stack([ground.judges.reader.read(film).features for film in made])
                for made in films]                                      # (N, T, 32) of each seed
        return {"diversity": round(sum(map(diversity, torch.stack(read, 1))) / count, 4)}

    def versus(self, name):
        """The shipped student and the guided teacher on a set, and their paired difference."""
        ground, judged = self.ground(name, self.judged), {}
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
        found, given = {}, self.ground_of(LONG).given
        one = replace(given, data=given.data.select([0]))
        for name in (name for name, seed in self.plan if not seed):
            label, updates = f"{name}-seed0", recipe(name, 0, self.updates).updates
            model = loading.load_module(kept(self.folder / label, updates), "dit")
            made, = make_student_latents(model, one, frames=LONG)
            found[f"end {label}"] = made[0]
            for update in (0, *self.points, updates) if name in TAKEN_APART else ():
                path = distillation.probed(self.folder / label, update)
                if path.is_file():
                    found |= looked_at(read(path)[0], f"{label} {update}", name in PICTURED)
        save(self.results / "ablation_looks.safetensors", eight_bits(found),
             made_by="python -m livetalk_ref.studies ablation", level=distillation.LEVELS[LEVEL])


def looked_at(seen, label, pictures):
    """{key: latents} of one look at a run: `gaps`, and two conditions' pictures, the first behind
    a damaged reference, the last behind a good one."""
    found = {f"told {label}": gaps(seen)}
    if pictures:
        shown = {"x": seen["x"], "real": seen["real"][LEVEL], "fake": seen["fake"][LEVEL]}
        found |= {f"{part} {label}": x[[0, -1]] for part, x in shown.items()}
    return found


def gaps(seen):
    """(Q, 4): spread of the student's latents, |student - teacher's belief|, |student - critic's
    belief|, |critic's - teacher's belief|, over the generated frames of every condition."""
    x = seen["x"][:, 1:].float()
    real, fake = (seen[part][LEVEL, :, 1:].float() for part in ("real", "fake"))
    apart = [(a - b).abs().mean((1, 2, 3, 4)) for a, b in ((x, real), (x, fake), (fake, real))]
    return torch.stack([x.flatten(1).std(1), *apart], dim=1)
