"""Who is better: on the benchmarks, block after block, and by the clock; in tables and words.

Rows as convergence.py and bench.py write them. Whether A is better than B is decided clip by clip
(stats.py): "better" or "worse" where the 95 % interval of the difference leaves 0 out, else
"within the noise".
"""

from collections import Counter
from statistics import fmean

from livetalk_ref.judge.ode_findings import CONVERGED, LABELS, TEACHER, by_model, stem

BETTER, WORSE, NOISE = "better", "worse", "within the noise"
SPLIT = "otherwise from seed to seed"
SHOWN = ("frechet", "clip frechet", "sharpness", "open correlation", "Sync-C", "expression right",
         "identity cosine", "colour drift")     # of the many numbers of a benchmark
SYNC = ("Sync-C", "open correlation")   # the first one that was measured says how lips follow
EARLY = range(1, 7)                     # blocks as in training; 0 is still near the reference
WORSENS = {"sharpness": -1, "identity cosine": -1, "mouth error": 1}    # which way is worse


def sets_of(rows):
    """The benchmark sets that rows speak of, in order."""
    return list(dict.fromkeys(row["set"] for row in rows if "set" in row))


def of_set(rows, name):
    return [row for row in rows if row.get("set") == name]


def edges(lines, key):
    """From the lowest to the highest edge of any seed's 95 % interval."""
    lows, highs = zip(*(line[f"{key} 95%"] for line in lines))
    return min(lows), max(highs)


def benchmark_table(rows, name, keys=SHOWN):
    """Markdown of one set: means over seeds, and the lowest and highest edge of any seed's 95 %
    interval; a number that was not measured has no column."""
    models = by_model(of_set(rows, name))
    keys = [key for key in keys if any(key in line for lines in models.values() for line in lines)]
    table = [f"| **{name}** | {' | '.join(keys)} |", "|---|" + "---|" * len(keys)]
    for model, lines in models.items():
        seeds = f" ({len(lines)} seeds)" if len(lines) > 1 else ""
        cells = ["{:.2f} [{:.2f}, {:.2f}]".format(fmean(line[key] for line in lines),
                                                  *edges(lines, key))
                 if all(key in line for line in lines) else "" for key in keys]
        table.append(f"| {LABELS[model]}{seeds} | {' | '.join(cells)} |")
    return "\n".join(table)


# Clip by clip.

def duels(rows):
    """{(set, ours, theirs): {number: its comparisons, one a seed}}."""
    found = {}
    for row in rows:
        if "comparison" in row:
            pair = map(stem, row["comparison"].split(" against "))
            numbers = found.setdefault((row["set"], *pair), {})
            numbers.setdefault(row["number"], []).append(row)
    return found


def word(row):
    """What one comparison says."""
    low, high = row["95%"]
    return NOISE if low <= 0 <= high else BETTER if row["superiority"] > 0.5 else WORSE


def words(lines):
    """What the seeds say together: one word where they agree, else who says what."""
    counts = Counter(map(word, lines))
    if len(counts) == 1:
        return next(iter(counts))
    decided = [f"{said} with {counts[said]}" for said in (BETTER, WORSE) if counts[said]]
    return f"{' and '.join(decided)} of {len(lines)} seeds"


def duel_words(rows, name):
    """Markdown, a bullet a pair on one set: which numbers are better, worse, undecided."""
    lines = []
    for (part, ours, theirs), numbers in duels(rows).items():
        if part == name:
            said = {what: [] for what in (BETTER, WORSE, NOISE, SPLIT)}
            for key, some in numbers.items():
                said[words(some) if words(some) in said else SPLIT].append(key)
            told = "; ".join(f"**{what}** in {', '.join(keys)}" for what, keys in said.items()
                             if keys)
            lines.append(f"- {name}, *{LABELS[ours]}* against *{LABELS[theirs]}*: {told}.")
    return "\n".join(lines)


def goal(rows, theirs, name):
    """Does the converged student beat another model on a set in distance and sharpness, its lips
    following no worse than its seeds differ? One sentence of numbers, and yes or no."""
    numbers = duels(rows).get((name, CONVERGED, theirs))
    if numbers is None or "frechet" not in numbers:
        return f"{name}: no comparison with {LABELS[theirs]} was made."
    wins = {key: words(numbers[key]) for key in ("frechet", "sharpness")}
    sync = next(key for key in SYNC if key in numbers)
    gap = fmean(row["difference"] for row in numbers[sync])
    seeds = [line[sync] for line in by_model(of_set(rows, name))[CONVERGED]]
    apart = max(seeds) - min(seeds)
    follows = gap >= -apart if len(seeds) > 1 else words(numbers[sync]) != WORSE
    reached = follows and set(wins.values()) == {BETTER}
    limit = f"seeds differ by {apart:.3f}" if len(seeds) > 1 else "one seed"
    return (f"{name}, against {LABELS[theirs]}: {', '.join(f'{k} {v}' for k, v in wins.items())}; "
            f"{sync} {gap:+.3f} ({limit}: {'no worse' if follows else 'worse'}). "
            f"{'Reached' if reached else 'Not reached'}.")


