"""Clips of the world: who speaks, what is said and asked, what is drawn, and the whole truth.

A clip's number and split decide everything in it. `script` makes all but the picture, `film`
draws it. Training clips are a little longer than what the models see at once, so that windows
in mid-stream can be learned too. Letters: T video frames, S state columns, A audio features.
"""

from dataclasses import dataclass

import torch

from livetalk_ref.world.audio import augment
from livetalk_ref.world.degrade import Degradation, degrade, sample_degradation
from livetalk_ref.world.ear import AudioFeatures
from livetalk_ref.world.draw import render_clip
from livetalk_ref.world.identity import Identity, sample_identities
from livetalk_ref.world.motion import motion
from livetalk_ref.world.prompts import pick, sample_prompt
from livetalk_ref.world.speech import VOICES, say, sentences, voices
from livetalk_ref.world.state import SAMPLES_PER_FRAME
from livetalk_ref.world.visemes import visemes

FRAMES = 81           # what a model sees at once: 21 latent frames
LONG_FRAMES = 105     # a training clip: 27 latent frames
IDLE = 0.10           # share of clips without any speech; pauses make it a fifth of all frames
DEGRADED = 0.30       # share of raw training clips that are spoiled, with their reference
VAGUE = 0.20          # share of prompts that name only looks
SWITCH = 0.25         # share of clips whose prompt changes on the way
NATURAL = 0.30        # share of spoken clips with a voice of the natural engine ..
RARE, PATIENCE = 0.05, 1024     # .. and what it is after so many clips, for that engine is slow
MIXED = 0.5           # share of training sentences that are random words of several
SPLITS = {"train": 0, "held_out": 1, "check": 2}   # check: a second, disjoint held-out set


@dataclass(frozen=True)
class Clip:
    """One clip and its truth; frames are (T, 3, H, W) in [-1, 1] once filmed."""

    samples: torch.Tensor              # (1000 T,) sound at 16 kHz
    heard: torch.Tensor                # the sound as the models hear it: augmented in training
    phones: list                       # [(symbol, start s, end s)]
    state: torch.Tensor                # (T, S) everything that moves
    prompts: list                      # [(start frame, prompt)]
    identity: Identity                 # one face
    degradation: Degradation | None

    @property
    def audio(self):
        """(T, A) audio rows of what is heard."""
        return AudioFeatures().rows(self.heard, len(self.state))


def clip_generator(split, number, seed=0):
    """The randomness of one clip, distinct for every split and number."""
    return torch.Generator().manual_seed((seed * 8 + SPLITS[split]) * 10_000_019 + number)


def script(split, number, frames=LONG_FRAMES, degraded=DEGRADED, shifted=False):
    """Everything of a clip but its picture. `degraded` is the chance that it is spoiled."""
    g = clip_generator(split, number)
    held_out = split != "train"
    identity = sample_identities(1, g, shifted)
    samples, phones = soundtrack(frames, g, "held_out" if held_out else "train",
                                 NATURAL if number < PATIENCE or held_out else RARE)
    mouth = visemes(phones, frames)                                      # (T, 3)
    prompts = draw_prompts(frames, g, held_out)
    state = motion(mouth, speaking(phones, frames), prompts, g)
    spoiled = sample_degradation(g) if chance(g, degraded) else None
    heard = samples if held_out else augment(samples, g)
    return Clip(samples, heard, phones, state, prompts, identity, spoiled)


def film(clip):
    """The picture of a scripted clip: (T, 3, H, W) in [-1, 1]."""
    return draw(clip.identity, clip.state, clip.degradation)


def draw(identity, state, damage):
    """The picture of one face in states (T, S), with a `Degradation` or None: as `film`."""
    frames = render_clip(identity, state)
    if damage is None:
        return frames
    return degrade(frames, damage, torch.Generator().manual_seed(damage.seed))


def chance(g, probability):
    return torch.rand((), generator=g).item() < probability


def uniform(g, low, high):
    return low + (high - low) * torch.rand((), generator=g).item()


def soundtrack(frames, g, split, natural=NATURAL):
    """Sentences of one voice with pauses between: (1000 T,) samples and all phones.

    natural: the chance of a voice of the natural engine.
    """
    samples = torch.zeros(frames * SAMPLES_PER_FRAME)
    phones, position = [], round(16_000 * uniform(g, 0.0, 0.9))
    if chance(g, IDLE):
        return samples, phones
    voice, rate, pitch = pick_voice(g, split, natural), uniform(g, 0.85, 1.2), uniform(g, 0.85, 1.2)
    loudness = uniform(g, 0.3, 1.0)
    while position < len(samples):
        spoken = say(line(g, split), voice, rate, pitch)
        part = spoken.samples[:len(samples) - position]
        samples[position:position + len(part)] = loudness * part
        start = position / 16_000
        phones += [(symbol, start + a, start + b) for symbol, a, b in spoken.phones]
        position += len(part) + round(16_000 * uniform(g, 0.4, 1.6))
    return samples, phones


def line(g, split):
    """What is said: a sentence of the split or, in training, words of many: more neighbours for
    every sound than the sentences have."""
    if split == "held_out" or not chance(g, MIXED):
        return pick(sentences(split), g)
    return " ".join(pick(pick(sentences(split), g).split(), g) for _ in range(8))


def pick_voice(g, split, natural):
    """A voice of the split; the few natural ones come up more often than their number says."""
    engine = "natural" if chance(g, natural) else "espeak"
    return pick([name for name in voices(split) if VOICES[name][0] == engine], g)


def speaking(phones, frames):
    """(T,) bool: is a sentence under way in this frame, short gaps included?"""
    now = torch.zeros(frames, dtype=torch.bool)
    for symbol, start, end in phones:
        if symbol:
            now[max(0, int(start * 16) - 1):int(end * 16) + 2] = True
    return now


def draw_prompts(frames, g, held_out):
    """One prompt, or two with a change somewhere in the middle: [(start frame, prompt)]."""
    def one():
        return sample_prompt(g, held_out=held_out, vague=chance(g, VAGUE))

    prompts = [(0, one())]
    if chance(g, SWITCH):
        prompts.append((round(uniform(g, 0.25, 0.75) * frames), one()))
    return prompts
