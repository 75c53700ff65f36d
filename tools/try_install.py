"""Install the package into an empty environment, as a user does; make the demo, test training.

    python tools/try_install.py [--oldest]

--oldest takes the lowest version of everything that pyproject.toml promises, torch 2.6 first of
all. What is committed is installed. It needs 6 GB in the folder of temporary files for a while.
Standard library only.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = [f"clone/tests/test_{name}.py" for name in ("train", "rollout", "ode", "dmd", "stream")]
IMPORT_ALL = """
import importlib, pkgutil, livetalk_ref, torch
for module in pkgutil.walk_packages(livetalk_ref.__path__, "livetalk_ref."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print("All modules can be imported with torch", torch.__version__)
"""


def oldest():
    """The lowest version of every dependency, as pip reads it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [re.sub(r">=([\d.]+).*", r"==\1.*", text) for text in project["dependencies"]]


def main(options):
    with tempfile.TemporaryDirectory() as folder:
        def run(*command):
            if subprocess.run(command, cwd=folder).returncode:
                sys.exit(f"This failed: {' '.join(map(str, command))}")

        place = Path(folder, "environment")
        venv.create(place, with_pip=True)
        programs = place / ("Scripts" if sys.platform == "win32" else "bin")
        run("git", "clone", "--quiet", ROOT, "clone")
        run(programs / "python", "-m", "pip", "install", "--quiet", "./clone",
            *(oldest() if "--oldest" in options else ()))
        run(programs / "python", "-c", IMPORT_ALL)
        run(programs / "livetalk", "demo")
        run(programs / "python", "-m", "pip", "install", "--quiet", "pytest", "hypothesis")
        run(programs / "python", "-m", "pytest", "-q", *TESTS)


if __name__ == "__main__":
    main(sys.argv[1:])
