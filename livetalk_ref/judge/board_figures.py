"""Figures of the scoreboard: cost beside quality, and comparisons clip by clip.

Rows are those of data/results/scoreboard.json, a place is one of its sets, a number's name one of
table.DEFINITIONS. Figures are in viz.py's style and are returned.
"""

from itertools import product

from livetalk_ref import viz
from livetalk_ref.judge.scoreboard import LABELS, STEPS
from livetalk_ref.judge.table import DEFINITIONS

CEILING, RULE = "truth through the codec", "rule: loudness opens the mouth"
LINES = {CEILING: "--", RULE: ":", "floor: a second set of truth": "-."}
COLOURS = {"plain": viz.TEAL, "guided": viz.CORAL}
MARKERS = "osD"
SMALL = 9.5         # points


def markdown(rows, place, numbers):
    """A set's table: everybody's numbers with their 95 % intervals, and the floor's."""
    lines = [f"| {place} | {' | '.join(numbers)} |", "|---" * (len(numbers) + 1) + "|"]
    for row in rows:
        if row["set"] == place and "name" in row:
            cells = [f"{row[n]:.2f}<br><sub>{row[f'{n} 95%'][0]:.2f} .. {row[f'{n} 95%'][1]:.2f}"
                     f"</sub>" if n in row else "" for n in numbers]
            lines.append(f"| {row['name']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def named(rows, place, who):
    """One maker's row of a set, or None."""
    return next((row for row in rows if row["set"] == place and row.get("name") == who), None)


def price(rows, numbers, places):
    """Cost and quality: a line of panels a number, a column a set. -> figure

    Curves are the teacher, plain and guided; dashed is the truth through the codec, dotted the
    rule, dash-dotted the floor of a distance. The cost: evaluations of the DiT for a clip.
    """
    made, axes = viz.figure(12, 2.2 * len(numbers) + 0.8, len(numbers), len(places), sharex=True,
                            sharey="row", squeeze=False)
    for (i, number), (j, place) in product(enumerate(numbers), enumerate(places)):
        ax = axes[i, j]
        for label, colour in COLOURS.items():
            some = [named(rows, place, f"teacher, {label}, {steps} steps") for steps in STEPS]
            some = [row for row in some if row and number in row]
            if some:
                viz.curve(ax, [row["evaluations a clip"] for row in some],
                          [row[number] for row in some], f"teacher, {label}",
                          list(zip(*(row[f"{number} 95%"] for row in some))), colour)
        for who, style in LINES.items():
            row = named(rows, place, who)
            if row and number in row and not (who == RULE and "frechet" in number):
                ax.axhline(row[number], color=viz.INK, linestyle=style, linewidth=1.2, label=who)
        ax.set(xscale="log", ylabel="" if j else number, title="" if i else place)
        ax.set_xticks((4, 8, 16, 48, 96), ("4", "8", "16", "48", "96"))
        ax.minorticks_off()
    for ax in axes[-1]:
        ax.set_xlabel("evaluations a clip")
    viz.one_legend(made, made.axes, loc="outside lower center", ncols=5, fontsize=SMALL)
    return made


def contests(rows, numbers, places, best):
    """Everybody against the best, clip by clip: differences with their 95 % intervals. -> figure

    A panel a number, a line a contestant, a marker a set; teal is surely better than the best,
    coral surely worse.
    """
    names = [f"{label}, {steps} steps" for label in LABELS for steps in STEPS
             if f"teacher, {label}, {steps} steps" != best]
    made, axes = viz.figure(12, 0.42 * len(names) + 1.5, 1, len(numbers), sharey=True,
                            squeeze=False)
    for ax, number in zip(axes[0], numbers):
        sign = 1 if DEFINITIONS[number].better == "higher" else -1
        for row in rows:
            if row.get("number") != number or row["set"] not in places:
                continue
            (low, high), at = row["95%"], places.index(row["set"])
            colour = viz.SOFT if low <= 0 <= high else viz.TEAL if sign * low > 0 else viz.CORAL
            who = row["comparison"].split(" - ")[0].removeprefix("teacher, ")
            y = names.index(who) + 0.22 * (at - (len(places) - 1) / 2)
            ax.plot((low, high), (y, y), color=colour, linewidth=2)
            ax.scatter(row["difference"], y, s=26, color=colour, marker=MARKERS[at], zorder=3)
        for place, marker in zip(places, MARKERS):
            ax.scatter([], [], marker=marker, color=viz.SOFT, label=place)
        ax.axvline(0, color=viz.INK, linewidth=1)
        ax.set_title(number, size=11)
        ax.set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.5))
        ax.locator_params(axis="x", nbins=4)
    viz.one_legend(made, made.axes, loc="outside lower center", ncols=5, fontsize=SMALL)
    return made
