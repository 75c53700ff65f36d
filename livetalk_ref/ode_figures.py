"""Figures of the ODE stage: how a student learns, what it blurs, whom it beats, how it lasts.

Drawn from rows of data/results as judge/convergence.py writes them, whatever part of a study has
run. Bands and bars span all seeds; a line is their mean. One colour is one model everywhere.
"""

from statistics import fmean

from livetalk_ref import viz
from livetalk_ref.judge import ode_findings as findings
from livetalk_ref.judge import ode_verdicts as verdicts
from livetalk_ref.rollout import SIGMAS

MODELS = {"codec": viz.LEAF, findings.TEACHER: viz.INK, findings.FEW_STEPS: viz.AMBER,
          findings.UNGUIDED: viz.ROSE, findings.SHORT: viz.CORAL, findings.RIVAL: viz.VIOLET,
          findings.CONVERGED: viz.TEAL}
SIZES = viz.TEAL, viz.VIOLET, viz.AMBER, viz.ROSE       # of training sets, the largest first
SETS = viz.TEAL, viz.CORAL, viz.VIOLET
LEVELS = {"truth": (viz.LEAF, "-"), "teacher, guided, 4 steps": (viz.INK, ":"),
          "teacher, plain, 4 steps": (viz.SOFT, ":"), "teacher, guided": (viz.INK, "--")}
NEAR = 1.6          # updates whose ratio is smaller share a label
LEARNED = {"error 1": "held-out error, first jump (from pure noise)",
           "error 0.625": "held-out error, last jump (from sigma .625)",
           "frechet": "Fréchet distance to the truth", "sharpness": "sharpness, in 1/255"}
BLOCKWISE = {"sharpness": "sharpness", "frechet": "Fréchet distance",
             "identity cosine": "likeness to the reference", "mouth error": "mouth error"}
SIGNS = {verdicts.BETTER: "\u25b2", verdicts.WORSE: "\u25bc", verdicts.NOISE: "\u2013"}


def tracked(ax, points, label, colour):
    """A line through {x: values of all seeds}: their mean, and a band from lowest to highest."""
    band = [[side(values) for values in points.values()] for side in (min, max)]
    viz.curve(ax, list(points), [fmean(values) for values in points.values()], label, band,
              colour)


def levels(ax, rows, key):
    """Level lines: the truth through the codec, and the teacher with many steps and with few."""
    for name, row in findings.references(rows).items():
        style = next((style for start, style in LEVELS.items() if name.startswith(start)), None)
        if style:
            ax.axhline(row[key], color=style[0], linestyle=style[1], linewidth=1.5, label=name)


def shared_legend(made, axes, columns=4):
    """One legend above all axes."""
    viz.one_legend(made, axes, loc="outside upper left", ncols=columns)


def learning(rows, marks):
    """Held-out error, Fréchet distance and sharpness along training. -> figure

    rows of ode_training; marks: {name: updates}, drawn as upright lines. Distances of the first
    updates may lie above the picture.
    """
    made, axes = viz.figure(12, 6.2, 2, 2, sharex=True)
    for ax, (key, title) in zip(axes.flat, LEARNED.items()):
        sizes = findings.along(rows, key)
        for (pairs, points), colour in zip(reversed(sizes.items()), SIZES):
            tracked(ax, points, f"student of {pairs} pairs", colour)
        if not key.startswith("error"):
            levels(ax, rows, key)
        for update in marks.values():
            ax.axvline(update, color=viz.SOFT, linewidth=1, zorder=0)
        ax.set(title=title, xscale="log")
        ticks = spaced({update for points in sizes.values() for update in points})
        ax.set_xticks(ticks, ticks)
        ax.set_xticks([], minor=True)
    for ax in axes[0]:
        for name, update in marks.items():
            ax.text(update, 0.98, f"{name} ", ha="right", va="top", size=10, color=viz.SOFT,
                    transform=ax.get_xaxis_transform())
    highest = max((row["frechet"] for row in findings.references(rows).values()), default=0)
    if highest:
        axes[1, 0].set_ylim(-0.05 * highest, 1.5 * highest)
    for ax in axes[1]:
        ax.set_xlabel("updates")
    shared_legend(made, axes.flat)
    return made


