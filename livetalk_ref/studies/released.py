"""What a GPU makes of the released layout: time of a step, a block, a session, and its memory.

Weights are random, for time does not depend on them, so nothing has to be downloaded; it needs
torch, transformers and diffusers. A mode that does not run says so, and no number is made up. What
was done for speed is counted on any machine: tensors of the meta device have no content.
"""

import time
from copy import deepcopy
from dataclasses import replace
from functools import cached_property, partial
from statistics import median
from types import SimpleNamespace

import torch

from livetalk_ref.cache import BLOCK, KVCache
from livetalk_ref.device import best_device
from livetalk_ref.files import hardware
from livetalk_ref.flow import TEACHER_STEPS, Guidance, add_noise, exact, guided
from livetalk_ref.graphs import Graphed, compile_parts
from livetalk_ref.generate import Pipeline, settle
from livetalk_ref.judge.bench import MANY, time_many, unheard_cond
from livetalk_ref.judge.cost import (count_bytes, count_flops, peak_memory, reset_peak_memory,
                                     wall_clock)
from livetalk_ref.loading import load, load_module
from livetalk_ref.media import to_bytes
from livetalk_ref.portrait import portrait_of
from livetalk_ref.real import standin
from livetalk_ref.real.vae import LightCodec, WanCodec
from livetalk_ref.real.wav2vec import WINDOW as HEARD
from livetalk_ref.real.wav2vec import Speech, SpeechStream
from livetalk_ref.real.weights import to_int8
from livetalk_ref.rollout import SIGMAS, denoise, draw, remember
from livetalk_ref.stream import AHIS, FRAMES, SAMPLES_PER_FRAME, AvatarSession, samples_for
from livetalk_ref.studies.work import Job, Study
from livetalk_ref.wan import LIVETALK_1P3B, WanDiT, rotate
from livetalk_ref.world.latents import WINDOW

DTYPE = torch.bfloat16
MODES = ("eager", "graphs", "compiled", "compiled graphs")      # a CPU has the first alone


