"""The shipped student against the guided 48-step teacher: is each goal met, and if not, how far?

    python -m livetalk_ref report student

Both make the same clips of all benchmarks and are judged by the same judges; differences are
paired over clips. `verdicts` reads these rows, and says of every goal whether it is met.
"""

from typing import NamedTuple

from livetalk_ref.generate import settle
from livetalk_ref.judge import ablation, benchmark, scoreboard, sets
from livetalk_ref.judge.cost import count_flops
from livetalk_ref.judge.students import compare
from livetalk_ref.load import load
from livetalk_ref.world.clips import FRAMES

VARIED, SEEDS = 8, 3            # conditions of a set for diversity, each with so many seeds
STUDENT, TEACHER, CODEC = "student", "teacher", "codec"
COST, WITH_CODEC = "GFLOP a frame", "GFLOP a frame, decoded"


class Goal(NamedTuple):
    """What the student should reach: a limit of factor * whose + plus."""

    what: str
    number: str
    whose: str | None           # a row, or None: the limit is `plus`
    factor: float = 1.0
    plus: float = 0.0
    least: bool = True          # must it reach the limit, or stay at or below it?


GOALS = (
    Goal("Sync-C no worse", "Sync-C", TEACHER),
    Goal("mouth correlation no worse", "open correlation", TEACHER),
    Goal("Fréchet distance at most 1.3 times", "frechet", TEACHER, 1.3, least=False),
    Goal("flicker at most 1.2 times the codec's", "flicker", CODEC, 1.2, least=False),
    Goal("no black frames", "black frames", None, least=False),
    Goal("expression at most 4 points below", "expression right", TEACHER, plus=-0.04),
    Goal("identity no worse", "identity cosine", TEACHER),
    Goal("diversity at least 0.8 times", "diversity", TEACHER, 0.8),
    Goal("counted cost a frame 19 times lower", COST, TEACHER, 1 / 19, least=False),
    Goal("the same with decoding", WITH_CODEC, TEACHER, 1 / 19, least=False),
)


def verdicts(rows, name):
    """A line for every goal on a set: value, limit and whether it is met.

    Where the student misses a limit by no more than chance, the 95 % interval of its paired
    difference from the teacher reaching the limit, this is said; it still counts as missed.
    """
    return [verdict(goal, {row["name"]: row for row in rows
                           if row.get("set") == name and "name" in row},
                    interval(rows, name, goal.number)) for goal in GOALS]


def table(rows):
    """A line for every goal, a column for every set that was measured."""
    columns = {row["set"]: verdicts(rows, row["set"]) for row in rows}
    return [{"goal": goal.what} | {name: in_words(column[i]) for name, column in columns.items()}
            for i, goal in enumerate(GOALS)]


def in_words(line):
    """A verdict in one cell."""
    numbers = f"{line['student']}, limit {line['limit']}: " if line["student"] else ""
    return numbers + line["found"]


def sentence(rows):
    """How many of the goals are met, set by set."""
    sets_of = dict.fromkeys(row["set"] for row in rows)
    return "; ".join(f"{name}: {sum(line['found'] == '**met**' for line in verdicts(rows, name))} "
                     f"of {len(GOALS)} met" for name in sets_of)


def interval(rows, name, number):
    """The 95 % interval of student - teacher, or None."""
    return next((row["95%"] for row in rows if row.get("number") == number
                 and row.get("set") == name), None)


def verdict(goal, lines, between):
    """One line of `verdicts`; lines: {who: row}."""
    value = lines.get(STUDENT, {}).get(goal.number)
    theirs = 0.0 if goal.whose is None else lines.get(goal.whose, {}).get(goal.number)
    line = {"goal": goal.what, "student": "", "limit": "", "found": "not measured"}
    if value is None or theirs is None:
        return line
    edge = goal.factor * theirs + goal.plus
    short = edge - value if goal.least else value - edge        # of the goal, if above 0
    found = "**met**"
    if short > 0:
        found = f"missed by {short:.3g}" + (f" ({short / abs(edge):.0%})" if edge else "")
        if between and goal.whose == TEACHER and \
                between[0] <= edge - theirs <= between[1]:
            found += ", within chance"
    return line | {"student": f"{value:.4g}", "limit": f"{edge:.4g}", "found": found}


def measure(count=sets.CLIPS, model=None, steps=None):
    """Rows and costs of data/results/student.json; model: another student than the shipped one."""
    board, rows, cost = scoreboard.Board(count=count), [], {}
    student, teacher = load(model or STUDENT), load(TEACHER)
    settle(student, steps)                              # refuses other steps than its own
    for name in board.names:
        ground = board.ground(name)
        truth = ground.truth.rendered
        coded = ground.truth.coded
        facts, ours = benchmark.evaluate(benchmark.maker(model or STUDENT), ground)
        known, theirs = board.entry(name, scoreboard.BEST)
        rows.append(benchmark.line(CODEC, coded.rows, coded.features, truth.features)
                    | {"set": name})
        for who, avatar, found in ((TEACHER, teacher, known), (STUDENT, student, facts)):
            rows.append(found["rows"][0] | {
                "set": name, "name": who, "diversity": round(ablation.varied(
                    avatar, ground, min(VARIED, count), SEEDS), 4),
                "evaluations a clip": found["cost"]["evaluations_per_clip"]}
                | dict(zip((COST, WITH_CODEC), giga(found["cost"], avatar, ground))))
            cost[f"{name}: {who}"] = round(found["cost"]["seconds_per_frame"], 4)
        rows += [row | {"set": name} for row in compare(f"{STUDENT} - {TEACHER}", ours, theirs,
                                                        truth)]
    return rows, cost


def giga(price, avatar, ground):
    """Counted operations for every generated video frame of one clip, in 10^9: (of its latents,
    with decoding)."""
    latents = ground.bench.data.latents[:1].float()
    decoding = count_flops(lambda: avatar.codec.decode(latents)) / (FRAMES - 1)
    shown = price["flops_per_frame"]
    return tuple(scoreboard.giga(flops) for flops in (shown - decoding, shown))
