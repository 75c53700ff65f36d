"""Passes of the DiT as CUDA graphs, and what a GPU makes of the released layout, measured.

`python -m livetalk_ref.real.gpu` needs torch, transformers and diffusers. Weights are random, for
time does not depend on them. DIR/real_gpu.json holds every stage as soon as it is done; one that
fails, or for which no time is left, says so, and no number is made up.
"""

import argparse
import functools
import json
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from threading import Thread
from types import SimpleNamespace

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from livetalk_ref.cache import BLOCK, KVCache
from livetalk_ref.device import best_device
from livetalk_ref.errors import run_program
from livetalk_ref.files import as_result
from livetalk_ref.flow import TEACHER_STEPS, Guidance, exact, guided
from livetalk_ref.pipeline import Pipeline
from livetalk_ref.real import standin
from livetalk_ref.real.vae import WanCodec
from livetalk_ref.real.wav2vec import Speech, SpeechStream
from livetalk_ref.rollout import SIGMAS, denoise, draw, remember
from livetalk_ref.stream import AHIS, FRAMES, SAMPLES_PER_FRAME, AvatarSession, samples_for
from livetalk_ref.wan import LIVETALK_1P3B

DTYPE = torch.bfloat16
WINDOW = 21                         # latent frames of a teacher's window
FULL = SimpleNamespace(config=LIVETALK_1P3B, vae={}, speech={}, size=512, matrix=8192, repeats=10,
                       blocks=12)
SMALL = SimpleNamespace(config=standin.SMALL, vae=standin.SMALL_VAE, speech=standin.SMALL_SPEECH,
                        size=32, matrix=128, repeats=1, blocks=2)


class Captured:
    """A graph of one shape of pass, with the memory of its inputs and outputs."""

    def __init__(self, model, x, sigma, cond, cache):
        keys = cond.text_keys and tuple(tuple(t.clone() for t in pair) for pair in cond.text_keys)
        self.cond, self.read = replace(cond.map(torch.clone), text_keys=keys), cond.text_keys
        self.x, self.sigma = x.clone(), sigma.float().clone()
        layers = tuple(tuple(t.clone() for t in pair) for pair in cache.layers)
        self.cache, self.last = KVCache(cache.policy, layers, cache.frames, cache.now), cache
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):               # libraries set themselves up outside
            for _ in range(2):
                self.run(model)
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            self.v, self.new = self.run(model)

    def run(self, model):
        """The pass that is captured, on the graph's own inputs."""
        return model(self.x, self.sigma, self.cond, cache=self.cache)

    def __call__(self, x, sigma, cond, cache):
        pairs = [(self.x, x), (self.sigma, sigma)]
        pairs += [(to, vars(cond)[k]) for k, to in vars(self.cond).items() if torch.is_tensor(to)]
        if cond.text_keys is not self.read:         # another prompt
            pairs += [p for both in zip(self.cond.text_keys, cond.text_keys) for p in zip(*both)]
            self.read = cond.text_keys
        if cache is not self.last:                  # once a block, not once a step
            pairs += [p for both in zip(self.cache.layers, cache.layers) for p in zip(*both)]
            self.last = cache
        for to, source in pairs:
            to.copy_(source)
        self.graph.replay()
        return self.v.clone(), [[t.clone() for t in pair] for pair in self.new]


class Graphed(nn.Module):
    """A `WanDiT` that runs as CUDA graphs behind a cache with relative positions, and else plainly.

    A session with a window sees few shapes, a cache of 0, 3, .. 15 latent frames: each is captured
    once. The numbers are the model's.
    """

    def __init__(self, model):
        super().__init__()
        self.model, self.config, self.made = model, model.config, {}
        self.read_text = model.read_text

    @torch.inference_mode()         # inputs that were captured in it can be written in it alone
    def forward(self, x, sigma, cond, cache=None, mask=None):
        if cache is None or mask is not None or not cache.policy.relative:
            return self.model(x, sigma, cond, cache=cache, mask=mask)
        key = x.shape, len(cache.frames), cond.text.shape, cond.text_keys is None
        if key not in self.made:
            self.made[key] = Captured(self.model, x, sigma, cond, cache)
        return self.made[key](x, sigma, cond, cache)


