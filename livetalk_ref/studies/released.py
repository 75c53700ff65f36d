"""What a GPU makes of the released layout: time of a step, a block, a session, and its memory.

Weights are random, for time does not depend on them, so nothing has to be downloaded; it needs
torch, transformers and diffusers. A mode that does not run says so, and no number is made up.
"""

import functools
import time
from dataclasses import replace
from statistics import median
from threading import Thread
from types import SimpleNamespace

import torch
from torch.utils.flop_counter import FlopCounterMode

from livetalk_ref.cache import BLOCK, KVCache
from livetalk_ref.device import best_device
from livetalk_ref.files import hardware
from livetalk_ref.flow import TEACHER_STEPS, Guidance, exact, guided
from livetalk_ref.graphs import Graphed
from livetalk_ref.pipeline import Pipeline
from livetalk_ref.real import standin
from livetalk_ref.real.vae import WanCodec
from livetalk_ref.real.wav2vec import Speech, SpeechStream
from livetalk_ref.rollout import SIGMAS, denoise, draw, remember
from livetalk_ref.stream import AHIS, FRAMES, SAMPLES_PER_FRAME, AvatarSession, samples_for
from livetalk_ref.studies.work import Job, Study
from livetalk_ref.wan import LIVETALK_1P3B

DTYPE = torch.bfloat16
WINDOW = 21                         # latent frames of a teacher's window
FULL = SimpleNamespace(config=LIVETALK_1P3B, vae={}, speech={}, size=512, matrix=8192, repeats=10,
                       blocks=12)
SMALL = SimpleNamespace(config=standin.SMALL, vae=standin.SMALL_VAE, speech=standin.SMALL_SPEECH,
                        size=32, matrix=128, repeats=1, blocks=2)


def short(value):
    """Four digits of a number."""
    return float(f"{value:.4g}")


class Released(Study):
    """Every stage as a job; a machine that is taken away leaves what was done."""

    name, early, device = "released", ("real_gpu",), best_device()

    def __init__(self, quick=False, *given, **options):
        super().__init__(quick, *given, **options)
        self.size, self.cuda = SMALL if quick else FULL, self.device == "cuda"

    def key(self):
        """A folder for every card."""
        return hardware(self.device).replace(" ", "-").replace(",", "").lower()

    def jobs(self):
        made = [self.job("floor of a step", None, floor), self.job("vae", "eager", vae_speed),
                self.job("dit", "eager", dit_speed), self.job("session", "eager", session_speed),
                self.job("teacher", "eager", teacher_speed)]
        for mode in ("graphs", "compiled", "compiled graphs") if self.cuda else ():
            made += [self.job("dit", mode, dit_speed), self.job("session", mode, session_speed)]
        return made

    def job(self, stage, mode, work):
        """A stage in a mode; one that fails must not end the rest."""
        def run():
            yield
            row = {"stage": stage} | ({"mode": mode} if mode else {})
            try:
                row |= work(self, self.model(mode))
            except Exception as error:
                row["result"] = f"not measured: {type(error).__name__}: {str(error)[:160]}"
            return {"real_gpu": [row]}
        return Job(f"{stage} {mode or ''}".strip(), ("real_gpu",), run)

    def combine(self, result, rows):
        return [{"torch": torch.__version__}]

    def costs(self, result, rows):
        return {"stages": rows}

    @functools.cached_property
    def plain(self):
        """The DiT of random weights."""
        return standin.random_dit(self.size.config, self.device, DTYPE)

    @functools.cached_property
    def compiled(self):
        """The same one, and compiled from now on."""
        torch._dynamo.config.recompile_limit = 32
        for block in self.plain.blocks:
            block.compile()
        return self.plain

    def model(self, mode):
        """The DiT as a mode runs it."""
        model = self.compiled if mode and mode.startswith("compiled") else self.plain
        return Graphed(model) if mode and mode.endswith("graphs") else model

    @functools.cached_property
    def avatar(self):
        """An avatar as `AvatarSession` takes it, still without its DiT."""
        s = self.size
        codec = WanCodec(standin.random_vae(**s.vae).to(self.device, DTYPE))
        speech = Speech(standin.random_speech(**s.speech).to(self.device), DTYPE)
        text = standin.random_text(s.config.text_dim)([""]).to(self.device, DTYPE)
        return SimpleNamespace(codec=codec, audio=lambda: SpeechStream(speech), text=lambda _: text)

    def now(self):
        """Seconds on a clock, once the device has finished."""
        if self.cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    def milliseconds(self, work, repeats=None):
        """The median time of work() over repeats, after two calls that do not count."""
        took = []
        for _ in range(2 + (repeats or self.size.repeats)):
            began = self.now()
            work()
            took.append(1000 * (self.now() - began))
        return short(median(took[2:]))

    def first_block(self):
        """The condition of a stream's first block, and noise of its 4 steps."""
        cond = standin.random_cond(self.size.config, self.size.size, DTYPE).to(self.device)
        return cond, draw(cond, torch.Generator().manual_seed(1))

    @torch.no_grad()
    def steady(self):
        """The arguments of a step in a stream's middle, and noise of its block."""
        cond, noise = self.first_block()
        cond, cache = replace(cond, known=torch.zeros_like(cond.known)), KVCache(AHIS)
        while len(cache.frames) < AHIS.sinks + AHIS.window:
            cache = remember(self.plain, noise[0], cond, cache)
        sigma = exact(SIGMAS[1], noise).expand(noise.shape[1:3])
        return (noise[0], sigma, cond, cache), noise


