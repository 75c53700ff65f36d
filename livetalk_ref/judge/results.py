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


def write_result(name, made_by, rows, seeds=(), cost=None, folder=None):
    """Write one result atomically and return its path. Timings belong into cost."""
    folder = folder or RESULTS
    result = {"made_by": made_by, "code": commit(), "hardware": hardware(),
              "date": datetime.date.today().isoformat(), "seeds": list(seeds), "rows": rows,
              "cost": cost or {}}
    folder.mkdir(parents=True, exist_ok=True)
    path, temporary = folder / f"{name}.json", folder / f".{name}.{os.getpid()}.tmp"
    temporary.write_text(json.dumps(result, indent=1) + "\n")
    os.replace(temporary, path)
    return path


def read_result(name):
    """A result by name, as a dict. UserError when it is not there."""
    path = RESULTS / f"{name}.json"
    if not path.is_file():
        raise UserError(f"There is no result {path}; see data/README.md for the command.")
    return json.loads(path.read_text())
