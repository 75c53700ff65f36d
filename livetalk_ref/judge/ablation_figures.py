"""Figures of the ablation and of curation: what training saw, what judges saw, who is how far off.

Rows as in findings.py, looks as in looks.py; both may be partial, and a panel without numbers
says so. Everything is returned, not shown.
"""

from textwrap import fill

import numpy as np

from livetalk_ref import viz
from livetalk_ref.judge import findings, looks
from livetalk_ref.judge.findings import MADE, PAPER, label, spread
from livetalk_ref.judge.table import DEFINITIONS
from livetalk_ref.recipes import ROWS
from livetalk_ref.world.latents import WINDOW

COLOURS = {"baseline": viz.CORAL, "curated": viz.AMBER, "converged": viz.LEAF,
           "aggressive": viz.VIOLET, "final": viz.TEAL, "final-raw": viz.ROSE,
           "quick-critic": viz.LEAF, "anchored": viz.AMBER, "baseline-long": viz.VIOLET,
           "oracle": viz.TEAL, "only-converged": viz.LEAF, "only-aggressive": viz.VIOLET,
           "only-guidance": viz.TEAL, "harsh": viz.INK}
DASHES = {"codec": ":", "teacher": "--", "student_ode_short": "-.", "student_ode": "-."}
WAY = {"higher": "\u2191", "lower": "\u2193", "close to truth": "\u2192 truth"}
SEEN = {"loss": "critic: flow loss", "gradient": "normalised gradient",
        "size": "spread of latents", "distance": "mean |x - x0_real|"}
FIRST = 25          # updates: up to there their axis is nearly even, beyond it logarithmic


def title(name):
    """What a row is called in a figure."""
    return ROWS[name].title.removesuffix(" = final")


def blank(ax):
    """A panel that has nothing to show."""
    ax.text(0.5, 0.5, "not measured", color=viz.SOFT, ha="center", transform=ax.transAxes)


def draw(ax, found, name, colour):
    """{x: (mean, least, most)} as a line with its band."""
    mean, least, most = zip(*found.values())
    band = (least, most) if any(a < b for a, b in zip(least, most)) else None
    line = viz.curve(ax, list(found), mean, name, band, colour)
    if len(found) < 12:
        ax.scatter(list(found), mean, s=16, color=colour, zorder=3)
    else:
        line.set_linewidth(1.4)


def refer(ax, rows, number, frames, names, along=True):
    """Lines for what was not trained by a recipe: level ones, or upright."""
    for name in names:
        value = findings.reference(rows, name, number, frames)
        if value is not None:
            line = ax.axhline if along else ax.axvline
            line(value, color=viz.SOFT, linestyle=DASHES[name], label=MADE[name], zorder=1,
                 linewidth=1.5)


def legend(made, axes):
    """One legend below all panels."""
    viz.one_legend(made, axes.flat, loc="outside lower center", ncols=4)


def training(rows, names):
    """What each row's training told of itself, over seeds as mean and band. -> figure"""
    made, axes = viz.figure(12, 3.2, 1, len(SEEN))
    for ax, (key, head) in zip(axes, SEEN.items()):
        for name in names:
            found = {}
            for row in rows:
                if (row["row"], row.get("part")) == (name, "training") and key in row:
                    found.setdefault(row["update"], []).append(row[key])
            if found:
                draw(ax, {update: spread(found[update]) for update in sorted(found)},
                     title(name), COLOURS[name])
        ax.set(title=head, xlabel="updates")
        if ax.lines:
            ax.set_ylim(0, None)
        else:
            blank(ax)
    legend(made, axes)
    return made