def short(value):
    """Four digits of a number."""
    return float(f"{value:.4g}")


class Bench:
    """A device, its sizes, the rows so far and the time left; keep(rows) after every stage."""

    def __init__(self, sizes, device, minutes, keep=lambda rows: None):
        self.sizes, self.device, self.keep, self.rows = sizes, torch.device(device), keep, []
        self.cuda, self.end = self.device.type == "cuda", time.monotonic() + 60 * minutes

    def stage(self, name, work, *given, **about):
        """Run work(self, *given) and keep its row; without time, or with an error, keep that."""
        row = {"stage": name} | about
        if time.monotonic() > self.end:
            row["result"] = "not measured: no time left"
        else:
            try:
                row |= work(self, *given)
            except Exception as error:      # a mode that does not run must not end the rest
                row["result"] = f"not measured: {type(error).__name__}: {str(error)[:160]}"
        self.rows.append(row)
        self.keep(self.rows)
        print(json.dumps(row), flush=True)
        return row

    def now(self):
        """Seconds on a clock, once the device has finished."""
        if self.cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    def milliseconds(self, work, repeats=None):
        """The median time of work() over repeats, after two calls that do not count."""
        took = []
        for _ in range(2 + (repeats or self.sizes.repeats)):
            began = self.now()
            work()
            took.append(1000 * (self.now() - began))
        return short(median(took[2:]))

    def first_block(self):
        """The condition of a stream's first block, and noise of its 4 steps."""
        cond = standin.random_cond(self.sizes.config, self.sizes.size, DTYPE).to(self.device)
        return cond, draw(cond, torch.Generator().manual_seed(1))

    @torch.no_grad()
    def steady(self, model):
        """The arguments of a step in a stream's middle, and noise of its block."""
        cond, noise = self.first_block()
        cond, cache = replace(cond, known=torch.zeros_like(cond.known)), KVCache(AHIS)
        while len(cache.frames) < AHIS.sinks + AHIS.window:
            cache = remember(model, noise[0], cond, cache)
        sigma = exact(SIGMAS[1], noise).expand(noise.shape[1:3])
        return (noise[0], sigma, cond, cache), noise


@torch.no_grad()
def floor(bench, model):
    """The shortest time of a step: its counted FLOPs at the rate of a large matrix product."""
    n = bench.sizes.matrix
    a = torch.randn(n, n, device=bench.device, dtype=DTYPE)
    tflops = 2 * n ** 3 / bench.milliseconds(lambda: a @ a) / 1e9
    (x, sigma, cond, cache), _ = bench.steady(model)
    with FlopCounterMode(display=False) as counter:
        model(x, sigma, cond, cache=cache)
    tflop = counter.get_total_flops() / 1e12
    return {"tflops": short(tflops), "tflop": short(tflop),
            "floor_ms": short(1000 * tflop / tflops)}


@torch.no_grad()
def dit_speed(bench, model, plain):
    """ms of a step and of a block (5 passes) in steady state, and frames/s of the DiT alone."""
    (x, sigma, cond, cache), noise = bench.steady(plain)
    step = bench.milliseconds(lambda: model(x, sigma, cond, cache=cache))
    block = bench.milliseconds(lambda: remember(model, denoise(model, noise, cond, cache), cond,
                                                cache))
    return {"ms_per_step": step, "ms_per_block": block,
            "frames_per_second": short(1000 * FRAMES / block)}


@functools.cache
def performer(bench):
    """An avatar as `AvatarSession` takes it, still without its DiT."""
    s = bench.sizes
    codec = WanCodec(standin.random_vae(**s.vae).to(bench.device, DTYPE))
    speech = Speech(standin.random_speech(**s.speech).to(bench.device), DTYPE)
    text = standin.random_text(s.config.text_dim)([""]).to(bench.device, DTYPE)
    return SimpleNamespace(codec=codec, audio=lambda: SpeechStream(speech), text=lambda _: text)


@torch.no_grad()
def vae_speed(bench):
    """ms to decode a block of 3 latent frames in a stream's middle."""
    codec, side = performer(bench).codec, bench.sizes.size // 8
    z = torch.randn(1, BLOCK, 16, side, side, device=bench.device)
    _, memory = codec.decode_step(z[:, :1])
    _, memory = codec.decode_step(z[:, :1], memory)

    def block():
        state = memory
        for frame in z.split(1, dim=1):
            _, state = codec.decode_step(frame, state)
    return {"ms_per_block": bench.milliseconds(block)}


