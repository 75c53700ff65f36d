"""How fast a generator is on this machine: latency to the first frame, throughput, memory.

Latency is defined here, once. The first GENERATED frame is frame 1, for frame 0 is the reference
picture and free. The clock starts when the sound that the first block needs has been heard, with
picture and prompt known, and stops when the pixels of frame 1 are there. Its parts are the audio
features, each denoising step and decoding up to frame 1; the pass that fills a student's cache
comes when the frame is out, so it counts for the throughput alone. `warm` is the median and the
95th percentile of many runs. `cold` is the first run in a process, and also counts loading the
weights and encoding picture and prompt, which is needed once.

The algorithmic latency stands beside it and no machine can shorten it: the sound of the first
block, which must be heard before work on it begins, and the look-ahead. Live, a listener waits
for both; for sound that is there at once (a file, a speech engine) it is nothing.

A student's figures also hold a long stream's, see pace.py, and the guided teacher's, measured in
the same run, with the ratios of both in seconds and in counted FLOPs, with decoding and without:
decoding costs both the same, and what else lies between is lost to small operations. Compiled
passes and CUDA graphs are asked for and never the default.
"""

import time
from dataclasses import replace

import torch

from livetalk_ref import generate
from livetalk_ref.cache import BLOCK, EMPTY
from livetalk_ref.errors import UserError
from livetalk_ref.files import hardware
from livetalk_ref.flow import ROWS_PER_LATENT, TEACHER_STEPS, Cond, euler, group_audio
from livetalk_ref.flow import sample as sample_windows
from livetalk_ref.judge import pace
from livetalk_ref.judge.cost import peak_memory
from livetalk_ref.loading import load
from livetalk_ref.portrait import portrait_of
from livetalk_ref.graphs import Graphed
from livetalk_ref.rollout import denoise, draw, remember, sample
from livetalk_ref.stream import frames_of, samples_for
from livetalk_ref.world import text
from livetalk_ref.world.audio import AHEAD
from livetalk_ref.world.latents import WINDOW
from livetalk_ref.world.state import FPS, SAMPLES_PER_FRAME

PROMPT = "a happy person smiles and nods while speaking"
WINDOWS = 2              # of the throughput's video
RUNS, FEWEST = 20, 3     # warm runs: as many as usual, and at least
MANY = 16                # clips at once
PATIENCE = 120.0         # seconds of warm runs after which there are fewer of them


def tone(frames):
    """A sound to work on: its content does not matter for time. (1000 T,)"""
    return hum(0, frames * SAMPLES_PER_FRAME)


def hum(first, count):
    """The same from a sample on, (count,)."""
    return 0.1 * torch.sin(torch.arange(first, first + count) * 0.05)


def device_of(graphs):
    """Where a run takes place. UserError for CUDA graphs without a GPU."""
    if graphs and not torch.cuda.is_available():
        raise UserError("CUDA graphs need a GPU; leave --cuda-graph out.")
    return "cuda" if graphs else "cpu"


def faster(avatar, compiled=False, graphs=False):
    """The avatar with its passes through torch.compile, or as CUDA graphs, or both.

    Compiling needs a C++ compiler and takes minutes, in the cold run.
    """
    if compiled:
        torch._dynamo.config.recompile_limit = 64           # one for every length of the cache
        for block in avatar.model.blocks:
            block.compile()
    return replace(avatar, model=Graphed(avatar.model)) if graphs else avatar


def algorithmic(first=WINDOW - 1, later=generate.FRESH, ahead=AHEAD):
    """Seconds of sound that must be heard before work on a block begins, for the first and later
    blocks of so many generated latent frames, and a look-ahead of so many video frames."""
    look_ahead = ahead / FPS
    return {"first_block": first * ROWS_PER_LATENT / FPS, "block": later * ROWS_PER_LATENT / FPS,
            "look_ahead": look_ahead, "seconds": first * ROWS_PER_LATENT / FPS + look_ahead}


@torch.no_grad()
def prepare(avatar, picture):
    """The `Cond` of a first window that has not been heard yet: picture and prompt alone."""
    device = next(avatar.model.parameters()).device
    ref = avatar.codec.encode(picture[None, None].to(device))[:, 0]      # (1, C, h, w)
    known = (torch.arange(WINDOW)[None] == 0).to(device)
    words = text.encode([PROMPT]).to(device)
    keys = avatar.model.read_text(words) if avatar.is_student else None
    return Cond(ref, None, words, known, text.encode([""]).to(device), text_keys=keys)


@torch.no_grad()
def first_frame(avatar, cond, steps):
    """Frame 1, (3, H, W), and the seconds to it and of its parts; "steps" lists every step."""
    sound, clean, took = tone(4 * WINDOW - 3), cond.ref[:, None], []
    noise = torch.randn(1, WINDOW, *clean.shape[2:],
                        generator=torch.Generator().manual_seed(0)).to(clean)
    began = last = time.perf_counter()
    cond = replace(cond, audio=next(generate.audio_windows(sound)).to(clean))
    features, last = time.perf_counter() - last, time.perf_counter()
    for step in euler(avatar.model, noise, clean, cond, steps, generate.GUIDANCE):
        latents = step.x[:, :2]                             # frame 1 is in the second group
        took.append(pace.clock(clean.device) - last)
        last = time.perf_counter()
    frames, _ = generate.decode(avatar.codec, latents, None, 2)
    end = time.perf_counter()
    return frames[1], {"seconds": end - began, "features": features, "steps": took,
                       "cache": None, "decode": end - last}


