"""Drawings: between sound and face, the road of notebooks, bent paths, mask and cache.

Figures in viz.py's style, on one sheet whose units are inches. Frames are (T, 3, H, W) in
[-1, 1]; samples (N,) at 16 kHz.
"""

from textwrap import fill

from livetalk_ref import viz
from livetalk_ref.cache import block_causal_mask

# number, file name, what happens there
NOTEBOOKS = (
    ("00", "tour", "sound to face"),
    ("01", "world", "what is random, what is given"),
    ("02", "teacher", "learning to draw by denoising"),
    ("03", "ode trajectories", "the teacher's own paths, kept"),
    ("04", "causal student", "block by block, 4 steps"),
    ("05", "self forcing", "training on its own output"),
    ("06", "improved recipe", "four knobs, one by one"),
    ("07", "long form", "a stream without end"),
    ("08", "live avatar", "it hears you and answers"),
    ("09", "evaluation", "how good, and how sure"),
    ("10", "real weights", "the released 1.3B model"),
    ("11", "scaling", "larger than any one card"),
)
STAGES = ((0, 2, "the avatar", viz.TEAL), (3, 6, "distillation", viz.CORAL),
          (7, 8, "streaming", viz.AMBER), (9, 11, "evidence and scale", viz.VIOLET))


def sheet(width, height):
    """An empty sheet in inches: (figure, axes)."""
    made, ax = viz.figure(width, height)
    ax.set(xlim=(0, width), ylim=(0, height), aspect="equal")
    ax.set_axis_off()
    return made, ax


def tint(colour, share=0.13):
    """A hex colour, thinned with paper."""
    levels = [[int(of[i:i + 2], 16) for i in (1, 3, 5)] for of in (colour, viz.PAPER)]
    return [(share * ink + (1 - share) * paper) / 255 for ink, paper in zip(*levels)]


def box(ax, x, y, width, height, colour):
    """A soft rectangle whose lower left corner is (x, y); its thick edge rounds the corners."""
    ax.bar(x, height, width, y, align="edge", color=tint(colour), edgecolor=tint(colour),
           linewidth=9, joinstyle="round")


def arrow(ax, start, end, colour=viz.SOFT):
    """From a point to a point."""
    ax.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": colour,
                                            "linewidth": 1.6, "shrinkA": 0, "shrinkB": 0})


def label(ax, x, y, text, size=10.5, colour=viz.INK, **style):
    """Centred text."""
    ax.text(x, y, text, size=size, color=colour, **{"ha": "center", "va": "center", **style})


def image(ax, frame, x, y, side):
    """A picture (3, H, W) in a square whose lower left corner is (x, y)."""
    ax.imshow(viz.pixels(frame[None])[0], extent=(x, x + side, y, y + side), zorder=3,
              interpolation="lanczos")


