"""What a generator costs on this machine: latency to the first frame, pace, operations, memory.

Latency is defined here, once. The first GENERATED frame is frame 1, for frame 0 is the reference
picture and free. The clock starts when the sound that the first block needs has been heard, with
picture and prompt known, and stops when the pixels of frame 1 are there. The pass that fills a
student's cache comes after, so it counts for the throughput alone. The algorithmic latency beside
it no machine can shorten: the sound of the first block, and the look-ahead.
"""

import time
from dataclasses import replace
from functools import reduce
from operator import getitem

import torch

from livetalk_ref import generate
from livetalk_ref.cache import BLOCK
from livetalk_ref.device import best_device
from livetalk_ref.files import hardware
from livetalk_ref.flow import ROWS_PER_LATENT, Cond, group_audio, guided
from livetalk_ref.flow import sample as sample_windows
from livetalk_ref.judge.cost import (count_flops, peak_memory, quantiles, reset_peak_memory,
                                     wall_clock)
from livetalk_ref.loading import load
from livetalk_ref.options import PROMPT
from livetalk_ref.portrait import portrait_of
from livetalk_ref.real import REAL
from livetalk_ref.rollout import sample
from livetalk_ref.stream import FRAMES, AvatarSession, frames_of, samples_for
from livetalk_ref.world import text
from livetalk_ref.world.audio import AHEAD
from livetalk_ref.world.latents import WINDOW
from livetalk_ref.world.state import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME

WINDOWS = 2              # of the throughput's video
RUNS = 20                # of the latency
MANY = 16                # clips at once
SECONDS = 600.0          # of a usual stream
EARLY = 10.0             # seconds of it after which memory is looked at first
ALLOWANCE = 0.15         # seconds that a block may take
MATRIX = 1024            # rows of the square matrices whose product is the machine's rate


def hum(first, count):
    """A sound to work on from a sample on, (count,): its content does not matter for time."""
    return 0.1 * torch.sin(torch.arange(first, first + count) * 0.05)


def algorithmic_latency(first=WINDOW - 1, later=generate.FRESH, ahead=AHEAD):
    """Seconds of sound that must be heard before work on a block begins: `block` of a later one of
    so many latent frames, `seconds` of the first, with a look-ahead of so many video frames."""
    return {"block": later * ROWS_PER_LATENT / FPS, "look_ahead": ahead / FPS,
            "seconds": (first * ROWS_PER_LATENT + ahead) / FPS}


@torch.no_grad()
def unheard_cond(avatar, picture):
    """The `Cond` of a first window or block that has not been heard yet: picture and prompt."""
    device = next(avatar.model.parameters()).device
    ref = avatar.codec.encode(picture[None, None].to(device))[:, 0]      # (1, C, h, w)
    known = torch.arange(BLOCK if avatar.is_student else WINDOW, device=device)[None] == 0
    words, nothing = text.encode([PROMPT, ""]).to(device).split(1)
    keys = avatar.model.read_text(words) if avatar.is_student else None
    return Cond(ref, None, words, known, nothing, text_keys=keys)


def heard_cond(avatar, cond):
    """A condition with the sound that it needs."""
    features, frames = avatar.audio(), ROWS_PER_LATENT * (cond.known.shape[1] - 1) + 1
    samples = hum(0, (frames + features.ahead - 1) * SAMPLES_PER_FRAME)
    return replace(cond, audio=group_audio(features.push(samples)[None]).to(cond.ref))


@torch.no_grad()
def make_latents(avatar, cond, steps):
    """Latents (B, F, C, h, w) of a teacher's window, or of a student's blocks."""
    generator = torch.Generator().manual_seed(0)
    if avatar.is_student:
        return sample(avatar.model, cond, generator, steps=steps)
    noise = torch.randn(cond.known.shape + cond.ref.shape[1:], generator=generator).to(cond.ref)
    return sample_windows(avatar.model, noise, cond.ref[:, None], cond, steps=steps,
                          guidance=generate.GUIDANCE)


@torch.inference_mode()
def time_first_frame(avatar, cond, steps):
    """Frame 1, (3, H, W), and the seconds to it and of its parts."""
    times = [time.perf_counter()]
    cond = heard_cond(avatar, cond)
    times.append(time.perf_counter())
    latents = make_latents(avatar, cond, steps)
    times.append(time.perf_counter())
    frames, _ = generate.decode(avatar.codec, latents[:, :2], None, 2)  # frame 1: second group
    times.append(time.perf_counter())
    features, denoising, decoding = (b - a for a, b in zip(times, times[1:]))
    return frames[1], {"seconds": times[-1] - times[0], "features": features,
                       "step": denoising / steps, "decode": decoding}