class Timed:
    """A model that notes the seconds of every call."""

    def __init__(self, model):
        self.model, self.took = model, []

    def __call__(self, *inputs, **more):
        began = time.perf_counter()
        result = self.model(*inputs, **more)
        pace.wait(inputs[0].device)
        self.took.append(time.perf_counter() - began)
        return result


@torch.inference_mode()
def first_block_frame(avatar, cond, steps):
    """The same of a student: frame 1 of its first block; "block" decodes the rest of it too."""
    features, model = avatar.audio(), Timed(avatar.model)
    heard = tone(frames_of(1) + features.ahead)[:samples_for(1, features.ahead)]
    generator = torch.Generator().manual_seed(0)
    began = time.perf_counter()
    cond = replace(cond, known=cond.known[:, :BLOCK],
                   audio=group_audio(features.push(heard)[None]).to(cond.ref))
    ready = time.perf_counter()
    x0 = denoise(model, draw(cond, generator), cond, EMPTY)
    last = time.perf_counter()
    frames, memory = generate.decode(avatar.codec, x0[:, :2], None, 2)
    end = time.perf_counter()
    avatar.codec.decode_step(x0[:, 2:], memory)
    whole, took = pace.clock(x0.device) - last, model.took[:steps]
    remember(model, x0, cond, EMPTY)
    return frames[1], {"seconds": end - began, "features": ready - began, "steps": took,
                       "cache": model.took[-1], "decode": end - last, "block": whole}


def spread(values):
    """Median and 95th percentile of a list of seconds; None if there are none."""
    values = [v for v in values if v is not None]
    if not values:
        return None
    median, p95 = torch.tensor(values, dtype=torch.float64).quantile(
        torch.tensor([0.5, 0.95], dtype=torch.float64)).tolist()
    return {"median": median, "p95": p95}


def warm_runs(avatar, cond, steps, runs=None):
    """Figures of many runs. If `runs` is not given there are 20, or fewer if they take long."""
    first = first_block_frame if avatar.is_student else first_frame
    made = [first(avatar, cond, steps)[1]]
    runs = runs or max(FEWEST, min(RUNS, int(PATIENCE / made[0]["seconds"])))
    made += [first(avatar, cond, steps)[1] for _ in range(runs - 1)]
    parts = {name: spread([run.get(name) for run in made])
             for name in ("seconds", "features", "cache", "decode", "block")}
    return {"runs": runs, "step": spread([s for run in made for s in run["steps"]])} | parts


def throughput(avatar, picture, steps):
    """Frames a second of one long video, decoding included."""
    frames = 4 * (WINDOW + (WINDOWS - 1) * generate.FRESH) - 3
    windows = generate.roll(avatar, picture, tone(frames), PROMPT) if avatar.is_student else \
        generate.stream(avatar, picture, tone(frames), PROMPT, steps=steps)
    began = time.perf_counter()
    *_, last = windows
    seconds = pace.clock(next(avatar.model.parameters()).device) - began
    runs = generate.passes(last.count) if avatar.is_student else \
        generate.evaluations(last.count, steps, generate.GUIDANCE)
    return {"frames": frames, "seconds": seconds, "frames_per_second": frames / seconds,
            "real_time_factor": seconds * FPS / frames, "evaluations": runs}


@torch.no_grad()
def many_at_once(avatar, cond, steps, batch):
    """Frames a second of so many clips of 81 frames in one batch, decoding included."""
    sound = next(generate.audio_windows(tone(81))).to(cond.ref)
    cond = Cond.cat([replace(cond, audio=sound)] * batch)
    generator = torch.Generator().manual_seed(0)
    began = time.perf_counter()
    if avatar.is_student:
        cond = replace(cond, text_keys=avatar.model.read_text(cond.text))
        latents = sample(avatar.model, cond, generator)
    else:
        noise = torch.randn(batch, WINDOW, *cond.ref.shape[1:], generator=generator).to(cond.ref)
        latents = sample_windows(avatar.model, noise, cond.ref[:, None], cond, steps=steps,
                                 guidance=generate.GUIDANCE)
    frames = sum(len(avatar.codec.decode(z[None])[0]) for z in latents)
    seconds = pace.clock(cond.ref.device) - began
    return {"batch": batch, "seconds": seconds, "frames_per_second": frames / seconds}