# Block after block.

def block_lines(rows, name, count):
    """{model: its runs, each the lines of all blocks in order}."""
    some = [row for row in of_set(rows, name) if row.get("blocks") == count]
    found = {}
    for model, lines in by_model(some).items():
        runs = {}
        for line in sorted(lines, key=lambda line: line["block"]):
            runs.setdefault(line["name"], []).append(line)
        found[model] = list(runs.values())
    return found


def drifts(rows, name, key, count=21):
    """{model: for every seed (mean of blocks as in training, mean of as many last ones)}."""
    return {model: [(fmean(run[block][key] for block in EARLY),
                     fmean(line[key] for line in run[-len(EARLY):])) for run in runs
                    if len(run) > 2 * len(EARLY)]
            for model, runs in block_lines(rows, name, count).items()}


def drift_table(rows, name):
    """Markdown of one set: what changes from the first blocks to the last, with its range over
    seeds, and whether the converged student loses more than the teacher."""
    found = {key: drifts(rows, name, key) for key in WORSENS}
    if not any(pairs for of in found.values() for pairs in of.values()):
        return f"{name}: long rollouts were not made."
    lines = [f"| **{name}**, last {len(EARLY)} blocks against {EARLY[0]} .. {EARLY[-1]} | "
             + " | ".join(found) + " |", "|---|" + "---|" * len(found)]
    for model in found["sharpness"]:
        cells = [percent([100 * (late - early) / abs(early) for early, late in of[model]])
                 for of in found.values()]
        lines.append(f"| {LABELS[model]} | {' | '.join(cells)} |")
    return "\n".join(lines) + beside(found)


def percent(values):
    """A mean in per cent, and the range where there are several."""
    if not values:
        return ""
    text = f"{fmean(values):+.1f} %"
    return text if len(values) == 1 else f"{text} ({min(values):+.1f} .. {max(values):+.1f})"


def beside(found):
    """A sentence: with how many seeds does the converged student lose more than the teacher?"""
    told = []
    for key, worse in WORSENS.items():
        if found[key].get(CONVERGED) and found[key].get(TEACHER):
            ours, theirs = ([worse * (late - early) / abs(early) for early, late in found[key][who]]
                            for who in (CONVERGED, TEACHER))
            told.append(f"{key} {sum(loss > theirs[0] for loss in ours)} of {len(ours)}")
    return f"\n\nSeeds of the converged student that lose more than the teacher: " \
        f"{', '.join(told)}." if told else ""


# By the clock.

def milliseconds(spread):
    """Median and 95th percentile of one of bench.py's spreads."""
    return "none" if spread is None else \
        f"{1000 * spread['median']:.1f} / {1000 * spread['p95']:.1f}"


def speed_table(facts):
    """Markdown of `bench`'s figures of a student, with the guided teacher's of the same run."""
    both = facts, facts["teacher"]
    times, counted = facts["times"], facts["times_counted"]
    lines = [f"| {facts['hardware']} | {facts['model']} | teacher, guided | times better |",
             "|---|---|---|---|"]

    def line(what, cells, better=None):
        lines.append(f"| {what} | {' | '.join(cells)} | "
                     f"{'' if better is None else f'{better:.1f}'} |")

    line("steps", [str(one["steps"]) for one in both])
    for key, what in (("features", "audio features"), ("step", "a step"),
                      ("cache", "pass that fills the cache"), ("decode", "decoding to frame 1"),
                      ("block", "decoding the block")):
        line(f"{what}, ms: median / p95", [milliseconds(one["warm"].get(key)) for one in both])
    line("**first frame**, ms: median / p95",
         [milliseconds(one["warm"]["seconds"]) for one in both], times["first frame"])
    line("first frame, cold, ms", [f"{1000 * one['cold']['seconds']:.0f}" for one in both])
    line("sound heard before work begins, s",
         [f"{one['algorithmic']['seconds']:.2f}" for one in both])
    line("**frames a second**, one clip",
         [f"{one['throughput']['frames_per_second']:.1f}" for one in both],
         times["frames a second"])
    line(f"**frames a second**, {facts['many']['batch']} clips at once",
         [f"{one['many']['frames_per_second']:.1f}" for one in both],
         times["frames a second, many"])
    line("peak memory of the process, MiB", [f"{one['peak_memory_mib']:.0f}" if
                                             one["peak_memory_mib"] else "unknown" for one in both])
    for key, what, name in (("frame, model alone", "a frame, no decoding", "without decoding"),
                            ("frame", "a frame, with decoding", "frames a second"),
                            ("first frame", "to the first frame", "first frame")):
        line(f"counted GFLOP {what}", [f"{one['flops'][key] / 1e9:.3f}" for one in both],
             counted[name])
    return "\n".join(lines)
