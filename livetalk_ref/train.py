"""One training loop for every stage: AdamW and Muon, warm-up, EMA, clipping, exact resume.

The loss of step n depends on the weights and on a generator seeded by (seed, n) alone, so a
run killed at any moment continues as if nothing had happened. A checkpoint is one safetensors
file, written beside its place and moved there, so that no half-written one exists.
"""

import dataclasses
import json
import os
import time
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from livetalk_ref.errors import UserError, unreadable
from livetalk_ref.folders import as_json, foreign, forget_after, make_folder
from livetalk_ref.muon import Muon

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
    down = max(1, round(c.steps * c.cooldown))
    return min(1, (step + 1) / c.warmup, (c.steps - step) / down)


def step_generator(seed, step):
    """The randomness of one training step."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) & 0x7FFF_FFFF_FFFF_FFFF)


def save(path, tensors, **about):
    """Write tensors and JSON-able facts to a safetensors file, atomically."""
    path = Path(path)
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    facts = {k: json.dumps(as_json(v)) for k, v in about.items()}
    try:
        save_file({k: v.detach().contiguous() for k, v in tensors.items()}, temporary, facts)
        temporary.chmod(0o644)                      # safetensors makes it private
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"Could not write {path}: {error}.") from error
    finally:
        temporary.unlink(missing_ok=True)


def read(path, device="cpu"):
    """Tensors and facts of a file written by `save`. Raises UserError when it is not one."""
    try:
        with safe_open(path, "pt", device=str(device)) as file:
            facts = {k: json.loads(v) for k, v in (file.metadata() or {}).items()}
            return {k: file.get_tensor(k) for k in file.keys()}, facts
    except FileNotFoundError as error:
        raise UserError(f"There is no checkpoint {path}.") from error
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise UserError(unreadable(path, error)) from error


def ema_update(average, model, decay):
    """Move the average of the weights a little towards the model's."""
    with torch.no_grad():
        pairs = zip(average.values(), model.state_dict().values(), strict=True)
        for slow, fast in pairs:
            if slow.is_floating_point():
                slow.lerp_(fast.to(slow.dtype), 1 - decay)


def hidden(name, weight):
    """Does Muon train it? Matrices of transformer blocks and kernels of convolutions."""
    return weight.ndim == 4 or weight.ndim == 2 and name.startswith("blocks.")


def make_optimizers(model, c):
    """AdamW for everything, or Muon for the hidden weights and AdamW for the rest."""
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    turned = [p for name, p in trained if c.muon and hidden(name, p)]
    rest = [p for _, p in trained if not any(p is q for q in turned)]
    made = [torch.optim.AdamW(rest, c.lr, c.betas, weight_decay=c.weight_decay)]
    if turned:
        made.append(Muon(turned, c.muon, weight_decay=c.weight_decay))
    return made


def pack(model, average, optimizers, step):
    """Everything a resumed run needs, as one flat dict of tensors."""
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"ema.{k}": v for k, v in average.items()}
    tensors["step"] = torch.tensor(step)
    for which, optimizer in enumerate(optimizers):
        for i, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{which}.{i}.{k}": torch.as_tensor(v) for k, v in state.items()}
    return tensors


def unpack(tensors, model, average, optimizers):
    """Put a `pack` back; returns the step it was made at."""
    def part(name):
        return {k[len(name):]: v for k, v in tensors.items() if k.startswith(name)}

    model.load_state_dict(part("model."))
    average.update({k: v.to(average[k]) for k, v in part("ema.").items()})
    for which, optimizer in enumerate(optimizers):
        state = {}
        for key, value in part(f"optimizer.{which}.").items():
            i, name = key.split(".", 1)
            state.setdefault(int(i), {})[name] = value
        optimizer.load_state_dict({"state": state,
                                   "param_groups": optimizer.state_dict()["param_groups"]})
    return int(tensors["step"])


def kept(out, step):
    """The file of the averaged weights that a run kept after an update."""
    return Path(out) / f"ema-{step:06d}.safetensors"


@contextmanager
def autocast(device, precision):
    """Mixed precision: "bf16", "fp16" or "fp32" (none).

    On CPU the plain attention kernel is the fast one where gradients are kept, and chosen there.
    """
    device = torch.device(device).type
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[precision]
    with torch.autocast(device, dtype, enabled=dtype != torch.float32):
        plain = device == "cpu" and torch.is_grad_enabled()
        with sdpa_kernel(SDPBackend.MATH) if plain else nullcontext():
            yield


