"""How fast a generator is on this machine: latency to the first window, throughput, memory.

The teacher denoises a whole window before it shows anything, so its first generated frame comes
with its first window. `cold` counts loading the weights and everything that happens only once;
`warm` is the same again.
"""

import sys
import time

import torch

from livetalk_ref import generate
from livetalk_ref.judge.results import hardware
from livetalk_ref.load import load
from livetalk_ref.portrait import portrait_of
from livetalk_ref.world.latents import WINDOW
from livetalk_ref.world.state import FPS, SAMPLES_PER_FRAME

PROMPT = "a happy person smiles and nods while speaking"
WINDOWS = 2              # of the throughput's video


def tone(frames):
    """A sound to work on: its content does not matter for time. (1000 T,)"""
    return 0.1 * torch.sin(torch.arange(frames * SAMPLES_PER_FRAME) * 0.05)


def first_frame(avatar, picture, steps):
    """Seconds from sound to the first generated frame, and of its parts."""
    frames = 4 * WINDOW - 3
    clock = [time.perf_counter()]
    next(generate.audio_windows(tone(frames)))
    clock.append(time.perf_counter())

    windows = generate.stream(avatar, picture, tone(frames), PROMPT, steps=steps,
                              watch=lambda _: clock.append(time.perf_counter()))
    began = time.perf_counter()
    window = next(windows)
    end = time.perf_counter()
    step = torch.tensor(clock[2:]).diff().median().item() if steps > 1 else clock[2] - began
    return {"seconds": end - began, "features": clock[1] - clock[0], "step": step,
            "steps": steps, "decode": end - clock[-1], "frames": len(window.frames)}


def throughput(avatar, picture, steps):
    """Frames a second over several windows, decoding included."""
    frames = 4 * (WINDOW + (WINDOWS - 1) * generate.FRESH) - 3
    began = time.perf_counter()
    for _ in generate.stream(avatar, picture, tone(frames), PROMPT, steps=steps):
        pass
    seconds = time.perf_counter() - began
    return {"frames": frames, "seconds": seconds, "frames_per_second": frames / seconds,
            "real_time_factor": seconds * FPS / frames,
            "evaluations": generate.evaluations(WINDOWS, steps, generate.GUIDANCE)}


def peak_memory():
    """The most memory this process has held, in MiB; None where the system does not tell."""
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024      # bytes on macOS, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2 ** 20


def measure(model, steps):
    """All figures of one generator, as a dict."""
    began = time.perf_counter()
    avatar, picture = load(model), portrait_of(0)
    loading = time.perf_counter() - began
    cold, warm = (first_frame(avatar, picture, steps) for _ in range(2))
    cold |= {"load": loading, "seconds": cold["seconds"] + loading}
    return {"model": avatar.name, "hardware": hardware(), "threads": torch.get_num_threads(),
            "cold": cold, "warm": warm, "throughput": throughput(avatar, picture, steps),
            "peak_memory_mib": peak_memory()}


def table(facts):
    """The figures for people."""
    lines = [f"{facts['model']} on {facts['hardware']}"]
    for name in ("cold", "warm"):
        f = facts[name]
        load_part = f"load {f['load']:.2f} s, " if "load" in f else ""
        lines.append(f"first frame, {name}   {f['seconds']:.2f} s: {load_part}"
                     f"features {1000 * f['features']:.0f} ms, {f['steps']} steps of "
                     f"{1000 * f['step']:.0f} ms, decode {1000 * f['decode']:.0f} ms")
    t = facts["throughput"]
    lines.append(f"throughput          {t['frames_per_second']:.2f} frames/s, real-time factor "
                 f"{t['real_time_factor']:.2f}, {t['evaluations']} model evaluations")
    if facts["peak_memory_mib"]:
        lines.append(f"peak memory         {facts['peak_memory_mib']:.0f} MiB")
    return "\n".join(lines)
