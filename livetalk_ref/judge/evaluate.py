"""Clips of a model on a benchmark's conditions, judged beside the truth: one road for all makers.

A maker is a DiT, the rule, the truth, or the truth through the codec. Whoever made the clips, the
same judges see them, and distances are to the truth as it is rendered. The truth of a benchmark is
judged once for each set of weights and kept beside its cache. N clips, T video frames, F latent
frames, C latent channels.
"""

import hashlib
import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property, partial
from math import ceil
from pathlib import Path

import torch

from livetalk_ref import loading
from livetalk_ref.cache import BLOCK
from livetalk_ref.curation import trim
from livetalk_ref.errors import Progress, UserError, warn
from livetalk_ref.files import as_result
from livetalk_ref.flow import STUDENT_STEPS, sample
from livetalk_ref.generate import FRESH, KEPT, PLAIN, evaluations, frames_in, passes, settle
from livetalk_ref.judge import benchmarks
from livetalk_ref.judge.benchmarks import Benchmark
from livetalk_ref.judge.cost import count_flops, counted_passes
from livetalk_ref.judge.distances import judged_row
from livetalk_ref.judge.metrics import Truth, expression_right, face_numbers, picture_numbers
from livetalk_ref.nets.syncnet import lip_numbers
from livetalk_ref.nets.whole_faces import whole_share
from livetalk_ref.rollout import sample as sample_blocks
from livetalk_ref.runs import read, save
from livetalk_ref.world.latents import OVERLAP, WINDOW, cache_key
from livetalk_ref.world.state import FPS

JUDGES = 2      # raise it when code changes what the judges say: it names what is kept of them
BATCH = 16
LONG = 21 * BLOCK                               # latent frames of a long clip: 15.6 s
LONG_WINDOWS = 1 + ceil((LONG - WINDOW) / FRESH)            # of a teacher, which cover them


def batched(bench, batch, seed):
    """Batch after batch of a benchmark's conditions: `LatentClips`, and a generator of noise for
    each clip, so that a clip does not depend on those beside it."""
    for first in range(0, len(bench), batch):
        numbers = range(first, min(first + batch, len(bench)))
        yield bench.data.select(numbers), [torch.Generator().manual_seed(seed * 1_000_003 + i)
                                           for i in numbers]


@torch.no_grad()
def make_teacher_latents(model, bench, steps, guidance=PLAIN, seed=0, windows=1, batch=BATCH):
    """Latents (batch, 21 .., C, h, w) of a teacher: one window behind the end of another."""
    for some, dice in batched(bench, batch, seed):
        made = some.latents[:, :1].float()
        for index in range(windows):
            _, cond = some.window(index * FRESH, OVERLAP if index else 1)
            clean = made[:, -OVERLAP:] if index else made
            noise = torch.stack([torch.randn(WINDOW, *made.shape[2:], generator=g) for g in dice])
            x = sample(model, noise, clean, trim(cond), steps=steps, guidance=guidance)
            made = torch.cat([made, x[:, clean.shape[1]:]], dim=1)
        yield made


@torch.no_grad()
def make_student_latents(model, bench, seed=0, frames=WINDOW, batch=BATCH, steps=STUDENT_STEPS):
    """Latents (batch, frames, C, h, w) of a student: block after block behind its cache."""
    for some, dice in batched(bench, batch, seed):
        _, cond = some.window(0, 1, frames)
        yield sample_blocks(model, trim(cond), dice, KEPT, steps=steps)


@dataclass(frozen=True)
class ClipMaker:
    """Who makes the clips: films(bench, batch) gives the frames of clip after clip."""

    name: str
    films: Callable
    model: torch.nn.Module | None = None
    settings: dict = field(default_factory=dict)
    passes: int = 0             # of its model, for a clip
    seed: int = 0               # of its noise


WITHOUT_MODEL = {
    "truth": lambda bench, batch: bench.film(),
    "codec": lambda bench, batch: bench.decode(bench.data.latents),
    "rule": lambda bench, batch: map(benchmarks.film_rule, bench.clips())}


