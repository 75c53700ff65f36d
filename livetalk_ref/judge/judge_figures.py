"""Figures of the judges: what they say of damage and of cheats, and who is first in which column.

A number's name is one of table.DEFINITIONS. Figures are in viz.py's style and are returned;
teal is good and coral is bad.
"""

import torch

from livetalk_ref import viz
from livetalk_ref.judge.table import DEFINITIONS

SHADES = ("#f0a593", viz.PAPER, "#8cc8c6")
SMALL = 9.5         # points


def gain(value, truth, better):
    """How much better than the truth a value is; negative is worse."""
    if better == "close to truth":
        return -abs(value - truth)
    return value - truth if better == "higher" else truth - value


def passes(value, ceiling, truth, better):
    """Is a value at least as good as the ceiling's?"""
    return gain(value, truth, better) >= gain(ceiling, truth, better) - 1e-9


def table(ax, colours, texts, rows, columns):
    """A grid of cells: colours (R, C) from -1, coral, to 1, teal, and texts of the same shape."""
    ax.imshow(colours, cmap=viz.plt.matplotlib.colors.LinearSegmentedColormap.from_list(
        "", SHADES), vmin=-1, vmax=1, aspect="auto")
    ax.grid(False)
    ax.spines[:].set_visible(False)
    for i, row in enumerate(texts):
        for j, text in enumerate(row):
            ax.text(j, i, text, ha="center", va="center", size=SMALL)
    ax.set_xticks(range(len(columns)), columns, size=SMALL, color=viz.INK)
    ax.set_yticks(range(len(rows)), rows, size=SMALL + 1, color=viz.INK)
    ax.set_xticks([j + 0.5 for j in range(len(columns) - 1)], minor=True)
    ax.set_yticks([i + 0.5 for i in range(len(rows) - 1)], minor=True)
    ax.grid(which="minor", color=viz.PAPER, linewidth=3)
    ax.tick_params(which="both", length=0)
    ax.xaxis.tick_top()


def heads(names):
    """Numbers' names in two lines where there are two words."""
    return [name.replace(" ", "\n") for name in names]


