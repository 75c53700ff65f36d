"""The four benchmarks: fixed lists of clips of 81 frames, the same for every model, 100 of each.

    studio    as the training clips, but all of it unseen (the part of HDTF in the paper)
    wild      besides: noise, echo, light from one side, half of the clips spoiled (AVSpeech)
    celeb     as studio, with faces of the shifted distribution (CelebV-HQ)
    held_out  as studio, with prompts that may change on the way; what is tried while we train

Name and number decide everything in a clip. data/benchmarks.json keeps their fingerprints; after
raising VERSION `python -m livetalk_ref.judge.benchmarks` writes that file.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from pathlib import Path

import torch

from livetalk_ref import DATA
from livetalk_ref.errors import Progress, run_program
from livetalk_ref.files import write_text
from livetalk_ref.judge.metrics import loudness
from livetalk_ref.world import clips, shards
from livetalk_ref.world.audio import coloured_noise, reverberate
from livetalk_ref.world.clips import FRAMES, Clip, chance, uniform
from livetalk_ref.world.degrade import Degradation, sample_degradation
from livetalk_ref.world.identity import Identity, sample_identities
from livetalk_ref.world.latents import NEVER, PROMPTS, LatentClips, cache_key
from livetalk_ref.world.motion import MOUTH, motion
from livetalk_ref.world.state import COL
from livetalk_ref.world.visemes import visemes

VERSION = 2
CLIPS = 100
SECOND = 50_000         # the clips from this number on are a benchmark's second, disjoint list
PAPERS = ("studio", "wild", "celeb")        # one prompt a clip
FIRST = {"studio": 100_000, "wild": 200_000, "celeb": 300_000}      # in the split "check"
BENCHMARKS = (*PAPERS, "held_out")
FROZEN = DATA / "benchmarks.json"
FULL_SCALE = 32_768     # what a 16-bit sample is divided by
CACHE = "runs/latents"
ECHO, SPOILT = 0.5, 0.5             # of wild: shares of clips
SNR = (0.0, 15.0)                   # dB; in training 5 to 35, and half of the sounds are clean


def script_clip(name, number, frames=FRAMES):
    """Everything of clip `number` of a benchmark but its picture: a `Clip`. 0 .. 99 are the list.

    Of another length it shows the same face and says and does something else. Sounds are rounded
    to 16 bits, as they are kept.
    """
    if name == "held_out":
        clip = clips.script(name, number, frames, degraded=0.0)
        samples = sixteen_bits(clip.samples) / FULL_SCALE
        return replace(clip, samples=samples, heard=samples)
    g = clips.clip_generator("check", FIRST[name] + number)
    identity = sample_identities(1, g, shifted=name == "celeb")
    samples, phones = clips.soundtrack(frames, g, "held_out")
    prompts = clips.draw_prompts(frames, g, held_out=True)[:1]
    state = motion(visemes(phones, frames), clips.speaking(phones, frames), prompts, g)
    samples = sixteen_bits(samples) / FULL_SCALE
    clip = Clip(samples, samples, phones, state, prompts, identity, None)
    return in_the_wild(clip, g) if name == "wild" else clip


def sixteen_bits(samples):
    """Samples as the integers of a 16-bit sound file."""
    return (samples * FULL_SCALE).round().clamp(-FULL_SCALE, FULL_SCALE - 1).short()


def in_the_wild(clip, g):
    """A clip in a noisy room, lit from one side, half the time badly filmed as well."""
    sound = clip.samples
    if chance(g, ECHO):
        sound = reverberate(sound, uniform(g, 0.1, 0.5), g)
    level = max(sound.square().mean().sqrt().item(), 0.01)          # silence gets noise too
    noise = coloured_noise(len(sound), uniform(g, 0.0, 1.0), g)
    sound = sound + level * 10 ** (-uniform(g, *SNR) / 20) * noise
    side = 1 if chance(g, 0.5) else -1
    state = clip.state.clone()
    state[:, COL["key_x"]] = side * uniform(g, 0.5, 1.0)
    state[:, COL["key_y"]] = uniform(g, -1.0, 0.3)
    state[:, COL["key_strength"]] = uniform(g, 0.7, 1.0)
    spoilt = sample_degradation(g) if chance(g, SPOILT) else None
    return replace(clip, heard=sixteen_bits(sound) / FULL_SCALE, state=state, degradation=spoilt)


def fingerprint(clip):
    """Eight hex digits of prompts, phones, face, motion and damage, rounded and without the sound,
    so that another processor's last bits do not count."""
    facts = [clip.prompts, [(symbol, round(start, 3), round(end, 3))
                            for symbol, start, end in clip.phones],
             clip.identity.categorical.tolist(), clip.degradation and clip.degradation.parts]
    digest = hashlib.sha256(json.dumps(facts).encode())
    for numbers in (clip.identity.continuous, clip.state):
        digest.update((numbers * 1000).round().int().numpy().tobytes())
    return digest.hexdigest()[:8]


def frozen_lists():
    """What data/benchmarks.json holds."""
    return json.loads(FROZEN.read_text())


def check_version(name, fingerprints):
    """The version of a benchmark as text, and a sentence of warning if its clips are others."""
    kept, again = frozen_lists(), "run 'python -m livetalk_ref.judge.benchmarks'."
    if kept["version"] != VERSION:
        return f"{VERSION}+", (f"{FROZEN.name} holds version {kept['version']} of the benchmarks "
                               f"and not {VERSION}; {again}")
    changed = [i for i, (a, b) in enumerate(zip(fingerprints, kept["sets"][name])) if a != b]
    if not changed:
        return str(VERSION), None
    return f"{VERSION}+", (
        f"{len(changed)} of {len(fingerprints)} clips of '{name}', such as {changed[0]}, are not "
        f"those of version {VERSION}: the world or a speech engine has changed, so do not compare "
        f"these figures with older ones; for new benchmarks raise VERSION in judge/benchmarks.py "
        f"and {again}")


