"""What notebooks show: filmstrips, videos with sound, speech, curves, caches, source.

The only module that imports matplotlib, mediapy and IPython. Frames are (T, 3, H, W) in [-1, 1] at
16 frames a second, samples (N,) at 16 kHz. Figures and pictures are returned, not shown: in a
notebook the last line of a cell shows itself; elsewhere call `.savefig(path)` or `.save(path)`.
"""

import base64
import inspect
import io
import time
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import mediapy
import numpy as np
import soundfile
import torch
import torch.nn.functional as F
from IPython.display import HTML, Markdown, display
from IPython.display import Image as JPEG
from matplotlib.font_manager import findfont
from PIL import Image, ImageDraw, ImageFont

from livetalk_ref.cache import block_causal_mask
from livetalk_ref.files import read_metrics
from livetalk_ref.media import movie, to_bytes
from livetalk_ref.world.state import FPS, SAMPLE_RATE

PAPER, INK, SOFT, RULE = "#fdfbf7", "#2d2a3a", "#8d8899", "#e6e1d8"
TEAL, CORAL, AMBER, VIOLET, LEAF, ROSE = CYCLE = (
    "#14808c", "#e2583e", "#e8a33d", "#7461b3", "#6f9a3e", "#c95f8f")
COLOURS = {"truth": TEAL, "teacher": VIOLET, "student": CORAL, "critic": AMBER}
DPI = 72            # of figures: a notebook has to stay below 1 MB
GAP = 4             # pixels between the pictures of a strip
QUALITY = "27"      # of videos, x264's constant rate factor

STYLE = {
    "figure.facecolor": PAPER, "axes.facecolor": PAPER, "savefig.facecolor": PAPER,
    "figure.dpi": DPI, "savefig.dpi": DPI, "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.09, "axes.prop_cycle": plt.cycler(color=CYCLE),
    "lines.linewidth": 2.0, "axes.spines.top": False, "axes.spines.right": False,
    "axes.edgecolor": SOFT, "axes.grid": True, "axes.axisbelow": True, "grid.color": RULE,
    "grid.linewidth": 0.8, "text.color": INK, "axes.labelcolor": INK, "axes.titlecolor": INK,
    "xtick.color": SOFT, "ytick.color": SOFT, "font.size": 11.5, "axes.titlesize": 13,
    "axes.titlelocation": "left", "axes.titlepad": 10, "legend.frameon": False,
}


def figure(width=12, height=3.2, rows=1, columns=1, **grid):
    """A figure in our style and its axes, as `plt.subplots` gives them; shown when returned."""
    plt.rcParams.update(STYLE)
    made, axes = plt.subplots(rows, columns, figsize=(width, height), **grid)
    plt.close(made)         # or the notebook would show it a second time
    return made, axes


def pixels(frames):
    """Frames (T, 3, H, W) in [-1, 1] -> (T, H, W, 3) uint8."""
    return to_bytes(frames.detach().clamp(-1, 1)).movedim(-3, -1).cpu().numpy()


def picture(frame, height=288):
    """One frame (3, H, W) or (1, 3, H, W), smoothly enlarged -> PIL image."""
    image = Image.fromarray(pixels(frame.reshape(-1, *frame.shape[-2:])[None])[0])
    width = round(height * image.width / image.height)
    return image.resize((width, height), Image.Resampling.LANCZOS)


@cache
def font(size, bold=False):
    return ImageFont.truetype(findfont("DejaVu Sans:bold" if bold else "DejaVu Sans"), size)