def damage(strengths, found, kept=()):
    """Each corruption and the number that should notice it. -> figure

    found: {(corruption, number): values (R, K) of R clips at K strengths}; kept: rows of
    data/results/judges.json, whose means are dashed.
    """
    lines = -(-len(found) // 3)
    made, axes = viz.figure(12, 2.25 * lines, lines, 3, sharex=True, squeeze=False)
    for ax, ((name, number), values), colour in zip(axes.flat, found.items(), viz.COLOURS * 3):
        viz.curve(ax, strengths, values, colour=colour)
        rows = [row for row in kept if row.get("corruption") == name and number in row]
        if rows:
            ax.plot([row["strength"] for row in rows], [row[number] for row in rows],
                    color=viz.INK, linestyle="--", linewidth=1.2)
        ax.set(title=name, ylabel=f"{number}\n({DEFINITIONS[number].unit})")
        ax.yaxis.label.set_size(SMALL)
    for ax in axes[-1]:
        ax.set(xlabel="strength", xticks=strengths)
    return made


def reactions(found, numbers):
    """What every number says of every corruption at its worst. -> figure

    found: {corruption: {number: value}} with "truth" among them. The change is told as a share of
    the largest that any corruption makes, coral where it is for the worse, teal for the better.
    """
    truth, names = found["truth"], [name for name in found if name != "truth"]
    gains = torch.tensor([[gain(found[name][number], truth[number], DEFINITIONS[number].better)
                           for number in numbers] for name in names])   # (corruptions, numbers)
    share = gains / gains.abs().amax(0).clamp(min=1e-9)
    texts = [["" if abs(x) < 0.05 else f"{x:+.1f}" for x in row] for row in share.tolist()]
    made, ax = viz.figure(12, 0.42 * len(names) + 1)
    table(ax, share.tolist(), texts, names, heads(numbers))
    return made


def offsets(curves, reach):
    """Distance of sound and lips over offsets. -> figure

    curves: {label: (2 reach + 1,) distances}; a dot marks where each is smallest.
    """
    made, ax = viz.figure(12, 3.4)
    x = torch.arange(-reach, reach + 1)
    for (name, curve), colour in zip(curves.items(), (viz.TEAL, viz.CORAL, viz.AMBER, viz.SOFT)):
        best = int(curve.argmin())
        ax.plot(x, curve, color=colour, label=name)
        ax.scatter(x[best], curve[best], s=60, color=colour, zorder=3)
    first = next(iter(curves.values()))
    low, middle, best = first.min().item(), first.median().item(), int(first.argmin()) - reach
    ax.axhline(middle, color=viz.TEAL, linestyle=":", linewidth=1.2)
    ax.annotate("", (best, low), (best, middle), arrowprops={"arrowstyle": "<->",
                                                             "color": viz.TEAL})
    ax.text(best - 1.3, (low + middle) / 2, f"Sync-C {middle - low:.2f}", color=viz.TEAL,
            ha="right")
    ax.text(best + 0.35, low - 0.02, f"Sync-D {low:.2f}", color=viz.TEAL, va="top")
    ax.set(xlabel="offset: frames by which the lips are late", ylabel="distance",
           xticks=range(-reach, reach + 1, 3), xlim=(-reach - 0.5, reach + 0.5),
           ylim=(low - 0.12, None))
    ax.legend(loc="lower right", fontsize=10)
    return made


def cheats(found, numbers):
    """Who is at least as good as the ceiling, in which number? -> figure

    found: {name: {number: value}}, the truth first and the ceiling second. Teal cells pass.
    """
    (truth, ceiling), names = list(found.values())[:2], list(found)
    marks = torch.tensor([[1.0 if passes(found[name][number], ceiling[number], truth[number],
                                         DEFINITIONS[number].better) else -1.0
                           for number in numbers] for name in names])
    texts = [[f"{found[name][number]:.2f}".replace("-0.00", "0.00") for number in numbers]
             for name in names]
    made, ax = viz.figure(12, 0.42 * len(names) + 1)
    marks[:2] *= 0.0
    table(ax, marks.tolist(), texts, names, heads(numbers))
    return made


def ranks(panels):
    """Places of everybody in every column, 1 the best: {title: (names, columns, values, signs)}.

    values (names, columns), nan where there is none; signs: 1 where higher is better, else -1.
    """
    made, axes = viz.figure(12, 0.42 * max(len(p[0]) for p in panels.values()) + 1.3, 1,
                            len(panels), squeeze=False)
    for ax, (title, (names, columns, values, signs)) in zip(axes[0], panels.items()):
        places = (-torch.as_tensor(values) * torch.tensor(signs)).argsort(0).argsort(0)
        shade = 1 - 2 * places / max(1, len(names) - 1)
        table(ax, shade.tolist(), (places + 1).tolist(),
              names if ax is axes[0, 0] else [""] * len(names), columns)
        ax.set_title(title)
    return made


def faces(rows):
    """How often a pair of faces that differ in one factor is told from a pair of one face.

    rows: those of the judge "identity" in data/results/judges.json. -> figure
    """
    told = {}
    for row in rows:
        if not row["factor"].startswith("all ") and row["step"]:
            told.setdefault(row["factor"], {})[row["step"]] = row["verified"]
    names = sorted(told, key=lambda name: -told[name][1.0])
    made, ax = viz.figure(12, 3.6)
    for step, colour in zip(sorted({s for of in told.values() for s in of}),
                            (viz.AMBER, viz.CORAL, viz.TEAL)):
        some = [name for name in names if step in told[name]]
        ax.scatter([names.index(name) for name in some], [told[name][step] for name in some],
                   color=colour, s=36, zorder=3, label=f"{step:.0%} of the range apart")
    ax.axhline(0.5, color=viz.SOFT, linestyle="--")
    ax.set_xticks(range(len(names)), [name.replace("_", " ") for name in names], rotation=55,
                  ha="right", size=SMALL)
    ax.set(ylabel="told apart (0.5: a guess)", xlim=(-0.6, len(names) - 0.4))
    ax.legend(fontsize=SMALL, loc="upper right")
    return made
