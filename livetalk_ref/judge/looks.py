"""Pictures of the ablation that ship: how every run's videos end, and how some came to be so.

`collect` gathers what the runs left behind into one file of half-precision latents, beside
data/results/ablation.json, from which notebooks decode filmstrips without training anything:

    end NAME-seedN                  (63, C, h, w) one long clip of the averaged student at the end
    x, real, fake NAME-seedN UUU    (P, 9, C, h, w) after UUU updates on fixed conditions: the
                                    student's video, and what teacher and critic believe of it
"""

from livetalk_ref.distillation import LEVELS, probed
from livetalk_ref.judge import long
from livetalk_ref.train import read, save

MECHANISM = ("baseline", "final", "final-raw", "baseline-long")     # runs that are taken apart
SHOWN = 2           # conditions of a probe that ship: one with a damaged reference, one without
LEVEL = 0           # of `distillation.LEVELS`


def ends(study):
    """{key: latents} of the last judged update of every run."""
    found = {}
    for name, seed in study.size.plan:
        updates = study.recipe(name, seed).updates
        path = study.folder / "shown" / f"{name}-seed{seed}-{updates}-{long.LATENTS}.safetensors"
        if path.is_file():
            found[f"end {name}-seed{seed}"] = read(path)[0]["latents"][0]
    return found


def mechanism(study):
    """{key: latents} of the looks that the runs of MECHANISM took, for the first seed."""
    found = {}
    for name, seed in study.size.plan:
        r, label = study.recipe(name, seed), f"{name}-seed{seed}"
        if name not in MECHANISM or seed:
            continue
        for update in (0, *study.size.points, r.updates):
            path = probed(study.folder / label, update)
            if path.is_file():
                seen = read(path)[0]
                some = [0, len(seen["x"]) - 1][:SHOWN]
                found[f"x {label} {update}"] = seen["x"][some]
                for part in ("real", "fake"):
                    found[f"{part} {label} {update}"] = seen[part][LEVEL, some]
    return found


def collect(study):
    """Write the file; returns its path, or None while there is nothing to show."""
    tensors = {k: v.half().clone() for k, v in (ends(study) | mechanism(study)).items()}
    if not tensors:
        return None
    path = study.results / "ablation_looks.safetensors"
    save(path, tensors, made_by="python -m livetalk_ref ablation", level=LEVELS[LEVEL])
    return path


def track(tensors, part, label):
    """The looks of a run in order: {update: (P, 9, C, h, w)} of "x", "real" or "fake"."""
    found = {int(key.split()[2]): value for key, value in tensors.items()
             if key.startswith(f"{part} {label} ")}
    return {update: found[update].float() for update in sorted(found)}
