"""One training loop for every stage: AdamW and Muon, warm-up, EMA, clipping, exact resume.

The loss of step n depends on the weights and on a generator seeded by (seed, n) alone, so a
run killed at any moment continues as if nothing had happened.
"""

import time
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from livetalk_ref import parallel
from livetalk_ref.device import autocast, best_precision, fast_attention
from livetalk_ref.muon import Muon
from livetalk_ref.runs import NotFinite, RunFolder, pack, unpack

SCALE = 2.0 ** 12       # of an fp16 loss
FREE = {"steps", "compiled", "save_every", "keep", "start"}     # may change when a run goes on


@dataclass(frozen=True)
class TrainConfig:
    """How a run trains; saved in its checkpoints."""

    steps: int
    lr: float
    muon: float = 0.0           # learning rate of Muon for hidden matrices; 0 is AdamW for all
    seed: int = 0
    warmup: int = 100
    cooldown: float = 0.2       # last fraction of the run, over which lr falls to zero
    ema: float = 0.999
    clip: float = 1.0           # largest gradient norm
    weight_decay: float = 0.01
    betas: tuple = (0.9, 0.99)
    compiled: bool = False      # through torch.compile: needs a C++ compiler, and minutes first
    save_every: float = 120.0   # seconds between checkpoints
    keep: tuple = ()            # updates whose averaged weights stay, see `kept`


@dataclass
class TrainState:
    """What a run reports after each update."""

    step: int            # updates made so far
    loss: float
    lr: float
    grad_norm: float     # before clipping
    seconds: float       # of this update
    seconds_left: float


def pace(step, c):
    """Learning rates over their peak: linear warm-up, 1, then to zero over the `cooldown`."""
    # A cooldown of 0 is the constant rate of the paper's ODE stage (table 4).
    down = max(1, round(c.steps * c.cooldown))
    return min(1, (step + 1) / c.warmup, (c.steps - step) / down)


def step_generator(seed, step):
    """The randomness of one training step."""
    # Of (seed, step) alone, so a run that was killed draws what it would have drawn.
    return torch.Generator().manual_seed((seed * 1_000_003 + step) & 0x7FFF_FFFF_FFFF_FFFF)


def ema_update(average, model, decay):
    """Move the average of the weights a little towards the model's."""
    with torch.no_grad():
        pairs = zip(average.values(), model.state_dict().values(), strict=True)
        for slow, fast in pairs:
            if slow.is_floating_point():
                slow.lerp_(fast.to(slow.dtype), 1 - decay)


def hidden(name, weight):
    """Does Muon train it? Matrices of transformer blocks and kernels of convolutions."""
    full = weight.ndim == 4 and weight.shape[1] > 1         # not depthwise
    return full or weight.ndim == 2 and name.startswith("blocks.")


def make_optimizers(model, c):
    """AdamW for everything, or Muon for the hidden weights and AdamW for the rest."""
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    # Muon turns whole matrices; embeddings, heads and vectors are left to AdamW.
    turned = [p for name, p in trained if c.muon and hidden(name, p)]
    rest = [p for _, p in trained if not any(p is q for q in turned)]
    made = [torch.optim.AdamW(rest, c.lr, c.betas, weight_decay=c.weight_decay)]
    if turned:
        made.append(Muon(turned, c.muon, weight_decay=c.weight_decay))
    return made


def descend(loss, generator, model, optimizers, clip, part, precision, scaler=None):
    """One update of the model of a part of training by `loss(generator) -> scalar`; returns the
    loss, the mean over all ranks, and the gradient's norm before clipping.

    NotFinite, before any weight moves, where loss or gradient is. An fp16 gradient may overflow:
    its scaler skips that update and scales less, down to 1.
    """
    scaler = scaler or torch.amp.GradScaler(enabled=False)
    device, total, parts = next(model.parameters()).device, 0, parallel.setup.accumulate
    # The gradient adds up over the parts of the batch, which is whole in one part by default.
    for _ in parallel.parts(generator):
        with autocast(device, precision):
            value = loss(generator) / parts
        if not value.isfinite():
            raise NotFinite(f"the loss of the {part} is not finite")
        with fast_attention(device):        # of blocks that are computed anew
            scaler.scale(value).backward()
        total = total + value.detach()
    parallel.average_gradients(model)
    for optimizer in optimizers:
        scaler.unscale_(optimizer)
    # One norm over all weights, clipped (Self Forcing: 10; the paper does not say).
    norm = parallel.whole(nn.utils.clip_grad_norm_(model.parameters(), clip))
    # An overflow of scaled fp16 is no fault of the run; at scale 1 it would be.
    skips = scaler.is_enabled() and scaler.get_scale() >= 1
    if not norm.isfinite() and not skips:
        raise NotFinite(f"the gradient of the {part} is not finite")
    for optimizer in optimizers:
        scaler.step(optimizer)
    scaler.update()
    model.zero_grad()
    return parallel.over_ranks(total), norm.item()


def train(model, loss, config, out=None, resume=False, facts=None):
    """Minimise `loss(model, generator) -> scalar` and yield a `TrainState` after every update.

    With `out`, a folder, checkpoints go to out/last.safetensors, the averaged weights to
    out/ema.safetensors and one line per update to out/metrics.jsonl; `resume` continues what is
    there. `facts` is written into both files. Stopping early loses at most `save_every` seconds.
    """
    # Half precision for speed, float32 weights, an average of them for use.
    device = next(model.parameters()).device
    precision = best_precision(device, scaled=True)
    scaler = torch.amp.GradScaler(device.type, SCALE, growth_interval=2 ** 31 - 1,
                                  enabled=precision == "fp16")      # never grows: runs resume
    average = {k: v.detach().clone() for k, v in model.state_dict().items()}
    optimizers = make_optimizers(model, config)
    peaks = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
    forward = torch.compile(model) if config.compiled else model
    run = RunFolder(out, {"train": config} | (facts or {}), config.keep, config.save_every, FREE)
    parts = model, average, optimizers
    first = run.begin(resume, partial(pack, *parts, 0), lambda tensors: unpack(tensors, *parts))
    clock = time.monotonic()
    for step in range(first, config.steps):
        # Rates, loss, gradient, update, average, files: one step, from (weights, seed, n) alone.
        began = time.monotonic()
        for optimizer, peak in zip(optimizers, peaks):
            optimizer.param_groups[0]["lr"] = peak * pace(step, config)
        with run.guard(step + 1):
            value, norm = descend(partial(loss, forward), step_generator(config.seed, step), model,
                                  optimizers, config.clip, "model", precision, scaler)
        # The decay rises from 0.1, or the average would stay near the random start for long.
        ema_update(average, model, min(config.ema, (1 + step) / (10 + step)))
        now = time.monotonic()
        left = (now - clock) / (step + 1 - first) * (config.steps - step - 1)
        state = TrainState(step + 1, value, config.lr * pace(step, config), norm, now - began, left)
        run.after(state, average, partial(pack, *parts, state.step),
                  last=state.step == config.steps)
        yield state