def sheet(frames, columns, height=120, rows=(), heads=()):
    """Frames (N, 3, H, W) in reading order on one sheet, rows and columns labelled -> PIL image."""
    tiles = [picture(frame, height) for frame in frames]
    width, count = tiles[0].width, -(-len(tiles) // columns)
    left = max([round(font(13).getlength(line)) + 12 for row in rows for line in row.split("\n")],
               default=0)
    top = 20 if heads else 0
    size = left + columns * (width + GAP) + GAP, top + count * (height + GAP) + GAP
    image = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(image)
    for i, tile in enumerate(tiles):
        row, column = divmod(i, columns)
        image.paste(tile, (left + GAP + column * (width + GAP), top + GAP + row * (height + GAP)))
    for row, text in enumerate(rows):
        middle = top + GAP + row * (height + GAP) + height / 2
        draw.multiline_text((left - 4, middle), text, INK, font(13), "rm", align="right")
    for column, text in enumerate(heads):
        middle = left + GAP + column * (width + GAP) + width / 2
        draw.text((middle, top / 2 + 2), str(text), SOFT, font(12), "mm")
    return compact(image)


def compact(image):
    """A figure or RGB picture -> PIL image of 128 colours: a third of the bytes in a notebook."""
    if hasattr(image, "savefig"):
        buffer = io.BytesIO()
        image.savefig(buffer)
        image = Image.open(buffer).convert("RGB")
    return image.quantize(128, Image.Quantize.MEDIANCUT, kmeans=4, dither=Image.Dither.NONE)


def filmstrip(clips, when=8, height=104, heads=None):
    """Moments of a clip in a row, or of several clips below each other -> PIL image.

    clips: frames (T, 3, H, W) or {label: frames}; when: a number of moments, evenly spread, or a
    list of frame indices; heads: their labels, else seconds.
    """
    clips = clips if isinstance(clips, dict) else {"": clips}
    shortest = min(len(frames) for frames in clips.values())
    if isinstance(when, int):
        when = torch.linspace(0, shortest - 1, when).round().int().tolist()
    heads = [f"{t / FPS:.2f} s" for t in when] if heads is None else heads
    frames = torch.cat([frames[list(when)] for frames in clips.values()])
    return sheet(frames, len(when), height, [name for name in clips if name], heads)


def show_video(frames, samples, height=288):
    """Frames (T, 3, H, W) with their sound as a video inside the notebook."""
    side = height - height % 2
    with TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        with movie(path, samples.float().cpu(), side, scale=1, quality=QUALITY) as made:
            made.add(frames.float().cpu())
        data = path.read_bytes()
    return HTML(mediapy.html_from_compressed_video(data, side, side, autoplay=False))


def show_sound(samples, label=""):
    """A small player for samples (N,) at 16 kHz."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples.cpu().numpy(), SAMPLE_RATE, format="MP3")
    data = base64.b64encode(buffer.getvalue()).decode()
    return HTML(f'<audio controls src="data:audio/mpeg;base64,{data}"></audio> {label}')


def photo(image, quality=82):
    """A picture as JPEG inside the notebook: a fifth of the bytes."""
    pixels = np.asarray(image.convert("RGB"))
    return JPEG(mediapy.compress_image(pixels, fmt="jpeg", quality=quality))


def dice(seed):
    """A generator of random numbers that begins at a seed."""
    return torch.Generator().manual_seed(seed)


def verdict(number, answer, check):
    """Print whether an answer is right: `check` is the right one, or says so or what is wrong."""
    found = None if answer is None else check(answer) if callable(check) else answer == check
    print(f"{number}:", "not answered yet" if answer is None else f"not yet. {found}"
          if isinstance(found, str) else "right" if found else "not yet")


def show_source(thing):
    """The lines of the package under study, with the name of their file."""
    thing = inspect.unwrap(thing)                       # behind decorators such as no_grad
    file = Path(inspect.getsourcefile(thing))
    place = file.relative_to(Path(__file__).resolve().parents[1]).as_posix()
    return Markdown(f"`{place}`\n```python\n{inspect.getsource(thing)}```")


def speech(samples, phones, mouth, frames=None, count=9, title="", width=12):
    """Sound, phones and the mouth they ask for over one time axis, with pictures above.

    samples (N,), phones [(symbol, start s, end s)], mouth (T, 3) opening, width, rounding;
    frames (T, 3, H, W) or None. Red phones shut the lips. -> figure
    """
    seconds = len(mouth) / FPS
    heights = ([width / count] if frames is not None else []) + [0.75, 0.32, 1.5]
    made, axes = figure(width, sum(heights) + 0.75, len(heights), sharex=True,
                        gridspec_kw={"height_ratios": heights})
    for ax in axes[:-1]:
        ax.set_axis_off()
    axes[0].set_title(title)
    if frames is not None:
        moments(axes[0], frames[:len(mouth)], count)
    waveform(axes[-3], samples, seconds)
    for symbol, start, end in phones:
        shut = symbol and symbol in "pbm"
        axes[-2].text((start + end) / 2, 0.5, symbol, ha="center", va="center", size=13,
                      color=CORAL if shut else INK, weight="bold" if shut else "normal")
    time_axis = torch.arange(len(mouth)) / FPS
    for column, name, colour in zip(mouth.T, ("opening", "width", "rounding"), CYCLE[::2]):
        axes[-1].plot(time_axis, column, color=colour, label=name)
    axes[-1].fill_between(time_axis, mouth[:, 0], color=TEAL, alpha=0.18, linewidth=0)
    axes[-1].set(xlim=(0, seconds), ylim=(-1.08, 1.5), yticks=(-1, 0, 1), xlabel="seconds")
    axes[-1].legend(loc="upper left", ncols=3, borderpad=0)
    return made


def moments(ax, frames, count):
    """`count` frames side by side, each over its own stretch of the time axis."""
    step = len(frames) / FPS / count
    for k in range(count):
        frame = pixels(frames[None, int((k + 0.5) * len(frames) / count)])[0]
        ax.imshow(frame, extent=((k + 0.02) * step, (k + 0.98) * step, 0, 1), aspect="auto",
                  interpolation="lanczos")
    ax.set(xlim=(0, count * step), ylim=(0, 1))


def waveform(ax, samples, seconds, bins=700):
    """The loudest excursions of the sound in `bins` slices of time."""
    padded = F.pad(samples, (0, max(0, round(seconds * SAMPLE_RATE) - len(samples))))
    slices = padded[:len(padded) // bins * bins].view(bins, -1)
    at = (torch.arange(bins) + 0.5) * seconds / bins
    ax.fill_between(at, slices.amin(1), slices.amax(1), color=INK, alpha=0.75, linewidth=0)


def curve(ax, x, y, label=None, band=None, colour=None, window=1):
    """One line with its spread. y (N,), or (R, N) of R runs drawn as mean and min .. max.

    window > 1 smooths a single noisy run over that many points, with its 10 % .. 90 % as band;
    band: (low, high) arrays given by hand.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    if y.ndim == 2:
        band, y = (y.min(0), y.max(0)), y.mean(0)
    elif window > 1 and len(y) > window:
        views = np.lib.stride_tricks.sliding_window_view(y, window)
        band, x, y = np.quantile(views, (0.1, 0.9), axis=1), x[window - 1:], views.mean(1)
    line, = ax.plot(x, y, label=label, color=colour)
    if band is not None:
        ax.fill_between(x, *band, color=line.get_color(), alpha=0.18, linewidth=0)
    return line


def short(value):
    """A number in about three digits; text as it is, None as nothing."""
    if value is None or isinstance(value, str):
        return value or ""
    size = abs(value)
    if size == 0 or isinstance(value, int):
        return f"{value:.0f}"
    return f"{value:.{0 if size >= 100 else 1 if size >= 10 else 2 if size >= 0.1 else 3}f}"


def show_table(rows):
    """Dicts with the same keys as a small table, one a line; numbers as in `short`."""
    lines = [" | ".join(rows[0]), "|".join(["---"] * len(rows[0]))]
    lines += [" | ".join(map(short, row.values())) for row in rows]
    return Markdown("\n".join(f"| {line} |" for line in lines))


def intervals(ax, names, values, edges=None, colour=TEAL, label=None, shift=0.0):
    """A dot a name, downwards, and bars for the edges, (low, high) of every value; shift: in lines,
    so that several series stand beside each other."""
    y = np.arange(len(names)) + shift
    if edges is not None:
        ax.hlines(y, *zip(*edges), color=colour, alpha=0.45, linewidth=3)
    ax.scatter(values, y, s=26, color=colour, label=label, zorder=3)
    ax.set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.5))
    ax.grid(axis="y", visible=False)


