"""The numbers of one clip: does the mouth follow, is it still this face, do the pictures hold?

Frames (T, 3, H, W) are in [-1, 1]; differences of pictures are told in 1/255. Readings come from
the face reader. What every number means, its unit and its better direction stand in table.py;
sets of clips are compared in distances.py. Numbers that do not apply to a clip are None.
"""

from dataclasses import dataclass

import torch

from livetalk_ref.codec import GROUP

# evaluate.py and reports.py call these from here
from livetalk_ref.judge.distances import START, frechet  # noqa: F401
from livetalk_ref.judge.stats import bootstrap  # noqa: F401
from livetalk_ref.world.state import COL, FPS

SETTLED = 16      # frames after a prompt begins, before its expression is judged
VOICED = 0.05     # a clip whose mouth moves less than this (standard deviation) is silent
LEVELS = 127.5    # from [-1, 1] to 1/255
BLACK = 0.05      # of white: a frame whose mean is darker is black
HELD = 0.2        # of truth's usual movement: a frame that moves less than this is held
FEW = 0.02        # of the picture: so few still places would say nothing
MINUTE = 60 * FPS
CALMEST = 0.01    # (1/255)^2, so that a perfect codec's flicker divides nothing by zero


@dataclass(frozen=True)
class Truth:
    """What the numbers of one clip are compared with."""

    state: torch.Tensor         # (T, S)
    moves: torch.Tensor         # (T - 4,) see `movement`
    still: torch.Tensor | None  # (H, W) bool: where nothing ever moves; None: hardly anywhere
    codec: float | None         # `restlessness` of the truth through the codec there

    @staticmethod
    def of(state, frames, coded):
        """From state (T, S), rendered frames and the same through the codec, (T, 3, H, W)."""
        still, moves = still_places(frames), movement(frames)
        if still.float().mean() < FEW:
            return Truth(state.float(), moves, None, None)
        return Truth(state.float(), moves, still, restlessness(coded, still))


def clip_numbers(frames, reading, truth):
    """All numbers of one clip but those of sound and prompt: {name in DEFINITIONS: value}."""
    return {**face_numbers(reading, truth.state), **picture_numbers(frames, truth)}


def face_numbers(reading, state):
    """What the face reader's `Reading` of a clip says beside the true state (T, S)."""
    row = {f"{name} correlation": mouth_correlation(
        reading.column(f"mouth_{name}"), state[:, COL[f"mouth_{name}"]])
        for name in ("open", "width")}
    alike = reading.identity[1:] @ reading.identity[0]                  # (T - 1,)
    return row | {"identity cosine": alike.mean().item(), "identity drift": -drift(alike)}


def picture_numbers(frames, truth):
    """What the pictures themselves say beside a `Truth`."""
    row = {"sharpness": sharpness(frames[START:]),
           "motion": change(frames[START:]).mean().item(),
           "black frames": black_frames(frames), "exposure collapse": exposure_collapse(frames),
           "freeze rate": freeze_rate(movement(frames), truth.moves)}
    names = ("colour drift", "colour jump", "unrest", "flicker")
    if truth.still is None:
        return row | dict.fromkeys(names)
    values = (colour_drift(frames, truth.still), colour_jump(frames, truth.still),
              unrest(frames, truth.still),
              restlessness(frames, truth.still) / max(truth.codec, CALMEST))
    return row | dict(zip(names, values))


def correlation(a, b):
    """Pearson correlation of two tracks (T,); higher is better, 1 at most."""
    a, b = a - a.mean(), b - b.mean()
    return (a @ b / (a.norm() * b.norm() + 1e-9)).item()


def mouth_correlation(read, truth, start=4):
    """Read against true mouth column, (T,) each, without the first frames; None when silent."""
    read, truth = read[start:].float(), truth[start:].float()
    return correlation(read, truth) if truth.std() > VOICED else None


def drift(track):
    """How much a track (T,) rises in a minute: the slope of its least-squares line."""
    time = torch.arange(len(track)) / MINUTE
    time = time - time.mean()
    return (time @ (track - track.mean()) / (time @ time)).item()


def sharpness(frames):
    """Mean absolute difference of neighbouring pixels, in 1/255; close to truth's is best."""
    x = frames.float() * LEVELS
    return (x.diff(dim=-1).abs().mean() + x.diff(dim=-2).abs().mean()).item()


def change(frames, lag=1):
    """Mean absolute difference of every frame to the one `lag` before, in 1/255: (T - lag,)."""
    return (frames[lag:].float() - frames[:-lag].float()).abs().mean((1, 2, 3)) * LEVELS


def movement(frames):
    """How much frames 4 .. T - 1 differ from the frame before or four before, the less of both.

    Latents that stand still are decoded to the same four frames over and over. (T - 4,)
    """
    return torch.minimum(change(frames)[GROUP - 1:], change(frames, GROUP))


def freeze_rate(moves, truth):
    """Share of held frames among those in which the truth moves; lower is better.

    moves, truth (T - 4,): the `movement` of a clip and of its truth.
    """
    least = HELD * truth.median()
    moving = truth > least
    return (moves[moving] < least).float().mean().item() if moving.any() else None


def black_frames(frames):
    """Share of frames with a mean under 5 % of white; lower is better."""
    return (brightness(frames) < BLACK).float().mean().item()


def exposure_collapse(frames):
    """How far frames' brightness is from the reference's, in stops; lower is better.

    One stop is half or twice as bright; black is seven stops or so away.
    """
    level = (brightness(frames) + 1 / 255).log2()                       # (T,)
    return (level - level[0]).abs().mean().item()


def brightness(frames):
    """Mean of every frame, 0 black .. 1 white: (T,)."""
    return frames.float().mean((1, 2, 3)) / 2 + 0.5


def still_places(frames, tolerance=0.5):
    """Where rendered truth (T, 3, H, W) never changes by more than `tolerance` / 255: (H, W)."""
    span = frames.amax(0) - frames.amin(0)
    return (span.amax(0) * LEVELS) < tolerance


def colour_drift(frames, still):
    """How far the colour of still places (H, W) has gone from the reference's, in 1/255.

    The usual colours of the clip's second half, so that a passing hand does not count, and their
    mean over all places, so that lost detail does not.
    """
    late = frames[len(frames) // 2:].float().median(dim=0).values       # (3, H, W)
    return (late - frames[0])[:, still].mean(1).norm().item() * LEVELS


def colour_jump(frames, still):
    """The largest change from one frame to the next that most still places share, in 1/255."""
    steps = frames.float()[:, :, still].diff(dim=0)                     # (T - 1, 3, P)
    return steps.median(dim=2).values.norm(dim=1).max().item() * LEVELS


def unrest(frames, still):
    """Typical flicker of still places, in 1/255; lower is better.

    frames (T, 3, H, W), still (H, W) bool. The median over time of each pixel's change from
    frame to frame, so that a hand passing by does not count, averaged over the still places.
    """
    change = frames[1:].float().diff(dim=0).abs().mean(1) * LEVELS       # (T - 2, H, W)
    return change.median(dim=0).values[still].mean().item()


def restlessness(frames, still):
    """Temporal high-frequency energy of still places, in (1/255)^2.

    A frame's difference from the mean of its neighbours, squared: over all time, so that one
    jump counts as well, and at the median place, so that a passing hand does not.
    """
    x = frames.float()[:, :, still] * LEVELS                             # (T, 3, P)
    high = x[1:-1] - (x[:-2] + x[2:]) / 2
    return high.square().mean((0, 1)).median().item()
