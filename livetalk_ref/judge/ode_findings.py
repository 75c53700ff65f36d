"""How a student converged, how much it blurs, whose paths serve it: tables and sentences.

Rows are those that convergence.py writes to data/results. A study may have run in part: what is
there is told, what is not is named. A finding may go either way, so its words are computed from
its numbers. Several seeds are one line, their mean and how far they differ.
"""

from statistics import fmean

from livetalk_ref.judge import results
from livetalk_ref.judge.convergence import FULL, Study

TEACHER, FEW_STEPS, UNGUIDED = "teacher", "teacher-4", "teacher-4-plain"
SHORT, RIVAL, CONVERGED = "student_ode_short", "student_livetalk", "student_ode"
LABELS = {"codec": "truth through the codec", TEACHER: "teacher, 48 steps",
          FEW_STEPS: "teacher, 4 steps", UNGUIDED: "teacher, 4 steps, unguided",
          SHORT: "student, short", RIVAL: "student, converged, past never clean",
          CONVERGED: "student, converged"}
ONE_RUN = 0.02                  # of a value: what counts as noise where no second seed tells it
WORDS = ("better", "worse", "neither")
FOUND = dict(zip(WORDS, ("found here", "the opposite was found here", "not found here, nor the "
                         "opposite, in one run of each")))


def measured(name, command="study"):
    """The rows of a result of the study, or of another command: see `results.measured`."""
    return results.measured(name, command)


def measured_speed(name, command):
    """The figures of `bench` in a result; if it is not there none, and the same sentence."""
    result = results.kept(name, command)
    return result if "warm" in result else result.get("cost", {})   # as printed, or as kept


# What has run.

def stem(name):
    """The model of a line, without the seed of a student: "student_ode-2" -> "student_ode"."""
    head, _, seed = name.rpartition("-")
    return head if seed.isdigit() and name.startswith("student") else name


def by_model(rows):
    """{model: its lines, one a seed}, in the order of LABELS."""
    found = {name: [row for row in rows if stem(row.get("name", "")) == name] for name in LABELS}
    return {name: lines for name, lines in found.items() if lines}


def left_out(rows, size=FULL):
    """One sentence: what the rows of a result do not hold of the study that was planned."""
    plan = planned_lines if any("set" in row for row in rows) else planned_runs
    missing = [what for what, there in plan(rows, size) if not there]
    return f"Not run: {'; '.join(missing)}." if missing else "All that was planned has run."


def planned_lines(rows, size):
    """[(a model on a set in words, is it there?)] of benchmarks and of blocks."""
    there = {(row["set"], row.get("blocks"), row["name"]) for row in rows if "name" in row}
    blocks = (7, 21) if any("blocks" in row for row in rows) else (None,)
    for part in size.sets:
        for count in blocks:
            if count == 21 and part not in size.long_sets:
                continue
            models = [*Study(size, "").models, *(["codec"] if count != 21 else ())]
            where = part if count is None else f"{part}, {count} blocks"
            gone = [name for name in models if (part, count, name) not in there]
            yield (where if gone == models else f"{', '.join(gone)} on {where}"), not gone


def planned_runs(rows, size):
    """[(a training run in words, is all of it there?)]."""
    runs = [(size.pairs[-1], seed) for seed in size.seeds]
    if any("teacher" in row for row in rows):
        runs = [(size.causal_pairs, size.seeds[0])]
    elif not any("variant" in row for row in rows):
        runs += [(pairs, size.seeds[0]) for pairs in size.pairs[:-1]]
    for pairs, seed in runs:
        last = max((row["update"] for row in snapshots(rows)
                    if (row["count"], row["seed"]) == (pairs, seed)), default=0)
        after = f" beyond update {last}" if last else ""
        yield f"{pairs} pairs, seed {seed}{after}", last >= size.steps


# How it converged.

def snapshots(rows):
    """The lines of kept updates, with "error", the mean of the errors at all noise levels."""
    return [row | {"error": fmean(row[key] for key in row if key.startswith("error "))}
            for row in rows if "update" in row and "error 1" in row]