def wave(ax, samples, x, y, width, height, bins=90):
    """The loudness of a sound as bars around a line."""
    slices = samples[:len(samples) // bins * bins].view(bins, -1).abs().amax(1)
    half = 0.02 + slices / slices.max() * height / 2
    ax.bar([x + (i + 0.5) * width / bins for i in range(bins)], 2 * half, width / bins * 0.8,
           y - half, color=viz.TEAL, zorder=3)


def pipeline(picture, samples, prompt, shapes, beliefs, frames):
    """From three conditions and noise to a video. -> figure

    picture (3, H, W); shapes: {"image", "sound", "prompt", "latents"} in words; beliefs:
    {step: frame (3, H, W)}, what the sampler believed one moment would be; frames of the video.
    """
    made, ax = sheet(12, 4.1)
    conditions(ax, picture, samples, prompt, shapes)
    box(ax, 4.35, 0.75, 4.75, 2.6, viz.CORAL)
    label(ax, 6.72, 3.13, "the teacher", 13, weight="bold")
    label(ax, 6.72, 2.82, "one moment, as it believes it to be after step ..", colour=viz.SOFT)
    side = (4.75 - 0.08 * (len(beliefs) - 1)) / len(beliefs)
    for k, (step, frame) in enumerate(beliefs.items()):
        x = 4.35 + k * (side + 0.08)
        image(ax, frame, x, 1.42, side)
        label(ax, x + side / 2, 2.55, str(step))
    label(ax, 6.72, 1.08, shapes["latents"])
    label(ax, 6.72, 0.2, "random noise", 11, weight="bold")
    arrow(ax, (6.72, 0.36), (6.72, 0.66))
    arrow(ax, (9.2, 2.05), (9.7, 2.05))
    label(ax, 9.45, 2.25, "codec", colour=viz.SOFT)
    for k in range(4):
        frame = frames[round((k + 0.6) * (len(frames) - 1) / 4)]
        image(ax, frame, 9.8 + k % 2 * 1.1, 2.12 - k // 2 * 1.1, 1.04)
    label(ax, 10.88, 3.35, "the video", 13, weight="bold")
    label(ax, 10.88, 0.78, f"{len(frames)} pictures")
    return made


def conditions(ax, picture, samples, prompt, shapes):
    """The left side of the pipeline: image, sound and prompt, each with what is made of it."""
    heights = {"image": 3.15, "sound": 1.95, "prompt": 0.75}
    image(ax, picture, 0.55, heights["image"] - 0.55, 1.1)
    wave(ax, samples, 0.35, heights["sound"], 1.5, 0.85)
    label(ax, 1.1, heights["prompt"], fill(f"\u201c{prompt}\u201d", 18), 11, style="italic")
    for name, y in heights.items():
        box(ax, 2.55, y - 0.3, 1.2, 0.6, viz.TEAL)
        label(ax, 3.15, y, shapes[name], 9.5)
        arrow(ax, (2.15, y), (2.45, y))
        arrow(ax, (3.85, y), (4.25, 2.05 + (y - 1.95) * 0.5))


def road():
    """The way through the notebooks. -> figure"""
    made, ax = sheet(12, 2.5)
    step = 12 / len(NOTEBOOKS)
    for first, last, name, colour in STAGES:
        left, right = (first + 0.12) * step, (last + 0.88) * step
        ax.plot((left, right), (2.12, 2.12), color=colour, linewidth=3)
        label(ax, (left + right) / 2, 2.3, name, 11, colour, weight="bold")
    ax.plot((step / 2, 12 - step / 2), (1.6, 1.6), color=viz.RULE, linewidth=5, zorder=1)
    for i, (number, name, what) in enumerate(NOTEBOOKS):
        x = (i + 0.5) * step
        colour = next(c for first, last, _, c in STAGES if first <= i <= last)
        ax.scatter(x, 1.6, s=620, color=colour, zorder=2)
        label(ax, x, 1.59, number, 11, viz.PAPER, weight="bold")
        label(ax, x, 1.2, fill(name, 12), 10, weight="bold", va="top")
        label(ax, x, 0.72, fill(what, 14), 9, va="top")
    return made


def bends(rows, few=()):
    """Deviation from the chord and curvature along sigma. -> figure

    rows: as in data/results/straightness.json; one line for every value of "guidance". few: rows
    of fewer paths, drawn dashed and without bands.
    """
    made, axes = viz.figure(12, 3.1, 1, 2)
    drawn = (("deviation", "sigma", "squared distance of the velocity from the chord's"),
             ("curvature", "bend", "change of the velocity per unit of sigma"))
    for ax, (name, place, title) in zip(axes, drawn):
        for label, colour in zip(dict.fromkeys(row["guidance"] for row in rows), viz.COLOURS):
            some, live = ([row for row in part if row["guidance"] == label and name in row]
                          for part in (rows, few))
            band = list(zip(*(row[f"{name} 95%"] for row in some)))
            viz.curve(ax, [row[place] for row in some], [row[name] for row in some], label, band,
                      colour)
            if live:
                ax.plot([row[place] for row in live], [row[name] for row in live], "--",
                        color=colour, linewidth=1.3, label=f"{label}, few paths")
        ax.set(xlabel="sigma", xlim=(1.01, 0), title=title, ylim=(0, None))
    axes[0].legend(loc="best")
    return made


def memory(frames, block, policy, at, heights=(3.4, 1.5)):
    """The mask of one pass beside the cache while it fills. -> figure

    frames: latent frames in all; at: the number of the block under work. Left: which frame may
    read which, the rows of this block framed. Right: what the cache holds when the block begins.
    """
    mask = block_causal_mask(frames, 1, block, policy)
    here, kept = at * block, [f for f in range(at * block) if policy.keeps(f, at * block)]
    made, (left, right) = viz.figure(12, sum(heights), 1, 2,
                                     gridspec_kw={"width_ratios": (1, 2.1)})
    left.imshow(mask, cmap="Greys", vmin=0, vmax=2.2)
    left.grid(False)
    left.set(title=f"the mask: row {here} .. {here + block - 1} reads", xlabel="is read",
             ylabel="reads")
    left.add_patch(viz.plt.Rectangle((-0.5, here - 0.5), frames, block, fill=False,
                                     edgecolor=viz.CORAL, linewidth=2))
    shares = {"cached, clean": (kept, viz.TEAL), "this block, noisy": (
        range(here, here + block), viz.CORAL)}
    for name, (numbers, colour) in shares.items():
        right.bar(list(numbers), 1, 0.9, color=colour, label=name)
    later = [f for f in range(frames) if f not in kept and not here <= f < here + block]
    right.bar(later, 1, 0.9, color=viz.RULE, label="forgotten, or not there yet")
    right.set(xlim=(-0.6, frames - 0.4), ylim=(0, 1.6), yticks=[], xlabel="latent frame",
              title=f"the cache before block {at}: {len(kept)} frames")
    right.legend(loc="upper left", ncols=3)
    return made


def rolling(policies, block, count):
    """How caches roll: one panel a policy, every row what a block reads. -> figure

    policies: {name: Policy}; block: latent frames of a block; count: blocks.
    """
    made, axes = viz.figure(12, 3.4, 1, len(policies), sharey=True)
    for ax, (name, policy) in zip(axes, policies.items()):
        for row in range(count):
            now = row * block
            kept = [f for f in range(now) if policy.keeps(f, now)]
            sinks = [f for f in kept if f < policy.sinks]
            for frames, colour in ((range(now), viz.RULE), (kept, viz.TEAL), (sinks, viz.AMBER),
                                   (range(now, now + block), viz.CORAL)):
                ax.bar(list(frames), 0.8, 0.9, row - 0.4, color=colour, linewidth=0)
        ax.set(title=name, xlabel="latent frame", ylim=(count - 0.4, -0.6))
        ax.grid(False)
    axes[0].set_ylabel("block")
    for label, colour in (("forgotten", viz.RULE), ("window", viz.TEAL), ("sinks", viz.AMBER),
                          ("this block", viz.CORAL)):
        axes[-1].bar(0, 0, color=colour, label=label)
    axes[-1].legend(loc="upper right", fontsize=9)
    return made