class Released(Study):
    """Every stage as a job; a machine that is taken away leaves what was done."""

    device = best_device()
    sizes = {"config": (LIVETALK_1P3B, standin.SMALL), "vae": ({}, standin.SMALL_VAE),
             "speech": ({}, standin.SMALL_SPEECH), "pixels": (512, 32), "matrix": (8192, 128),
             "repeats": (10, 1), "blocks": (12, 2), "clips": ((1, MANY), (1,))}

    def key(self):
        """A folder for every card."""
        return hardware(self.device).replace(" ", "-").replace(",", "").lower()

    def jobs(self):
        made = [Job("speed", "real_speed", self.count_speed),
                Job("int8", "real_speed", self.compare_int8)]
        if self.device == "cpu" and not self.quick:
            return made                                     # it would need hours for the rest
        made += [self.job("floor of a step", None, self.time_floor),
                 self.job("vae", "eager", self.time_vae),
                 self.job("vae", "eager, one call", partial(self.time_vae, at_once=BLOCK)),
                 self.job("vae", "light", partial(self.time_vae, light=True)),
                 self.job("teacher", "eager", self.time_teacher)]
        made += [self.job("miniature", f"{name}, batch {clips}",
                          partial(self.time_miniature, name, clips))
                 for name in ("teacher", "student") for clips in self.clips]
        for mode in MODES if self.device == "cuda" else MODES[:1]:
            made += [self.job("dit", mode, self.time_dit),
                     self.job("session", mode, self.time_session)]
        return made + [self.job("vae", f"compiled{label}", partial(self.time_vae, at_once=count))
                       for label, count in (("", 1), (", one call", BLOCK))
                       if self.device == "cuda"]

    def job(self, stage, mode, work):
        """A stage in a mode, work(model) -> a dict; one that fails must not end the rest."""
        def run():
            row = {"stage": stage} | ({"mode": mode} if mode else {})
            try:
                row |= {key: value and float(f"{value:.4g}")
                        for key, value in work(self.dit(mode)).items()}
            except Exception as error:
                row["result"] = f"not measured: {type(error).__name__}: {str(error)[:160]}"
            return [row]
        return Job(f"{stage} {mode or ''}".strip(), "real_gpu", run)

    def combine(self, result, rows):
        torch_row = [{"torch": torch.__version__}]
        return (rows, {}) if result == "real_speed" else (torch_row, {"stages": rows})

    @cached_property
    def plain(self):
        """The DiT of random weights."""
        return standin.random_dit(self.config, self.device, DTYPE)

    @cached_property
    def compiled(self):
        """The same one, with the decoder compiled from now on."""
        compile_parts(self.plain, self.avatar.codec)
        return self.plain

    def dit(self, mode):
        """The DiT as a mode runs it."""
        model = self.compiled if mode and mode.startswith("compiled") else self.plain
        return Graphed(model) if mode and mode.endswith("graphs") else model

    @cached_property
    def avatar(self):
        """An avatar as `AvatarSession` takes it, still without its DiT."""
        codec = WanCodec(standin.random_vae(**self.vae).to(self.device), DTYPE)
        speech = Speech(standin.random_speech(**self.speech).to(self.device), DTYPE)
        text = standin.random_text(self.config.text_dim)([""]).to(self.device, DTYPE)
        return SimpleNamespace(codec=codec, audio=lambda: SpeechStream(speech), text=lambda _: text)

    def milliseconds(self, work, repeats=None):
        """The median time of work() over repeats, after two calls that do not count."""
        took = []
        for _ in range(2 + (repeats or self.repeats)):
            began = wall_clock(self.device)
            work()
            took.append(1000 * (wall_clock(self.device) - began))
        return median(took[2:])

    def first_block(self, device=None):
        """The condition of a stream's first block, and noise of its 4 steps."""
        cond = standin.random_cond(self.config, self.pixels, DTYPE).to(device or self.device)
        return cond, draw(cond, torch.Generator().manual_seed(1))

    def steady(self, model=None, device=None):
        """The arguments of a step in a stream's middle, and noise of its block."""
        cond, noise = self.first_block(device)
        cond, cache = replace(cond, known=torch.zeros_like(cond.known)), KVCache(AHIS)
        while len(cache.frames) < AHIS.sinks + AHIS.window:
            cache = remember(model or self.plain, noise[0], cond, cache)
        sigma = exact(SIGMAS[1], noise).expand(noise.shape[1:3])
        return (noise[0], sigma, cond, cache), noise

    @torch.no_grad()
    def time_floor(self, model):
        """The shortest time of a step: its counted FLOPs at the rate of a large matrix product."""
        n = self.matrix
        a = torch.randn(n, n, device=self.device, dtype=DTYPE)
        tflops = 2 * n ** 3 / self.milliseconds(lambda: a @ a) / 1e9
        (x, sigma, cond, cache), _ = self.steady()
        tflop = count_flops(lambda: model(x, sigma, cond, cache=cache)) / 1e12
        return {"tflops": tflops, "tflop": tflop, "floor_ms": 1000 * tflop / tflops}

    @torch.no_grad()
    def time_dit(self, model):
        """ms of a step and of a block (5 passes) in steady state; frames/s of the DiT alone."""
        (x, sigma, cond, cache), noise = self.steady()
        step = self.milliseconds(lambda: model(x, sigma, cond, cache=cache))
        block = self.milliseconds(
            lambda: remember(model, denoise(model, noise, cond, cache), cond, cache))
        return {"ms_per_step": step, "ms_per_block": block,
                "frames_per_second": 1000 * FRAMES / block}

    @torch.no_grad()
    def time_vae(self, model, light=False, at_once=1):
        """ms to decode a block of 3 latent frames in a stream's middle, in one call or three."""
        side = self.pixels // 8
        codec = LightCodec(None).to(self.device, DTYPE) if light else self.avatar.codec
        z = torch.randn(1, BLOCK, 16, side, side, device=self.device, dtype=DTYPE)
        _, memory = codec.decode_step(z[:, :1])
        _, memory = codec.decode_step(z[:, :1], memory)

        def block():
            state = memory
            for some in z.split(at_once, dim=1):
                _, state = codec.decode_step(some, state)
        return {"ms_per_block": self.milliseconds(block)}

    def time_miniature(self, name, clips, model):
        """Frames/s of clips of 81 frames by the shipped miniature, decoded, after a warm-up."""
        avatar = load(name, self.device)
        cond = unheard_cond(avatar, portrait_of(0))
        return [time_many(avatar, cond, settle(avatar)[0], clips) for _ in range(2)][1]

    def first_picture(self, session, sound):
        """Seconds from a stream's first sound to its latents, and to its first picture as bytes."""
        began = wall_clock(self.device)
        block = next(session.hear(sound))
        made = wall_clock(self.device)
        to_bytes(next(session.decode_parts(block)).pictures)
        return made - began, wall_clock(self.device) - began

    def time_session(self, model):
        """Frames/s of a pipelined session with decoding, latency of the first picture, memory."""
        avatar = SimpleNamespace(**vars(self.avatar), model=model)
        g = torch.Generator().manual_seed(0)
        picture = torch.rand(3, self.pixels, self.pixels, generator=g) * 2 - 1
        first = 0.1 * torch.randn(samples_for(1, avatar.audio().ahead), generator=g)
        rest = 0.1 * torch.randn(FRAMES * SAMPLES_PER_FRAME * self.blocks, generator=g)
        fresh = partial(AvatarSession, avatar, picture, "", undo=0)
        fresh().push(torch.cat([first, rest])[:90_000])     # warm
        if self.device == "cuda":
            torch.cuda.empty_cache()
        reset_peak_memory(self.device)
        latents, picture = map(median, zip(*(self.first_picture(fresh(), first)
                                             for _ in range(3))))
        with Pipeline(fresh()) as stream:
            stream.push(torch.cat([first, rest]))
            stream.end()
            times = [time.perf_counter() for _ in stream][1:]
        peak = peak_memory(self.device)
        return {"first_latents_seconds": latents, "first_frame_seconds": picture,
                "peak_gib": peak and peak / 2 ** 10,
                "frames_per_second": FRAMES * (len(times) - 1) / (times[-1] - times[0])}

    @torch.no_grad()
    def time_teacher(self, model):
        """A guided step on 21 latent frames; a window is 48 of them and 7 blocks of decoding."""
        cond, _ = self.first_block()
        cond = replace(cond, audio=cond.audio[:, :1].repeat(1, WINDOW, 1),
                       known=torch.arange(WINDOW, device=self.device)[None] == 0)
        x = draw(cond, torch.Generator().manual_seed(1))[0]
        sigma = torch.full(x.shape[:2], 0.9, device=self.device)
        step = self.milliseconds(lambda: guided(model, x, sigma, cond, Guidance(4.5, 4.5)), 1)
        window = TEACHER_STEPS * step + WINDOW // BLOCK * self.time_vae(model)["ms_per_block"]
        return {"ms_per_guided_step": step, "first_frame_seconds": window / 1000,
                "frames_per_second": 1000 * (4 * WINDOW - 3) / window}

    @torch.no_grad()
    def count_speed(self):
        """Rows of what was done for speed: a block's bytes and FLOPs, before and after."""
        from diffusers import AutoencoderKLWan

        with torch.device("meta"):
            model, light = WanDiT(self.config).to(DTYPE), LightCodec(None).to(DTYPE)
            wan, theirs = (AutoencoderKLWan(**self.vae).to(DTYPE) for _ in range(2))
        ear = Speech(standin.random_speech(**self.speech).to("meta"))
        codec, passes, layers = WanCodec(wan, DTYPE).to("meta"), len(SIGMAS) + 1, self.config.layers
        (x, sigma, cond, cache), _ = self.steady(model, "meta")
        _, new = model(x, sigma, cond, cache=cache)         # by now its past has room behind it
        keys, slots = cache.layers[0][0], torch.arange(len(cache.frames), device="meta")
        flat, fresh = keys.flatten(2, 3), new[0][0].flatten(2, 3)
        table = flat.new_empty(flat.shape[2], flat.shape[3] // 2, 2, dtype=torch.float32)
        rotating = layers * count_bytes(lambda: rotate(flat, table))
        joining = passes * layers * count_bytes(lambda: torch.cat([flat, fresh], 2))
        sound = torch.empty(BLOCK, (HEARD - 1) * SAMPLES_PER_FRAME, device="meta")

        def passing(kept):
            return count_bytes(lambda: model(x, sigma, cond, cache=kept()))

        def plain(z, before=None):      # diffusers' own decoder
            state = list(before or [None] * theirs._cached_conv_counts["decoder"])
            return theirs.decoder(z.transpose(1, 2), feat_cache=state, feat_idx=[0],
                                  first_chunk=before is None), state

        def decoding(step, at_once=1):
            z = x[:, :1]
            _, state = step(z, step(z, step(z)[1])[1])
            return lambda: [step(some, state) for some in x.split(at_once, dim=1)]

        whole, small = decoding(codec.decode_step), decoding(light.decode_step)
        denoising = (passes - 1) * count_flops(lambda: model(x, sigma, cond, cache=cache))
        moved, work = count_bytes(whole), count_flops(whole)
        rows = (
            ("rotating cached keys, compiled", "GB", passes * rotating,
             layers * (2 * flat.nbytes + table.nbytes), "complex, at each pass; fused, once"),
            ("joining cached keys with new ones", "GB", joining, layers * (
                2 * flat.nbytes + fresh.nbytes * (1 + 2 * passes)),
             "at each pass; behind them is room, in which each writes"),
            ("all passes, eager", "GB", joining + passes * (
                rotating + passing(lambda: cache) - 3 * layers * fresh.nbytes),
             passing(lambda: replace(cache)) + (passes - 1) * passing(lambda: cache),
             "keys rotated and joined at each pass; once a block"),
            ("features of a block's sound", "GB", BLOCK * count_bytes(lambda: ear(sound[0], HEARD)),
             count_bytes(lambda: ear(sound, HEARD)), "window by window; three in a batch"),
            ("remembering the block", "GB", 2 * layers * count_bytes(
                lambda: torch.cat([keys, new[0][0]], 2)[:, :, slots]), count_bytes(
                lambda: cache.append(new)), "joined, gathered by a list; each frame copied once"),
            ("decoding", "GB", count_bytes(decoding(plain)), moved, "norms in many passes; in one"),
            ("decoding, in one call", "GB", moved, count_bytes(decoding(codec.decode_step, BLOCK)),
             "a latent frame at a time; three, where the card has the memory"),
            ("decoding, light decoder", "GB", moved, count_bytes(small), "Wan's; light"),
            ("decoding, light decoder", "TFLOP", work, count_flops(small), "Wan's; light"),
            ("from the last sound to the first picture", "TFLOP",
             denoising + work, denoising + work / BLOCK, "all latent frames decoded; the first"),
            ("pictures to the host", "GB", *(FRAMES * 3 * self.pixels ** 2 * n
             for n in (4, 1)), "float32; uint8"),
            ("inputs of CUDA graphs", "GB", *(layers * 2 * keys[:, :, :1].nbytes * n
             for n in (3 + 6 + 9 + 12 + 15, 15 + 1.5)), "caches of 3 to 15 frames; of 15 and room"))
        model(x, sigma, cond, cache=cache)      # `append` forgot the rotated keys
        held, moved = sum(p.nbytes for p in model.parameters()), passes * passing(lambda: cache)
        to_int8(model)
        rows += (("weights of the DiT, int8", "GB", held, sum(p.nbytes for p in model.parameters()),
                  "bf16; in blocks int8"),
                 ("all passes, int8, eager", "GB", moved, passes * passing(lambda: cache),
                  "bf16 weights read; made of int8 at each pass"))
        scale = {"GB": 1e9, "TFLOP": 1e12}
        return [{"what": what, "before": float(f"{before / scale[unit]:.4g}"),
                 "after": float(f"{after / scale[unit]:.4g}"), "unit": unit, "how": how}
                for what, unit, before, after, how in rows]

    @torch.no_grad()
    def compare_int8(self):
        """A row of how far velocities are off float32's in bf16, and with int8 weights."""
        model = load_module("teacher", "dit")   # a student's ship in 8 bits: no change
        want = velocities(model)
        made = velocities(deepcopy(model).bfloat16()), velocities(to_int8(model))
        before, after = (round((100 * (v - want).norm() / want.norm()).item(), 2) for v in made)
        return [{"what": "velocity's error, teacher", "before": before, "after": after, "unit": "%",
                 "how": "of float32's, in bf16; with int8 weights"}]


def velocities(model):
    """A DiT's velocities of random latents and conditions at the student's noise levels."""
    dtype = model.patch_embedding.weight.dtype
    cond = standin.random_cond(model.config, 48, dtype)
    noise = draw(cond, torch.Generator().manual_seed(1))                 # (4, 1, 3, C, h, w)
    levels = SIGMAS[:, None, None].expand(-1, *noise.shape[1:3])         # (4, 1, 3)
    return torch.stack([model(add_noise(cond.ref[:, None], n, s), s, cond).float()
                        for n, s in zip(noise, levels)])
