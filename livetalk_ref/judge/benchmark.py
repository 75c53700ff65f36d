"""`evaluate`: one maker of clips on one benchmark, as rows of numbers with intervals, and costs.

A maker is a DiT (teacher, student, checkpoint), the rule, the truth, the truth through the codec,
or another program's folder of videos. Whoever made the clips, the same judges judge them.
"""

import datetime
import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch

from livetalk_ref import loading
from livetalk_ref.cache import BLOCK
from livetalk_ref.errors import Progress, UserError, warn
from livetalk_ref.files import commit, hardware
from livetalk_ref.generate import settle
from livetalk_ref.judge import cost, rule, sets, stats, videos
from livetalk_ref.judge.distances import distances
from livetalk_ref.judge.evaluate import BATCH, batches, rolled
from livetalk_ref.judge.panel import Judges, Yardstick, yardstick
from livetalk_ref.judge.table import DEFINITIONS, ORIGINALS
from livetalk_ref.world import shards
from livetalk_ref.world.clips import FRAMES
from livetalk_ref.world.latents import WINDOW


@dataclass(frozen=True)
class Maker:
    """Who makes the clips: films(bench, batch, watch) gives the frames of clip after clip."""

    name: str
    films: Callable
    model: torch.nn.Module | None = None
    settings: dict = field(default_factory=dict)
    ticks: int = 0              # how often `watch` is called for a batch

    def count_steps(self, clips):
        """Denoising steps, or blocks, that `watch` will see."""
        return math.ceil(clips / BATCH) * self.ticks


def truth_films(bench, batch, watch):
    return bench.film()


def codec_films(bench, batch, watch):
    return bench.decode(bench.data.latents)


def rule_films(bench, batch, watch):
    return (rule.film(bench.clip(i)) for i in range(len(bench)))


WITHOUT_MODEL = {"truth": truth_films, "codec": codec_films, "rule": rule_films}


