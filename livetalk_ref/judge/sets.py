"""The three benchmarks: fixed lists of 100 clips of 81 frames, the same for every model.

    studio   what the training clips are like, but for voices, sentences, prompts and faces that
             nothing was trained on (the part of HDTF in the paper)
    wild     besides: noise and echo in the sound, strong light from one side, and half of the
             clips spoiled with their reference picture (AVSpeech's part)
    celeb    as studio, with faces of the shifted distribution (CelebV-HQ's part)

Set and number decide everything in a clip. Each has one prompt, so that any program which takes
a picture, a sound and a prompt can be judged. data/benchmarks.json keeps a fingerprint of every
clip: a list that changes is another benchmark and gets another VERSION.

    python -m livetalk_ref.judge.sets      # after raising VERSION: writes data/benchmarks.json
"""

import hashlib
import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from livetalk_ref import DATA
from livetalk_ref.errors import run_program
from livetalk_ref.files import write_text
from livetalk_ref.world import clips, shards
from livetalk_ref.world.audio import coloured_noise, reverberate
from livetalk_ref.world.clips import FRAMES, Clip, chance, uniform
from livetalk_ref.world.degrade import Degradation, sample_degradation
from livetalk_ref.world.identity import Identity, sample_identities
from livetalk_ref.world.latents import NEVER, LatentClips, cache_key
from livetalk_ref.world.motion import motion
from livetalk_ref.world.state import COL
from livetalk_ref.world.visemes import visemes

VERSION = 1
CLIPS = 100
SECOND = 50_000         # the clips from this number on are a set's second, disjoint list
FIRST = {"studio": 100_000, "wild": 200_000, "celeb": 300_000}   # in the split "check"
FROZEN = DATA / "benchmarks.json"
FULL = 32_768           # what a 16-bit sample is divided by

# of wild
ECHO, SPOILT = 0.5, 0.5             # shares of clips
SNR = (0.0, 15.0)                   # dB; in training 5 to 35, and half of the sounds are clean


def script(name, number, frames=FRAMES):
    """Everything of clip `number` of a set but its picture: a `Clip`. 0 .. 99 are the benchmark.

    A clip of another length shows the same face and says and does something else.
    Sounds are rounded to 16 bits, as they are in the files that other programs get.
    """
    g = clips.clip_generator("check", FIRST[name] + number)
    identity = sample_identities(1, g, shifted=name == "celeb")
    samples, phones = clips.soundtrack(frames, g, "held_out")
    prompts = clips.draw_prompts(frames, g, held_out=True)[:1]
    state = motion(visemes(phones, frames), clips.speaking(phones, frames), prompts, g)
    samples = sixteen_bits(samples) / FULL
    clip = Clip(samples, samples, phones, state, prompts, identity, None)
    return in_the_wild(clip, g) if name == "wild" else clip


def sixteen_bits(samples):
    """Samples as the integers of a 16-bit sound file."""
    return (samples * FULL).round().clamp(-FULL, FULL - 1).short()


def in_the_wild(clip, g):
    """A clip in a noisy room, lit from one side, half the time badly filmed as well."""
    sound = clip.samples
    if chance(g, ECHO):
        sound = reverberate(sound, uniform(g, 0.1, 0.5), g)
    loudness = max(sound.square().mean().sqrt().item(), 0.01)       # silence gets noise too
    noise = coloured_noise(len(sound), uniform(g, 0.0, 1.0), g)
    sound = sound + loudness * 10 ** (-uniform(g, *SNR) / 20) * noise
    side = 1 if chance(g, 0.5) else -1
    state = clip.state.clone()
    state[:, COL["key_x"]] = side * uniform(g, 0.5, 1.0)
    state[:, COL["key_y"]] = uniform(g, -1.0, 0.3)
    state[:, COL["key_strength"]] = uniform(g, 0.7, 1.0)
    spoilt = sample_degradation(g) if chance(g, SPOILT) else None
    return replace(clip, heard=sixteen_bits(sound) / FULL, state=state, degradation=spoilt)


def fingerprint(clip):
    """Eight hex digits of prompt, phones, face, motion and damage.

    Numbers are rounded, and the sound itself is left out, so that another processor's last bits
    do not count.
    """
    facts = [clip.prompts, [(symbol, round(start, 3), round(end, 3))
                            for symbol, start, end in clip.phones],
             clip.identity.categorical.tolist(), clip.degradation and clip.degradation.parts]
    digest = hashlib.sha256(json.dumps(facts).encode())
    for numbers in (clip.identity.continuous, clip.state):
        digest.update((numbers * 1000).round().int().numpy().tobytes())
    return digest.hexdigest()[:8]


def frozen():
    """What data/benchmarks.json holds."""
    return json.loads(FROZEN.read_text())


