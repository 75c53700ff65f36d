"""LSE-D and LSE-C proper, for those who have the original SyncNet: a file by path, as originals.py.

The lip-sync errors of the literature are the distance and the confidence of the SyncNet of Chung
and Zisserman (2016, "Out of time"). It is a TorchScript file with two methods:

    forward_lip   five pictures in a row at 25 a second (N, 3, 5, 224, 224), float in 0 .. 255,
                  channels blue, green, red as the original reads them            -> (N, D)
    forward_aud   the sound of the same 0.2 s (N, 1, 13, 20): 13 coefficients at 20 steps of
                  10 ms, with the numbers that the original makes of 16 bits at 16 kHz -> (N, D)

`torch.jit.trace_module(net, {"forward_lip": x, "forward_aud": y})` makes one of the original. What
is around the towers is the original's too, but for two things. It follows a face with a detector
and cuts there; our pictures are portraits, so one square is cut from all (CROP). And our frames
come at 16 a second, so each picture is the frame nearest to its moment. Of drawn faces, 64 pixels
wide, these numbers compare with each other only, not with those of photographs.
Letters: T frames at 16 a second, n pictures at 25, L samples, M steps of the sound, N windows.
"""

import math
from functools import cache

import torch
import torch.nn.functional as F
from torchaudio.functional import create_dct, preemphasis

from livetalk_ref.errors import UserError
from livetalk_ref.judge.sets import sixteen_bits
from livetalk_ref.judge.sync import FRAMES, REACH, SPOKEN, SyncReading, log_mel, speech
from livetalk_ref.media import to_bytes
from livetalk_ref.world.state import FPS, SAMPLE_RATE

RATE = 25                       # pictures a second
CROP = (7 / 24, 1 / 6, 2 / 3)   # top, left, side: forehead to chin, and as in the original 0.4 of
SIDE = 224                      # that below the chin, a square; in shares of a picture's side
HOP, WINDOW, FFT = 160, 400, 512                # samples
BANDS, COEFFICIENTS, LIFTER = 26, 13, 22
STEPS = 20                      # of the sound in a window
BATCH = 20                      # windows at a time
SHAPES = {"forward_lip": (3, FRAMES, SIDE, SIDE), "forward_aud": (1, COEFFICIENTS, STEPS)}


@torch.inference_mode()
def check(net, path):
    """The same SyncNet, tried on nothing. UserError for a file that has not the form above."""
    where = "the form that livetalk_ref/judge/lip_expert.py states"
    missing = [name for name in SHAPES if not hasattr(net, name)]
    if missing:
        raise UserError(f"'{path}' has no method {missing[0]}; save the SyncNet in {where}.")
    try:
        made = [getattr(net, name)(torch.zeros(2, *shape)).shape for name, shape in SHAPES.items()]
    except (RuntimeError, TypeError, AttributeError, torch.jit.Error) as error:
        raise UserError(f"'{path}' does not take pictures or sound in {where}.") from error
    if made[0] != made[1] or len(made[0]) != 2 or made[0][0] != 2:
        raise UserError(f"'{path}' makes {tuple(made[0])} of two windows of lips and "
                        f"{tuple(made[1])} of their sound, not (2, D) of both; save the SyncNet "
                        f"in {where}.")
    return net


@torch.inference_mode()
def read(net, frames, samples):
    """What the SyncNet says of frames (T, 3, H, W) in [-1, 1] with samples (1000 T,).

    A `SyncReading`: distance is LSE-D, confidence LSE-C, offset in pictures at 25 a second. All
    of it is None where our own SyncNet would say nothing either, because too little is said.
    """
    if speech(log_mel(samples)).sum() < SPOKEN:
        return SyncReading()
    sound = mfcc(samples)                                                # (13, M)
    count = len(samples) * RATE // SAMPLE_RATE - FRAMES                  # N, the original's number
    lips = pictures(frames, count + FRAMES).unfold(1, FRAMES, 1)         # (3, N + 1, h, w, 5)
    lips = lips.permute(1, 0, 4, 2, 3)[:count]                           # (N, 3, 5, h, w)
    step = SAMPLE_RATE // RATE // HOP                                    # 4 for every picture
    heard = sound.unfold(1, STEPS, step).transpose(0, 1)[:count, None]   # (N, 1, 13, 20)
    curve = offset_curve(towers(net.forward_lip, lips), towers(net.forward_aud, heard))
    distance, best = curve.min(dim=0)
    return SyncReading((curve.median() - distance).item(), distance.item(),
                       best.item() - REACH, curve)


def towers(forward, windows):
    """What a tower makes of windows (N, ..), some at a time: (N, D)."""
    return torch.cat([forward(some.contiguous()).float() for some in windows.split(BATCH)])


def offset_curve(seen, heard):
    """Mean distance of (N, D) and (N, D) when the picture is -15 .. 15 pictures late: (31,).

    As in the original all windows count at all offsets: beside the clip every vector is 0.
    """
    heard = F.pad(heard, (0, 0, REACH, REACH))                           # (N + 30, D)
    return torch.stack([F.pairwise_distance(seen, heard[REACH - k:REACH - k + len(seen)]).mean()
                        for k in range(-REACH, REACH + 1)])


def pictures(frames, count):
    """Frames (T, 3, H, W) at 16 a second -> (3, n, 224, 224) at 25, cut to the face, in 0 .. 255.

    Picture j shows the frame nearest to j / 25 s; frame i's moment is i / 16 s.
    """
    top, left, side = (round(share * frames.shape[-1]) for share in CROP)
    faces = to_bytes(frames[..., top:top + side, left:left + side]).float()
    faces = F.interpolate(faces.flip(1), (SIDE, SIDE), mode="bilinear")  # blue, green, red
    nearest = (torch.arange(count) * FPS / RATE).round().long()
    return faces[nearest].transpose(0, 1)


def mfcc(samples):
    """Samples (L,) in [-1, 1] -> mel-frequency cepstral coefficients (13, M), every 10 ms.

    The original's: step m is of samples 160 m .. 160 m + 399 as 16-bit integers, without a
    window; the first coefficient gives way to the logarithm of the power.
    """
    least = torch.finfo(torch.float64).eps
    sound = preemphasis(sixteen_bits(samples).double(), 0.97)
    power = torch.fft.rfft(sound.unfold(0, WINDOW, HOP), FFT).abs().square() / FFT   # (M, 257)
    bands = (power @ bank()).clamp(min=least).log()                      # (M, 26)
    cepstrum = bands @ create_dct(COEFFICIENTS, BANDS, "ortho").double()             # (M, 13)
    order = torch.arange(COEFFICIENTS)
    cepstrum = cepstrum * (1 + LIFTER / 2 * (math.pi * order / LIFTER).sin())
    cepstrum[:, 0] = power.sum(1).clamp(min=least).log()
    return cepstrum.T.float()


@cache
def bank():
    """Triangles of 26 bands evenly spaced in mel, their corners on whole bins: (257, 26)."""
    highest = 2595 * math.log10(1 + SAMPLE_RATE / 2 / 700)
    mel = torch.linspace(0, highest, BANDS + 2, dtype=torch.float64)
    corners = ((FFT + 1) * 700 * (10 ** (mel / 2595) - 1) / SAMPLE_RATE).floor()     # (28,)
    low, middle, high = corners[:-2], corners[1:-1], corners[2:]
    bins = torch.arange(FFT // 2 + 1)[:, None]
    return torch.minimum((bins - low) / (middle - low), (high - bins) / (high - middle)).clamp(0)