def spaced(updates):
    """Those whose labels do not run into each other on a logarithmic axis, the last one first."""
    shown = []
    for update in sorted(updates, reverse=True):
        if not shown or shown[-1] >= NEAR * update:
            shown.append(update)
    return shown


def blur(rows):
    """How good the belief is after each of the four steps. -> figure; rows of ode_training"""
    made, axes = viz.figure(12, 3.6, 1, 2)
    for ax, key in zip(axes, ("sharpness", "frechet")):
        levels(ax, rows, key)
        for (update, some), colour in zip(findings.exits(rows).items(), (viz.CORAL, viz.TEAL)):
            steps, values = zip(*((row["exit"], row[key]) for row in some))
            ax.plot(steps, values, "o-", color=colour, label=f"student, {update} updates")
            if f"{key} 95%" in some[0]:
                ax.fill_between(steps, *zip(*(row[f"{key} 95%"] for row in some)), color=colour,
                                alpha=0.13, linewidth=0)
        ax.set_xticks(range(1, 5), [f"after step {k}\nsigma {s:.3g}"
                                    for k, s in enumerate(SIGMAS.tolist(), 1)])
        ax.set(title=LEARNED[key])
    shared_legend(made, axes)
    return made


def standing(rows, keys=verdicts.SHOWN):
    """Every model on every set: means over seeds with 95 % intervals. -> figure

    rows of ode_benchmarks; a number that was not measured has no column.
    """
    keys = [key for key in keys if any(key in row for row in rows)]
    names, sets = findings.by_model(rows), verdicts.sets_of(rows)
    made, axes = viz.figure(12, 1.3 + 0.45 * len(names), 1, len(keys), sharey=True, squeeze=False)
    for ax, key in zip(axes[0], keys):
        for s, (part, colour) in enumerate(zip(sets, SETS)):
            for model, lines in findings.by_model(verdicts.of_set(rows, part)).items():
                some, y = [line for line in lines if key in line], list(names).index(model)
                if some:
                    y += 0.24 * (s - (len(sets) - 1) / 2)
                    ax.plot(verdicts.edges(some, key), (y, y), color=colour, linewidth=2.5,
                            alpha=0.45)
                    ax.plot(fmean(line[key] for line in some), y, "o", color=colour, markersize=5,
                            label=part)
        ax.set_title(key.replace(" ", "\n", 1), size=11.5)
        ax.tick_params(labelsize=9)
        ax.grid(axis="y", visible=False)
    axes[0, 0].set_yticks(range(len(names)), [findings.LABELS[name] for name in names],
                          color=viz.INK, size=10)
    axes[0, 0].set_ylim(len(names) - 0.5, -0.5)
    shared_legend(made, axes[0])
    return made


