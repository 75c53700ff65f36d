"""The SyncNet, which hears and sees whether lips go with a sound: net, judgement, training.

After Chung and Zisserman (2016, "Out of time"): one tower sees five frames of the lower face,
one hears the same 0.3125 s, and both give a vector of unit length; vectors that belong together
are close. Trained on rendered truth only, never on generated video. Letters: B clips, T frames,
n = T - 4 windows, D dimensions, M mel bands.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from livetalk_ref.errors import UserError
from livetalk_ref.media import floats_of, to_bytes
from livetalk_ref.world import clips, shards
from livetalk_ref.world.audio import (FLOOR, GATE, HOP, LOUDEST_GAIN, MEAN, MELS, SCALE, STEPS,
                                      TARGET, WINDOW, bank)
from livetalk_ref.world.state import SAMPLES_PER_FRAME, SIZE

FRAMES = 5                      # video frames of a window
CROPS = {96: (44, 92, 8, 88), 64: (28, 60, 8, 56)}
TOP, BOTTOM, LEFT, RIGHT = CROPS[SIZE]      # the part of a picture where the mouth always is
LENGTH = 65                     # frames of a training clip
LOUDER = 0.15                   # mel units by which speech, not noise, rises over its ground
SPOKEN = 16                     # frames of speech a clip needs, or it has no sync: 1 s
REACH = 15                      # offsets of -15 .. 15 frames are tried, as in the original
SHORTEST = FRAMES - 1 + 2 * (REACH + 1)     # frames of a clip: 2.25 s


@dataclass(frozen=True)
class SyncConfig:
    """The size of a `SyncNet`; saved beside its weights."""

    seen: tuple = (48, 64, 96)      # channels of the picture at 1/4, 1/8 and 1/16 of its size
    heard: tuple = (32, 64, 96)     # channels of the sound at 1/2, 1/4 and 1/8 of its bands
    hidden: int = 96
    embedding: int = 64


class SyncNet(nn.Module):
    """Two towers of convolutions. Each runs over a whole clip at once: five frames meet in one
    layer without padding, so that a window's vector depends on that window alone."""

    def __init__(self, config=SyncConfig()):
        super().__init__()
        self.config = config
        (a, b, c), hidden = config.seen, config.hidden
        rest = ((BOTTOM - TOP) // 16, (RIGHT - LEFT) // 16)
        self.eye = nn.Sequential(                                        # (B T, 3, 48, 80)
            nn.PixelUnshuffle(4), nn.Conv2d(48, a, 3, padding=1), nn.SiLU(),
            nn.Conv2d(a, b, 3, stride=2, padding=1), nn.SiLU(),
            nn.Conv2d(b, c, 3, stride=2, padding=1), nn.SiLU(),
            nn.Conv2d(c, hidden, rest), nn.SiLU())                       # (B T, hidden, 1, 1)
        self.eye_windows = head(hidden, (FRAMES, 1), config)
        a, b, c = config.heard
        self.ear = nn.Sequential(                                        # (B, 1, 4T, M)
            nn.Conv2d(1, a, (4, 5), stride=2, padding=(0, 2)), nn.SiLU(),    # (B, a, 2T - 1, M/2)
            nn.Conv2d(a, b, 3, stride=2, padding=(0, 1)), nn.SiLU(),         # (B, b, T - 1, M/4)
            nn.Conv2d(b, c, (1, 3), stride=(1, 2), padding=(0, 1)), nn.SiLU())
        self.ear_windows = head(c, (4, MELS // 8), config)
        self.log_scale = nn.Parameter(torch.tensor(2.5))                 # of 1 / temperature

    def see(self, crops):
        """Cropped frames (B, T, 3, h, w) in [-1, 1] -> (B, n, D), each of unit length."""
        each = self.eye(crops.flatten(0, 1)).view(*crops.shape[:2], -1)  # (B, T, hidden)
        return unit(self.eye_windows(each.transpose(1, 2)[..., None]))

    def hear(self, mel):
        """Spectra (B, 4T, M) -> (B, n, D), each of unit length."""
        return unit(self.ear_windows(self.ear(mel[:, None])))


def head(width, window, config):
    """The last layers of a tower: everything in a window meets, without padding."""
    return nn.Sequential(nn.Conv2d(width, config.hidden, window), nn.SiLU(),
                         nn.Conv2d(config.hidden, config.embedding, 1))


def unit(x):
    """(B, D, n, 1) of any length -> (B, n, D) of length 1."""
    return F.normalize(x.float()[..., 0].transpose(1, 2), dim=-1)


def crop(frames):
    """The part of pictures (..., 96, 96) where the mouth always is: (..., h, w)."""
    return frames[..., TOP:BOTTOM, LEFT:RIGHT]


def log_mel(samples):
    """Samples (1000 T,) -> (4T, M), loudness-normalised over the clip.

    Rows 4i .. 4i + 3 are centred 500 and 250 samples before the moment of frame i, on it and 250
    after it. Unlike the rows the models see, they look neither back nor ahead: what a model may
    hear does not decide what counts as in step.
    """
    block = samples.view(-1, SAMPLES_PER_FRAME).square().mean(1).sqrt()  # (T,)
    loud = block[block > GATE]
    level = loud.square().mean().sqrt() if len(loud) else block.new_tensor(TARGET)
    sound = samples * (TARGET / level).clamp(max=LOUDEST_GAIN)
    spectrum = torch.stft(F.pad(sound, (2 * HOP, 0)), WINDOW, HOP, pad_mode="constant",
                          window=torch.hann_window(WINDOW, device=samples.device),
                          return_complex=True)[:, :STEPS * len(block)]   # (257, 4T)
    power = spectrum.abs().square().T @ bank().to(samples.device)
    return ((power + FLOOR).log() - MEAN) / SCALE                        # (4T, M)


def speech(mel):
    """(4T, M) -> (T,) bool: which frames rise over the clip's quiet ground, be it noise?"""
    level = mel.view(-1, STEPS * MELS).mean(1)                           # (T,)
    return level > level.quantile(0.1) + LOUDER


# What it says of a clip.

@dataclass(frozen=True)
class SyncReading:
    """What the judge says of a clip. Everything is None where too little is said to be judged."""

    confidence: float | None = None     # Sync-C: median minus minimum of the curve; more is better
    distance: float | None = None       # Sync-D: minimum of the curve, 0 .. 2; less is better
    offset: int | None = None           # frames by which the picture is later than the sound
    curve: torch.Tensor | None = None   # (31,) mean distance at offsets -15 .. 15


def lip_numbers(net, frames, samples):
    """The columns of a clip, as `sync` finds them: {name in DEFINITIONS: value}."""
    found = sync(net, frames, samples)
    return {"Sync-C": found.confidence, "Sync-D": found.distance, "Sync offset": found.offset}


@torch.inference_mode()
def sync(net, frames, samples):
    """How well the lips of frames (T, 3, 96, 96) go with samples (1000 T,): a `SyncReading`.

    Distances are of vectors of unit length, so they compare with each other only, not with those
    of the original. UserError for a clip under 2.25 s, other sizes, or sound of another length.
    """
    if tuple(frames.shape[1:]) != (3, SIZE, SIZE):
        raise UserError(f"The judge of lip sync reads frames of shape (T, 3, {SIZE}, {SIZE}), "
                        f"not {tuple(frames.shape)}; resize them.")
    if len(frames) < SHORTEST:
        raise UserError(f"Lip sync needs a clip of at least {SHORTEST} frames, not {len(frames)}.")
    if len(samples) != SAMPLES_PER_FRAME * len(frames):
        raise UserError(f"{len(frames)} frames need {SAMPLES_PER_FRAME * len(frames)} samples, "
                        f"not {len(samples)}: cut the sound, or add silence.")
    mel = log_mel(samples)
    if speech(mel).sum() < SPOKEN:
        return SyncReading()
    curve = offset_curve(net.see(crop(frames)[None])[0], net.hear(mel[None])[0])
    distance, best = curve.min(dim=0)
    return SyncReading((curve.median() - distance).item(), distance.item(),
                       best.item() - REACH, curve)


def offset_curve(seen, heard):
    """Mean distance of (n, D) and (n, D) when the picture is -15 .. 15 frames late: (31,)."""
    count = len(seen)
    return torch.stack([                                                 # window i - k was heard
        (seen[max(k, 0):count + min(k, 0)] - heard[max(-k, 0):count + min(-k, 0)])
        .norm(dim=1).mean() for k in range(-REACH, REACH + 1)])


# How it is trained.

def sync_loss(net, crops, mel):
    """InfoNCE (van den Oord et al. 2018) both ways over all windows of a batch.

    crops (B, T, 3, h, w), mel (B, 4T, M). Each window must find its own sound among those of its
    own clip at other offsets and those of other clips, and each sound its window.
    """
    seen, heard = net.see(crops).flatten(0, 1), net.hear(mel).flatten(0, 1)      # (B n, D)
    with torch.autocast(seen.device.type, enabled=False):
        logits = net.log_scale.clamp(max=4.6).exp() * seen @ heard.T             # (B n, B n)
    own = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def make(split, number):
    """A training row: the crop of a clip's 65 frames as bytes, and the spectra of its sound."""
    clip = clips.script(split, number, LENGTH)
    with torch.inference_mode():
        frames = crop(clips.film(clip))
    return {"crops": to_bytes(frames), "mel": log_mel(clip.heard).half()}, []


def build(split, count):
    """Make `count` rows of a split, yielding shard paths."""
    key = f"{shards.cache_name()}-{TOP}-{BOTTOM}-{LEFT}-{RIGHT}"
    return shards.build(f"runs/sync/{key}", make, split, count)


@dataclass
class SyncClips:
    """Spoken clips in memory: crops (N, 65, 3, h, w) uint8, mel (N, 260, M)."""

    crops: torch.Tensor
    mel: torch.Tensor

    @staticmethod
    def load(paths):
        """Rows of shards, without those in which too little is said."""
        rows, _ = shards.load(paths)
        spoken = [i for i, mel in enumerate(rows["mel"]) if speech(mel.float()).sum() >= SPOKEN]
        return SyncClips(rows["crops"][spoken], rows["mel"][spoken])

    def __len__(self):
        return len(self.crops)

    def batch(self, count, g):
        """Random clips, some mirrored, each in its own light: crops and mel for `sync_loss`."""
        some = torch.randint(len(self), (count,), generator=g)
        mirrored, gain, light = torch.rand(3, count, 1, 1, 1, 1, generator=g)
        x = floats_of(self.crops[some])                                  # (count, 65, 3, h, w)
        x = torch.where(mirrored < 0.5, x.flip(-1), x)
        return x * (0.8 + 0.4 * gain) + 0.3 * (light - 0.5), self.mel[some].float()
