"""The folder of a run: made, cut back for a run that goes on, emptied for a new one, or refused."""

import dataclasses
import json
import os
from pathlib import Path

from livetalk_ref.errors import UserError


def make_folder(path):
    """Make a folder unless it is there. UserError where none can be: a file may have its name."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Could not make the folder {path}: {error.strerror}; choose another "
                        f"place.") from error


def trim_metrics(path, step):
    """Drop the rows of metrics.jsonl after `step`, and one that a kill left half written."""
    if path.exists():
        whole = [r for r in path.read_text().splitlines() if r.endswith("}")]
        rows = [r for r in whole if json.loads(r)["step"] <= step]
        temporary = path.with_suffix(".tmp")
        temporary.write_text("".join(r + "\n" for r in rows))
        os.replace(temporary, path)


def forget_after(out, step):
    """Drop what is left of updates after `step`, for they are made again.

    A run that begins, step 0, drops all of an older one: nobody shall take it for the new one's.
    """
    for name in ("last", "ema*", "probe-*") if step == 0 else ():
        for old in out.glob(f"{name}.safetensors"):
            old.unlink()
    trim_metrics(out / "metrics.jsonl", step)


def foreign(out, what):
    """The error of a folder whose run cannot be continued."""
    return UserError(f"{out} holds a run of another {what}; choose another folder, or leave out "
                     f"--resume to begin anew.")


def as_json(value):
    """A fact, or a dataclass of them, as a checkpoint holds it."""
    whole = dataclasses.is_dataclass(value)
    return json.loads(json.dumps(dataclasses.asdict(value) if whole else value))
