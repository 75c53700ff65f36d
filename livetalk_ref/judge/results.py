"""Figures kept in data/results/NAME.json, each with the command that makes it again."""

import datetime
import json
import os
import platform
import subprocess
from pathlib import Path

import torch

from livetalk_ref.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "data" / "results"


def hardware():
    """What these figures were made on, in words."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{torch.get_num_threads()} threads of {os.cpu_count()} CPU cores, {platform.machine()}"


def commit():
    """The commit that ran, with + when the tree was changed since; None outside a clone."""
    try:
        def git(*words):
            return subprocess.run(["git", "-C", ROOT, *words], capture_output=True, text=True,
                                  check=True).stdout.strip()
        return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def as_result(made_by, rows, seeds=(), cost=None):
    """What a result's file holds. Timings belong into cost."""
    return {"made_by": made_by, "code": commit(), "hardware": hardware(),
            "date": datetime.date.today().isoformat(), "seeds": list(seeds), "rows": rows,
            "cost": cost or {}}


def write_result(name, made_by, rows, seeds=(), cost=None, folder=None):
    """Write one result atomically and return its path; arguments as for `as_result`."""
    return write_json((folder or RESULTS) / f"{name}.json", as_result(made_by, rows, seeds, cost))


def write_json(path, facts):
    """Write facts as JSON, atomically, and return the path: what is there is whole."""
    from livetalk_ref.media import placed       # needs av, which a borrowed GPU machine lacks

    with placed(path) as temporary:
        temporary.write_text(lines(facts) + "\n")
    return path


def lines(facts):
    """A dict as JSON with a line for every key, and one for every row of a table."""
    def value(found):
        if isinstance(found, list) and found and isinstance(found[0], dict):
            return "[\n  " + ",\n  ".join(map(json.dumps, found)) + "\n ]"
        return json.dumps(found)

    return "{\n" + ",\n".join(f" {json.dumps(key)}: {value(found)}"
                              for key, found in facts.items()) + "\n}"


def read_metrics(run):
    """The lines of a run's metrics.jsonl, one dict an update."""
    return [json.loads(line) for line in Path(run, "metrics.jsonl").read_text().splitlines()]


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
