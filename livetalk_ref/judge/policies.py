"""What may be forgotten? One cache under every policy, in streams of ten minutes, judged over time.

Three drawn people talk under each policy: everything kept; a rolling window alone; sinks and a
window as in the paper (AHIS, 3 + 2 blocks) and as in its code (3 + 1), with positions relative
and absolute. Then one budget of five blocks is split between anchors and window in every way.
Each stream is kept when it is done, so a command that was stopped goes on; data/results gets
`policies` at the end. Needs a student: a teacher's weights know no cache. LiveTalk section 4.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from livetalk_ref.cache import BLOCK, FULL, TABLE_END, Policy
from livetalk_ref.errors import UserError
from livetalk_ref.judge.overtime import PART, Talk, Watcher, parts
from livetalk_ref.judge.panel import Judges
from livetalk_ref.judge.results import write_result
from livetalk_ref.load import load
from livetalk_ref.media import blame, placed, to_bytes
from livetalk_ref.portrait import portrait_of
from livetalk_ref.stream import FRAMES
from livetalk_ref.train import read, save
from livetalk_ref.world.state import FPS

PROMPT = "a happy person smiles and nods while speaking"
MINUTES, SPLIT = 10.0, 0.3      # of a stream; share of it that a split's stream lasts
BUDGET = 5                      # blocks that all splits keep
IDENTITIES = 3
MARKS = (0, 10, 60, 300, 600)   # seconds of the filmstrips
STREAMS = {
    "full": FULL,
    "window only": Policy(window=BUDGET * BLOCK),
    "AHIS 3 + 2": Policy(3 * BLOCK, 2 * BLOCK),
    "AHIS 3 + 2, absolute": Policy(3 * BLOCK, 2 * BLOCK, relative=False),
    "released 3 + 1": Policy(3 * BLOCK, BLOCK),
    "released 3 + 1, absolute": Policy(3 * BLOCK, BLOCK, relative=False)}
SPLITS = {f"{sinks} + {BUDGET - sinks}": Policy(sinks * BLOCK, (BUDGET - sinks) * BLOCK)
          for sinks in range(BUDGET + 1)}


@dataclass
class Study:
    """All streams of a student; what is done lies in a folder named after weights and judges."""

    model: str = "student"
    seconds: float = 60 * MINUTES
    identities: int = IDENTITIES
    folder: Path = Path("runs/policies")

    @cached_property
    def avatar(self):
        avatar = load(self.model)
        if not avatar.is_student:
            raise UserError(f"{self.model} is a teacher, which keeps no cache: give a student, "
                            f"such as --model student_ode.")
        return avatar

    @cached_property
    def judges(self):
        return Judges.load()

    @cached_property
    def place(self):
        avatar = self.avatar                        # first: it may be the wrong one
        return Path(self.folder) / self.judges.key(avatar.model, avatar.codec)

    def jobs(self):
        """(study, name, policy, seconds, identity) of every stream."""
        for identity in range(self.identities):
            for name, policy in STREAMS.items():
                yield "stream", name, policy, self.seconds, identity
            for name, policy in SPLITS.items():
                yield "split", name, policy, SPLIT * self.seconds, identity

    def ticks(self):
        """Blocks of all streams that are not kept yet."""
        return sum(int(job[3] * FPS / FRAMES) + 1 for job in self.jobs()
                   if not self.path(*job).is_file())

    def path(self, kind, name, policy, seconds, identity):
        words = "".join(c if c.isalnum() else "_" for c in name)
        return self.place / f"{kind}-{words}-{seconds:.0f}s-{identity}.safetensors"

    def made(self, job, watch=None):
        """(numbers of every part, {mark: frame}, seconds at which it ended or None) of a job."""
        path = self.path(*job)
        if not path.is_file():
            rows, marks, ends = self.make(*job[2:], watch)
            save(path, {str(mark): frame for mark, frame in marks.items()}, rows=rows, ends=ends)
        tensors, facts = read(path)
        return facts["rows"], {int(k): v for k, v in tensors.items()}, facts["ends"]

    def make(self, policy, seconds, identity, watch):
        """Run one stream, holding ten seconds of pictures at a time."""
        talk, picture = Talk.of(seconds, identity), portrait_of(identity)
        watcher = Watcher(self.judges, picture, PROMPT, talk)
        rows, marks, ends = [], {}, None
        try:
            for frames in parts(self.avatar, picture, PROMPT, talk, policy, identity, watch):
                for mark in MARKS:
                    index = mark * FPS - watcher.first
                    if 0 <= index < len(frames):
                        marks[mark] = to_bytes(frames[index])
                marks[-1] = to_bytes(frames[-1])     # the last one
                rows.append(watcher(frames))
        except UserError:
            if policy.relative:
                raise
            ends = TABLE_END / 4                            # of absolute positions, in seconds
        return rows, marks, ends

    def run(self, watch=None):
        """The rows of the result, and {policy: {mark: frame}} of the first identity."""
        found, strips = {}, {}
        for job in self.jobs():
            rows, marks, ends = self.made(job, watch)
            kind, name, policy, seconds, identity = job
            found.setdefault((kind, name), (policy, ends, []))[2].append(rows)
            if kind == "stream" and identity == 0:
                strips[name] = marks if ends else marks | {round(seconds): marks[-1]}
        rows = [line(*key, *about) for key, about in found.items()]
        return [*rows, claim(rows), best_split(rows)], strips


def line(kind, name, policy, ends, streams):
    """One policy: for every part the mean over identities, and each one's likeness at the end."""
    row = {"study": kind, "policy": name, "sinks": policy.sinks, "window": policy.window,
           "relative": policy.relative, "ends": ends, "identities": len(streams),
           "seconds": [part["seconds"] for part in streams[0]]}
    for key in streams[0][0].keys() - {"seconds"}:
        columns = zip(*([part.get(key) for part in stream] for stream in streams))
        row[key] = [mean(column) for column in columns]
    row["last minute"] = [mean([part["identity"] for part in last_minute(stream)])
                          for stream in streams]
    return row