def maker(model, steps=None, guidance=None, seed=0):
    """The `Maker` of a name in WITHOUT_MODEL, or of a shipped DiT or checkpoint file.

    A teacher makes whole windows by a guided Euler sampler, a student block after block by the
    rollout. UserError for an unknown model, and for steps or guidance where none are taken.
    """
    if model in WITHOUT_MODEL:
        refuse(f"the maker '{model}'", steps, guidance)
        return Maker(model, WITHOUT_MODEL[model])
    avatar = loading.load(model)
    dit, (steps, guidance) = avatar.model, settle(avatar, steps, guidance)

    def films(bench, batch, watch):
        made = rolled(dit, bench, seed, batch, watch) if avatar.is_student else \
            batches(dit, bench, steps, guidance, seed, batch, watch)
        for latents in made:
            yield from bench.decode(latents)

    settings = {"steps": steps, "text_guidance": guidance.text, "audio_guidance": guidance.audio}
    if avatar.is_student:
        settings["block"] = BLOCK
    return Maker(str(model), films, dit, settings, WINDOW // BLOCK if avatar.is_student else steps)


def video_maker(folder, name, count, steps=None, guidance=None):
    """The `Maker` of the clips of a set that another program wrote into a folder.

    UserError as `videos.find`, and for steps or guidance.
    """
    refuse("a folder of videos", steps, guidance)
    paths = videos.find(folder, name, count)
    return Maker(f"videos in {folder}", lambda bench, batch, watch: videos.read(paths))


def refuse(what, steps, guidance):
    """Only a DiT takes these."""
    if steps or guidance:
        raise UserError(f"{what[0].upper()}{what[1:]} takes no steps and no guidance; leave them "
                        f"out.")


@dataclass(frozen=True)
class Ground:
    """What every maker meets on a set: its clips, the judges, and what they say of the truth."""

    bench: sets.Benchmark
    judges: Judges
    truth: Yardstick
    version: str                # of the set, with + when its clips are not the frozen ones

    @staticmethod
    def make(name, count=sets.CLIPS, folder="runs/latents"):
        """Build or reuse the caches of a set's first `count` clips; shows its progress."""
        judges, codec = Judges.load(), loading.load_module("codec")
        folder = sets.cache(codec, folder)
        bench, second = (built(codec, name, folder, count, second) for second in (False, True))
        version, warning = sets.version(name, [fact["fingerprint"] for fact in bench.facts])
        if warning:
            warn(warning)
        with Progress(f"judging the truth of {name}: clip", 2 * count) as progress:
            truth = yardstick(judges, bench, second, folder, progress)
        return Ground(bench, judges, truth, version)


def built(codec, name, folder, count, second):
    """A set's `Benchmark`, made if it is not there yet."""
    paths = []
    with Progress(f"building {name}: shard", math.ceil(count / shards.SHARD)) as progress:
        for path in sets.build(codec, name, folder, count, second):
            paths.append(path)
            progress()
    return sets.load(codec, name, paths, count)


def judge(made, ground):
    """Judge a maker's clips: its `Judged`, and what making them cost."""
    bench, clock = ground.bench, cost.Clock()
    counter = cost.counted(made.model) if made.model else nullcontext([])
    total = made.count_steps(len(bench)) + len(bench)
    with Progress(f"{made.name} on {bench.name}: step", total) as progress, counter as seen:
        films = clock.watch(made.films(bench, BATCH, progress))
        judged = ground.judges.judge(films, bench, ground.truth.truths, progress)
    made_frames = len(bench) * (FRAMES - 1)             # frame 0 is given
    facts = {"evaluations_per_clip": sum(seen) / len(bench), "flops_per_frame": None,
             "seconds": clock.seconds, "seconds_per_frame": clock.seconds / made_frames,
             "peak_memory_mib": clock.peak_mib, "threads": torch.get_num_threads()}
    if made.model:
        once = cost.count_flops(lambda: next(made.films(bench, 1, None)))
        facts |= {"flops_per_frame": once / (FRAMES - 1), "batch": BATCH}
    return judged, facts


def line(name, rows, features, truth):
    """One row of the table: means and distances to the truth with 95 % intervals."""
    row = {"name": name, "clips": len(features)}
    found = {key: stats.bootstrap(values) for key, values in columns(rows).items()}
    found |= distances(features, truth)
    for key in [key for key in DEFINITIONS | ORIGINALS if key in found]:
        value, *edges = found[key]
        row[key], row[f"{key} 95%"] = round(value, 4), [round(edge, 4) for edge in edges]
    return row


def columns(rows):
    """{number: its values} of per-clip rows, without those that apply to no clip."""
    table = {key: [row[key] for row in rows] for key in (rows[0] if rows else ())}
    return {key: values for key, values in table.items() if any(v is not None for v in values)}


def evaluate(made, ground, seed=0, command=""):
    """All figures of a maker: a dict as in data/results, and the `Judged` clips for comparisons.

    Rows: the maker, and the floor, which is the distance of a second, disjoint set of truth.
    Everything but `cost`, date and hardware is the same whenever it is done again.
    """
    judged, price = judge(made, ground)
    truth = ground.truth.rendered.features
    rows = [line(made.name, judged.rows, judged.features, truth),
            line("floor: a second set of truth", [], ground.truth.second, truth)]
    facts = {"made_by": command, "code": commit(), "hardware": hardware(),
             "date": datetime.date.today().isoformat(), "seeds": [seed],
             "set": ground.bench.name, "version": ground.version, "settings": made.settings,
             "rows": rows, "cost": price}
    return facts, judged


def table(facts):
    """The figures for people."""
    row, floor = facts["rows"]
    settings = "".join(f", {key.replace('_', ' ')} {value}"
                       for key, value in facts["settings"].items())
    lines = [f"{row['name']} on {facts['set']} {facts['version']}: {row['clips']} clips{settings}"]
    for key, (unit, better, _) in (DEFINITIONS | ORIGINALS).items():
        if key in row:
            edges = row.get(f"{key} 95%")                   # FID and FVD have none
            span = f"  [{edges[0]:.3f}, {edges[1]:.3f}]" if edges else ""
            least = f", floor {floor[key]:.3f}" if key in floor else ""
            lines.append(f"{key:18} {row[key]:9.3f}{span}  {unit}, {better} is better{least}"
                         .replace("close to truth is better", "close to truth"))
    price = facts["cost"]
    lines.append(f"cost: {price['evaluations_per_clip']:.0f} evaluations a clip, "
                 f"{price['seconds_per_frame'] * 1000:.1f} ms a frame"
                 + (f", {price['flops_per_frame'] / 1e9:.2f} GFLOP a frame"
                    if price["flops_per_frame"] else "")
                 + (f", {price['peak_memory_mib']:.0f} MiB at most"
                    if price["peak_memory_mib"] else ""))
    return "\n".join(lines)