def along(rows, key):
    """{pairs: {update: the values of all seeds}}, in order."""
    found = {}
    for row in sorted(snapshots(rows), key=lambda row: (row["count"], row["update"])):
        found.setdefault(row["count"], {}).setdefault(row["update"], []).append(row[key])
    return found


def references(rows):
    """{name: line} of the truth through the codec and of the teacher, guided first."""
    lines = [row for row in rows if "guidance" in row or row.get("name", "").startswith("truth")]
    return {row["name"]: row for row in sorted(lines, key=lambda row: (
        row.get("guidance") == "plain", -row.get("steps", 1000)))}


def truth_of(rows):
    """The line of the truth through the codec, or None."""
    return next((row for name, row in references(rows).items() if name.startswith("truth")), None)


def noise(points):
    """How far the seeds of {update: values} differ, on average; of one seed ONE_RUN of its end."""
    several = [max(values) - min(values) for values in points.values() if len(values) > 1]
    return fmean(several) if several else ONE_RUN * abs(fmean(points[max(points)]))


def settled(points):
    """The first of the updates {update: values} from which on the mean stays near its end, and
    how near: as seeds differ, ONE_RUN of it at least."""
    end = fmean(points[max(points)])
    near = max(noise(points), ONE_RUN * abs(end))
    far = [update for update, values in points.items() if abs(fmean(values) - end) > near]
    return min(update for update in points if update > max(far, default=-1)), near


def best(points):
    """The update at which the mean is lowest."""
    return min(points, key=lambda update: fmean(points[update]))


def told(values, digits):
    """A mean, and where there are several seeds their range."""
    text = f"{fmean(values):.{digits}f}"
    return text if len(values) == 1 else \
        f"{text} ({min(values):.{digits}f} .. {max(values):.{digits}f})"


def change(before, after):
    """In per cent, signed."""
    return f"{100 * (after - before) / abs(before):+.0f} %" if before else "from nothing"


def convergence_table(rows, updates):
    """Markdown: every set size at some of its updates, beside the teacher and the truth."""
    lines = ["| | updates | held-out error | Fréchet distance | sharpness |",
             "|---|---|---|---|---|"]
    tracks = [(along(rows, key), digits)
              for key, digits in (("error", 4), ("frechet", 2), ("sharpness", 2))]
    for pairs, points in tracks[0][0].items():
        for update in [update for update in updates if update in points]:
            cells = [told(track[pairs][update], digits) for track, digits in tracks]
            lines.append(f"| student of {pairs} pairs | {update} | {' | '.join(cells)} |")
    for name, row in references(rows).items():
        lines.append(f"| {name} | | | {row['frechet']:.2f} | {row['sharpness']:.2f} |")
    return "\n".join(lines)


def convergence_words(rows, short):
    """Markdown, a bullet a set size: is it converged, and would the training loss have told?"""
    lines = []
    for pairs, errors in along(rows, "error").items():
        distances, end = along(rows, "frechet")[pairs], max(errors)
        when, near = settled(errors)
        text = f"from update {when} on the held-out error stays within {near:.4f} of its end" \
            if when < end else f"the held-out error still moves at update {end}"
        text += (f"; it is lowest at update {best(errors)}, the Fréchet distance at "
                 f"{best(distances)}")
        losses = {row["step"]: row["loss"] for row in rows
                  if "loss" in row and row["count"] == pairs}
        tracks = {"the training loss": {step: [loss] for step, loss in losses.items()},
                  "the held-out error": errors, "the Fréchet distance": distances}
        moved = [f"{name} {change(*(fmean(track[at]) for at in (short, end)))}"
                 for name, track in tracks.items() if {short, end} <= track.keys()]
        text += f". From {short} to {end}: {', '.join(moved)}" if moved and short < end else ""
        lines.append(f"- **{pairs} pairs**: {text}.")
    return "\n".join(lines)


