"""Correctness and speed of the real performer on one GPU: one call, at most 8 minutes.

    python -m livetalk_ref.real.gpu --pack wheels       once, where there is a network
    python -m livetalk_ref.real.gpu --wheels wheels --out DIR       on the GPU machine

Weights are random, for time does not depend on them. The machine needs torch and transformers;
the wheels bring diffusers. A stage that fails, or for which no time is left, says so in its row;
no number is made up, and DIR/real_gpu.json holds every stage that is done. Moved to data/results
it gives the memory table its measured figure. `--small` runs the same at a small size, on a CPU.
"""

import argparse
import functools
import importlib
import json
import os
import subprocess
import sys
import time
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from statistics import median
from threading import Thread
from types import SimpleNamespace

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from livetalk_ref.cache import BLOCK, EMPTY, POLICIES, KVCache
from livetalk_ref.device import best_device
from livetalk_ref.errors import run_program
from livetalk_ref.flow import Guidance, guided
from livetalk_ref.judge.cost import count_flops
from livetalk_ref.judge.results import as_result
from livetalk_ref.pipeline import Pipeline
from livetalk_ref.real import standin
from livetalk_ref.real.card import Bench, short
from livetalk_ref.real.full import condition
from livetalk_ref.real.graphs import Graphed
from livetalk_ref.real.vae import WanCodec
from livetalk_ref.real.wav2vec import Speech, SpeechStream
from livetalk_ref.rollout import denoise, draw, remember
from livetalk_ref.stream import AvatarSession, samples_for
from livetalk_ref.wan import LIVETALK_1P3B

WHEELS = ("diffusers==0.42.1", "importlib_metadata", "zipp", "pillow", "requests", "urllib3",
          "certifi", "charset_normalizer", "idna")      # what transformers does not bring
AHIS = POLICIES["ahis"]
FRAMES, TEACHER_FRAMES, TEACHER_STEPS = 12, 21, 48      # video frames a block, latent ones
OMNI = Guidance(4.5, 4.5)
TARGETS = {"dit_frames_per_second": 50, "frames_per_second": 30, "first_frame_seconds": 0.33,
           "times_the_teacher": 25}             # of one H200; the paper: -, 24.82, 0.33, 25.6
BACKENDS = {"flash": SDPBackend.FLASH_ATTENTION, "efficient": SDPBackend.EFFICIENT_ATTENTION,
            "cudnn": SDPBackend.CUDNN_ATTENTION, "math": SDPBackend.MATH}
FULL = SimpleNamespace(config=LIVETALK_1P3B, vae={}, speech={}, size=512, matrix=8192,
                       copy=2 ** 30, repeats=10, blocks=12, vae_dtype=torch.bfloat16)
SMALL = SimpleNamespace(config=standin.SMALL, vae=standin.SMALL_VAE, speech=standin.SMALL_SPEECH,
                        size=32, matrix=128, copy=2 ** 20, repeats=1, blocks=2,
                        vae_dtype=torch.float32)


def performer(bench, dtype):
    """An avatar as `AvatarSession` takes it, still without its DiT."""
    s, dim = bench.sizes, bench.sizes.config.text_dim
    codec = WanCodec(standin.random_vae(**s.vae).to(bench.device, s.vae_dtype), dtype)
    speech = Speech(standin.random_speech(**s.speech).to(bench.device), dtype)
    text = torch.randn(1, 512, dim, generator=torch.Generator().manual_seed(0))
    return SimpleNamespace(model=None, codec=codec, audio=lambda: SpeechStream(speech),
                           text=lambda prompts: text.to(bench.device, dtype))


@torch.no_grad()
def steady(bench, model, dtype):
    """A later block's latents, noise level and condition, and a full cache."""
    cond = condition(bench.sizes.config, bench.sizes.size, dtype).to(bench.device)
    cond = replace(cond, known=torch.zeros_like(cond.known))
    x = draw(cond, torch.Generator().manual_seed(1))[0]
    cache = KVCache(AHIS)
    while len(cache.frames) < AHIS.sinks + AHIS.window:
        cache = remember(model, x, cond, cache)
    return x, torch.full(x.shape[:2], 0.9375, device=bench.device, dtype=dtype), cond, cache


