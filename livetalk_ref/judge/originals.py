"""FID and FVD proper, for those who have the weights: by path, nothing is shipped.

A detector is a TorchScript file in the form that is common for these metrics:

    inception   pictures (N, 3, H, W) uint8              , return_features=True -> (N, D)
    i3d         videos (B, 3, T, H, W) float in 0 .. 255 , rescale=True, resize=True,
                return_features=True                      -> (B, D)

All are run on the same clips as our own judges; as everywhere, frame 0 (given) does not count.
Letters: N clips, T frames.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from livetalk_ref.errors import UserError
from livetalk_ref.judge.distances import frechet
from livetalk_ref.judge.panel import Judges
from livetalk_ref.media import to_bytes

EVERY = 4               # of the frames, for FID: neighbours say the same twice


def load_detector(path):
    """A TorchScript module. UserError where there is none."""
    if not Path(path).is_file():
        raise UserError(f"There is no detector '{path}'.")
    try:
        return torch.jit.load(str(path), map_location="cpu").eval()
    except RuntimeError as error:
        raise UserError(f"'{path}' is not a TorchScript file of a detector.") from error


def inception(detector, frames):
    """Features of every fourth generated frame of (T, 3, H, W): (M, D)."""
    return features_of(detector, to_bytes(frames[1::EVERY]))


def i3d(detector, frames):
    """The feature of a clip (T, 3, H, W) without its first frame: (1, D)."""
    clip = to_bytes(frames[1:]).float().transpose(0, 1)[None]           # (1, 3, T - 1, H, W)
    return features_of(detector, clip, rescale=True, resize=True)


def features_of(detector, x, **options):
    """What a detector makes of pictures or videos; UserError where it takes them in another way."""
    try:
        return detector(x, return_features=True, **options).float()
    except (RuntimeError, TypeError, torch.jit.Error) as error:
        raise UserError("The detector does not take the arguments that "
                        "livetalk_ref/judge/originals.py states.") from error


KINDS = {"FID": inception, "FVD": i3d}


def load(paths):
    """{"FID" or "FVD": detector} of the same with paths. UserError for what is none."""
    return {kind: load_detector(path) for kind, path in paths.items()}


@dataclass(frozen=True)
class OriginalJudges(Judges):
    """Our judges, who on the way show every clip to the detectors as well."""

    detectors: dict = field(default_factory=dict)   # {"FID" or "FVD": a detector}
    seen: dict = field(default_factory=dict)        # {"FID" or "FVD": features of the clips so far}

    @staticmethod
    def of(judges, paths):
        """The same judges with the detectors of {"FID" or "FVD": path}."""
        return OriginalJudges(judges.reader, judges.syncnet, load(paths))

    def clip(self, frames, truth, bench, i):
        for kind, values in self.look(frames).items():
            self.seen.setdefault(kind, []).append(values)
        return super().clip(frames, truth, bench, i)

    @torch.inference_mode()
    def look(self, frames):
        """What the detectors of sets see in a clip."""
        return {kind: features(self.detectors[kind], frames)
                for kind, features in KINDS.items() if kind in self.detectors}


def watching(ground, detectors):
    """A `benchmark.Ground` whose judges also ask the detectors that `load` gave."""
    judges = ground.judges
    return replace(ground, judges=OriginalJudges(judges.reader, judges.syncnet, detectors))


def distances(ground):
    """{"FID": value, ..} of the clips that the judges of a `watching` ground have seen, to the
    set's rendered truth."""
    seen, true = ground.judges.seen, {}
    for frames in ground.bench.film() if seen else ():
        for kind, values in ground.judges.look(frames).items():
            true.setdefault(kind, []).append(values)
    return {kind: round(frechet(torch.cat(seen[kind]), torch.cat(values)), 4)
            for kind, values in true.items()}