@torch.no_grad()
def floor(study, model):
    """The shortest time of a step: its counted FLOPs at the rate of a large matrix product."""
    n = study.size.matrix
    a = torch.randn(n, n, device=study.device, dtype=DTYPE)
    tflops = 2 * n ** 3 / study.milliseconds(lambda: a @ a) / 1e9
    (x, sigma, cond, cache), _ = study.steady()
    with FlopCounterMode(display=False) as counter:
        model(x, sigma, cond, cache=cache)
    tflop = counter.get_total_flops() / 1e12
    return {"tflops": short(tflops), "tflop": short(tflop),
            "floor_ms": short(1000 * tflop / tflops)}


@torch.no_grad()
def dit_speed(study, model):
    """ms of a step and of a block (5 passes) in steady state, and frames/s of the DiT alone."""
    (x, sigma, cond, cache), noise = study.steady()
    step = study.milliseconds(lambda: model(x, sigma, cond, cache=cache))
    block = study.milliseconds(lambda: remember(model, denoise(model, noise, cond, cache), cond,
                                                cache))
    return {"ms_per_step": step, "ms_per_block": block,
            "frames_per_second": short(1000 * FRAMES / block)}


@torch.no_grad()
def vae_speed(study, model):
    """ms to decode a block of 3 latent frames in a stream's middle."""
    codec, side = study.avatar.codec, study.size.size // 8
    z = torch.randn(1, BLOCK, 16, side, side, device=study.device)
    _, memory = codec.decode_step(z[:, :1])
    _, memory = codec.decode_step(z[:, :1], memory)

    def block():
        state = memory
        for frame in z.split(1, dim=1):
            _, state = codec.decode_step(frame, state)
    return {"ms_per_block": study.milliseconds(block)}


def session_speed(study, model):
    """Frames/s of a pipelined session with decoding, the first frames' latency, peak memory."""
    avatar = SimpleNamespace(**vars(study.avatar), model=model)
    g = torch.Generator().manual_seed(0)
    picture = torch.rand(3, study.size.size, study.size.size, generator=g) * 2 - 1
    first = 0.1 * torch.randn(samples_for(1, avatar.audio().ahead), generator=g)
    rest = 0.1 * torch.randn(FRAMES * SAMPLES_PER_FRAME * study.size.blocks, generator=g)
    AvatarSession(avatar, picture, "", undo=0).push(torch.cat([first, rest])[:90_000])    # warm
    if study.cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    latency = []
    for _ in range(3):
        session = AvatarSession(avatar, picture, "", undo=0)
        began = study.now()
        session.push(first)                         # sound to 9 pictures in the host's memory
        latency.append(study.now() - began)
    with Pipeline(session) as stream:
        (producer := Thread(target=lambda: (stream.push(rest), stream.end()))).start()
        times = [time.perf_counter() for _ in stream]
        producer.join()
    peak = short(torch.cuda.max_memory_allocated() / 2 ** 30) if study.cuda else "not measured"
    return {"first_frame_seconds": short(median(latency)), "peak_gib": peak,
            "frames_per_second": short(FRAMES * (len(times) - 1) / (times[-1] - times[0]))}


@torch.no_grad()
def teacher_speed(study, model):
    """A guided step on 21 latent frames; a window is 48 of them and 7 blocks of decoding."""
    cond, _ = study.first_block()
    cond = replace(cond, audio=cond.audio[:, :1].repeat(1, WINDOW, 1),
                   known=torch.arange(WINDOW, device=study.device)[None] == 0)
    x = draw(cond, torch.Generator().manual_seed(1))[0]
    sigma = torch.full(x.shape[:2], 0.9, device=study.device)
    step = study.milliseconds(lambda: guided(model, x, sigma, cond, Guidance(4.5, 4.5)), 1)
    window = TEACHER_STEPS * step + WINDOW // BLOCK * vae_speed(study, model)["ms_per_block"]
    return {"ms_per_guided_step": step, "first_frame_seconds": short(window / 1000),
            "frames_per_second": short(1000 * (4 * WINDOW - 3) / window)}


STUDY = Released