def last_minute(stream):
    """The parts of a stream's last minute, or of the last third of a shorter one."""
    return stream[-max(1, min(60 // PART, len(stream) // 3)):]


def mean(values):
    values = [v for v in values if v is not None]
    return round(sum(values) / len(values), 4) if values else None


def claim(rows):
    """The paper's: anchors keep the face. The likeness in the last minute, person by person."""
    last = {row["policy"]: row["last minute"] for row in rows if row["study"] == "stream"}
    gain = [round(a - b, 4) for a, b in zip(last["AHIS 3 + 2"], last["window only"])]
    return {"study": "claim", "claim": "AHIS 3 + 2 keeps the face better than a window alone",
            "gain in likeness": gain, "holds for": sum(g > 0 for g in gain), "of": len(gain)}


def best_split(rows):
    """The split of the budget with the highest likeness in the last minute, and the runner-up."""
    ranked = sorted((row for row in rows if row["study"] == "split"),
                    key=lambda row: -mean(row["last minute"]))
    return {"study": "best split", "policies": [row["policy"] for row in ranked],
            "likeness": [mean(row["last minute"]) for row in ranked],
            "freeze": [row["freeze"][-1] for row in ranked],
            "mouth": [mean(row["mouth"]) for row in ranked]}


def keep(study, rows, strips, command):
    """Write the result and its filmstrips, both beside the streams; returns the result's path.

    A whole study's go to data/results and data/pictures.
    """
    from livetalk_ref import viz

    whole = study.seconds >= 60 * MINUTES and study.identities >= IDENTITIES
    folder = None if whole else study.place
    path = write_result("policies", command, rows, range(study.identities), folder=folder)
    marks = [mark for mark in MARKS if mark <= study.seconds]
    picture = (path.parents[1] / "pictures" if whole else study.place) / "policies.png"
    tiles = [strip.get(mark, torch.full((3, 8, 8), 255, dtype=torch.uint8)) / 127.5 - 1
             for strip in strips.values() for mark in marks]
    sheet = viz.sheet(tiles, len(marks), 96, list(strips), [f"{mark} s" for mark in marks])
    with placed(picture) as temporary, blame(picture):
        sheet.save(temporary, "PNG", optimize=True)
    return path


def table(rows):
    """The rows for people: the first ten seconds and the end."""
    names = ("identity", "colour drift", "sharpness", "mouth", "freeze", "expression")
    lines = [f"{'first ten seconds -> last':28} " + " ".join(f"{n:>16}" for n in names)]
    for row in rows:
        if "identity" in row:
            ends = f", ends at {row['ends']:.0f} s" if row["ends"] else ""
            cells = [" -> ".join("none" if v is None else f"{v:.2f}" for v in
                                 (row[name][0], row[name][-1])) for name in names]
            label = f"{row['study']} {row['policy']}{ends}"
            lines.append(f"{label:28} " + " ".join(f"{cell:>16}" for cell in cells))
        elif "claim" in row:
            lines.append(f"{row['claim']}: {row['holds for']} of {row['of']}, gains "
                         f"{row['gain in likeness']}")
        else:
            lines.append(f"splits from the best: {', '.join(row['policies'])}")
    return "\n".join(lines)