def duels(rows):
    """Who beats whom, clip by clip: share of bootstrap draws in which ours is better. -> figure

    rows of ode_benchmarks. A sign for every seed: better, worse, or within the noise.
    """
    found = verdicts.duels(rows)
    pairs = sorted(found, key=lambda of: [of[1:] == other[1:] for other in found].index(True))
    keys = list(dict.fromkeys(key for numbers in found.values() for key in numbers))
    made, ax = viz.figure(12, 1.3 + 0.34 * len(pairs))
    shares = [[fmean(row["superiority"] for row in found[of][key]) if key in found[of]
               else float("nan") for key in keys] for of in pairs]
    shown = ax.imshow(shares, cmap="BrBG", vmin=0, vmax=1, aspect="auto", alpha=0.75)
    for y, of in enumerate(pairs):
        for x, key in enumerate(keys):
            signs = " ".join(SIGNS[verdicts.word(row)] for row in found[of].get(key, ()))
            ax.text(x, y, signs, ha="center", va="center", size=9)
        if y and pairs[y - 1][1:] != of[1:]:
            ax.axhline(y - 0.5, color=viz.PAPER, linewidth=5)
    ax.set_yticks(range(len(pairs)), [f"against {findings.LABELS[theirs]}: {part}"
                                      for part, _, theirs in pairs], color=viz.INK, size=10)
    ax.set_xticks(range(len(keys)), [key.replace(" ", "\n", 1) for key in keys], color=viz.INK,
                  size=9)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    made.colorbar(shown, ax=ax, ticks=(0, 0.5, 1), shrink=0.8,
                  label="share of draws won", pad=0.01).outline.set_visible(False)
    return made


def blocks(rows, name):
    """Quality against block index on a set, over 7 blocks and over 21. -> figure

    rows of ode_blocks. Upright: where a training clip ends.
    """
    counts = sorted({row["blocks"] for row in verdicts.of_set(rows, name)})
    keys = [key for key in BLOCKWISE if any(key in row for row in rows)]
    made, axes = viz.figure(12, 0.8 + 2.6 * len(counts), len(counts), len(keys), squeeze=False,
                            sharey="col")
    for ax, key in zip(axes[0], keys):
        ax.set_title(BLOCKWISE[key])
    for line, count in zip(axes, counts):
        for model, runs in verdicts.block_lines(rows, name, count).items():
            for ax, key in zip(line, keys):
                points = {}
                for row in (row for run in runs for row in run if key in row):
                    points.setdefault(row["block"], []).append(row[key])
                tracked(ax, points, findings.LABELS[model], MODELS[model])
        for ax in line:
            ax.axvline(6.5, color=viz.SOFT, linestyle="--", linewidth=1)
            ax.set_xlim(-0.3, count - 0.7)
            ax.set_xticks(range(0, count, 1 if count < 10 else 5))
        line[0].set_ylabel(f"{name}, {count} blocks")
    for ax in axes[-1]:
        ax.set_xlabel("block")
    shared_legend(made, axes.flat, 3)
    return made


def whose(rows, causal):
    """Two students that differ by whose paths they learned. -> figure

    rows of ode_training, causal rows of ode_whose.
    """
    made, axes = viz.figure(12, 3.7, 1, 3)
    for (name, some), colour in zip(findings.pair_of_runs(rows, causal).items(),
                                    (viz.CORAL, viz.TEAL)):
        losses = [(row["step"], row["loss"]) for row in some if "loss" in row]
        if losses:
            axes[0].plot(*zip(*losses), color=colour)
        for ax, key in zip(axes[1:], ("frechet", "sharpness")):
            points = {row["update"]: [row[key]] for row in findings.snapshots(some)}
            if points:
                ax.plot(list(points), [value for value, in points.values()], "o-", markersize=4,
                        color=colour, label=f"student of the {name} teacher")
    teachers = (("teacher, guided, 48 steps", rows, viz.CORAL),
                ("autoregressive teacher", causal, viz.TEAL), (None, rows, viz.LEAF))
    for ax, key in zip(axes[1:], ("frechet", "sharpness")):
        for name, some, colour in teachers:
            row = findings.truth_of(some) if name is None else \
                next((row for row in some if row.get("name") == name), None)
            if row:
                ax.axhline(row[key], color=colour, linestyle="--", linewidth=1.5,
                           label=row["name"].replace("teacher, guided", "bidirectional teacher"))
    axes[0].set(title="training loss, on its own paths", ylim=(0, None))
    for ax, key in zip(axes[1:], ("frechet", "sharpness")):
        ax.set(title=LEARNED[key])
    for ax in axes:
        ax.set_xlabel("updates")
    shared_legend(made, axes[1:], 3)
    return made