def measure(model, steps=None, runs=None, seconds=pace.SECONDS, compiled=False, graphs=False,
            watch=None):
    """All figures of one generator, as a dict; seconds everywhere. runs: of the warm latency.

    Those of a student hold a stream's of so many seconds, `watch` being called at every block,
    the guided teacher's, measured in the same run, and the ratios.
    """
    device, began = device_of(graphs), time.perf_counter()
    avatar = faster(load(model, device), compiled, graphs)
    loading, picture = time.perf_counter() - began, portrait_of(0)
    steps, _ = generate.settle(avatar, steps)
    first = first_block_frame if avatar.is_student else first_frame
    heard = algorithmic(BLOCK - 1, BLOCK) if avatar.is_student else algorithmic()
    began = time.perf_counter()
    cond = prepare(avatar, picture)
    once = pace.clock(cond.ref.device) - began
    _, cold = first(avatar, cond, steps)
    cold |= {"load": loading, "picture_and_prompt": once, "first_step": cold["steps"][0],
             "steps": sum(cold["steps"]), "seconds": cold["seconds"] + loading + once}
    facts = {"model": avatar.name, "hardware": hardware(device), "threads": torch.get_num_threads(),
             "steps": steps, "cold": cold, "warm": warm_runs(avatar, cond, steps, runs),
             "algorithmic": heard, "throughput": throughput(avatar, picture, steps),
             "many": many_at_once(avatar, cond, steps, MANY),
             "peak_memory_mib": peak_memory(device)}
    facts |= {"compiled": compiled, "graphs": graphs}
    plain = load(model, device) if compiled or graphs else avatar       # others cannot be counted
    if not avatar.is_student:
        return facts | {"flops": pace.teacher_flops(plain, heard_by(cond, WINDOW), steps, WINDOWS)}
    found = pace.stream(avatar, picture, PROMPT, hum, seconds, watch)
    block = pace.block_flops(plain, picture, PROMPT, hum)
    bound = pace.limit(block, pace.matrix_rate(cond.ref.device), found["block"]["p50"])
    facts |= {"stream": found, "limit": bound,
              "flops": pace.student_flops(plain, heard_by(cond, BLOCK), block)}
    return against(facts, measure("teacher", TEACHER_STEPS, runs, 0, compiled, graphs))


def heard_by(cond, frames):
    """The condition's first so many latent frames, with their sound."""
    audio = next(generate.audio_windows(tone(4 * WINDOW - 3)))[:, :frames].to(cond.ref)
    return replace(cond, known=cond.known[:, :frames], audio=audio)


def against(facts, teacher):
    """A student's figures with the teacher's, and how many times better they are."""
    counted = {name: teacher["flops"][of] / facts["flops"][of] for name, of in
               (("first frame", "first frame"), ("frames a second", "frame"),
                ("without decoding", "frame, model alone"))}
    return facts | {"teacher": teacher, "times_counted": counted, "times": {
        "first frame": teacher["warm"]["seconds"]["median"] / facts["warm"]["seconds"]["median"],
        "frames a second": facts["throughput"]["frames_per_second"]
        / teacher["throughput"]["frames_per_second"],
        "frames a second, many": facts["many"]["frames_per_second"]
        / teacher["many"]["frames_per_second"]}}


def table(facts):
    """The figures for people."""
    cold, warm, wait = facts["cold"], facts["warm"], facts["algorithmic"]
    few = "" if warm["runs"] >= RUNS else f" (fewer than {RUNS}: too few for a good p95)"
    lines = [f"{facts['model']}, {facts['steps']} steps, on {facts['hardware']}",
             f"first frame, cold   {cold['seconds']:.2f} s: weights {cold['load']:.2f} s, picture "
             f"and prompt {1000 * cold['picture_and_prompt']:.0f} ms, the rest as below",
             f"first frame, warm   {both(warm['seconds'])}: median / p95 of {warm['runs']} "
             f"runs{few}"]
    for name, label in (("features", "audio features"), ("step", "each denoising step"),
                        ("cache", "cache pass"), ("decode", "decoding"),
                        ("block", "decoding the block")):
        lines.append(f"  {label:19} {both(warm[name])}")
    lines.append(f"algorithmic latency {wait['seconds']:.2f} s of sound: a first block of "
                 f"{wait['first_block']:.2f} s and {1000 * wait['look_ahead']:.1f} ms ahead")
    t = facts["throughput"]
    lines.append(f"throughput          {t['frames_per_second']:.2f} frames/s, real-time factor "
                 f"{t['real_time_factor']:.2f}, {t['evaluations']} model evaluations")
    lines.append(f"  {facts['many']['batch']} clips at once  "
                 f"{facts['many']['frames_per_second']:.2f} frames/s")
    if facts["peak_memory_mib"]:
        lines.append(f"peak memory         {facts['peak_memory_mib']:.0f} MiB")
    if "stream" in facts:
        lines.append(pace.table(facts["stream"], facts["limit"]))
    if "times" in facts:
        lines += ["", table(facts["teacher"]), ""] + [f"times the teacher{how}: " + ", ".join(
            f"{name} {value:.1f}" for name, value in facts[key].items())
            for key, how in (("times", ""), ("times_counted", ", by counted operations"))]
    return "\n".join(lines)


def both(spread):
    """Median and 95th percentile in milliseconds."""
    if spread is None:
        return "none"
    return f"{1000 * spread['median']:.0f} / {1000 * spread['p95']:.0f} ms"
