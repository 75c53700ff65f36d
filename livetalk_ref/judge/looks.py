"""Pictures of the ablation that ship: how every run's videos end, and how some came to be so.

`collect` gathers what the runs left behind into one file of 8-bit latents (packing.py), beside
data/results/ablation.json, from which notebooks decode filmstrips without training anything:

    end NAME-seed0                  (63, C, h, w) one long clip of the averaged student at the end
    x, real, fake NAME-seedN UUU    (P, 9, C, h, w) after UUU updates on fixed conditions: the
                                    student's video, and what teacher and critic believe of it
    told NAME-seedN UUU             (Q, 4) the numbers `TOLD` of every condition of the probe: the
                                    first half of them have damaged references, the others good
"""

import torch

from livetalk_ref.distillation import LEVELS, probed
from livetalk_ref.judge import long
from livetalk_ref.judge.results import RESULTS
from livetalk_ref.packing import eight_bits, unpacked
from livetalk_ref.train import read, save

NAME = "ablation_looks.safetensors"
MECHANISM = ("baseline", "final", "final-raw", "baseline-long")     # runs that are taken apart
PICTURED = ("baseline", "baseline-long")    # those of them whose pictures ship too, not only TOLD
SHOWN = 2           # conditions of a probe that ship: one with a damaged reference, one without
LEVEL = 0           # of `distillation.LEVELS`
TOLD = ("spread of the student's latents", "|student - teacher's belief|",
        "|student - critic's belief|", "|critic's - teacher's belief|")


def told(seen):
    """The numbers `TOLD` of a look, (Q, 4), over the generated frames of every condition."""
    x = seen["x"][:, 1:].float()
    real, fake = (seen[part][LEVEL, :, 1:].float() for part in ("real", "fake"))
    gaps = [(a - b).abs().mean((1, 2, 3, 4)) for a, b in ((x, real), (x, fake), (fake, real))]
    return torch.stack([x.flatten(1).std(1), *gaps], dim=1)


def ends(study):
    """{key: latents} of the last judged update of every row, for the first seed."""
    found = {}
    for name, seed in study.size.plan:
        updates = study.recipe(name, seed).updates
        path = study.folder / "shown" / f"{name}-seed{seed}-{updates}-{long.LATENTS}.safetensors"
        if path.is_file() and not seed:
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
                found[f"told {label} {update}"] = told(seen)
                if name in PICTURED:
                    found[f"x {label} {update}"] = seen["x"][some]
                    for part in ("real", "fake"):
                        found[f"{part} {label} {update}"] = seen[part][LEVEL, some]
    return found


def collect(study):
    """Write the file; returns its path, or None while there is nothing to show."""
    tensors = eight_bits({k: v.clone() for k, v in (ends(study) | mechanism(study)).items()})
    if not tensors:
        return None
    path = study.results / NAME
    save(path, tensors, made_by="python -m livetalk_ref ablation", level=LEVELS[LEVEL])
    return path


def track(tensors, part, label):
    """The looks of a run in order: {update: (P, 9, C, h, w)} of "x", "real" or "fake", or
    {update: (Q, 4)} of "told"."""
    found = {int(key.split()[2]): value for key, value in tensors.items()
             if key.startswith(f"{part} {label} ")}
    return {update: found[update].float() for update in sorted(found)}


def shipped():
    """The tensors in data/results; if they are not there none, and a printed sentence."""
    if not (RESULTS / NAME).is_file():
        print(f"{NAME}: not made yet; run `python -m livetalk_ref ablation`.")
        return {}
    return unpacked(read(RESULTS / NAME)[0])


def first_shown(tensors, names, seed=0):
    """The first of some rows whose training was looked at, or None."""
    return next((name for name in names if track(tensors, "x", f"{name}-seed{seed}")), None)


def halves(values):
    """Values (Q,) of a probe's conditions: first those with damaged references, then good ones."""
    middle = -(-len(values) // 2)
    return {"damaged": values[:middle].tolist(), "good": values[middle:].tolist()}


def turns(tensors, name, column=1, seed=0):
    """When a number of TOLD stops to fall, for both kinds of references: a sentence a kind."""
    found, lines = track(tensors, "told", f"{name}-seed{seed}"), []
    for kind in ("damaged", "good"):
        path = {update: halves(values[:, column])[kind] for update, values in found.items()}
        path = {update: sum(some) / len(some) for update, some in path.items() if some}
        if path:
            least, end = min(path, key=path.get), max(path)
            lines.append(f"references collected {kind}: {TOLD[column]} {path[min(path)]:.3f} at "
                         f"first, least {path[least]:.3f} after {least} updates, "
                         f"{path[end]:.3f} after {end}")
    return lines
