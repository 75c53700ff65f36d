"""parallel_run.py JOBS: short runs of small stages on random latents, one after the other, in as
many processes as torchrun starts; JOBS: a JSON list of what `run` takes."""

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from test_dmd import SMALL  # noqa: E402
from tiny import condition, shake  # noqa: E402

from livetalk_ref import dmd, parallel, recipes, train  # noqa: E402
from livetalk_ref.flow import draw_sigma, flow_loss  # noqa: E402
from livetalk_ref.ode import ode_loss  # noqa: E402
from livetalk_ref.runs import RunFolder  # noqa: E402
from livetalk_ref.wan import WanDiT  # noqa: E402

CLIPS, FRAMES, SIDE = 4, 6, 4
EVEN = {"frames": False}    # as many frames of every clip count


def clips(count, generator):
    """A condition of `count` clips and their latents, drawn whole on every rank."""
    cond = condition(SMALL, generator, count, FRAMES, SIDE, 5)
    cond.known[1::2, 1] = not EVEN["frames"]    # clips of one batch that differ in what counts
    x0 = torch.randn(count, FRAMES, SMALL.latent_channels, SIDE, SIDE, generator=generator)
    return x0, replace(cond, ref=x0[:, 0])


def teacher_loss(model, generator):
    x0, cond = parallel.mine(*clips(CLIPS, generator))
    noise = parallel.randn(x0.shape, generator)
    return flow_loss(model, x0, noise, draw_sigma(len(x0), generator), cond.known, cond)


def student_loss(model, generator):
    x0, cond = clips(CLIPS, generator)
    states = torch.stack([torch.randn(x0.shape, generator=generator) for _ in range(5)], 1)
    return ode_loss(model, parallel.mine(states, cond), generator)


def full_precision(*_, **__):
    return "fp32"


def states_of(stage, out, updates, save_every):
    """The loop of a stage, which continues what is in its folder."""
    model = shake(WanDiT(SMALL), 0)
    if stage == "dmd":
        recipe = recipes.Recipe(updates=updates, ratio=1, warmup=1, batch=CLIPS, frames=FRAMES,
                                student_steps=2)
        models = model, shake(WanDiT(SMALL), 1), shake(WanDiT(SMALL), 2)
        parallel.place(*models)
        d = dmd.Distiller(*models, recipe)
        folder = RunFolder(out, {"recipe": recipe}, save_every=save_every)
        folder.begin(True, d.pack, d.unpack)
        return dmd.distill(d, lambda g: parallel.mine(clips(CLIPS, g)[1])[0], folder=folder)
    parallel.place(model)
    config = train.TrainConfig(updates, lr=3e-4, muon=2e-4 * (stage == "teacher"), warmup=2,
                               cooldown=0.0, save_every=save_every)
    loss = {"teacher": teacher_loss, "ode": student_loss}[stage]
    return train.train(model, loss, config, out, True)


def run(stage, out, updates=20, stopped=None, killed=False, even=False, **setup):
    """Run a stage in a folder and return its losses; stopped: the last update, saved as all are
    then; killed: all processes get a signal 9 there."""
    parallel.join("cpu", **setup)
    EVEN["frames"] = even
    for state in states_of(stage, Path(out), updates, 0 if stopped else 600):
        if state.step == stopped:
            if killed:
                os.kill(os.getpid(), signal.SIGKILL)
            break
    return [json.loads(row)["loss"] for row in (Path(out) / "metrics.jsonl").open()]


if __name__ == "__main__":
    torch.set_num_threads(1)
    for module in (train, dmd):             # half precision would hide the sums
        module.best_precision = full_precision
    for job in json.loads(sys.argv[1]):
        run(**job)