def freeze_lists(path=FROZEN):
    """Write the fingerprints of all clips to data/benchmarks.json."""
    sets = {name: [fingerprint(script_clip(name, i)) for i in range(CLIPS)] for name in BENCHMARKS}
    facts = {"made_by": "python -m livetalk_ref.judge.benchmarks", "version": VERSION,
             "frames": FRAMES, "sets": sets}
    write_text(path, json.dumps(facts, indent=1) + "\n")


def encode_scripted(codec, name, first, frames, split, number):
    """Script, film and encode one clip -> the tensors and facts that a shard keeps."""
    clip = script_clip(name, first + number, frames)
    with torch.inference_mode():
        latents = codec.encode(clips.film(clip)[None])[0]                # (F, C, h, w)
    row = {"latents": latents.half(), "audio": clip.audio.half(), "state": clip.state,
           "continuous": clip.identity.continuous[0], "categorical": clip.identity.categorical[0],
           "samples": sixteen_bits(clip.samples), "heard": sixteen_bits(clip.heard)}
    spoilt = clip.degradation and [clip.degradation.parts, clip.degradation.seed]
    return row, {"prompts": clip.prompts, "spoilt": spoilt, "fingerprint": fingerprint(clip)}


@dataclass
class Benchmark:
    """The first N clips of a benchmark: cached conditions and truth; pictures are drawn anew."""

    name: str
    data: LatentClips
    samples: torch.Tensor       # (N, 1000 T) clean sound
    heard: torch.Tensor         # (N, 1000 T) what the models hear
    facts: list                 # of every clip: prompts, damage, fingerprint
    codec: torch.nn.Module

    @staticmethod
    def build(codec, name, count=CLIPS, frames=FRAMES, second=False, folder=CACHE):
        """Make them, or read them from the cache of earlier calls, which can be stopped and
        continued. second: of the disjoint list, which tells how far apart two sets of truth are."""
        split = f"benchmark-{name}-{VERSION}" + (f"-{frames}" if frames != FRAMES else "") \
            + ("-second" if second else "")
        make = partial(encode_scripted, codec, name, SECOND if second else 0, frames)
        paths, folder = [], Path(folder) / cache_key(codec)
        with Progress(f"building {name}: shard", ceil(count / shards.SHARD)) as progress:
            for path in shards.build(folder, make, split, count):
                paths.append(path)
                progress()
        tensors, facts = shards.load(paths)
        t, facts = {k: v[:count] for k, v in tensors.items()}, facts[:count]
        starts = [[start for start, _ in fact["prompts"]] for fact in facts]
        data = LatentClips(t["latents"], t["audio"], t["state"],
                           Identity(t["continuous"], t["categorical"]),
                           torch.tensor([(one + [NEVER] * PROMPTS)[:PROMPTS] for one in starts]),
                           torch.tensor([fact["spoilt"] is not None for fact in facts]),
                           [[prompt for _, prompt in fact["prompts"]] for fact in facts])
        return Benchmark(name, data, t["samples"] / FULL_SCALE, t["heard"] / FULL_SCALE, facts,
                         codec)

    def __len__(self):
        return len(self.data)

    def cut(self, latents):
        """The same clips over their first latent frames alone."""
        d, frames = self.data, 4 * latents - 3
        data = replace(d, latents=d.latents[:, :latents], audio=d.audio[:, :frames],
                       state=d.state[:, :frames])
        return replace(self, data=data, samples=self.samples[:, :1000 * frames],
                       heard=self.heard[:, :1000 * frames])

    def clip(self, i):
        """Clip i as a `Clip`, without the phones."""
        fact = self.facts[i]
        return Clip(self.samples[i], self.heard[i], [], self.data.state[i],
                    list(map(tuple, fact["prompts"])), self.data.identity[i:i + 1],
                    Degradation.of(fact["spoilt"]))

    def clips(self):
        """All of them."""
        return map(self.clip, range(len(self)))

    def film(self):
        """Rendered truth, clip by clip: (T, 3, 96, 96)."""
        return map(clips.film, self.clips())

    def decode(self, latents):
        """Latents (N, F, C, h, w) as pictures, clip by clip: (T, 3, 96, 96)."""
        with torch.inference_mode():
            for z in latents:
                yield self.codec.decode(z[None].float())[0]


def film_rule(clip):
    """The pictures (T, 3, 96, 96) of a baseline that knows loudness alone: what a model earns
    beyond it has to do with words."""
    return clips.film(replace(clip, state=open_by_loudness(clip)))


def open_by_loudness(clip):
    """States of a `Clip`, (T, S), whose face holds the reference's place, frame 0, while the
    mouth opens from 0 where the sound is quietest to 1 where it is loudest."""
    state = clip.state[:1].repeat(len(clip.state), 1)                   # (T, S)
    track = loudness(clip.heard, len(state))
    low, high = track.aminmax()
    state[1:, [COL[name] for name in MOUTH]] = 0
    state[1:, COL["mouth_open"]] = ((track - low) / (high - low).clamp(min=1e-6))[1:]
    return state


if __name__ == "__main__":
    run_program(freeze_lists)
