"""What the ablation found, computed from the rows of data/results/ablation.json.

Rows may be missing, a run may be half done or have one seed only: what is not there is said to be
not there. A run's numbers are those of its averaged weights. Everything that could go either way
is computed here, against limits that are written down.
"""

from statistics import stdev
from typing import NamedTuple

from livetalk_ref.judge.table import DEFINITIONS
from livetalk_ref.recipes import ROWS
from livetalk_ref.world.latents import WINDOW

NUMBERS = ("frechet", "sharpness", "diversity", "flicker", "black frames", "exposure collapse",
           "colour drift", "colour jump", "Sync-C", "open correlation", "expression right",
           "identity cosine")           # that curves and tables show
LABELS = {"frechet": "Fréchet distance", "open correlation": "mouth correlation",
          "expression right": "expression", "identity cosine": "identity"}
MADE = {"codec": "truth through the codec", "teacher": "teacher, guided, 48 steps",
        "student_ode_short": "start, short", "student_ode": "start, converged"}
PAPER = {"baseline": (27.10, 3.13), "curated": (14.90, 3.53), "converged": (11.67, 4.15),
         "aggressive": (12.10, 4.29), "final": (13.68, 4.50), "final-raw": (23.89, 3.85)}
"""LiveTalk's table 3: FID and Sync-C of the rows that it shares with ours."""


def label(number):
    """How a number is called in a figure."""
    return LABELS.get(number, number)


def runs(rows, name):
    """The seeds of a row that were trained, in order."""
    return sorted({row["seed"] for row in rows
                   if row["row"] == name and row.get("part") == "training"})


def judged(rows, name, number, frames=WINDOW):
    """{update: {seed: value}} of a row's judged number, in the order of updates. What was not
    trained by a recipe (codec, teacher, starts) has update 0 and seed None."""
    found = {}
    for row in rows:
        there = (row.get("part"), row["row"], row.get("frames")) == ("judged", name, frames)
        if there and row.get(number) is not None:
            found.setdefault(row["update"], {})[row.get("seed")] = row[number]
    return {update: found[update] for update in sorted(found)}


def reference(rows, name, number, frames=WINDOW):
    """The number of one of MADE, or None."""
    return judged(rows, name, number, frames).get(0, {}).get(None)


def course(rows, name, number, frames=WINDOW):
    """A row's number along its updates: {update: (mean, least, most)} over seeds, its start in
    front; empty when nothing was judged."""
    found = judged(rows, name, number, frames)
    begin = reference(rows, ROWS[name].recipe.start, number, frames)
    if found and begin is not None:
        found = {0: {None: begin}} | found
    return {update: spread(list(values.values())) for update, values in found.items()}


def spread(values):
    """Mean, least and most."""
    return sum(values) / len(values), min(values), max(values)


def last(rows, name, number, frames=WINDOW):
    """(update, values of its seeds) where a row was judged last; (None, []) if it never was."""
    found = judged(rows, name, number, frames)
    return (max(found), list(found[max(found)].values())) if found else (None, [])


# Tables.

def markdown(rows):
    """Rows with the same keys as a markdown table."""
    heads = list(rows[0])
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    return "\n".join(lines + [f"| {' | '.join(str(row[head]) for head in heads)} |"
                              for row in rows])


def short(value):
    """A number in about three digits."""
    if value == 0:
        return "0"
    size = abs(value)
    return f"{value:.{0 if size >= 100 else 1 if size >= 10 else 2 if size >= 0.1 else 3}f}"


def maybe(value):
    """The same of a number that may not have been measured: None is nothing."""
    return "" if value is None else short(value)


def told(values):
    """Values of seeds in words: their mean, and their standard deviation if there are several."""
    if len(values) < 2:
        return "".join(map(short, values))
    return f"{short(spread(values)[0])} ± {short(stdev(values))}"


