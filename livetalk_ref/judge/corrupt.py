"""Known damage to a clip: what the judges must notice, the more the stronger it is.

A corruption takes frames (T, 3, H, W) in [-1, 1], samples (1000 T,), a strength and a
torch.Generator, and returns new frames and samples. Strength 0 changes nothing, 1 is the worst,
and with one seed the stronger damage is more of the same. Frame 0 is the given reference and is
never touched.
"""

from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F

from livetalk_ref.world import clips
from livetalk_ref.world.identity import sample_identities
from livetalk_ref.world.state import SAMPLES_PER_FRAME, SIZE

SHUFFLED = 8 * SAMPLES_PER_FRAME    # samples of the windows that change places: half a second
LATEST = 8 * SAMPLES_PER_FRAME      # samples by which sound is delayed at most
LOUDEST = 0.15                      # standard deviation of the strongest flicker
CELLS = 6                           # flicker comes in this many patches a side
FADE = 8                            # frames of a fade
TINT = 0.4                          # length of the strongest colour shift


def shuffled_audio(frames, samples, strength, generator):
    """A share of the sound's half seconds change places."""
    count = len(samples) // SHUFFLED
    chosen = torch.randperm(count, generator=generator)[:round(strength * count)]
    source = torch.arange(count)
    source[chosen] = chosen.roll(1)
    parts = samples[:count * SHUFFLED].view(count, SHUFFLED)[source]
    return frames, torch.cat([parts.flatten(), samples[count * SHUFFLED:]])


def delayed_audio(frames, samples, strength, generator):
    """The sound comes up to 8 frames late, after silence."""
    late = round(strength * LATEST)
    return frames, F.pad(samples, (late, 0))[:len(samples)]


def dropped_frames(frames, samples, strength, generator):
    """Every frame is lost with this probability; the one before stays on the screen."""
    lost = torch.rand(len(frames), generator=generator) < strength
    lost[0] = False
    shown = torch.arange(len(frames)).masked_fill(lost, 0).cummax(0).values
    return frames[shown], samples


def freeze(frames, samples, strength, generator):
    """The last share of the clip is one held frame."""
    stop = round((1 - strength) * (len(frames) - 1))
    return frames[torch.arange(len(frames)).clamp(max=stop)], samples


def added_flicker(frames, samples, strength, generator):
    """Patches of every frame become brighter or darker at random, each colour by itself."""
    noise = torch.randn(len(frames), 3, CELLS, CELLS, generator=generator)
    noise = F.interpolate(noise, frames.shape[-2:], mode="bilinear")    # (T, 3, H, W)
    return keep_first(frames, frames + LOUDEST * strength * noise), samples


def fade_to_black(frames, samples, strength, generator):
    """The last share of the clip fades out within 8 frames and stays black."""
    start = (1 - strength) * (len(frames) - 1)
    light = 1 - ((torch.arange(len(frames)) - start) / FADE).clamp(0, 1)
    return keep_first(frames, (frames + 1) * light[:, None, None, None] - 1), samples


def blur(frames, samples, strength, generator):
    """Detail is that of a smaller picture, of a tenth of the size at worst."""
    small = [max(1, round((1 - 0.9 * strength) * side)) for side in frames.shape[-2:]]
    coarse = F.interpolate(frames, small, mode="bilinear", antialias=True)
    return keep_first(frames, F.interpolate(coarse, frames.shape[-2:], mode="bilinear")), samples


def colour_shift(frames, samples, strength, generator):
    """From a third of the clip on all colours are shifted, no brighter and no darker."""
    tint = torch.randn(3, 1, 1, generator=generator)
    tint = tint - tint.mean()
    late = torch.arange(len(frames)) >= len(frames) // 3
    shift = TINT * strength * tint / tint.norm() * late[:, None, None, None]
    return keep_first(frames, frames + shift), samples


def identity_swap(other, frames, samples, strength, generator):
    """The face turns into another one, more and more: other (T, 3, H, W), see `another_face`."""
    share = strength * torch.linspace(0, 1, len(frames))[:, None, None, None]
    return torch.lerp(frames, other, share), samples


def keep_first(frames, damaged):
    """Damaged frames in [-1, 1], but for the reference."""
    return torch.cat([frames[:1], damaged[1:].clamp(-1, 1)])


def another_face(clip, generator, size=SIZE):
    """Somebody else who does all that the person in a scripted clip does: (T, 3, size, size)."""
    return clips.film(replace(clip, identity=sample_identities(1, generator)), size)


def corruptions(other):
    """All corruptions by name; other: the frames of another face, for the identity swap."""
    return {"shuffled audio": shuffled_audio, "delayed audio": delayed_audio,
            "dropped frames": dropped_frames, "added flicker": added_flicker,
            "fade to black": fade_to_black, "blur": blur, "freeze": freeze,
            "colour shift": colour_shift, "identity swap": partial(identity_swap, other)}
