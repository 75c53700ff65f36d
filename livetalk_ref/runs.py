"""The files of a training run: checkpoints, averaged weights, a line of metrics an update.

A checkpoint is one safetensors file, written beside its place and moved there, so that no
half-written one exists. A killed run continues from its last one as if nothing had happened.
"""

import dataclasses
import json
import time
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from livetalk_ref import parallel
from livetalk_ref.errors import UserError, unreadable
from livetalk_ref.files import as_json, blame, half, make_folder, placed, write_text

SETTINGS = {"train", "recipe"}      # facts that hold the numbers of a run


def save(path, tensors, **about):
    """Write tensors and JSON-able facts to a safetensors file, atomically."""
    facts = {k: json.dumps(as_json(v)) for k, v in about.items()}
    with placed(path) as temporary, blame(path, SafetensorError):
        save_file({k: v.detach().contiguous() for k, v in tensors.items()}, temporary, facts)
        temporary.chmod(0o644)                      # safetensors makes it private


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


def kept(out, step):
    """The file of the averaged weights that a run kept after an update."""
    return Path(out) / f"ema-{step:06d}.safetensors"


def pack(model, average, optimizers, step):
    """Everything a resumed run needs, as one flat dict of tensors."""
    # Weights, average, moments of the optimisers, step: nothing else has a state.
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


class NotFinite(UserError):
    """A loss, a gradient or a score that is no number: the run stops before the update."""


class RunFolder:
    """The files of a run of any stage; out None keeps nothing.

        last.safetensors            everything, so that a killed run continues exactly
        ema.safetensors             averaged weights; ema-000050.safetensors are those on the way
        metrics.jsonl               a line for every update
        probe-000050.safetensors    what `look` saw, of a distillation

    about: facts of the run, one of SETTINGS among them; keep: updates whose averaged weights stay;
    free: settings that may change when it goes on; look(update), called at the start, at every
    kept update and at the end, before these are saved.
    """

    def __init__(self, out, about, keep=(), save_every=120.0, free=(), look=lambda update: None):
        self.out, self.about, self.keep, self.free = out and Path(out), about, keep, free
        self.look, self.save_every, self.saved = look, save_every, time.monotonic()
        if self.out:
            make_folder(self.out)

    def begin(self, resume, unpack):
        """Begin anew, or continue what is there; returns the updates already made.

        unpack(tensors) puts a checkpoint back. UserError where that is another run's.
        """
        first = self.restore(unpack) if resume and self.out else 0
        if parallel.rank() == 0:
            if self.out:
                self.forget_after(first)
            if first == 0:
                self.look(0)
        return first

    def restore(self, unpack):
        """Put the last checkpoint back, if there is one; returns its updates."""
        path = self.out / "last.safetensors"
        if not path.is_file():
            return 0
        # A run may go on longer, never with other data, losses or rates.
        tensors, was = read(path)
        now = {name: as_json(fact) for name, fact in self.about.items()}
        if not SETTINGS & was.keys() <= now.keys():
            raise self.foreign("stage")
        for kind in SETTINGS & was.keys():                  # an older file knows fewer of them
            was |= usual(self.about[kind]) | was.pop(kind)
            now |= now.pop(kind)
        if wrong := [k for k, v in was.items() if k not in self.free and v != now.get(k)]:
            raise self.foreign(" and ".join(sorted(wrong)))
        try:
            return unpack(tensors)
        except (KeyError, RuntimeError) as error:
            raise self.foreign("model") from error

    def foreign(self, what):
        """The error of a folder whose run cannot be continued."""
        return UserError(f"{self.out} holds a run of another {what}; choose another folder, or "
                         f"leave out --resume to begin anew.")

    def forget_after(self, first):
        """Drop what is left of updates after `first`, for they are made again.

        A run that begins, first 0, drops all of an older one, which is not the new one's.
        """
        for name in ("last", "ema*", "probe-*") if first == 0 else ():
            for old in self.out.glob(f"{name}.safetensors"):
                old.unlink()
        if (path := self.out / "metrics.jsonl").exists():
            whole = [row for row in path.read_text().splitlines() if row.endswith("}")]
            rows = [row for row in whole if json.loads(row)["step"] <= first]
            write_text(path, "".join(row + "\n" for row in rows))

    @contextmanager
    def guard(self, update):
        """Stop at what is not finite with a sentence that names the update and the good file."""
        try:
            yield
        except NotFinite as error:
            path = self.out and self.out / "last.safetensors"
            good = f"the last good file is {path}, from which --resume continues" \
                if path and path.is_file() else "no file had been saved"
            raise UserError(f"Stopped before update {update}, for {error}; {good}.") from error

    def after(self, state, average, pack, last):
        """Log one update; keep and save when it is time, and at the end."""
        if not self.out or parallel.rank() > 0:
            return
        with open(self.out / "metrics.jsonl", "a") as file:
            file.write(json.dumps(dataclasses.asdict(state)) + "\n")
        about = {"step": state.step} | self.about
        if state.step in self.keep:
            save(kept(self.out, state.step), half(average), **about)
        if state.step in self.keep or last:
            self.look(state.step)
        if last or time.monotonic() - self.saved > self.save_every:
            # The checkpoint last: from it a kill at any point makes all else again.
            save(self.out / "ema.safetensors", average, **about)
            save(self.out / "last.safetensors", pack(), **self.about)
            self.saved = time.monotonic()


def usual(settings):
    """The defaults of a dataclass of settings, as a checkpoint holds them."""
    return {f.name: as_json(f.default) for f in dataclasses.fields(settings)
            if f.default is not dataclasses.MISSING}
