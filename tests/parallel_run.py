"""parallel_run.py STAGE OUT [UPDATES]: a short run of a small stage on random latents, in as
many processes as torchrun starts."""

import sys
from functools import partial
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from test_dmd import SMALL  # noqa: E402
from tiny import shake  # noqa: E402

from livetalk_ref import dmd, parallel, recipes  # noqa: E402
from livetalk_ref.flow import Cond, draw_sigma, flow_loss  # noqa: E402
from livetalk_ref.ode import ode_loss  # noqa: E402
from livetalk_ref.runs import RunFolder  # noqa: E402
from livetalk_ref.train import TrainConfig, train  # noqa: E402
from livetalk_ref.wan import WanDiT  # noqa: E402

CLIPS, FRAMES, SIDE = 4, 6, 4


def clips(count, generator):
    """A condition of `count` clips and their latents, drawn whole on every rank."""
    def random(*shape):
        return torch.randn(shape, generator=generator)

    known = torch.zeros(count, FRAMES, dtype=torch.bool)
    known[:, 0] = True
    known[1::2, :2] = True                  # clips of one batch that differ in what counts
    c = SMALL.latent_channels
    x0 = random(count, FRAMES, c, SIDE, SIDE)
    return x0, Cond(x0[:, 0], random(count, FRAMES, 4 * SMALL.audio_dim),
                    random(count, 5, SMALL.text_dim), known, random(1, 5, SMALL.text_dim))


def teacher_loss(model, generator):
    x0, cond = parallel.mine(*clips(CLIPS, generator))
    noise = parallel.randn(x0.shape, generator)
    return flow_loss(model, x0, noise, draw_sigma(len(x0), generator), cond.known, cond)


def student_loss(model, generator):
    x0, cond = clips(CLIPS, generator)
    states = torch.stack([torch.randn(x0.shape, generator=generator) for _ in range(5)], 1)
    return ode_loss(model, parallel.mine(states, cond), generator)


def run(stage, out, updates):
    model = shake(WanDiT(SMALL), 0)
    if stage == "dmd":
        recipe = recipes.Recipe(updates=updates, ratio=2, warmup=1, batch=CLIPS, frames=FRAMES)
        d = dmd.Distiller(model, shake(WanDiT(SMALL), 1), shake(WanDiT(SMALL), 2), recipe)
        folder = RunFolder(out, {"recipe": recipe})
        folder.begin(True, d.unpack)
        return dmd.distill(d, lambda g: parallel.mine(clips(CLIPS, g)[1])[0], folder=folder)
    config = TrainConfig(updates, lr=3e-4, warmup=2, cooldown=0.0)
    return train(model, {"teacher": teacher_loss, "ode": student_loss}[stage], config, out, True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    parallel.join("cpu")
    for name in ("train", "dmd"):           # in float32: half precision would hide the sums
        sys.modules[f"livetalk_ref.{name}"].best_precision = partial(lambda *_, **__: "fp32")
    last = int(sys.argv[3]) if len(sys.argv) > 3 else 20
    for _ in run(sys.argv[1], Path(sys.argv[2]), last):
        pass