def time_latency(avatar, cond, steps):
    """Medians and 95th percentiles of many first frames, after one that does not count."""
    made = [time_first_frame(avatar, cond, steps)[1] for _ in range(RUNS + 1)][1:]
    return {part: quantiles([run[part] for run in made], median=0.5, p95=0.95) for part in made[0]}


def time_throughput(avatar, picture, steps):
    """Frames a second of one long video, decoding included."""
    frames = generate.frames_in(WINDOWS)
    sound, began = hum(0, frames * SAMPLES_PER_FRAME), time.perf_counter()
    for _ in generate.stream(avatar, picture, sound, PROMPT, steps=steps):
        pass
    seconds = time.perf_counter() - began
    return {"frames": frames, "seconds": seconds, "frames_per_second": frames / seconds}


@torch.no_grad()
def time_many(avatar, cond, steps, clips=MANY):
    """Frames a second of clips of 81 frames in one batch, decoding included."""
    known = torch.arange(WINDOW, device=cond.ref.device)[None] == 0
    cond = Cond.cat([heard_cond(avatar, replace(cond, known=known, text_keys=None))] * clips)
    began = wall_clock(known.device)
    if avatar.is_student:
        cond = replace(cond, text_keys=avatar.model.read_text(cond.text))
    latents = make_latents(avatar, cond, steps)
    frames = sum(len(avatar.codec.decode(z[None])[0]) for z in latents)
    seconds = wall_clock(known.device) - began
    return {"seconds": seconds, "frames_per_second": frames / seconds}


def time_blocks(session, count):
    """For each of `count` blocks (seconds to its first pictures, seconds of all the rest)."""
    for _ in range(count):
        heard = session.state.samples
        samples = hum(heard, samples_for(session.state.blocks + 1, session.ahead) - heard)
        began = wall_clock(session.device)
        made = session.hear(samples)
        parts = session.decode_parts(next(made))
        next(parts)
        shown = wall_clock(session.device)
        list(parts), next(made, None)
        yield shown - began, wall_clock(session.device) - shown


def lateness(took, ahead):
    """Seconds from the end of its sound to its pictures, of every block of a live stream: one
    still under work delays the next. took: what `time_blocks` gives."""
    late, free = [], 0.0
    for index, (pictures, clean) in enumerate(took):
        heard = samples_for(index + 1, ahead) / SAMPLE_RATE
        done = max(heard, free) + pictures
        late.append(done - heard)
        free = done + clean
    return late


def blocks_in(seconds):
    """Blocks of a stream of about so many seconds."""
    return max(1, round(seconds * FPS / FRAMES))


def time_stream(avatar, picture, seconds=SECONDS, watch=None):
    """Figures of a stream of so many seconds, run as fast as it goes; waiting for sound is added by
    counting. A player that shows every frame ALLOWANCE after its sound misses a later block."""
    count = blocks_in(seconds)
    session = AvatarSession(avatar, picture, avatar.known(PROMPT), policy=avatar.policy, undo=0)
    took, peaks, early = [], [], min(count, blocks_in(EARLY))
    reset_peak_memory(session.device)
    for pair in time_blocks(session, count):
        took.append(pair)
        if len(took) in (early, count):
            peaks.append(peak_memory(session.device))
            reset_peak_memory(session.device)
        if watch:
            watch()
    late, busy = lateness(took, session.ahead), sum(map(sum, took))
    levels = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    return {"seconds": frames_of(count) / FPS, "blocks": count,
            "frames_per_second": frames_of(count) / busy,
            "real_time": frames_of(count) / FPS / busy,
            "pictures": quantiles([pictures for pictures, _ in took], **levels),
            "block": quantiles([sum(pair) for pair in took], **levels),
            "allowance": ALLOWANCE, "missed": sum(x > ALLOWANCE for x in late),
            "latest": max(late),
            "memory_mib": {"early": peaks[0], "late": peaks[-1]}}


def matrix_rate(device, repeats=12):
    """FLOPs a second of a large matrix product, the best of some: what this machine can do."""
    a, took = torch.randn(MATRIX, MATRIX, device=device), []
    for _ in range(repeats):
        began = time.perf_counter()
        a @ a
        took.append(time.perf_counter() - began)
    return 2 * MATRIX ** 3 / min(took)


