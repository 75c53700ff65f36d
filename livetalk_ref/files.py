"""What is written to disk: whole or not at all, results, metrics and weights as they ship.

Weights ship in 16 bits, or in 8 bits a number with a scale for every row of a matrix: a row is
rounded to 127 steps of its largest number, off by less than 1 % of its size.
"""

import dataclasses
import datetime
import json
import os
import platform
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from livetalk_ref import DATA
from livetalk_ref.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
RESULTS = DATA / "results"
SCALE = ".row_scale"        # what the scales of a packed tensor are called
LEAST = 4096                # numbers of a tensor that is worth packing


def readable(path, kind):
    """The path of a file as a string. UserError where there is none, or none that may be read."""
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise UserError(f"There is no {kind} file '{path}'.")
    if not os.access(path, os.R_OK):
        raise UserError(f"The {kind} file '{path}' may not be read; change its permissions.")
    return path


@contextmanager
def blame(path, *kinds):
    """Turn the system's trouble with a file, and other kinds of exceptions, into one sentence."""
    try:
        yield
    except (OSError, *kinds) as error:
        why = getattr(error, "strerror", None) or error
        raise UserError(f"Could not write {path}: {why}; choose another place or make "
                        f"room.") from error


@contextmanager
def placed(path):
    """A temporary path to write to: moved to `path` at the end, removed after any exception."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with blame(path):
            if path.is_dir():
                raise UserError(f"{path} is a folder; give the name of a file.")
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.open("ab").close()        # says now whether it can be written
        yield temporary
        with blame(path):
            os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_text(path, words):
    """Write a text file, complete or not at all; returns its path."""
    with placed(path) as temporary, blame(path):
        temporary.write_text(words, encoding="utf-8")
    return path


def make_folder(path):
    """Make a folder unless it is there. UserError where none can be: a file may have its name."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Could not make the folder {path}: {error.strerror}; choose another "
                        f"place.") from error


def as_json(value):
    """A fact, or a dataclass of them, as a checkpoint holds it."""
    whole = dataclasses.is_dataclass(value)
    return json.loads(json.dumps(dataclasses.asdict(value) if whole else value))


def half(tensors):
    """Floating tensors as fp16."""
    return {k: v.half() if v.is_floating_point() else v for k, v in tensors.items()}


def eight_bit_rows(value):
    """A matrix (n, ..) as int8, and the fp16 scales of its rows (n,)."""
    rows = value.float().flatten(1)                                      # (n, m)
    scale = (rows.abs().amax(1) / 127).half().clamp(min=1e-7)            # (n,)
    whole = (rows / scale.float()[:, None]).round().clamp(-127, 127)
    return whole.to(torch.int8).view(value.shape), scale


def eight_bits(tensors):
    """Large matrices as `eight_bit_rows`, all else as fp16."""
    packed = {}
    for name, value in half(tensors).items():
        if value.is_floating_point() and value.dim() > 1 and value.numel() >= LEAST:
            packed[name], packed[name + SCALE] = eight_bit_rows(value)
        else:
            packed[name] = value
    return packed


def unpacked(tensors):
    """Float32 tensors of what `half` or `eight_bits` made; others stay as they are."""
    found = {}
    for name, value in tensors.items():
        if name.endswith(SCALE):
            continue
        found[name] = value.float()
        if name + SCALE in tensors:
            rows = found[name].flatten(1) * tensors[name + SCALE].float()[:, None]
            found[name] = rows.view(value.shape)
    return found


def hardware(device="cpu"):
    """The hardware behind the figures of a device, in words."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{torch.get_num_threads()} threads of {os.cpu_count()} CPU cores, {platform.machine()}"


def commit():
    """The commit that ran, with + when its code or what it reads was changed since, but not for
    other results; None outside a clone."""
    try:
        def git(*words):
            return subprocess.run(["git", "-C", ROOT, *words], capture_output=True, text=True,
                                  check=True).stdout.strip()
        changed = git("status", "--porcelain", "--", ".", ":!data/results", ":!data/pictures")
        return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def as_result(made_by, rows, seeds=(), cost=None, device="cpu"):
    """The contents of a result's file. Timings belong into cost; device: where they were taken."""
    return {"made_by": made_by, "code": commit(), "hardware": hardware(device),
            "date": datetime.date.today().isoformat(), "seeds": list(seeds), "rows": rows,
            "cost": cost or {}}


def write_result(name, made_by, rows, seeds=(), cost=None, folder=None, device="cpu"):
    """Write one result atomically and return its path; arguments as for `as_result`."""
    return write_json((folder or RESULTS) / f"{name}.json",
                      as_result(made_by, rows, seeds, cost, device))


def write_json(path, facts):
    """Write a dict as JSON, a line for every key and every row of a table; returns the path."""
    def value(found):
        if isinstance(found, list) and found and isinstance(found[0], dict):
            return "[\n  " + ",\n  ".join(map(json.dumps, found)) + "\n ]"
        return json.dumps(found)

    lines = (f" {json.dumps(key)}: {value(found)}" for key, found in facts.items())
    return write_text(path, "{\n" + ",\n".join(lines) + "\n}\n")


def read_metrics(run):
    """The whole rows of a run's metrics.jsonl as a list of dicts. UserError when it is missing."""
    path = Path(run) / "metrics.jsonl"
    if not path.is_file():
        raise UserError(f"There is no {path}: start the run first.")
    return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]


def averaged(lines, every, names=("loss",)):
    """Lines of metrics averaged over so many updates: a row with their last step for each part."""
    parts = [lines[first:first + every] for first in range(0, len(lines), every)]
    return [{"step": part[-1]["step"]}
            | {name: round(sum(line[name] for line in part) / len(part), 5) for name in names}
            for part in parts]


def read_result(name):
    """A result by name, as a dict. UserError when it is not there."""
    path = RESULTS / f"{name}.json"
    if not path.is_file():
        raise UserError(f"There is no result {path}; see data/README.md for the command.")
    return json.loads(path.read_text())