def courses(rows, names, numbers=findings.NUMBERS, frames=WINDOW, columns=4):
    """Judged numbers along the updates of some rows, one panel a number. -> figure

    A row begins at its start. Lines across: truth through the codec, the guided teacher, and the
    start if all rows have the same one.
    """
    lines, starts = -(-len(numbers) // columns), {ROWS[name].recipe.start for name in names}
    made, axes = viz.figure(12, 0.7 + 2.3 * lines, lines, columns, squeeze=False)
    for ax, number in zip(axes.flat, numbers):
        seen = {}
        for name in names:
            found = findings.course(rows, name, number, frames)
            seen |= found
            if found:
                draw(ax, found, title(name), COLOURS[name])
        refer(ax, rows, number, frames, ("codec", "teacher", *(starts if len(starts) == 1 else ())))
        ax.set_title(f"{label(number)} {WAY[DEFINITIONS[number].better]}", size=12)
        if seen:
            updates(ax, sorted(seen))
        else:
            blank(ax)
    for ax in axes.flat[len(numbers):]:
        ax.set_axis_off()
    legend(made, axes)
    return made


def updates(ax, ticks):
    """An axis that begins at 0 and gives every doubling of the updates the same room."""
    ax.set_xscale("function", functions=(lambda x: np.log2(1 + np.maximum(x, 1 - FIRST) / FIRST),
                                         lambda y: FIRST * (np.exp2(y) - 1)))
    some = []
    for tick in ticks:
        if not some or np.log2((tick + FIRST) / (some[-1] + FIRST)) > 0.8:
            some.append(tick)
    ax.set_xticks(some, some, size=10)
    ax.set_xlim(-2, 1.07 * max(ticks) + 1)
    ax.minorticks_off()


def ends(rows, numbers, names=tuple(ROWS), frames=WINDOW):
    """Rows at their end: a dot a seed, a band for the 95 % interval over clips of the first, lines
    as in `courses`. -> figure"""
    made, axes = viz.figure(12, 0.9 + 0.31 * len(names), 1, len(numbers), sharey=True,
                            squeeze=False)
    for ax, number in zip(axes.flat, numbers):
        refer(ax, rows, number, frames, ("codec", "teacher"), along=False)
        seen = []
        for y, name in enumerate(names):
            update, values = findings.last(rows, name, number, frames)
            seen += values
            ax.plot(interval(rows, name, number, update, frames), (y, y), color=COLOURS[name],
                    alpha=0.35, linewidth=6, solid_capstyle="round")
            ax.scatter(values, [y] * len(values), s=36, color=COLOURS[name], zorder=3,
                       edgecolor=viz.PAPER, linewidth=0.7)
        ax.set_title(f"{label(number)} {WAY[DEFINITIONS[number].better]}",
                     size=12 if len(numbers) < 5 else 10.5)
        ax.margins(x=0.08)
        if not seen:
            blank(ax)
    ax = axes[0, 0]
    ax.set(ylim=(len(names) - 0.5, -0.5), yticks=range(len(names)), yticklabels=[
        title(name) + ("" if findings.runs(rows, name) else ", not run") for name in names])
    for tick, name in zip(ax.get_yticklabels(), names):
        tick.set_color(viz.INK if findings.runs(rows, name) else viz.SOFT)
    legend(made, axes)
    return made


def interval(rows, name, number, update, frames):
    """The 95 % interval over clips of a row's first seed; nan where there is none."""
    seeds = [row for row in rows if row.get("part") == "judged" and f"{number} 95%" in row
             and (row["row"], row["update"], row["frames"]) == (name, update, frames)]
    return seeds[0][f"{number} 95%"] if seeds else [float("nan")] * 2


def beside_paper(rows):
    """The rows that LiveTalk's table 3 has too, relative to the baseline. -> figure"""
    made, axes = viz.figure(12, 3.2, 1, 2)
    for ax, number, theirs, k in zip(axes, ("frechet", "Sync-C"), ("FID", "Sync-C"), (0, 1)):
        base = findings.last(rows, "baseline", number)[1]
        ours = {name: spread([value / spread(base)[0] for value in values]) for name in PAPER
                if base and (values := findings.last(rows, name, number)[1])}
        draw(ax, {i: (pair[k] / PAPER["baseline"][k],) * 3 for i, pair in
                  enumerate(PAPER.values())}, f"the paper: {theirs}", viz.SOFT)
        at = {list(PAPER).index(name): values for name, values in ours.items()}
        if at:
            draw(ax, at, f"here: {label(number)}", viz.TEAL)
        ax.set(xticks=range(len(PAPER)), title=f"{label(number)}, times the baseline's "
               f"{WAY[DEFINITIONS[number].better]}")
        ax.set_xticklabels([fill(title(name), 14) for name in PAPER], size=9.5)
        ax.legend()
    return made


def apart(tensors, names, seed=0):
    """How far the three models are apart through training, for references that were collected
    damaged or good; a line of panels a row, the band over conditions. -> figure or None"""
    tracks = {name: looks.track(tensors, "told", f"{name}-seed{seed}") for name in names}
    tracks = {name: track for name, track in tracks.items() if track}
    if not tracks:
        return None
    made, axes = viz.figure(12, 0.6 + 2.3 * len(tracks), len(tracks), len(looks.TOLD),
                            squeeze=False, sharey="col")
    for ax, head in zip(axes[0], looks.TOLD):
        ax.set_title(head, size=11)
    for line, (name, track) in zip(axes, tracks.items()):
        for column, ax in enumerate(line):
            for part, colour in (("damaged", viz.CORAL), ("good", viz.TEAL)):
                some = {update: looks.halves(values[:, column])[part]
                        for update, values in track.items()}
                some = {k: spread(v) for k, v in some.items() if v}
                if some:
                    draw(ax, some, f"reference collected {part}", colour)
            updates(ax, list(track))
        line[0].set_ylabel(fill(title(name), 16), size=11)
    legend(made, axes)
    return made


# Curation.

def curation(rows):
    """How well damage is seen, how much of it is mended, and what is done with it. -> figure"""
    scores, kinds, references = ([row for row in rows if row["part"] == part]
                                 for part in ("score", "damage", "references"))
    made, (left, middle, right) = viz.figure(12, 3.9, 1, 3, gridspec_kw={
        "width_ratios": (0.9, 1.2, 1.2)})
    scores = sorted(scores, key=lambda row: -row["auc"])
    kinds = [row | {"name": row["name"].replace("none", "no damage").replace("_", " ")}
             for row in kinds]
    bars = left.barh([fill(row["name"], 14) for row in scores], [row["auc"] for row in scores],
                     0.62, color=viz.TEAL)
    left.bar_label(bars, fmt="%.2f", padding=4, color=viz.INK)
    left.axvline(0.5, color=viz.SOFT, linestyle="--", linewidth=1.5)
    left.set(title="damage is seen: AUC", xlim=(0.4, 1.1))
    for y, row in enumerate(kinds):
        middle.plot((row["damage"], row["remains"]), (y, y), color=viz.RULE, linewidth=6, zorder=1)
    for key, name, look in (
            ("damage", "as collected", {"color": viz.CORAL, "s": 44}),
            ("remains", "mended", {"color": viz.TEAL, "s": 44}),
            ("remains, said", "mended, its own guess", {
                "facecolor": "none", "edgecolor": viz.INK, "s": 90})):
        middle.scatter([row[key] for row in kinds], range(len(kinds)), label=name, zorder=3, **look)
    middle.set(title="how far from the truth, in 1/255", yticks=range(len(kinds)),
               yticklabels=[row["name"] for row in kinds], xlim=(0, None))
    shares = [*kinds, *(row | {"name": f"all {row['name']} ones"} for row in references)]
    left_of = [0.0] * len(shares)
    for key, colour in (("kept", viz.TEAL), ("mended", viz.AMBER), ("replaced", viz.CORAL)):
        widths = [row[key] for row in shares]
        right.barh([row["name"] for row in shares], widths, 0.66, left_of, color=colour,
                   label=key)
        left_of = [a + b for a, b in zip(left_of, widths)]
    right.set(title="what is done with it: shares", xlim=(0, 1))
    for ax in (left, middle, right):
        ax.invert_yaxis()
        ax.grid(axis="y", visible=False)
        ax.tick_params(axis="y", length=0)
    for ax in (middle, right):
        ax.legend(loc="upper center", ncols=3, fontsize=9.5, bbox_to_anchor=(0.42, -0.1),
                  columnspacing=1, handletextpad=0.4)
    return made