def block_flops(avatar, picture):
    """Counted FLOPs of a later block: its passes behind a full cache, decoding, the clean pass."""
    session = AvatarSession(avatar, picture, PROMPT, policy=avatar.policy, undo=0)
    full = 1 + -(-(avatar.policy.sinks + (avatar.policy.window or 0)) // BLOCK)
    list(time_blocks(session, full))
    return count_flops(lambda: list(time_blocks(session, 1)))


@torch.inference_mode()
def teacher_flops(avatar, cond, steps, windows=WINDOWS):
    """Counted FLOPs of a guided teacher's video of so many windows: for a frame, and for a frame
    without its decoding."""
    cond = heard_cond(avatar, cond)
    x = torch.zeros(cond.known.shape + cond.ref.shape[1:])
    model = windows * steps * count_flops(lambda: guided(avatar.model, x, x[:, :, 0, 0, 0], cond,
                                                         generate.GUIDANCE))
    length = WINDOW + (windows - 1) * generate.FRESH                  # latent frames
    latents, frames = x[:, :1].expand(-1, length, -1, -1, -1), generate.frames_in(windows)
    decoding = count_flops(lambda: avatar.codec.decode(latents))
    return {"frame": (model + decoding) / frames, "frame, model alone": model / frames}


@torch.inference_mode()
def student_flops(avatar, cond, block):
    """FLOPs of a student whose later blocks take `block` of them: {part: FLOPs}."""
    z = cond.ref[:, None]                                               # (1, 1, C, h, w)
    one, two = (count_flops(lambda n=n: avatar.codec.decode(z.expand(-1, n, -1, -1, -1)))
                for n in (1, 2))
    return {"frame": block / FRAMES, "frame, model alone": (block - BLOCK * (two - one)) / FRAMES}


def far_from_limit(flops, rate, seconds):
    """How far a block is from what the machine could do: times the limit."""
    return {"least_seconds": flops / rate, "times_the_limit": seconds * rate / flops}


def bench_model(model, seconds=SECONDS, watch=None, **options):
    """All figures of one generator, as a dict; seconds everywhere.

    A student's hold those of a stream (watch is called at every block), the guided teacher's, and
    the ratios of both. Released weights, loaded with options, stream alone.
    """
    if model in REAL:
        device = best_device()
        avatar = load(model, device, policy="ahis", compiled=True, **options)
        picture = portrait_of(0, avatar.size)
        time_stream(avatar, picture, EARLY)                 # until all is compiled
        return {"model": model, "hardware": hardware(device),
                "stream": time_stream(avatar, picture, seconds, watch)}
    avatar, picture = load(model, **options), portrait_of(0)
    steps, _ = generate.settle(avatar)
    cond = unheard_cond(avatar, picture)
    heard = algorithmic_latency(BLOCK - 1, BLOCK) if avatar.is_student else algorithmic_latency()
    facts = {"model": avatar.name, "hardware": hardware(), "steps": steps,
             "warm": time_latency(avatar, cond, steps), "algorithmic": heard,
             "throughput": time_throughput(avatar, picture, steps),
             "many": time_many(avatar, cond, steps), "peak_memory_mib": peak_memory()}
    if not avatar.is_student:
        return facts | {"flops": teacher_flops(avatar, cond, steps)}
    found, block = time_stream(avatar, picture, seconds, watch), block_flops(avatar, picture)
    facts |= {"stream": found, "flops": student_flops(avatar, cond, block),
              "limit": far_from_limit(block, matrix_rate("cpu"), found["block"]["p50"])}
    teacher = bench_model("teacher")
    return facts | {"teacher": teacher, **times_teacher(facts, teacher)}


def times_teacher(facts, teacher):
    """How many times less a student needs than the teacher, in counted operations and in seconds:
    decoding costs both the same, the rest is lost to small operations."""
    def times(*keys):
        return reduce(getitem, keys, teacher) / reduce(getitem, keys, facts)

    return {"times_counted": {"frames a second": times("flops", "frame"),
                              "without decoding": times("flops", "frame, model alone")},
            "times": {"first frame": times("warm", "seconds", "median"),
                      "frames a second": times("throughput", "seconds"),
                      "frames a second, many": times("many", "seconds")}}


def figures_text(facts, indent=""):
    """Figures for people: a line for each name of a nested dict."""
    lines = []
    for name, value in facts.items():
        name = indent + name.replace("_", " ")
        if isinstance(value, dict):
            lines += [f"{name}:", figures_text(value, indent + "  ")]
        else:
            lines.append(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}")
    return "\n".join(lines)
