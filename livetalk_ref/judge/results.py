"""Figures kept in data/results/NAME.json, each with the command that makes it again."""

import datetime
import json
import os
import platform
import subprocess
from pathlib import Path

import torch

from livetalk_ref import DATA
from livetalk_ref.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
RESULTS = DATA / "results"


def hardware(device="cpu"):
    """What figures of this device were made on, in words."""
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
    """What a result's file holds. Timings belong into cost; device: where they were taken."""
    return {"made_by": made_by, "code": commit(), "hardware": hardware(device),
            "date": datetime.date.today().isoformat(), "seeds": list(seeds), "rows": rows,
            "cost": cost or {}}


def write_result(name, made_by, rows, seeds=(), cost=None, folder=None, device="cpu"):
    """Write one result atomically and return its path; arguments as for `as_result`."""
    return write_json((folder or RESULTS) / f"{name}.json",
                      as_result(made_by, rows, seeds, cost, device))


def write_json(path, facts):
    """Write facts as JSON, atomically, and return the path: what is there is whole."""
    from livetalk_ref.media import write_text   # needs av, which a borrowed GPU machine lacks

    return write_text(path, lines(facts) + "\n")


def lines(facts):
    """A dict as JSON with a line for every key, and one for every row of a table."""
    def value(found):
        if isinstance(found, list) and found and isinstance(found[0], dict):
            return "[\n  " + ",\n  ".join(map(json.dumps, found)) + "\n ]"
        return json.dumps(found)

    return "{\n" + ",\n".join(f" {json.dumps(key)}: {value(found)}"
                              for key, found in facts.items()) + "\n}"


def read_metrics(run):
    """The rows of a run's metrics.jsonl as a list of dicts. UserError when there are none."""
    path = Path(run) / "metrics.jsonl"
    if not path.is_file():
        raise UserError(f"There is no {path}: start the run first.")
    lines = path.read_text().splitlines()
    return [json.loads(line) for line in lines if line.endswith("}")]     # not one half written


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


def kept(name, command):
    """A result; if it is not there an empty one, and one sentence that says how to get it."""
    try:
        return read_result(name)
    except UserError:
        print(f"{name}: not measured yet; run `python -m livetalk_ref {command}`.")
        return {}


def measured(name, command):
    """The rows of a result; if it is not there none, and the sentence."""
    return kept(name, command).get("rows", [])