def best_precision(device, scaled=False):
    """bf16 where the device multiplies it in hardware, fp16 on an older GPU if the loss is
    scaled, for small gradients vanish in it, else fp32."""
    kind = torch.device(device).type
    if kind == "cuda":
        old = "fp16" if scaled else "fp32"
        return "bf16" if torch.cuda.get_device_capability()[0] >= 8 else old
    fast = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return "bf16" if kind == "cpu" and fast else "fp32"


def train(model, loss, config, out=None, resume=False, facts=None):
    """Minimise `loss(model, generator) -> scalar` and yield a `TrainState` after every update.

    With `out`, a folder, checkpoints go to out/last.safetensors, the averaged weights to
    out/ema.safetensors and one line per update to out/metrics.jsonl; `resume` continues what is
    there. `facts` is written into both files. Stopping early loses at most `save_every` seconds.
    """
    device = next(model.parameters()).device
    precision = best_precision(device, scaled=True)
    scaler = torch.amp.GradScaler(device.type, SCALE, growth_interval=2 ** 31 - 1,
                                  enabled=precision == "fp16")      # never grows: runs resume
    average = {k: v.detach().clone() for k, v in model.state_dict().items()}
    optimizers = make_optimizers(model, config)
    peaks = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
    forward = torch.compile(model) if config.compiled else model
    run = Run(out, config, facts or {})
    first = run.restore(model, average, optimizers) if resume else 0
    run.forget_after(first)
    clock = time.monotonic()
    for step in range(first, config.steps):
        began = time.monotonic()
        for optimizer, peak in zip(optimizers, peaks):
            optimizer.param_groups[0]["lr"] = peak * pace(step, config)
        with autocast(device, precision):
            value = loss(forward, step_generator(config.seed, step))
        scaler.scale(value).backward()
        for optimizer in optimizers:
            scaler.unscale_(optimizer)
        norm = nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        for optimizer in optimizers:
            scaler.step(optimizer)
        scaler.update()
        model.zero_grad()
        ema_update(average, model, min(config.ema, (1 + step) / (10 + step)))
        now = time.monotonic()
        left = (now - clock) / (step + 1 - first) * (config.steps - step - 1)
        state = TrainState(step + 1, value.item(), config.lr * pace(step, config), norm.item(),
                           now - began, left)
        run.after(state, model, average, optimizers)
        yield state


class Run:
    """The files of a run: last.safetensors, ema.safetensors, metrics.jsonl. None keeps nothing."""

    def __init__(self, out, config, facts):
        self.out = out and Path(out)
        self.config, self.facts, self.saved = config, facts, time.monotonic()
        if self.out:
            make_folder(self.out)

    def restore(self, model, average, optimizers):
        """Continue from the last checkpoint, if there is one; returns the first step to make.
        UserError where that is of a run with other facts."""
        if not (self.out / "last.safetensors").exists():
            return 0
        tensors, facts = read(self.out / "last.safetensors")
        was = facts.pop("train", {}) | facts                # an older file knows fewer of them
        now = {k: as_json(v) for k, v in (vars(self.config) | self.facts).items()}
        if wrong := [k for k, v in was.items() if k not in FREE and v != now.get(k)]:
            raise foreign(self.out, " and ".join(wrong))
        try:
            return unpack(tensors, model, average, optimizers)
        except (KeyError, RuntimeError) as error:
            raise foreign(self.out, "model") from error

    def forget_after(self, step):
        """Drop what is left of later updates: they are made again."""
        if self.out:
            forget_after(self.out, step)

    def after(self, state, model, average, optimizers):
        """Log one update; save when it is time and at the end."""
        if not self.out:
            return
        with open(self.out / "metrics.jsonl", "a") as file:
            file.write(json.dumps(dataclasses.asdict(state)) + "\n")
        about = {"train": self.config, "step": state.step, **self.facts}
        if state.step in self.config.keep:
            save(kept(self.out, state.step), average, **about)
        due = time.monotonic() - self.saved > self.config.save_every
        if due or state.step == self.config.steps:
            save(self.out / "last.safetensors", pack(model, average, optimizers, state.step),
                 train=self.config, **self.facts)
            save(self.out / "ema.safetensors", average, **about)
            self.saved = time.monotonic()
