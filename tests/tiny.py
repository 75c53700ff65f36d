"""Small stand-ins: checkpoints of random weights, written as shipped ones are, benchmarks of
shipped speech, which need no speech engine, and odd files."""

from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from PIL import Image

from livetalk_ref import loading
from livetalk_ref.codec import Codec, CodecConfig
from livetalk_ref.flow import Cond
from livetalk_ref.judge import benchmarks
from livetalk_ref.nets.reader import Reader
from livetalk_ref.runs import save
from livetalk_ref.wan import TINY, WanDiT
from livetalk_ref.world import shards
from livetalk_ref.world.clips import FRAMES, Clip, speaking
from livetalk_ref.world.identity import sample_identities
from livetalk_ref.world.motion import motion
from livetalk_ref.world.speech import load_spoken
from livetalk_ref.world.visemes import visemes

SMALL = replace(TINY, dim=32, ffn_dim=32, heads=2, layers=4, audio_hidden=8, freq_dim=16)
PROMPTS = ("a happy person nods", "a sad woman", "an angry man shakes the head")
CODEC = CodecConfig(TINY.latent_channels, (16, 32, 32), (8, 16, 32))


def dice(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=dice(seed))


def shake(model, seed=0):
    """Random weights everywhere: a fresh model's zero head would hide what goes into it."""
    g = dice(seed)
    with torch.no_grad():
        for p in model.parameters():
            fan = max(1, p[0].numel()) if p.ndim else 1
            p.copy_(torch.randn(p.shape, generator=g) / fan ** 0.5 if p.ndim > 1 else
                    1 + 0.1 * torch.randn(p.shape, generator=g))
    return model.eval()


def condition(config, generator, clips, frames, size=4, rows=16):
    """Random conditions, `rows` of text among them; the first frame is known."""
    def random(*shape):
        return torch.randn(shape, generator=generator)

    return Cond(random(clips, config.latent_channels, size, size),
                random(clips, frames, 4 * config.audio_dim), random(clips, rows, config.text_dim),
                torch.arange(frames).expand(clips, -1) == 0, random(1, rows, config.text_dim))


def write_checkpoints(folder):
    """codec.safetensors and teacher.safetensors of random weights in a folder."""
    for name, model, config in (("codec", Codec(CODEC), CODEC), ("teacher", WanDiT(TINY), TINY)):
        save(folder / f"{name}.safetensors", shake(model, 1).state_dict(), config=config)


def write_student(folder, name="student_ode", config=TINY):
    """A student of random weights beside them."""
    save(folder / f"{name}.safetensors", shake(WanDiT(config), 2).state_dict(), config=config,
         sampler="rollout")


@contextmanager
def shipped_in(folder):
    """While this lasts, what ships is what a folder holds: `write_checkpoints`, and more."""
    write_checkpoints(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "CHECKPOINTS", folder)
        yield folder


def act(spoken, prompt, generator, frames=None):
    """How a face says a sentence: the state (T, S) of all or the first `frames` frames."""
    frames = frames or int(spoken.seconds * 16) + 1
    return motion(visemes(spoken.phones, frames), speaking(spoken.phones, frames),
                  [(0, prompt)], generator)


def random_reader():
    """A reader of random weights, its features random directions."""
    reader = shake(Reader(), 2)
    reader.basis.copy_(torch.linalg.qr(noise(192, 32))[0])
    return reader


def scripted(number, frames=FRAMES):
    """A clip of shipped speech."""
    g, spoken = dice(number), load_spoken(12 + number % 12)
    prompt = PROMPTS[number % len(PROMPTS)]
    samples = torch.nn.functional.pad(spoken.samples, (0, frames * 1000))[:frames * 1000]
    samples = benchmarks.sixteen_bits(samples) / benchmarks.FULL_SCALE
    return Clip(samples, samples, spoken.phones, act(spoken, prompt, g, frames), [(0, prompt)],
                sample_identities(1, g), None)


def build_here(folder, make, split, count, workers=None):
    """Shards without processes of their own, which would not know what a test has changed."""
    for shard in range(-(-count // shards.SHARD)):
        yield shards.build_shard(folder, make, split, shard)


def script_clips(patch):
    """Make benchmarks of `scripted` clips, in shards of two and in this process."""
    patch.setattr(shards, "SHARD", 2)
    patch.setattr(shards, "build", build_here)
    patch.setattr(benchmarks, "script_clip",
                  lambda name, number, frames=FRAMES: scripted(number, frames))


def small_benchmark(folder, count, frames=FRAMES, second=False):
    """A `Benchmark` of such clips, of a codec of random weights."""
    with pytest.MonkeyPatch.context() as patch:
        script_clips(patch)
        return benchmarks.Benchmark.build(shake(Codec(CODEC), 1), "studio", count, frames, second,
                                          folder)


def write_huge_image(path):
    """A bitmap whose header promises 20000x20000 pixels, as bombs do."""
    Image.new("L", (64, 64)).save(path, "bmp")
    data = bytearray(path.read_bytes())
    data[18:26] = (20_000).to_bytes(4, "little") * 2
    path.write_bytes(data)
