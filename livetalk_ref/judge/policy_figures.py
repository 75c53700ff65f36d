"""Figures of long streams under every cache policy: quality over time, and a budget's splits.

Rows as policies.py writes them to data/results/policies.json. One colour is one policy; dashed
are absolute positions, and a cross stands where they end. Figures are returned.
"""

from PIL import Image

from livetalk_ref import viz
from livetalk_ref.judge import policy_findings as findings
from livetalk_ref.judge import results
from livetalk_ref.judge.overtime import PART
from livetalk_ref.judge.policies import mean

COLOURS = {"full": viz.AMBER, "window only": viz.CORAL, "AHIS 3 + 2": viz.TEAL,
           "released 3 + 1": viz.VIOLET}
ABSOLUTE = ", absolute"
MINUTE = 60 // PART         # parts that a point of a curve is the mean of
SPLIT = "identity", "colour drift", "mouth", "freeze"


def drawn_numbers(rows):
    """Six numbers for six panels: how lips follow is one of them, by the SyncNet if it judged."""
    there = findings.numbers(rows)
    return [key for key in there if not (key == "mouth" and "sync" in there)]


def calm(values):
    """Each value's mean with the ones of the minute before it; nan where there is none."""
    means = [mean(values[max(0, at + 1 - MINUTE):at + 1]) for at in range(len(values))]
    return [float("nan") if value is None else value for value in means]


def over_time(rows):
    """Every number against the minutes of a stream, means over people. -> figure

    A point is the mean of the minute before it. Six panels, or as many as were measured.
    """
    keys = drawn_numbers(rows)
    made, axes = viz.figure(12, 3.0 * -(-len(keys) // 3) + 0.8, -(-len(keys) // 3), 3,
                            sharex=True, squeeze=False)
    for ax, key in zip(axes.flat, keys):
        for name, row in findings.of(rows, "stream").items():
            colour = COLOURS.get(name.removesuffix(ABSOLUTE), viz.INK)
            minutes = [(start + PART) / 60 for start in row["seconds"]]
            values = calm(row[key])
            ax.plot(minutes, values, "-" if row["relative"] else "--", color=colour, label=name,
                    linewidth=1.7)
            if row["ends"]:
                ax.scatter(minutes[-1], values[-1], marker="X", s=60, color=colour, zorder=3)
        ax.set_title(findings.LABELS[key])
    for ax in axes.flat[len(keys):]:
        ax.set_axis_off()
    for ax in axes[-1]:
        ax.set_xlabel("minutes")
    if any(row["ends"] for row in findings.of(rows, "stream").values()):
        axes[0, 0].scatter([], [], marker="X", s=60, color=viz.INK, label="positions end")
    viz.one_legend(made, axes.flat, loc="outside lower center", ncols=4)
    return made


def splits(rows):
    """One budget between sinks and window, numbers at the end. -> figure

    Dots of the first panel are people; the upright line is the paper's split.
    """
    found = findings.of(rows, "split")
    made, axes = viz.figure(12, 3.2, 1, len(SPLIT))
    places = list(range(len(found)))
    for ax, key in zip(axes, SPLIT):
        values = [findings.end(row, key) for row in found.values()]
        ax.plot(places, [float("nan") if v is None else v for v in values], "o-",
                color=viz.TEAL, markersize=5, label="mean over people")
        if findings.PAPER in found:
            ax.axvline(list(found).index(findings.PAPER), color=viz.SOFT, linestyle=":",
                       label="the paper's split", zorder=0)
        ax.set_xticks(places, [name.replace(" ", "") for name in found], size=9)
        ax.set_title(findings.LABELS[key], size=11)
        ax.set_xlabel("sinks + window, blocks")
    for place, row in zip(places, found.values()):
        axes[0].scatter([place] * row["identities"], row["last minute"], s=14, color=viz.CORAL,
                        zorder=3, label="one person")
    viz.one_legend(made, axes, loc="outside lower center", ncols=3)
    return made


def strips():
    """The kept filmstrips of one person under all policies, or None and one sentence."""
    path = results.RESULTS.parent / "pictures" / "policies.png"
    if not path.is_file():
        print(f"{path.name}: not made yet; run `python -m livetalk_ref policies`.")
        return None
    return Image.open(path)