def overview(rows, numbers=NUMBERS, frames=WINDOW):
    """Everybody at the end, one line each, with mean and standard deviation over seeds."""
    table = []
    for name, title in MADE.items():
        table.append({"": title, "seeds": ""} | {
            label(n): maybe(reference(rows, name, n, frames)) for n in numbers})
    for name, row in ROWS.items():
        done, ends = len(runs(rows, name)), {n: last(rows, name, n, frames) for n in numbers}
        update = max((update for update, _ in ends.values() if update), default=None)
        note = "not run" if not done else "not judged" if update is None else \
            "" if update == row.recipe.updates else f"after {update} of {row.recipe.updates}"
        table.append({"": row.title + (f", {note}" if note and done else ""),
                      "seeds": f"{done} of {row.seeds}" if done else "not run"}
                     | {label(n): told(values) for n, (_, values) in ends.items()})
    return table


def gain(rows, name, number, frames=WINDOW):
    """How good each seed of a row is in a number at the end, more is better: a list.

    What is best close to the truth counts by its distance from it; diversity, which the truth
    has none of, from the teacher's. Empty where there is nothing to compare with.
    """
    better, values = DEFINITIONS[number].better, last(rows, name, number, frames)[1]
    if better != "close to truth":
        return values if better == "higher" else [-value for value in values]
    aim = reference(rows, "teacher" if number == "diversity" else "codec", number, frames)
    return [] if aim is None else [-abs(value - aim) for value in values]


def chance(rows, number, frames=WINDOW):
    """How far seeds of one row are apart in `gain`, the most of all rows; None with one seed."""
    several = [values for values in (gain(rows, name, number, frames) for name in ROWS)
               if len(values) > 1]
    return max((max(values) - min(values) for values in several), default=None)


def knobs(rows, numbers=NUMBERS, frames=WINDOW):
    """What each knob changes: a line for every row that differs from another in one thing.

    "~" is a difference of means that is no larger than `chance`.
    """
    table = [{"row": row.title, "against": ROWS[row.like].title, "knob": row.knob}
             | {label(n): change(rows, name, row.like, n, frames) for n in numbers}
             for name, row in ROWS.items() if row.like and runs(rows, name)]
    return [line for line in table if any(line[label(n)] for n in numbers)]


def change(rows, name, like, number, frames=WINDOW):
    """Better or worse than another row, in words."""
    mine, theirs = (gain(rows, one, number, frames) for one in (name, like))
    if not mine or not theirs:
        return ""
    by, noise = spread(mine)[0] - spread(theirs)[0], chance(rows, number, frames)
    if noise is None:
        return f"{'better' if by > 0 else 'worse' if by < 0 else 'the same'} {short(abs(by))}"
    word = f"{'better' if by > 0 else 'worse'} {short(abs(by))}"
    return "~" if abs(by) <= noise else f"**{word}**"


# The story of a run.

def story(rows, name, number="frechet", frames=WINDOW):
    """Start, best and end of a row's number in a sentence; "" when it was not judged twice."""
    path = {update: mean for update, (mean, _, _) in course(rows, name, number, frames).items()}
    if len(path) < 2:
        return ""
    best = (min if DEFINITIONS[number].better == "lower" else max)(path, key=path.get)
    end, begin = max(path), min(path)
    rest = " where it was judged last" if best == end else f", {short(path[end])} after {end}"
    return (f"{ROWS[name].title}: {label(number)} {short(path[begin])} after {begin} updates, best "
            f"{short(path[best])} after {best}{rest}")


class Failure(NamedTuple):
    """A way to fail that the paper or its users name, and when we say that it appeared."""

    name: str
    number: str
    against: str | None     # "start", "best" (of the run), one of MADE, or None: no reference
    factor: float           # the limit is factor * reference + plus
    plus: float = 0.0
    above: bool = True      # is it too much, or too little?


