"""The numbers of a clip, and their definitions: does the mouth follow, is it still this face, do
the pictures hold?

Frames (T, 3, H, W) are in [-1, 1]; differences of pictures are told in 1/255. Readings come from
our face reader. Numbers that do not apply to a clip are None. Sets are compared in distances.py.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F

from livetalk_ref.codec import GROUP
from livetalk_ref.world.prompts import parse
from livetalk_ref.world.state import COL, EXPRESSIONS, SAMPLES_PER_FRAME

START = 8         # frames in which the reference still shows through
SETTLED = 16      # frames after a prompt begins, before its expression is judged
VOICED = 0.05     # a clip whose mouth moves less than this (standard deviation) is silent
LEVELS = 127.5    # from [-1, 1] to 1/255
BLACK = 0.05      # of white: a frame whose mean is darker is black
HELD = 0.2        # of truth's usual movement: a frame that moves less than this is held
FEW = 0.02        # of the picture: so few still places would say nothing
CALMEST = 0.01    # (1/255)^2, so that a perfect codec's flicker divides nothing by zero
QUIET = 0.02      # of the loudest frame; what is below counts as silence


class Definition(NamedTuple):
    """What a number is."""

    unit: str
    better: str         # higher, lower, or close to truth
    meaning: str


DEFINITIONS = {name: Definition(*row) for name, row in {
    # does the mouth follow the sound, the face the prompt?
    "open correlation": ("r", "higher", "Correlation of the mouth opening that the reader sees "
                         "with the true one; clips in which nobody speaks have none."),
    "width correlation": ("r", "higher", "Correlation of the mouth width that the reader "
                          "sees with the true one."),
    "Sync-C": ("distance", "higher", "SyncNet's confidence: the median over offsets of -15 .. 15 "
               "frames of the distance between sound and lips, minus its minimum."),
    "Sync-D": ("distance", "lower", "SyncNet's distance between sound and lips at the best "
               "offset."),
    "Sync offset": ("frames", "close to truth", "The offset at which SyncNet's distance is "
                    "smallest; positive means late lips."),
    "expression right": ("share", "higher", "Prompts whose expression most frames show from 16 "
                         "frames after the prompt on."),
    # is it still this person?
    "identity cosine": ("cosine", "higher", "Mean likeness of all frames to the reference in the "
                        "reader's embedding of identities."),
    "whole faces": ("share", "higher", "Frames whose eyes, nose, mouth and glasses are there, "
                    "single and sharp, as a network says that was trained on rendered faces."),
    "longest break": ("s", "lower", "The longest run of frames whose face is not whole."),
    # do the pictures hold?
    "sharpness": ("1/255", "close to truth", "Mean absolute difference of neighbouring pixels."),
    "motion": ("1/255", "close to truth", "Mean absolute difference of a pixel from frame "
               "to frame."),
    "colour drift": ("1/255", "lower", "How far the mean colour of places that never move in the "
                     "truth has gone from the reference's in the clip's second half."),
    "colour jump": ("1/255", "lower", "The largest change of colour from one frame to the next "
                    "that most still places share."),
    "flicker": ("times the codec's", "lower", "Temporal high-frequency energy of still places, "
                "relative to that of the truth through the codec."),
    "black frames": ("share", "lower", "Frames with a mean under 5 % of white."),
    "exposure collapse": ("stops", "lower", "Mean distance of a frame's brightness from the "
                          "reference's; a stop is half or twice as bright."),
    "contrast": ("of the reference's", "close to truth", "Mean over frames of a frame's standard "
                 "deviation over the reference's."),
    "freeze rate": ("share", "lower", "Frames that are like the one before or four before (a codec "
                    "group) to a fifth of what is usual in the truth, among those in which the "
                    "truth moves."),
    # sets of clips
    "frechet": ("squared features", "lower", "Fréchet distance to the truth as it is rendered, of "
                "32 features that our face reader takes from a frame; the truth through the codec, "
                "which no model of its latents can beat, stands beside it; no FID."),
    "clip frechet": ("squared deviations", "lower", "Fréchet distance to the truth of mean, spread "
                     "and step size of the reader's 10 strongest features in a clip, in standard "
                     "deviations of the truth; no FVD."),
    "diversity": ("features", "close to truth", "Mean distance, frame by frame in the reader's "
                  "features, between clips of one condition and different seeds."),
}.items()}


@dataclass(frozen=True)
class Truth:
    """What the numbers of a clip are compared with."""

    state: torch.Tensor         # (T, S)
    moves: torch.Tensor         # (T - 4,) see `movement`
    still: torch.Tensor         # (H, W) bool: where nothing ever moves
    codec: float | None         # `restlessness` of the truth through the codec there, None where
                                # too few places are still

    @staticmethod
    def of(state, frames, coded):
        """From state (T, S), rendered frames and the same through the codec, (T, 3, H, W)."""
        still = still_places(frames)
        codec = None if still.float().mean() < FEW else restlessness(coded, still)
        return Truth(state.float(), movement(frames), still, codec)


def face_numbers(reading, state):
    """What the face reader's `Reading` of a clip says beside the true state (T, S)."""
    row = {f"{name} correlation": mouth_correlation(
        reading.column(f"mouth_{name}"), state[:, COL[f"mouth_{name}"]])
        for name in ("open", "width")}
    alike = reading.identity[1:] @ reading.identity[0]                  # (T - 1,)
    return row | {"identity cosine": alike.mean().item()}


