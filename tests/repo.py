"""What the tests of the repository itself share: where files are, and which ones belong to it."""

import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "livetalk_ref"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
UNTRACKED = {".git", ".venv", "runs", "outputs", "build", "__pycache__", ".ipynb_checkpoints",
             ".pytest_cache", ".ruff_cache", ".hypothesis"}


@cache
def tracked_files():
    """Every file of the repository, also in a copy without git."""
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                            cwd=ROOT, capture_output=True, text=True)
    if listed.returncode == 0:
        paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        paths = [path for path in ROOT.rglob("*")
                 if not UNTRACKED & set(path.relative_to(ROOT).parts)]
    return sorted(path for path in paths if path.is_file())


@cache
def text_files():
    """{path relative to the repository: text} of every tracked file that is text."""
    texts = {}
    for path in tracked_files():
        try:
            texts[path.relative_to(ROOT).as_posix()] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            pass  # pictures, sound, weights
    return texts