def cells(ax, shades, texts, rows, columns):
    """A grid of texts on colours: shades (R, C) from -1, coral and bad, to 1, teal and good."""
    look = plt.matplotlib.colors.LinearSegmentedColormap.from_list(
        "", ("#f0a593", PAPER, "#8cc8c6"))
    ax.imshow(shades, cmap=look, vmin=-1, vmax=1, aspect="auto")
    for i, row in enumerate(texts):
        for j, text in enumerate(row):
            ax.text(j, i, text, ha="center", va="center", size=9.5)
    ax.set_xticks(range(len(columns)), [c.replace(" ", "\n", 1) for c in columns], size=9.5)
    ax.set_yticks(range(len(rows)), rows, size=10.5)
    ax.tick_params(length=0, colors=INK)
    ax.xaxis.tick_top()
    ax.grid(False)
    ax.spines[:].set_visible(False)


def loss_figure(run):
    """The loss of a run so far, over the updates made -> figure."""
    rows, (made, ax) = read_metrics(run), figure(10, 3)
    steps, losses = [row["step"] for row in rows], [row["loss"] for row in rows]
    curve(ax, steps, losses, colour=VIOLET, window=min(50, 1 + len(rows) // 10))
    last = rows[-1]
    ax.set(xlabel="updates", yscale="log", title=f"{Path(run).name}: loss {last['loss']:.4g} after "
           f"{last['step']} updates, {last['seconds_left'] / 60:.0f} min left")
    return made


def watch(run, states, every=2.0):
    """Drive a training generator to its end, drawing the loss of its run folder meanwhile."""
    shown, drawn = None, time.monotonic()
    for _ in states:
        if shown is None:
            shown = display(loss_figure(run), display_id=True)
        elif time.monotonic() - drawn > every:
            shown.update(loss_figure(run))
            drawn = time.monotonic()
    if shown is not None:
        shown.update(loss_figure(run))


# Mask and cache.

def memory(frames, block, policy, at):
    """The mask of one pass beside the cache while it fills. -> figure

    frames: latent frames in all; at: the number of the block under work. Left: which frame may
    read which, the rows of this block framed. Right: what the cache holds when the block begins.
    """
    mask = block_causal_mask(frames, 1, block, policy)
    here, kept = at * block, [f for f in range(at * block) if policy.keeps(f, at * block)]
    made, (left, right) = figure(12, 4.9, 1, 2, width_ratios=(1, 2.1))
    left.imshow(mask, cmap="Greys", vmin=0, vmax=2.2)
    left.grid(False)
    left.set(title=f"the mask: row {here} .. {here + block - 1} reads", xlabel="is read",
             ylabel="reads")
    left.add_patch(plt.Rectangle((-0.5, here - 0.5), frames, block, fill=False, edgecolor=CORAL,
                                 linewidth=2))
    shares = {"cached, clean": (kept, TEAL),
              "this block, noisy": (range(here, here + block), CORAL)}
    for name, (numbers, colour) in shares.items():
        right.bar(list(numbers), 1, 0.9, color=colour, label=name)
    later = [f for f in range(frames) if f not in kept and not here <= f < here + block]
    right.bar(later, 1, 0.9, color=RULE, label="forgotten, or not there yet")
    right.set(xlim=(-0.6, frames - 0.4), ylim=(0, 1.6), yticks=[], xticks=range(0, frames, block),
              xlabel="latent frame", title=f"the cache before block {at}: {len(kept)} frames")
    right.legend(loc="upper left", ncols=3)
    return made


def rolling(policies, block, count):
    """How the caches of {name: Policy} roll over `count` blocks of so many latent frames: one panel
    a policy, every row what a block reads. -> figure"""
    made, axes = figure(12, 3.4, 1, len(policies), sharey=True)
    for ax, (name, policy) in zip(axes, policies.items()):
        for row in range(count):
            now = row * block
            kept = [f for f in range(now) if policy.keeps(f, now)]
            sinks = [f for f in kept if f < policy.sinks]
            for frames, colour in ((range(now), RULE), (kept, TEAL), (sinks, AMBER),
                                   (range(now, now + block), CORAL)):
                ax.bar(list(frames), 0.8, 0.9, row - 0.4, color=colour, linewidth=0)
        ax.set(title=name, xlabel="latent frame", ylim=(count - 0.4, -0.6))
        ax.grid(False)
    axes[0].set_ylabel("block")
    for label, colour in (("forgotten", RULE), ("window", TEAL), ("sinks", AMBER),
                          ("this block", CORAL)):
        axes[-1].bar(0, 0, color=colour, label=label)
    axes[-1].legend(loc="upper right", fontsize=9)
    return made
