"""Does a model heed its conditions, or does it know its clips by heart?

The flow loss with the right prompt and sound, without them, and with another clip's, on clips it
was trained on and on others. A model that reads a prompt gains by it on both; one that has learned
which clip a prompt belongs to gains on the former alone. `python -m livetalk_ref report heed`.
"""

from dataclasses import replace

import torch

from livetalk_ref.flow import flow_loss
from livetalk_ref.judge.evaluate import HeldOut
from livetalk_ref.load import load_module
from livetalk_ref.world import latents

SIGMAS = (0.97, 0.83, 0.6, 0.3)


def variants(cond, order):
    """What the model is told: {name: Cond}; `order` (B,) says whose condition another's is."""
    mask = None if cond.text_mask is None else cond.text_mask[order]
    return {"right": cond, "no prompt": cond.drop("text"), "no sound": cond.drop("audio"),
            "another's prompt": replace(cond, text=cond.text[order], text_mask=mask),
            "another's sound": replace(cond, audio=cond.audio[order])}


@torch.no_grad()
def losses(model, data, sigma, seed=0):
    """{name of variant: flow loss} of clips at one noise level, all with the same noise."""
    g = torch.Generator().manual_seed(seed)
    x0, cond = data.window(0, 1)
    noise = torch.randn(x0.shape, generator=g)
    order = torch.arange(len(x0)).roll(1)
    level = torch.full((len(x0),), sigma)
    return {name: round(flow_loss(model, x0, noise, level, cond.known, told).item(), 4)
            for name, told in variants(cond, order).items()}


def compare(count):
    """Rows of the table: the shipped teacher on training clips and on held-out ones."""
    codec, model = load_module("codec"), load_module("teacher")
    train = latents.LatentClips.load(list(latents.build(codec, "train", count)))
    clean = train.select(torch.nonzero(~train.degraded)[:, 0])
    rows = []
    for name, data in (("trained on", clean), ("held out", HeldOut.make(codec, count).data)):
        rows += [{"clips": name, "count": len(data), "sigma": sigma} | losses(model, data, sigma)
                 for sigma in SIGMAS]
    return rows