def ceilings(bench, dtype):
    """What this card reaches: a large matrix product, a large copy."""
    n = bench.sizes.matrix
    a = torch.randn(n, n, device=bench.device).to(dtype)
    source = torch.randn(bench.sizes.copy // 4, device=bench.device)
    product, copy = bench.milliseconds(lambda: a @ a), bench.milliseconds(source.clone)
    return {"tflops": short(2 * n ** 3 / product / 1e9),
            "gb_per_s": short(2 * 4 * source.numel() / copy / 1e6)}


@torch.no_grad()
def agreement(bench, exact, rough):
    """bf16 against fp32 with the same weights: a first block's velocity, and its latents."""
    out = []
    for model in (exact, rough):
        dtype = next(model.parameters()).dtype
        cond = condition(bench.sizes.config, bench.sizes.size, dtype).to(bench.device)
        noise = draw(cond, torch.Generator().manual_seed(1))
        v, _ = model(noise[0], torch.ones_like(noise[0][:, :, 0, 0, 0]), cond, cache=EMPTY)
        out.append((v.float(), denoise(model, noise, cond, EMPTY).float()))
    errors = [((b - a).norm() / a.norm()).item() for a, b in zip(*out)]
    finite = all(x.isfinite().all().item() for x in out[1])
    return {"velocity": short(errors[0]), "block": short(errors[1]), "finite": finite}


@torch.no_grad()
def dit_speed(bench, model, dtype, plain, work):
    """ms of a step and of a block (5 passes) in steady state, and frames/s of the DiT alone."""
    x, sigma, cond, cache = steady(bench, plain, dtype)
    noise = draw(cond, torch.Generator().manual_seed(1))
    step = bench.milliseconds(lambda: model(x, sigma, cond, cache=cache))
    block = bench.milliseconds(lambda: remember(model, denoise(model, noise, cond, cache), cond,
                                                cache))
    return {"ms_per_step": step, "ms_per_block": block,
            "frames_per_second": short(1000 * FRAMES / block),
            "fraction_of_ceiling": short(work["floor_ms"] / step) if work else "not measured"}


@torch.no_grad()
def floor(bench, model, dtype, top):
    """Counted FLOPs of a step and the bytes it must move, over the measured ceilings."""
    x, sigma, cond, cache = steady(bench, model, dtype)
    flops = count_flops(lambda: model(x, sigma, cond, cache=cache))
    tensors = [*model.parameters(), *(t for pair in cache.layers for t in pair)]
    moved = sum(t.numel() * t.element_size() for t in tensors)
    times = flops / top["tflops"] / 1e9, moved / top["gb_per_s"] / 1e6
    return {"tflop": short(flops / 1e12), "gbyte": short(moved / 1e9), "compute_ms":
            short(times[0]), "memory_ms": short(times[1]), "floor_ms": short(max(times))}


@torch.no_grad()
def vae_speed(bench, codec):
    """ms to decode a block of 3 latent frames in a stream's middle."""
    side = bench.sizes.size // 8
    z = torch.randn(1, BLOCK, 16, side, side, device=bench.device)
    _, memory = codec.decode_step(z[:, :1])
    _, memory = codec.decode_step(z[:, :1], memory)

    def work():
        state = memory
        for part in z.split(1, dim=1):
            _, state = codec.decode_step(part, state)
    return {"ms_per_block": bench.milliseconds(work)}


def live(bench, avatar, model):
    """Frames/s of a pipelined session with decoding, the first frames' latency, peak memory."""
    avatar = SimpleNamespace(**vars(avatar) | {"model": model})
    g = torch.Generator().manual_seed(0)
    picture = torch.rand(3, bench.sizes.size, bench.sizes.size, generator=g) * 2 - 1
    first = 0.1 * torch.randn(samples_for(1, avatar.audio().ahead), generator=g)
    rest = 0.1 * torch.randn(FRAMES * 1000 * bench.sizes.blocks, generator=g)
    AvatarSession(avatar, picture, "", undo=0).push(torch.cat([first, rest])[:90_000])    # warm
    bench.reset_peak()
    latency = []
    for _ in range(3):
        session = AvatarSession(avatar, picture, "", undo=0)
        bench.wait()
        began = time.perf_counter()
        session.push(first)                         # sound to 9 pictures in the host's memory
        latency.append(time.perf_counter() - began)
    with Pipeline(session) as stream:
        producer = Thread(target=lambda: (stream.push(rest), stream.end()))
        producer.start()
        times = [time.perf_counter() for _ in stream]
        producer.join()
    made = FRAMES * (len(times) - 1)
    return {"first_frame_seconds": short(median(latency)),
            "frames_per_second": short(made / (times[-1] - times[0])),
            "peak_gib": bench.peak_gib()}


@torch.no_grad()
def teacher(bench, model, dtype, decode_ms):
    """One guided step on 21 latent frames; a window is 48 of them and 7 blocks of decoding."""
    cond = condition(bench.sizes.config, bench.sizes.size, dtype).to(bench.device)
    known = torch.arange(TEACHER_FRAMES, device=bench.device)[None] == 0
    cond = replace(cond, audio=cond.audio[:, :1].repeat(1, TEACHER_FRAMES, 1), known=known)
    x = draw(cond, torch.Generator().manual_seed(0))[0]
    sigma = torch.full(x.shape[:2], 0.9, device=bench.device, dtype=dtype)
    step = bench.milliseconds(lambda: guided(model, x, sigma, cond, OMNI), 1)
    window = TEACHER_STEPS * step + TEACHER_FRAMES // BLOCK * decode_ms
    return {"ms_per_guided_step": step, "first_frame_seconds": short(window / 1000),
            "frames_per_second": short(1000 * (4 * TEACHER_FRAMES - 3) / window)}


def summary(bench):
    """The best of all modes, and beside it what it is meant to be."""
    rate, slow = (bench.best(name, "frames_per_second") for name in ("session", "teacher"))
    found = {"dit_frames_per_second": bench.best("dit", "frames_per_second"),
             "frames_per_second": rate,
             "first_frame_seconds": bench.best("session", "first_frame_seconds", min),
             "times_the_teacher": short(rate / slow) if rate and slow else None}
    found = {name: "not measured" if value is None else value for name, value in found.items()}
    return found | {f"target_{name}": target for name, target in TARGETS.items()}


def measure(bench, dtype):
    """All stages, the indispensable ones first."""
    top = bench.stage("ceilings", lambda: ceilings(bench, dtype))
    exact = standin.random_dit(bench.sizes.config, bench.device, torch.float32)
    model = deepcopy(exact).to(dtype)
    bench.stage("bf16 against fp32", lambda exact=exact: agreement(bench, exact, model))
    del exact
    work = bench.stage("floor of a step", lambda: floor(bench, model, dtype, top))
    work = work if "floor_ms" in work else None
    avatar = functools.cache(lambda: performer(bench, dtype))
    decode = bench.stage("vae", lambda: vae_speed(bench, avatar().codec), mode="eager")
    modes = {"eager": model}
    if bench.cuda:
        modes["graphs"] = Graphed(model)
    for name, made in modes.items():
        bench.stage("dit", lambda m=made: dit_speed(bench, m, dtype, model, work), mode=name)
        bench.stage("session", lambda m=made: live(bench, avatar(), m), mode=name)
    made = modes = None                             # lets go of the graphs
    bench.stage("teacher", lambda: teacher(bench, model, dtype, decode["ms_per_block"]),
                mode="eager")
    for name, backend in BACKENDS.items():
        def forced(backend=backend):
            with sdpa_kernel(backend):
                return dit_speed(bench, model, dtype, model, work)
        bench.stage("dit", forced, mode="eager", attention=name)
    if bench.cuda:
        torch._dynamo.config.recompile_limit = 32
        for block in model.blocks:
            block.compile()
        for name, made in (("compiled", model), ("compiled graphs", Graphed(model))):
            bench.stage("dit", lambda m=made: dit_speed(bench, m, dtype, model, work), mode=name)
            bench.stage("session", lambda m=made: live(bench, avatar(), m), mode=name)
    bench.end = float("inf")                        # what follows takes no time
    bench.stage("summary", lambda: summary(bench))


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pack", metavar="DIR", help="only download the wheels there")
    parser.add_argument("--python", metavar="3.11", help="the GPU machine's, for --pack")
    parser.add_argument("--wheels", metavar="DIR", help="install these first, without a network")
    parser.add_argument("--out", metavar="DIR", default="outputs", help="where real_gpu.json goes")
    parser.add_argument("--minutes", type=float, default=7.0, help="after which no stage begins")
    parser.add_argument("--small", action="store_true", help="a small size, on any machine")
    options = parser.parse_args(words)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    if options.pack:
        command = [*pip, "download", "--no-deps", "-d", options.pack, *WHEELS]
        if options.python:
            command += ["--python-version", options.python, "--only-binary=:all:"]
        subprocess.run(command, check=True)
        return
    (out := Path(options.out)).mkdir(parents=True, exist_ok=True)
    if options.wheels:
        site, files = out / "site", sorted(Path(options.wheels).glob("*.whl"))
        subprocess.run([*pip, "install", "--no-index", "--no-deps", "--target", site, *files],
                       check=True)
        sys.path.append(str(site))                  # behind what the machine has
        importlib.invalidate_caches()
    device = best_device()
    facts = as_result("python -m livetalk_ref.real.gpu" + " --small" * options.small,
                      [{"torch": torch.__version__}], [0], device=device)

    def keep(stages):
        made = facts | {"cost": {"stages": stages}}
        (half := out / "real_gpu.json.tmp").write_text(json.dumps(made, indent=1) + "\n")
        os.replace(half, out / "real_gpu.json")     # a machine that is taken away leaves it whole

    measure(Bench(SMALL if options.small else FULL, device, options.minutes, keep), torch.bfloat16)


if __name__ == "__main__":
    run_program(main)