def session_speed(bench, model):
    """Frames/s of a pipelined session with decoding, the first frames' latency, peak memory."""
    avatar = SimpleNamespace(**vars(performer(bench)), model=model)
    g = torch.Generator().manual_seed(0)
    picture = torch.rand(3, bench.sizes.size, bench.sizes.size, generator=g) * 2 - 1
    first = 0.1 * torch.randn(samples_for(1, avatar.audio().ahead), generator=g)
    rest = 0.1 * torch.randn(FRAMES * SAMPLES_PER_FRAME * bench.sizes.blocks, generator=g)
    AvatarSession(avatar, picture, "", undo=0).push(torch.cat([first, rest])[:90_000])    # warm
    if bench.cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    latency = []
    for _ in range(3):
        session = AvatarSession(avatar, picture, "", undo=0)
        began = bench.now()
        session.push(first)                         # sound to 9 pictures in the host's memory
        latency.append(bench.now() - began)
    with Pipeline(session) as stream:
        (producer := Thread(target=lambda: (stream.push(rest), stream.end()))).start()
        times = [time.perf_counter() for _ in stream]
        producer.join()
    peak = short(torch.cuda.max_memory_allocated() / 2 ** 30) if bench.cuda else "not measured"
    return {"first_frame_seconds": short(median(latency)), "peak_gib": peak,
            "frames_per_second": short(FRAMES * (len(times) - 1) / (times[-1] - times[0]))}


@torch.no_grad()
def teacher_speed(bench, model, decode):
    """A guided step on 21 latent frames; a window is 48 of them and 7 blocks of decoding."""
    cond, _ = bench.first_block()
    cond = replace(cond, audio=cond.audio[:, :1].repeat(1, WINDOW, 1),
                   known=torch.arange(WINDOW, device=bench.device)[None] == 0)
    x = draw(cond, torch.Generator().manual_seed(1))[0]
    sigma = torch.full(x.shape[:2], 0.9, device=bench.device)
    step = bench.milliseconds(lambda: guided(model, x, sigma, cond, Guidance(4.5, 4.5)), 1)
    window = TEACHER_STEPS * step + WINDOW // BLOCK * decode["ms_per_block"]
    return {"ms_per_guided_step": step, "first_frame_seconds": short(window / 1000),
            "frames_per_second": short(1000 * (4 * WINDOW - 3) / window)}


def measure(bench):
    """All stages, the indispensable ones first."""
    model = standin.random_dit(bench.sizes.config, bench.device, DTYPE)
    bench.stage("floor of a step", floor, model)
    decode = bench.stage("vae", vae_speed, mode="eager")

    def speed(made, mode):
        bench.stage("dit", dit_speed, made, model, mode=mode)
        bench.stage("session", session_speed, made, mode=mode)

    speed(model, "eager")
    bench.stage("teacher", teacher_speed, model, decode, mode="eager")
    if bench.cuda:
        speed(Graphed(model), "graphs")
        torch._dynamo.config.recompile_limit = 32
        for block in model.blocks:
            block.compile()
        speed(model, "compiled")
        speed(Graphed(model), "compiled graphs")


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", metavar="DIR", default="outputs", help="where real_gpu.json goes")
    parser.add_argument("--minutes", type=float, default=7.0, help="after which no stage begins")
    parser.add_argument("--small", action="store_true", help="a small size, on any machine")
    options = parser.parse_args(words)
    (out := Path(options.out)).mkdir(parents=True, exist_ok=True)
    command = "python -m livetalk_ref.real.gpu" + " --small" * options.small
    facts = as_result(command, [{"torch": torch.__version__}], [0], device=best_device())

    def keep(stages):
        made = json.dumps(facts | {"cost": {"stages": stages}}, indent=1)
        (half := out / "real_gpu.json.tmp").write_text(made + "\n")
        half.replace(out / "real_gpu.json")         # a machine that is taken away leaves it whole

    measure(Bench(SMALL if options.small else FULL, best_device(), options.minutes, keep))


if __name__ == "__main__":
    run_program(main)
