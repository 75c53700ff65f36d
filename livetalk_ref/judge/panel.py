"""The judges, and what they say of the truth, which is what every model's clips are held against.

The truth of a set is judged once for each set of weights and kept beside the set's cache: as
rendered, through the codec, and a second, disjoint list of clips, whose distance to the first is
the floor that no model needs to go below. N clips, T frames.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch

from livetalk_ref import loading
from livetalk_ref.judge.lips import sync
from livetalk_ref.judge.metrics import SETTLED, Truth, clip_numbers
from livetalk_ref.runs import read, save
from livetalk_ref.world.prompts import parse
from livetalk_ref.world.state import EXPRESSIONS

JUDGES = 1      # raise it when code changes what the judges say: it names what is kept of them


@dataclass
class Judged:
    """What the judges say of N clips: a row of numbers for each, and features (N, T, 32)."""

    rows: list
    features: torch.Tensor

    @staticmethod
    def of(clips):
        """From (row, features) of every clip."""
        rows, features = zip(*clips)
        return Judged(list(rows), torch.stack(features))


@dataclass(frozen=True)
class Judges:
    """The face reader, and the SyncNet where there is one."""

    reader: torch.nn.Module
    syncnet: torch.nn.Module | None

    @staticmethod
    def load():
        """The shipped judges."""
        there = (loading.CHECKPOINTS / "sync.safetensors").is_file()
        return Judges(loading.load_module("reader"), loading.load_module("sync") if there else None)

    def key(self, *makers):
        """Ten hex digits that change with `JUDGES`, the judges' weights, or the weights of
        `makers`, modules whose work is judged."""
        digest = hashlib.sha256(f"judges {JUDGES}".encode())
        for module in filter(None, (self.reader, self.syncnet, *makers)):
            for name, value in sorted(module.state_dict().items()):
                digest.update(name.encode() + value.half().cpu().numpy().tobytes())
        return digest.hexdigest()[:10]

    @torch.inference_mode()
    def clip(self, frames, truth, bench, i):
        """Clip i of a `Benchmark` as these frames (T, 3, 96, 96): its row of numbers and its
        features (T, 32). Lips are judged by the clean sound, whatever the models heard."""
        row, reading = self.numbers(frames, bench.samples[i], truth)
        row["expression right"] = expression_right(reading, bench.data.prompts[i], [0])
        return row, reading.features

    @torch.inference_mode()
    def numbers(self, frames, samples, truth):
        """All numbers of frames and sound but the prompt's, beside a `Truth`; and the `Reading`."""
        reading = self.reader.read(frames)
        row = clip_numbers(frames, reading, truth)
        if self.syncnet is not None:
            heard = sync(self.syncnet, frames, samples)
            row |= {"Sync-C": heard.confidence, "Sync-D": heard.distance,
                    "Sync offset": heard.offset}
        return row, reading

    def judge(self, films, bench, truths, watch=None):
        """Judge films, an iterable of the frames of every clip of a `Benchmark`: `Judged`."""
        judged = []
        for i, frames in enumerate(films):
            judged.append(self.clip(frames, truths[i], bench, i))
            if watch:
                watch()
        return Judged.of(judged)


def expression_right(reading, prompts, starts):
    """Share of a clip's prompts whose expression most of their settled frames show."""
    shown, ends = reading.expression(), [*starts[1:len(prompts)], len(reading.state)]
    right = []
    for prompt, start, end in zip(prompts, starts, ends):
        part = shown[start + SETTLED:end]
        if len(part) >= 4:
            want = EXPRESSIONS.index(parse(prompt).expression)
            right.append((part == want).float().mean().item() > 0.5)
    return sum(right) / len(right) if right else None


@dataclass
class Yardstick:
    """A set's truth as the judges see it."""

    truths: list                # N `Truth`, what single clips are compared with
    rendered: Judged
    coded: Judged               # through the codec: the best that a model of its latents can be
    second: torch.Tensor        # (N, T, 32) features of the second list, as rendered

    def save(self, path):
        """Write all of it to one safetensors file."""
        tensors = {"rendered": self.rendered.features, "coded": self.coded.features,
                   "second": self.second}
        facts = [dict(vars(truth)) for truth in self.truths]
        for i, fact in enumerate(facts):
            for name in [name for name, value in fact.items() if torch.is_tensor(value)]:
                tensors[f"{i} {name}"] = fact.pop(name)
        save(path, tensors, rendered=self.rendered.rows, coded=self.coded.rows, truths=facts)

    @staticmethod
    def load(path):
        """Read what `save` wrote."""
        tensors, facts = read(path)
        for key in [key for key in tensors if " " in key]:
            i, name = key.split()
            facts["truths"][int(i)][name] = tensors.pop(key)
        return Yardstick([Truth(**fact) for fact in facts["truths"]],
                         Judged(facts["rendered"], tensors["rendered"]),
                         Judged(facts["coded"], tensors["coded"]), tensors["second"])


def measure(judges, bench, second, watch=None):
    """Judge the truth of a `Benchmark` and of its second list; `watch` after every clip."""
    truths, rendered, coded, features = [], [], [], []
    films = zip(bench.film(), bench.decode(bench.data.latents))
    for i, (film, again) in enumerate(films):
        truths.append(Truth.of(bench.data.state[i], film, again))
        rendered.append(judges.clip(film, truths[i], bench, i))
        coded.append(judges.clip(again, truths[i], bench, i))
        if watch:
            watch()
    for film in second.film():
        features.append(judges.reader.read(film).features)
        if watch:
            watch()
    return Yardstick(truths, Judged.of(rendered), Judged.of(coded), torch.stack(features))


def yardstick(judges, bench, second, folder, watch=None):
    """The `Yardstick` of a set, measured once and then read from its folder."""
    path = Path(folder) / f"judged-{bench.name}-{len(bench)}-{judges.key()}.safetensors"
    if not path.exists():
        measure(judges, bench, second, watch).save(path)
    return Yardstick.load(path)
