"""What is measured of a student while it converges: its error, its blur, and against whom.

The error is that of the regression, on trajectories of held-out conditions; the blur is the
sharpness of what it believes after one, two, three and all of its four steps; comparisons are
paired over the clips of a benchmark. Letters as in flow.py; N clips, T video frames.
"""

from dataclasses import dataclass, field

import torch

from livetalk_ref.flow import x0_from_velocity
from livetalk_ref.generate import KEPT, settle
from livetalk_ref.judge import evaluate, long, metrics, stats
from livetalk_ref.judge.distances import compare_distances
from livetalk_ref.judge.panel import Judged, Judges
from livetalk_ref.judge.table import DEFINITIONS
from livetalk_ref.loading import load_module
from livetalk_ref.ode import behind_noisy, causal_trajectory
from livetalk_ref.rollout import SIGMAS
from livetalk_ref.runs import read, save

COMPARED = ("frechet", "kernel", "clip frechet", "clip kernel", "sharpness", "open correlation",
            "width correlation", "Sync-C", "Sync-D", "expression right", "identity cosine")


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


class HeldOutBench:
    """Held-out clips with their truth, judged once for all lines of a table."""

    def __init__(self, count):
        self.codec, self.reader = load_module("codec"), load_module("reader")
        self.clips = evaluate.HeldOut.make(self.codec, count)
        self.still = [metrics.still_places(frames) for frames in self.clips.film()]
        self.coded = self.judge(self.clips.data.latents)

    def judge(self, latents):
        films = self.clips.decode(latents)
        return evaluate.judge(films, self.clips, self.reader, self.still)

    def line(self, name, latents):
        """A table line of latents (N, 21, C, h, w); distances are to truth through the codec."""
        return evaluate.summarise(name, *self.judge(latents), self.coded[1])

    def truth(self):
        """The line of truth through the codec, the best that any model of its latents can be."""
        return evaluate.summarise("truth through the codec", *self.coded, self.coded[1])

    def student(self, name, model, watch=None, **options):
        """The line of a student's rollout; options as for `evaluate.rolled`."""
        return self.line(name, torch.cat(list(evaluate.rolled(model, self.clips, watch=watch,
                                                              **options))))

    def teacher(self, name, model, watch=None, **options):
        """The line of a teacher; options as for `evaluate.batches`."""
        return self.line(name, evaluate.generate(model, self.clips, watch=watch, **options))

    def causal_teacher(self, name, model, guidance, watch=None):
        """The line of an autoregressive teacher: the ends of its trajectories."""
        made = []
        for first in range(0, len(self.clips.data), evaluate.BATCH):
            last = min(first + evaluate.BATCH, len(self.clips.data))
            x0, cond = self.clips.data.select(range(first, last)).window(0, 1)
            noise = evaluate.noise_of(x0, 0, first)
            made.append(causal_trajectory(model, noise, x0[:, :1], cond, guidance, watch)[:, -1])
        return self.line(name, torch.cat(made))


def compare(name, ours, theirs, truth):
    """Is A better than B? One row a number: difference A - B, its 95 % interval, and the share of
    bootstrap draws in which A is better. ours, theirs, truth: `panel.Judged` of the same clips."""
    found = compare_distances(ours.features, theirs.features, truth.features)
    for key in COMPARED:
        columns = [[row.get(key) for row in judged.rows] for judged in (ours, theirs, truth)]
        if key not in found and any(None not in pair for pair in zip(*columns)):
            found[key] = stats.compare(*columns[:2], DEFINITIONS[key].better, columns[2])
    return [{"comparison": name, "number": key, "difference": round(found[key].difference, 4),
             "95%": [round(found[key].low, 4), round(found[key].high, 4)],
             "superiority": round(found[key].superiority, 4)} for key in COMPARED if key in found]


@dataclass(frozen=True)
class BlockJudges(Judges):
    """Judges that also note every clip's numbers block by block."""

    seen: list = field(default_factory=list)

    @staticmethod
    def of(judges):
        """The same judges with an empty notebook."""
        return BlockJudges(judges.reader, judges.syncnet)

    def clip(self, frames, truth, bench, i):
        self.seen.append(long.clip_blocks(frames, self.reader.read(frames), bench.data.state[i]))
        return super().clip(frames, truth, bench, i)


def keep(path, judged):
    """Write `Judged` clips to a file."""
    save(path, {"features": judged.features}, rows=judged.rows)


def kept_judged(path):
    """Read what `keep` wrote."""
    tensors, facts = read(path)
    return Judged(facts["rows"], tensors["features"])


def long_lines(label, avatar, name, count, folder, steps=None, guidance=None, watch=None):
    """One line a block of a model's long rollouts of a set's first `count` long clips.

    The truth is read once and kept in the folder.
    """
    reader, codec = load_module("reader"), avatar.codec
    bench, path = long.build(codec, name, count), folder / f"long-truth-{name}.safetensors"
    if not path.is_file():
        _, features = long.judge(bench.film(), bench, reader, long.BLOCKS)
        save(path, {"features": features})
    steps, guidance = settle(avatar, steps, guidance)
    made = evaluate.rolled(avatar.model, bench, watch=watch, policy=KEPT, frames=long.LATENTS) \
        if avatar.is_student else long.windows(avatar.model, bench, steps, guidance, watch=watch)
    films = (film for latents in made for film in bench.decode(latents))
    rows, features = long.judge(films, bench, reader, long.BLOCKS)
    return long.by_block(label, rows, features, read(path)[0]["features"])