FAILURES = (
    Failure("black pictures", "black frames", None, 0, 0.01),
    Failure("exposure runs away", "exposure collapse", "start", 1, 0.25),
    Failure("colours shift", "colour drift", "start", 1.5),
    Failure("colours jump between frames", "colour jump", "start", 1.5),
    Failure("flicker", "flicker", "start", 1.5),
    Failure("blur", "sharpness", "start", 0.9, 0, False),
    Failure("contours overdrawn", "sharpness", "codec", 1.15),
    Failure("stands still", "motion", "start", 0.8, 0, False),
    Failure("one video for all seeds", "diversity", "start", 0.8, 0, False),
    Failure("lips leave the sound", "Sync-C", "start", 0.9, 0, False),
    Failure("expression is lost", "expression right", "start", 1, -0.04, False),
    Failure("somebody else", "identity cosine", "start", 1, -0.03, False),
    Failure("gets worse after its best", "frechet", "best", 1.1),
)


def limit(failure, rows, name, frames=WINDOW):
    """Where a failure begins for a row; None without a reference."""
    if failure.against is None:
        return failure.plus
    if failure.against == "best":
        found = min((x[0] for x in course(rows, name, failure.number, frames).values()),
                    default=None)
    else:
        whose = ROWS[name].recipe.start if failure.against == "start" else failure.against
        found = reference(rows, whose, failure.number, frames)
    return None if found is None else failure.factor * found + failure.plus


def rule(failure):
    """The limit in words."""
    plus = f" {'+' if failure.plus > 0 else '-'} {abs(failure.plus):g}" if failure.plus else ""
    side = "above" if failure.above else "below"
    if failure.against is None:
        return f"{label(failure.number)} {side} {failure.plus:g}"
    factor = "" if failure.factor == 1 else f"{failure.factor:g} x "
    whose = {"start": "its start", "best": "its best"}.get(failure.against, failure.against)
    return f"{label(failure.number)} {side} {factor}{whose}{plus}"


def failures(rows, name, frames=WINDOW):
    """A line for each of FAILURES: when it appeared in a row, if it did, and how bad it was."""
    table = []
    for failure in FAILURES:
        path, edge = course(rows, name, failure.number, frames), limit(failure, rows, name, frames)
        line = {"failure": failure.name, "said to be there when": rule(failure)}
        if failure.against == "best":       # what was before the best is no decay
            best = min(path, key=lambda update: path[update][0], default=0)
            path = {update: x for update, x in path.items() if update >= best}
        after = {update: mean for update, (mean, _, _) in path.items() if update}
        if not after or edge is None:
            table.append(line | dict.fromkeys(("limit", "worst", "at the end"), "")
                         | {"found": "not measured"})
            continue
        worst = (max if failure.above else min)(after, key=after.get)
        over = [update for update, value in after.items()
                if (value > edge if failure.above else value < edge)]
        table.append(line | {
            "limit": short(edge), "worst": f"{short(after[worst])} after {worst}",
            "at the end": short(after[max(after)]),
            "found": "no" if not over else f"**after {over[0]} updates**" +
            ("" if over[-1] == max(after) else ", not at the end")})
    return table


def seen(rows, name, frames=WINDOW):
    """Which failures a row shows and which it does not, in a sentence; "" when nothing of it was
    judged."""
    found = {"shows": [], "does not show": [], "was not measured for": []}
    for line in failures(rows, name, frames):
        word = {"no": "does not show", "not measured": "was not measured for"}
        found[word.get(line["found"], "shows")].append(line["failure"])
    if len(found["was not measured for"]) == len(FAILURES):
        return ""
    return f"{ROWS[name].title}: " + "; ".join(
        f"{word} {', '.join(names)}" for word, names in found.items() if names)


def trend(rows, name, key="loss", what="the critic's loss"):
    """What a row's training told of itself, early and late, in a sentence; "" without a run."""
    found = [(row["update"], row[key]) for row in rows
             if (row["row"], row.get("part")) == (name, "training") and key in row]
    end = max((update for update, _ in found), default=0)
    early, late = ([value for update, value in found if low * end < update <= high * end]
                   for low, high in ((0.1, 0.3), (0.8, 1.0)))
    if not early or not late:
        return ""
    return (f"{ROWS[name].title}: {what} {short(spread(early)[0])} between a tenth and three "
            f"tenths of {end} updates, {short(spread(late)[0])} in the last fifth")