def version(name, fingerprints):
    """The version of a set as text, and a sentence of warning if its clips are others ("1+")."""
    kept = frozen()
    if kept["version"] != VERSION:
        return f"{VERSION}+", (f"{FROZEN.name} holds version {kept['version']} of the benchmarks "
                               f"and not {VERSION}; run 'python -m livetalk_ref.judge.sets'.")
    changed = [i for i, (a, b) in enumerate(zip(fingerprints, kept["sets"][name])) if a != b]
    if not changed:
        return str(VERSION), None
    return f"{VERSION}+", (
        f"{len(changed)} of {len(fingerprints)} clips of '{name}', such as {changed[0]}, are not "
        f"those of version {VERSION}: the world or a speech engine has changed, so do not compare "
        f"these figures with older ones; for new benchmarks raise VERSION in judge/sets.py and "
        f"run 'python -m livetalk_ref.judge.sets'.")


def freeze(path=FROZEN):
    """Write the fingerprints of all clips to data/benchmarks.json."""
    sets = {name: [fingerprint(script(name, i)) for i in range(CLIPS)] for name in FIRST}
    facts = {"made_by": "python -m livetalk_ref.judge.sets", "version": VERSION,
             "frames": FRAMES, "sets": sets}
    write_text(path, json.dumps(facts, indent=1) + "\n")


def encode_clip(codec, name, first, split, number):
    """Script, film and encode one clip -> the tensors and facts that a shard keeps."""
    return encode(codec, script(name, first + number))


def encode(codec, clip):
    """Film and encode a scripted clip -> the tensors and facts that a shard keeps."""
    with torch.inference_mode():
        latents = codec.encode(clips.film(clip)[None])[0]                # (F, C, h, w)
    row = {"latents": latents.half(), "audio": clip.audio.half(), "state": clip.state,
           "continuous": clip.identity.continuous[0], "categorical": clip.identity.categorical[0],
           "samples": sixteen_bits(clip.samples), "heard": sixteen_bits(clip.heard)}
    spoilt = clip.degradation and [clip.degradation.parts, clip.degradation.seed]
    return row, {"prompt": clip.prompts[0][1], "spoilt": spoilt,
                 "fingerprint": fingerprint(clip)}


@dataclass
class Benchmark:
    """The first N clips of a set: cached conditions and truth; pictures are drawn anew."""

    name: str
    data: LatentClips
    samples: torch.Tensor       # (N, 81000) clean sound
    heard: torch.Tensor         # (N, 81000) what the models hear
    facts: list                 # of every clip: prompt, damage, fingerprint
    codec: torch.nn.Module

    def __len__(self):
        return len(self.data)

    def clip(self, i):
        """Clip i as a `Clip`, without the phones."""
        spoilt = self.facts[i]["spoilt"]
        damage = spoilt and Degradation(tuple(map(tuple, spoilt[0])), spoilt[1])
        return Clip(self.samples[i], self.heard[i], [], self.data.state[i],
                    [(0, self.facts[i]["prompt"])], self.data.identity[i:i + 1], damage)

    def film(self):
        """Rendered truth, clip by clip: (81, 3, 96, 96)."""
        for i in range(len(self)):
            yield clips.film(self.clip(i))

    def decode(self, latents):
        """Latents (N, 21, C, h, w) as pictures, clip by clip: (81, 3, 96, 96)."""
        with torch.inference_mode():
            for z in latents:
                yield self.codec.decode(z[None].float())[0]


def cache(codec, folder="runs/latents"):
    """Where clips are kept, as long as the world, the ear and the codec's encoder stay."""
    return Path(folder) / cache_key(codec)


def build(codec, name, folder, count=CLIPS, second=False, workers=None):
    """Keep a set's first `count` clips in a folder, yielding shard paths; it can be resumed.

    second: of the disjoint list that measures how far two sets of truth are from each other.
    """
    split = f"{name}-{VERSION}" + ("-second" if second else "")
    make = partial(encode_clip, codec, name, SECOND if second else 0)
    yield from shards.build(folder, make, split, count, workers)


def load(codec, name, paths, count=CLIPS):
    """The first `count` clips of shards made by `build`: a `Benchmark`."""
    tensors, facts = shards.load(paths)
    t, facts = {k: v[:count] for k, v in tensors.items()}, facts[:count]
    data = LatentClips(t["latents"], t["audio"], t["state"],
                       Identity(t["continuous"], t["categorical"]),
                       torch.tensor([[0, NEVER]] * count),
                       torch.tensor([fact["spoilt"] is not None for fact in facts]),
                       [[fact["prompt"]] for fact in facts])
    return Benchmark(name, data, t["samples"] / FULL, t["heard"] / FULL, facts, codec)


if __name__ == "__main__":
    run_program(freeze)
