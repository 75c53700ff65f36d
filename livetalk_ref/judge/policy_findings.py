"""What long streams under every cache policy found: a table and sentences, from the rows alone.

Rows are those that policies.py writes to data/results/policies.json; a row's numbers are means
over people, one for every ten seconds. Whatever may go either way is computed here. "The end" is
a stream's last minute, as in policies.py. Policies whose positions end are held against others at
the same time, not at the end.
"""

from livetalk_ref.cache import BLOCK, POLICIES
from livetalk_ref.judge.findings import maybe
from livetalk_ref.judge.overtime import PART
from livetalk_ref.judge.policies import last_minute, mean

LABELS = {"identity": "likeness to the reference", "colour drift": "colour drift, in 1/255",
          "sharpness": "sharpness, in 1/255", "sync": "Sync-C", "mouth": "mouth correlation",
          "freeze": "frames that stand still, share",
          "expression": "asked expression, share"}
OTHERS = "colour drift", "mouth", "freeze"          # that positions may change besides likeness
PAPER = f"{POLICIES['ahis'].sinks // BLOCK} + {POLICIES['ahis'].window // BLOCK}"


def of(rows, study):
    """{policy: row} of "stream" or "split"."""
    return {row["policy"]: row for row in rows if row["study"] == study}


def one(rows, study):
    """The row of "claim" or "best split", or None."""
    return next((row for row in rows if row["study"] == study), None)


def numbers(rows):
    """Which of LABELS were measured."""
    return [key for key in LABELS if any(
        value is not None for row in rows for value in row.get(key, ()))]


def end(row, number):
    """A number's mean over the last minute, or None."""
    return mean(last_minute(row[number]))


def span(row):
    """Seconds that a policy's streams show."""
    return round(min(row["seconds"][-1] + PART, row["ends"] or float("inf")))


def table(rows):
    """A line a policy: every number in the first ten seconds and at the end."""
    lines = []
    for row in (*of(rows, "stream").values(), *of(rows, "split").values()):
        last = f"after {row['ends']:.0f} s" if row["ends"] else "never"
        name = row["policy"] if row["study"] == "stream" else f"split {row['policy']}"
        lines.append({"first ten seconds \u2192 end": name, "shown": f"{span(row)} s",
                      "ends": last} | {LABELS[key]: f"{maybe(row[key][0])} \u2192 "
                                       f"{maybe(end(row, key))}" for key in numbers(rows)})
    return lines


def counted(some, of_all, noun):
    """So many of all, in words."""
    return f"all {of_all} {noun}" if some == of_all else f"{some or 'none'} of {of_all} {noun}"


# The claim of the paper, and what keeping everything does.

def claim_words(rows):
    """Does the paper's claim hold, person by person, and along the whole stream? "" without it."""
    row, streams = one(rows, "claim"), of(rows, "stream")
    if row is None:
        return ""
    holds, people = row["holds for"], row["of"]
    verdict = "holds here" if holds == people else \
        "does not hold here" if holds == 0 else "holds for some people only"
    gains = ", ".join(f"{gain:+.3f}" for gain in row["gain in likeness"])
    ours, theirs = (streams[name]["identity"] for name in ("AHIS 3 + 2", "window only"))
    ahead = sum(a > b for a, b in zip(ours, theirs))
    return (f"{row['claim']}: **{verdict}**, for {counted(holds, people, 'people')} in the last "
            f"minute (gain in likeness {gains}). Over the whole stream its mean is ahead in "
            f"{ahead} of {len(ours)} stretches of {PART} seconds.")


def loss_words(rows):
    """What each policy that lasts loses of likeness from its beginning to its end, best first."""
    lost = {name: end(row, "identity") - row["identity"][0]
            for name, row in of(rows, "stream").items() if not row["ends"]}
    if not lost:
        return ""
    ranked = sorted(lost, key=lost.get, reverse=True)
    return "Change of likeness from the first ten seconds to the end: " + ", ".join(
        f"{name} {lost[name]:+.3f}" for name in ranked) + "."


# How a budget is best split.

def split_words(rows):
    """Which split keeps the face best, by how much, where the paper's stands, and what the best
    pays for it; "" without splits."""
    row, splits = one(rows, "best split"), of(rows, "split")
    if row is None or len(row["policies"]) < 2:
        return ""
    (best, second), likeness = row["policies"][:2], dict(zip(row["policies"], row["likeness"]))
    pairs = list(zip(splits[best]["last minute"], splits[second]["last minute"]))
    ahead = sum(a > b for a, b in pairs)
    text = (f"Sinks + window, in blocks: likeness at the end of {span(splits[best])} s is highest "
            f"with **{best}** ({likeness[best]:.3f}), ahead of {second} ({likeness[second]:.3f}) "
            f"for {counted(ahead, len(pairs), 'people')}.")
    if PAPER in likeness and best != PAPER:
        text += (f" The paper's {PAPER} is number {row['policies'].index(PAPER) + 1} of "
                 f"{len(likeness)}, {likeness[best] - likeness[PAPER]:.3f} behind.")
    elif best == PAPER:
        text += " It is the paper's."
    return text + (f" Share of its last ten seconds that stands still: "
                   f"{beside(row['freeze'], '.0%')}; how its mouth follows the sound: "
                   f"{beside(row['mouth'], '.2f')}.")


def beside(values, form):
    """The first of some values, and from where to where all others reach."""
    best, *others = values
    others = [value for value in others if value is not None]
    if best is None or not others:
        return "not measured"
    return f"{best:{form}} (others {min(others):{form}} to {max(others):{form}})"


# What absolute positions cost.

def twins(rows):
    """[(a stream with absolute positions, the same with relative ones)]."""
    streams = of(rows, "stream").values()
    return [(row, other) for row in streams for other in streams
            if other["relative"] and not row["relative"]
            and (row["sinks"], row["window"]) == (other["sinks"], other["window"])]


def same_time(row, other):
    """The parts of the last minute that both show, as a slice."""
    both = range(min(len(row["seconds"]), len(other["seconds"])))
    return slice(last_minute(both)[0], both[-1] + 1)


def absolute_words(rows):
    """Markdown, a bullet a policy: what absolute positions end and what they change before."""
    lines = []
    for row, other in twins(rows):
        part = same_time(row, other)
        when = f"{row['seconds'][part.start]:.0f} .. {min(span(row), span(other))} s"
        ends = f"the stream ends after {row['ends']:.0f} s, the other goes on" if row["ends"] \
            else f"no end within {span(row)} s"
        found = [f"{key} {maybe(mean(row[key][part]))} against "
                 f"{maybe(mean(other[key][part]))}" for key in OTHERS if key in numbers(rows)]
        gap = mean(row["identity"][part]) - mean(other["identity"][part])
        verdict = f"cost {-gap:.3f} of likeness" if gap < 0 else f"cost no likeness ({gap:+.3f})"
        lines.append(f"- **{other['policy']}**, absolute against relative: {ends}. In the last "
                     f"minute that both show ({when}) absolute positions {verdict}; "
                     f"{', '.join(found)}.")
    return "\n".join(lines)
