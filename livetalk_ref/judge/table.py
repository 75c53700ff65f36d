"""Every number of the evaluation in one table: unit, better direction, one sentence.

Rows in data/results and of `evaluate` use these names. Sets of clips are compared on the
features of our own face reader; SyncNet is ours too, in the original's form.
"""

from typing import NamedTuple

from livetalk_ref.errors import UserError


class Definition(NamedTuple):
    """What a number is."""

    unit: str
    better: str         # one of stats.BETTER
    meaning: str


_FEATURES = "32 features that our face reader takes from a frame"
_COURSE = "mean, spread and step size of the reader's 10 strongest features in a clip"

DEFINITIONS = {
    # does the mouth follow the sound, the face the prompt?
    "open correlation": Definition(
        "r", "higher", "Correlation of the mouth opening that the reader sees with the true one; "
        "clips in which nobody speaks have none."),
    "width correlation": Definition(
        "r", "higher", "The same of the mouth's width."),
    "Sync-C": Definition(
        "distance", "higher", "SyncNet's confidence: the median over offsets of -15 .. 15 frames "
        "of the distance between sound and lips, minus its minimum."),
    "Sync-D": Definition(
        "distance", "lower", "SyncNet's distance between sound and lips at the best offset."),
    "Sync offset": Definition(
        "frames", "close to truth", "The offset at which sound and lips are nearest; positive "
        "means late lips."),
    "expression right": Definition(
        "share", "higher", "Prompts whose expression most frames show from 16 frames after the "
        "prompt on."),
    # is it still this person?
    "identity cosine": Definition(
        "cosine", "higher", "Mean likeness of all frames to the reference in the reader's "
        "embedding of identities."),
    "identity drift": Definition(
        "cosine / minute", "lower", "What of that likeness is lost in a minute, by the line "
        "through all frames."),
    # do the pictures hold?
    "sharpness": Definition(
        "1/255", "close to truth", "Mean absolute difference of neighbouring pixels."),
    "motion": Definition(
        "1/255", "close to truth", "Mean absolute difference of a pixel from frame to frame."),
    "colour drift": Definition(
        "1/255", "lower", "How far the mean colour of places that never move in the truth has "
        "gone from the reference's in the clip's second half."),
    "colour jump": Definition(
        "1/255", "lower", "The largest change of colour from one frame to the next that most "
        "still places share."),
    "unrest": Definition(
        "1/255", "lower", "Usual change from frame to frame of places that never move in the "
        "truth."),
    "flicker": Definition(
        "times the codec's", "lower", "Temporal high-frequency energy of places that never move "
        "in the truth, relative to that of the truth through the codec."),
    "black frames": Definition(
        "share", "lower", "Frames with a mean under 5 % of white."),
    "exposure collapse": Definition(
        "stops", "lower", "Mean distance of a frame's brightness from the reference's; a stop "
        "is half or twice as bright."),
    "freeze rate": Definition(
        "share", "lower", "Frames that are like the one before or four before (a codec group) to "
        "a fifth of what is usual in the truth, among those in which the truth moves."),
    # sets of clips
    "frechet": Definition(
        "squared features", "lower", f"Fréchet distance to the truth of the {_FEATURES}; no FID."),
    "kernel": Definition(
        "1", "lower", f"Unbiased squared maximum mean discrepancy to the truth of the {_FEATURES}"
        ", with the cubic kernel; no KID."),
    "clip frechet": Definition(
        "squared deviations", "lower", f"Fréchet distance to the truth of {_COURSE}, in standard "
        "deviations of the truth; no FVD."),
    "clip kernel": Definition(
        "1", "lower", f"Unbiased squared maximum mean discrepancy to the truth of {_COURSE}, in "
        "standard deviations of the truth."),
    "diversity": Definition(
        "features", "close to truth", "Mean distance, frame by frame in the reader's features, "
        "between clips of one condition and different seeds."),
}

ORIGINALS = {           # of weights that do not ship, see originals.py
    "FID": Definition(
        "squared features", "lower", "Fréchet distance of your Inception's features of frames to "
        "those of the truth."),
    "FVD": Definition(
        "squared features", "lower", "The same of your I3D's features of clips."),
    "LSE-D": Definition(
        "distance", "lower", "The original SyncNet's distance between sound and lips at the best "
        "offset."),
    "LSE-C": Definition(
        "distance", "higher", "Its confidence: the median over offsets of that distance, minus "
        "its minimum."),
}


def markdown(names=tuple(DEFINITIONS)):
    """The definitions as a markdown table. UserError for a number that is not defined."""
    unknown = [name for name in names if name not in DEFINITIONS]
    if unknown:
        raise UserError(f"There is no number '{unknown[0]}'; there are {', '.join(DEFINITIONS)}.")
    lines = ["| number | unit | better | what it is |", "|---|---|---|---|"]
    return "\n".join(lines + [f"| {name} | {' | '.join(DEFINITIONS[name])} |" for name in names])
