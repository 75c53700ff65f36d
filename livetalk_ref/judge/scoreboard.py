"""Everybody on every benchmark: truth, its ceiling and floor, the rule, and the teacher at few and
many steps, with and without guidance; and each against the guided teacher, clip by clip.

What one maker got on one set is kept beside the set's cache, so that the board can be continued.
"""

import json
from functools import cached_property

from livetalk_ref import loading
from livetalk_ref.files import write_json
from livetalk_ref.flow import TEACHER_STEPS
from livetalk_ref.generate import GUIDANCE, PLAIN
from livetalk_ref.judge import benchmark, sets
from livetalk_ref.judge.panel import Judges
from livetalk_ref.judge.students import compare, keep, kept_judged

STEPS = (4, 8, 16, TEACHER_STEPS)
LABELS = {"plain": PLAIN, "guided": GUIDANCE}
BEST = f"teacher, guided, {TEACHER_STEPS} steps"


def makers():
    """{name: (model, steps, guidance)} of all that are compared."""
    found = {"truth": ("truth",), "truth through the codec": ("codec",),
             "rule: loudness opens the mouth": ("rule",)}
    for label, guidance in LABELS.items():
        found |= {f"teacher, {label}, {steps} steps": ("teacher", steps, guidance)
                  for steps in STEPS}
    return found


class Board:
    """The table of some sets' first `count` clips, continued where it was left."""

    def __init__(self, names=tuple(sets.FIRST), count=sets.CLIPS, folder="runs/latents"):
        self.names, self.count, self.base = names, count, folder
        weights = loading.checkpoints_key("", "teacher", "codec")
        key = f"{Judges.load().key()}-{weights}-{count}"
        self.folder = sets.cache(loading.load_module("codec"), folder) / f"board-{key}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.grounds = {}

    def ground(self, name):
        """A set and its judged truth, made when first asked for; only one is held."""
        if name not in self.grounds:
            self.grounds = {name: benchmark.Ground.make(name, self.count, self.base)}
        return self.grounds[name]

    def entry(self, name, who):
        """What a maker got on a set: its facts and its `Judged` clips."""
        label = who.replace(",", "").replace(":", "").replace(" ", "-")
        path = self.folder / f"{name}-{label}.safetensors"
        facts = path.with_suffix(".json")
        if not facts.exists():
            made = benchmark.maker(*makers()[who])
            found, judged = benchmark.evaluate(made, self.ground(name))
            keep(path, judged)
            write_json(facts, found)
        return json.loads(facts.read_text()), kept_judged(path)

    @cached_property
    def entries(self):
        """{(set, maker): (facts, judged)} of all."""
        return {(name, who): self.entry(name, who) for name in self.names for who in makers()}

    def rows(self):
        """A line for every maker and set with what a clip and a frame cost, the floor of every
        set, and the comparisons with the guided teacher."""
        rows, versus = [], []
        for (name, who), (facts, judged) in self.entries.items():
            line, floor = facts["rows"]
            price = facts["cost"]
            rows.append(line | {"set": name, "name": who,
                                "evaluations a clip": price["evaluations_per_clip"],
                                "GFLOP a frame": giga(price["flops_per_frame"])})
            if who == "truth":
                rows.append(floor | {"set": name})
            if who != BEST and who.startswith("teacher"):
                versus += [row | {"set": name} for row in compare(
                    f"{who} - {BEST}", judged, self.entries[name, BEST][1],
                    self.entries[name, "truth"][1])]
        return rows + versus

    def cost(self):
        """Seconds a frame took, on this machine."""
        return {f"{name}: {who}": round(facts["cost"]["seconds_per_frame"], 4)
                for (name, who), (facts, _) in self.entries.items()}


def giga(flops):
    return None if flops is None else round(flops / 1e9, 4)


def make(count=sets.CLIPS):
    """Rows and costs of data/results/scoreboard.json."""
    board = Board(count=count)
    return board.rows(), board.cost()