def find_maker(model, steps=None, guidance=None, seed=0, frames=WINDOW, name=None):
    """The `ClipMaker` of a name in WITHOUT_MODEL, or of a shipped DiT or checkpoint file.

    frames: latent frames, WINDOW or LONG. UserError for an unknown model, and for steps or guidance
    where none are taken.
    """
    if model in WITHOUT_MODEL:
        if steps or guidance:
            raise UserError(f"The maker '{model}' takes no steps and no guidance; leave them out.")
        return ClipMaker(name or model, WITHOUT_MODEL[model], seed=seed)
    avatar = loading.load(str(model))
    steps, guidance = settle(avatar, steps, guidance)
    settings = {"steps": steps, "text_guidance": guidance.text, "audio_guidance": guidance.audio}
    windows = 1 if frames == WINDOW else LONG_WINDOWS
    if avatar.is_student:
        settings["block"] = BLOCK
        count = passes(frames // BLOCK, steps)
        make = partial(make_student_latents, seed=seed, frames=frames, steps=steps)
    else:
        count = evaluations(windows, steps, guidance)
        make = partial(make_teacher_latents, steps=steps, guidance=guidance, seed=seed,
                       windows=windows)

    def films(bench, batch):
        for latents in make(avatar.model, bench, batch=batch):
            yield from bench.decode(latents[:, :frames])

    return ClipMaker(name or str(model), films, avatar.model, settings, count, seed)


@dataclass
class Judged:
    """What the judges say of N clips: a row of numbers of each, and features (N, T, 32)."""

    rows: list
    features: torch.Tensor


@dataclass(frozen=True)
class Judges:
    """The face reader, the judge of lip sync, and that of melting; None where there is none."""

    reader: torch.nn.Module
    syncnet: torch.nn.Module | None = None
    wholeness: torch.nn.Module | None = None

    @staticmethod
    def load():
        """The shipped judges."""
        return Judges(loading.load_module("reader"), *(
            loading.load_module(name) if (loading.CHECKPOINTS / f"{name}.safetensors").is_file()
            else None for name in ("sync", "faces")))

    def key(self, *makers, facts=""):
        """Ten hex digits that change with `JUDGES`, with facts, and with the weights of the
        judges and of `makers`, modules whose work is judged."""
        digest = hashlib.sha256(f"judges {JUDGES}{facts}".encode())
        for module in filter(None, (*vars(self).values(), *makers)):
            for name, value in sorted(module.state_dict().items()):
                digest.update(name.encode() + value.half().cpu().numpy().tobytes())
        return digest.hexdigest()[:10]

    @torch.inference_mode()
    def numbers(self, frames, samples, truth):
        """All numbers of frames (T, 3, 96, 96) and sound but the prompt's, beside a `Truth`; and
        the `Reading`."""
        reading = self.reader.read(frames)
        row = face_numbers(reading, truth.state) | picture_numbers(frames, truth)
        if self.syncnet is not None:
            row |= lip_numbers(self.syncnet, frames, samples)
        if self.wholeness is not None:
            share, longest = whole_share(self.wholeness.broken(frames))
            row |= {"whole faces": share, "longest break": longest / FPS}
        return row, reading

    def judge(self, films, bench, truths, watch=None):
        """Judge the frames of every clip of a `Benchmark`, lips by the clean sound: `Judged`."""
        rows, features, d = [], [], bench.data
        for i, frames in enumerate(films):
            frames = frames[:d.state.shape[1]]
            row, reading = self.numbers(frames, bench.samples[i], truths[i])
            right = expression_right(reading, d.prompts[i], d.starts[i].tolist())
            rows.append(row | {"expression right": right})
            features.append(reading.features)
            if watch:
                watch()
        return Judged(rows, torch.stack(features))


@dataclass
class JudgedTruth:
    """A benchmark's truth as the judges see it."""

    truths: list                # N `Truth`
    rendered: Judged
    coded: Judged               # through the codec: the best that a model of its latents can be
    second: torch.Tensor        # (N, T, 32) features of the second list, as rendered

    @staticmethod
    def measure(judges, bench, second, watch=None):
        """Judge the truth of a `Benchmark`, `watch` after every clip, and of its second list."""
        coded = bench.data.latents
        truths = [Truth.of(*clip) for clip in zip(bench.data.state, bench.film(),
                                                  bench.decode(coded))]
        with torch.inference_mode():
            features = [judges.reader.read(film).features for film in second.film()]
        rendered, again = (judges.judge(films, bench, truths, watch)
                           for films in (bench.film(), bench.decode(coded)))
        return JudgedTruth(truths, rendered, again, torch.stack(features))

    def save(self, path):
        """Write all but the states to one safetensors file."""
        save(path, {"moves": torch.stack([t.moves for t in self.truths]),
                    "still": torch.stack([t.still for t in self.truths]), "second": self.second,
                    "rendered": self.rendered.features, "coded": self.coded.features},
             rendered=self.rendered.rows, coded=self.coded.rows,
             codec=[t.codec for t in self.truths])

    @staticmethod
    def load(path, states):
        """Read what `save` wrote; states (N, T, S)."""
        t, facts = read(path)
        truths = zip(states.float(), t["moves"], t["still"], facts["codec"])
        rendered, coded = (Judged(facts[kind], t[kind]) for kind in ("rendered", "coded"))
        return JudgedTruth([Truth(*one) for one in truths], rendered, coded, t["second"])


@dataclass(frozen=True)
class Ground:
    """What every maker meets on a benchmark: its clips, the judges, and the judged truth."""

    bench: Benchmark            # what is judged
    judges: Judges
    truth: JudgedTruth
    version: str                # of the benchmark, with + when its clips are not the frozen ones
    given: Benchmark            # what is made: a teacher's last window ends behind what is judged
    folder: Path                # where judged clips are kept

    @staticmethod
    def make(name, count=benchmarks.CLIPS, frames=WINDOW, folder=benchmarks.CACHE):
        """Build or reuse the caches of a benchmark's first clips of WINDOW or LONG frames."""
        judges, codec = Judges.load(), loading.load_module("codec")
        length = frames_in(1 if frames == WINDOW else LONG_WINDOWS)
        given, second = (Benchmark.build(codec, name, count, length, second, folder)
                         for second in (False, True))
        version, warning = benchmarks.check_version(name, [
            fact["fingerprint"] for fact in given.facts]) if frames == WINDOW else ("long", None)
        if warning:
            warn(warning)
        bench, folder = given.cut(frames), Path(folder) / cache_key(codec)
        path = folder / f"judged-{name}-{frames}-{count}-{judges.key(codec)}.safetensors"
        if not path.exists():
            with Progress(f"judging the truth of {name}: clip", 2 * count) as progress:
                JudgedTruth.measure(judges, bench, second.cut(frames), progress).save(path)
        return Ground(bench, judges, JudgedTruth.load(path, bench.data.state),
                      version, given, folder)

    @cached_property
    def references(self):
        """The rows that stand beside every maker's: the ceiling, truth through the codec, and the
        floor, the distance of a second, disjoint set of truth."""
        coded, truth = self.truth.coded, self.truth.rendered.features
        return (judged_row("truth through the codec", coded.rows, coded.features, truth),
                judged_row("floor: a second set of truth", [], self.truth.second, truth))


def judge_clips(made, ground):
    """Judge a maker's clips: `Judged`, and what making them cost."""
    bench = ground.bench
    total = len(bench) * (made.passes + 1)
    with Progress(f"{made.name} on {bench.name}: step", total) as progress:
        counter = counted_passes(made.model, progress.update) if made.model else nullcontext([])
        with counter as seen:
            films = made.films(ground.given, BATCH)
            judged = ground.judges.judge(films, bench, ground.truth.truths, progress)
    frames = bench.data.state.shape[1] - 1                              # frame 0 is given
    flops = count_flops(lambda: next(made.films(ground.given, 1))) if made.model else None
    return judged, {"evaluations_per_clip": sum(seen) / len(bench),
                    "flops_per_frame": flops and flops / frames}


def evaluate_maker(made, ground, command=""):
    """All figures of a maker: a dict as in data/results, whose rows are the maker's and the
    ground's references, and the `Judged` clips for comparisons."""
    judged, cost = judge_clips(made, ground)
    truth = ground.truth.rendered.features
    rows = [judged_row(made.name, judged.rows, judged.features, truth), *ground.references]
    return as_result(command, rows, [made.seed], cost) | {
        "set": ground.bench.name, "version": ground.version, "settings": made.settings}, judged


def evaluate_once(made, ground):
    """What `evaluate_maker` gives, made once and then read from beside the benchmark's cache."""
    bench = ground.bench
    facts = json.dumps([made.name, made.settings, made.seed, ground.version])
    key = ground.judges.key(made.model, bench.codec, facts=facts)
    path = ground.folder / f"clips-{bench.name}-{len(bench)}-{key}.safetensors"
    if not path.exists():
        found, judged = evaluate_maker(made, ground)
        save(path, {"features": judged.features}, found=found, rows=judged.rows)
    tensors, facts = read(path)
    return facts["found"], Judged(facts["rows"], tensors["features"])
