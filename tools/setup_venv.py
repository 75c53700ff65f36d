"""Makes .venv: one environment per set of requirements, built once and shared by all clones.

    python tools/setup_venv.py requirements.txt [more requirement files]

It lives in $LIVETALK_CACHE (or ~/.cache/livetalk_ref)/venv-HASH, where HASH names the requirement
files and the Python version. A file `.complete`, written last, says that the installation went
through; without it (an interrupted run) the environment is built again. Standard library only.
"""

import contextlib
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NEEDED_BYTES = 8 * 10**9
BARE = "requirements-bare.txt"      # of packages that are installed without their needs


def cache_folder():
    return Path(os.environ.get("LIVETALK_CACHE") or "~/.cache/livetalk_ref").expanduser().absolute()


def environment_name(files):
    """venv-HASH for these requirement files on this Python and kind of machine."""
    digest = hashlib.sha256(b"\0".join(file.read_bytes() for file in files))
    digest.update(f"{sys.version_info[:2]} {platform.system()} {platform.machine()}".encode())
    return f"venv-{digest.hexdigest()[:12]}"


@contextlib.contextmanager
def locked(path):
    """One set-up at a time, where the system has file locks; a killed one releases its lock."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Waiting for another set-up of the same environment ...", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def build(target, files):
    """Builds in place, because a virtual environment cannot be moved."""
    if shutil.disk_usage(target.parent).free < NEEDED_BYTES:
        sys.exit(f"The set-up needs {NEEDED_BYTES // 10**9} GB free in {target.parent}: "
                 "make room, or name another folder in LIVETALK_CACHE.")
    print(f"Setting up once, about 5 GB and a few minutes: {target}", flush=True)
    shutil.rmtree(target, ignore_errors=True)
    venv.create(target, with_pip=True)
    install = [target / "bin" / "python", "-m", "pip", "install", "--quiet", "--quiet",
               "--disable-pip-version-check"]
    bare = [file for file in files if file.name == BARE]
    for options, some in (([], [f for f in files if f not in bare]), (["--no-deps"], bare)):
        if some and subprocess.run([*install, *options, *(part for file in some
                                                          for part in ("-r", file))]).returncode:
            sys.exit("pip could not install the requirements (its message is above): "
                     "check the network and run the same command again.")
    (target / ".complete").touch()


def link(target):
    """Points .venv to `target` in one step."""
    place = ROOT / ".venv"
    if place.exists() and not place.is_symlink():
        sys.exit("There is a folder .venv that the set-up did not make: move it away, "
                 "or use it with PY=.venv/bin/python.")
    if place.is_symlink() and place.resolve() == target.resolve():
        return
    with tempfile.TemporaryDirectory(dir=ROOT, prefix=".venv-", suffix=".tmp") as folder:
        fresh = Path(folder) / "link"
        fresh.symlink_to(target)
        fresh.replace(place)


def main(names):
    files = [ROOT / name for name in names]
    cache = cache_folder()
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        sys.exit(f"Cannot write to {cache} ({error.strerror}): "
                 "name another folder in LIVETALK_CACHE.")
    target = cache / environment_name(files)
    if not (target / ".complete").exists():
        with locked(target.with_suffix(".lock")):
            if not (target / ".complete").exists():
                build(target, files)
    link(target)


if __name__ == "__main__":
    main(sys.argv[1:])
