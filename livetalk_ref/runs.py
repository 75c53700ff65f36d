"""The files of a training run: checkpoints, averaged weights, a line of metrics an update.

A checkpoint is one safetensors file, written beside its place and moved there, so that no
half-written one exists; of a sharded model it is a folder of such files, and FACTS, written last,
says that it is whole. A killed run continues from its last one as if nothing had happened.
"""

import dataclasses
import json
import shutil
import time
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from livetalk_ref import parallel
from livetalk_ref.errors import UserError, unreadable
from livetalk_ref.files import (as_json, blame, half, make_folder, placed, write_json,
                                write_text)

SETTINGS = {"train", "recipe"}      # facts that hold the numbers of a run
FACTS = "facts.json"                # of a checkpoint that is a folder


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
        if not optimizer.state:
            begin_moments(optimizer)
        for i, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{which}.{i}.{k}": torch.as_tensor(v) for k, v in state.items()}
    return tensors


def begin_moments(optimizer):
    """Give an optimiser that has made no step the moments of one, for a checkpoint to fill."""
    rates = [group["lr"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = 0.0                           # moves no weight
        for weight in group["params"]:
            weight.grad = torch.zeros_like(weight)
    optimizer.step()
    optimizer.zero_grad()
    for state in optimizer.state.values():
        state.get("step", torch.tensor(0)).zero_()
    for group, rate in zip(optimizer.param_groups, rates):
        group["lr"] = rate


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

        last.safetensors            everything, so that a killed run continues exactly; of a
        last-000120/                sharded model in pieces, for any number of ranks
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

    def begin(self, resume, pack, unpack):
        """Begin anew, or continue what is there; returns the updates already made.

        pack() gives the tensors of a checkpoint, unpack(tensors) puts them back. UserError where
        that is another run's.
        """
        first = self.restore(pack, unpack) if resume and self.out else 0
        if self.out and parallel.rank() == 0:
            self.forget_after(first)
        if first == 0:
            self.look(0)
        return first

    def last(self):
        """The last whole checkpoint, a folder or a file; None if there is none."""
        found = [path.parent for path in self.out.glob(f"last-*/{FACTS}")]
        if found:
            return max(found, key=lambda path: int(path.name[5:]))
        file = self.out / "last.safetensors"
        return file if file.is_file() else None

    def restore(self, pack, unpack):
        """Put the last checkpoint back, if there is one; returns its updates."""
        path = self.last()
        if path is None:
            return 0
        # A run may go on longer, never with other data, losses or rates.
        tensors, was = read(path) if path.is_file() else \
            (None, json.loads((path / FACTS).read_text()))
        now = {name: as_json(fact) for name, fact in self.about.items()}
        if not SETTINGS & was.keys() <= now.keys():
            raise self.foreign("stage")
        for kind in SETTINGS & was.keys():                  # an older file knows fewer of them
            was |= usual(self.about[kind]) | was.pop(kind)
            now |= now.pop(kind)
        if wrong := [k for k, v in was.items() if k not in self.free and v != now.get(k)]:
            raise self.foreign(" and ".join(sorted(wrong)))
        try:
            if path.is_dir() or parallel.sharded():     # in place: no rank could hold them all
                source, tensors = tensors or path, pack()
                parallel.fill(tensors, source)
            return unpack(tensors)
        except (KeyError, RuntimeError) as error:       # and what pieces of another shape raise
            raise self.foreign("model") from error

    def foreign(self, what):
        """The error of a folder whose run cannot be continued."""
        return UserError(f"{self.out} holds a run of another {what}; choose another folder, or "
                         f"leave out --resume to begin anew.")

    def forget_after(self, first):
        """Drop what is left of updates after `first`, for they are made again. A run that begins,
        first 0, drops all of an older one, which is not the new one's."""
        for name in ("last", "ema*", "probe-*") if first == 0 else ():
            for old in self.out.glob(f"{name}.safetensors"):
                old.unlink()
        self.forget_folders(*([] if first == 0 else [self.last()]))
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
            path = self.out and self.last()
            good = f"the last good file is {path}, from which --resume continues" \
                if path else "no file had been saved"
            raise UserError(f"Stopped before update {update}, for {error}; {good}.") from error

    def after(self, state, average, pack, last):
        """Log one update; keep and save when it is time, and at the end."""
        if not self.out:
            return
        if parallel.rank() == 0:
            with open(self.out / "metrics.jsonl", "a") as file:
                file.write(json.dumps(dataclasses.asdict(state)) + "\n")
        about = {"step": state.step} | self.about
        if state.step in self.keep:
            self.save_average(kept(self.out, state.step), average, half, **about)
        if state.step in self.keep or last:
            self.look(state.step)
        if last or parallel.agreed(time.monotonic() - self.saved > self.save_every):
            # The checkpoint last: from it a kill at any point makes all else again.
            self.save_average(self.out / "ema.safetensors", average, **about)
            self.save_all(state.step, pack)
            self.saved = time.monotonic()

    def save_average(self, path, average, packed=dict, **about):
        """Write averaged weights to one file, gathered from all ranks, by rank 0."""
        tensors = parallel.gathered(average)
        if parallel.rank() == 0:
            save(path, packed(tensors), **about)

    def save_all(self, step, pack):
        """Write a checkpoint, and drop the one before it."""
        if not parallel.sharded():
            if parallel.rank() == 0:
                save(self.out / "last.safetensors", pack(), **self.about)
                self.forget_folders()
            return
        folder = self.out / f"last-{step:06d}"
        if parallel.rank() == 0:
            shutil.rmtree(folder, ignore_errors=True)       # of a save that was killed
        parallel.save_pieces(folder, pack())
        if parallel.rank() == 0:
            write_json(folder / FACTS, {k: as_json(v) for k, v in self.about.items()})
            self.forget_folders(folder)
            (self.out / "last.safetensors").unlink(missing_ok=True)

    def forget_folders(self, *but):
        """Remove the checkpoints that are folders, but for some."""
        for old in {*self.out.glob("last-*/")} - {*but}:
            shutil.rmtree(old, ignore_errors=True)


def usual(settings):
    """The defaults of a dataclass of settings, as a checkpoint holds them."""
    return {f.name: as_json(f.default) for f in dataclasses.fields(settings)
            if f.default is not dataclasses.MISSING}