def variant_table(rows, rival):
    """Markdown: our loss and the rival's at equal training, means and ranges over seeds.

    rows of ode_training and of ode_variants.
    """
    runs = {"noisy or clean blocks": rows, "never clean ones (released code)": rival}
    if not all(map(snapshots, runs.values())):
        return "The two losses were not both tried."
    keys = {"frechet": 2, "identity cosine": 3, "open correlation": 3, "expression right": 2,
            "sharpness": 2, "unrest": 2}
    lines = [f"| a block reads, in training | {' | '.join(keys)} |",
             "|---|" + "---|" * len(keys)]
    for name, some in runs.items():
        points = {key: list(along(some, key).values())[-1] for key in keys}     # most paths
        update = max(points["frechet"])
        cells = [told(points[key][update], digits) for key, digits in keys.items()]
        lines.append(f"| {name}, {update} updates | {' | '.join(cells)} |")
    truth = truth_of(rows)
    if truth:
        cells = [f"{truth[key]:.{digits}f}" for key, digits in keys.items()]
        lines.append(f"| truth through the codec | {' | '.join(cells)} |")
    return "\n".join(lines)


def exits(rows):
    """{updates: lines of the belief after step 1, 2, 3, 4}."""
    found = {}
    for row in sorted((row for row in rows if "exit" in row), key=lambda row: row["exit"]):
        found.setdefault(row["update"], []).append(row)
    return dict(sorted(found.items()))


def exit_words(rows):
    """Markdown bullets: how sharp is the belief after each step, in per cent of the truth?"""
    known, full = references(rows), truth_of(rows)
    if full is None:
        return "How sharp the truth is was not measured."

    def share(row):
        return f"{100 * row['sharpness'] / full['sharpness']:.0f} %"

    lines = [f"- **student, {update} updates**, after step 1 .. {len(some)}: "
             f"{', '.join(map(share, some))}." for update, some in exits(rows).items()]
    return "\n".join(lines + [f"- {name}: {share(row)}." for name, row in known.items()
                              if row is not full])


# Whose trajectories?

def pair_of_runs(rows, causal):
    """The training rows of two students that differ by whose paths they learned alone."""
    own = next(((row["count"], row["seed"]) for row in causal if "count" in row), None)
    return {"bidirectional": [row for row in rows if (row.get("count"), row.get("seed")) == own],
            "autoregressive": [row for row in causal if "count" in row]}


def whose_words(rows, causal):
    """Markdown: both students at the last update that both reached, beside their own teachers.

    rows of ode_training, causal rows of ode_whose. There is one run of each; what counts as noise
    is how far seeds of the largest set differ.
    """
    runs = {name: {row["update"]: row for row in snapshots(some)}
            for name, some in pair_of_runs(rows, causal).items()}
    common = set.intersection(*(set(run) for run in runs.values()))
    truth = truth_of(rows)
    if not common or truth is None:
        return "The two students have no update in common, or the truth was not measured."
    ours, theirs = (runs[name][max(common)] for name in ("autoregressive", "bidirectional"))
    teachers = [next((row for row in some if row.get("name") == name), None) for some, name in (
        (causal, "autoregressive teacher"), (rows, "teacher, guided, 48 steps"))]
    lines = [f"| after {max(common)} updates on {ours['count']} pairs | autoregressive teacher's "
             "paths | bidirectional teacher's paths | the first is | seeds differ by |",
             "|---|---|---|---|---|"]
    words = {}
    for key, name, wrong in (
            ("frechet", "Fréchet distance", lambda row: row["frechet"]),
            ("sharpness", f"sharpness (truth {truth['sharpness']:.2f})",
             lambda row: abs(row["sharpness"] - truth["sharpness"])),
            ("open correlation", "mouth correlation", lambda row: -row["open correlation"])):
        near = noise(list(along(rows, key).values())[-1])
        gap = wrong(ours) - wrong(theirs)
        words[key] = WORDS[2] if abs(gap) <= near else WORDS[gap > 0]
        cells = [f"{row[key]:.2f}" + (f" (its teacher {own[key]:.2f})" if own else "")
                 for row, own in zip((ours, theirs), teachers)]
        lines.append(f"| {name} | {' | '.join(cells)} | {words[key]} | {near:.2f} |")
    return "\n".join(lines) + f"\n\nLess blur from an autoregressive teacher's paths: " \
        f"{FOUND[words['sharpness']]}."