def picture_numbers(frames, truth):
    """What the pictures themselves say beside a `Truth`."""
    row = {"sharpness": sharpness(frames[START:]),
           "motion": change(frames[START:]).mean().item(),
           "black frames": (brightness(frames) < BLACK).float().mean().item(),
           "exposure collapse": exposure(frames).mean().item(),
           "contrast": contrast(frames[START:], frames[0]),
           "freeze rate": freeze_rate(movement(frames), truth.moves)}
    names = ("colour drift", "colour jump", "flicker")
    if truth.codec is None:
        return row | dict.fromkeys(names)
    still = truth.still
    values = (colour_drift(frames, still), colour_jump(frames, still),
              restlessness(frames, still) / max(truth.codec, CALMEST))
    return row | dict(zip(names, values))


def correlation(a, b):
    """Pearson correlation of two tracks (T,)."""
    a, b = a - a.mean(), b - b.mean()
    return (a @ b / (a.norm() * b.norm() + 1e-9)).item()


def mouth_correlation(read, truth, start=4):
    """Read against true mouth column, (T,) each, without the first frames; None when silent."""
    read, truth = read[start:].float(), truth[start:].float()
    return correlation(read, truth) if truth.std() > VOICED else None


def sharpness(frames):
    """Mean absolute difference of neighbouring pixels, in 1/255."""
    x = frames.float() * LEVELS
    return (x.diff(dim=-1).abs().mean() + x.diff(dim=-2).abs().mean()).item()


def change(frames, lag=1):
    """Mean absolute difference of every frame to the one `lag` before, in 1/255: (T - lag,)."""
    return (frames[lag:].float() - frames[:-lag].float()).abs().mean((1, 2, 3)) * LEVELS


def movement(frames):
    """How much frames 4 .. T - 1 differ from the one before or four before, the less of both: a
    standing latent is decoded to the same four frames over and over. (T - 4,)"""
    return torch.minimum(change(frames)[GROUP - 1:], change(frames, GROUP))


def freeze_rate(moves, truth):
    """Share of held frames among those in which the truth moves, from both `movement`s (T - 4,)."""
    least = HELD * truth.median()
    moving = truth > least
    return (moves[moving] < least).float().mean().item() if moving.any() else None


def exposure(frames):
    """How far every frame's brightness is from the reference's, (T,) in stops: one stop is half or
    twice as bright, black is seven or so away."""
    level = (brightness(frames) + 1 / 255).log2()                       # (T,)
    return (level - level[0]).abs()


def contrast(frames, reference):
    """Mean standard deviation of frames over that of the reference (3, H, W): near 0 is grey."""
    return (frames.flatten(1).std(1).mean() / reference.std()).item()


def brightness(frames):
    """Mean of every frame, 0 black .. 1 white: (T,)."""
    return frames.float().mean((1, 2, 3)) / 2 + 0.5


def still_places(frames, tolerance=0.5):
    """Where rendered truth (T, 3, H, W) never changes by more than `tolerance` / 255: (H, W)."""
    span = frames.amax(0) - frames.amin(0)
    return (span.amax(0) * LEVELS) < tolerance


def colour_drift(frames, still):
    """How far the colour of still places (H, W) has gone from the reference's, in 1/255."""
    # Usual colours, for a passing hand does not count; their mean, for lost detail does not.
    late = frames[len(frames) // 2:].float().median(dim=0).values       # (3, H, W)
    return (late - frames[0])[:, still].mean(1).norm().item() * LEVELS


def colour_jump(frames, still):
    """The largest change from one frame to the next that most still places share, in 1/255."""
    steps = frames.float()[:, :, still].diff(dim=0)                     # (T - 1, 3, P)
    return steps.median(dim=2).values.norm(dim=1).max().item() * LEVELS


def restlessness(frames, still):
    """Temporal high-frequency energy of still places, in (1/255)^2: a frame's difference from the
    mean of its neighbours, squared, over all time (one jump counts) at the median place."""
    x = frames.float()[:, :, still] * LEVELS                             # (T, 3, P)
    high = x[1:-1] - (x[:-2] + x[2:]) / 2
    return high.square().mean((0, 1)).median().item()


def expressions_right(reading, asked):
    """Share of asked expressions, [(first frame, end, name)], that most of their settled frames
    show; None where all are too short to be judged."""
    shown, right = reading.expression(), []
    for first, end, name in asked:
        part = shown[first + SETTLED:end]
        if len(part) >= 4:
            right.append((part == EXPRESSIONS.index(name)).float().mean().item() > 0.5)
    return sum(right) / len(right) if right else None


def expression_right(reading, prompts, starts):
    """`expressions_right` of a clip's prompts, each from its first frame to the next one's."""
    names = [parse(prompt).expression for prompt in prompts]
    return expressions_right(reading, zip(starts, [*starts[1:len(prompts)], len(reading.state)],
                                          names))


def loudness(samples, frames):
    """(T,) log10 of the RMS around every video frame i, at the sample 1000 i, in a window of two
    frames, so that single glottal pulses do not count."""
    behind, count = SAMPLES_PER_FRAME, (frames + 1) * SAMPLES_PER_FRAME
    padded = F.pad(samples[:count - behind], (behind, count))[:count]
    windows = padded.unfold(0, 2 * SAMPLES_PER_FRAME, SAMPLES_PER_FRAME)      # (T, 2000)
    weight = torch.hann_window(2 * SAMPLES_PER_FRAME)
    rms = (windows.square() @ (weight / weight.sum())).sqrt()               # (T,)
    return (rms + QUIET * rms.max() + 1e-9).log10()
