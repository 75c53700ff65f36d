"""The rings of the package: who may import whom, how long a file may be, what none may contain."""

import ast
import json
import re
import subprocess
import sys

import pytest
from repo import PACKAGE, ROOT, text_files

# A module of the inner ring imports only modules of a lower level.
LEVEL = {"flow": 0, "cache": 0, "train": 0, "wan": 1, "codec": 1, "ode": 2, "rollout": 2,
         "dmd": 3, "stream": 3}
BASE = {"device", "errors", "files", "runs", "muon", "options", "parallel"}
RINGS = (                       # a file imports from its own ring and from those before it
    BASE, {*LEVEL}, {"nets", "world", "media"},
    {"generate", "loading", "real", "portrait", "graphs", "toy", "sizing"},
    {"stages", "trajectories", "recipes", "curation", "distillation", "own_clips", "judge", "live",
     "viz"}, {"studies", "train_commands"}, {"__main__"})
CAPS = {"package": 15_715, "files": 98, "tests": 9_512, "page": 700}       # they only fall
MODELS = {"wan", "codec"}       # algorithms get the model as an argument
INNER = [PACKAGE / f"{name}.py" for name in LEVEL]
MODULES = sorted(PACKAGE.rglob("*.py"))
SOURCES = MODULES + sorted((ROOT / "tests").glob("*.py")) + sorted((ROOT / "tools").glob("*.py"))
PICTURES = {"matplotlib", "mediapy", "IPython"}
HEAVY = PICTURES | {"diffusers", "transformers", "espeakng_loader", "piper", "onnx", "onnxruntime"}

MACHINE_PATH = re.compile(r"(?<![\w.~:/{}$)-])/(?:root|home|Users|work|opt|mnt|workspace)/\w")
REGISTRY = re.compile(r"(?:pypi|pythonhosted)\.org|index[-]url", re.IGNORECASE)


def label(path):
    return path.relative_to(ROOT).as_posix()


def imports(path):
    """Absolute dotted names of all that a file imports, inside functions too."""
    package = list(path.relative_to(ROOT).parent.parts)
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[:len(package) - node.level + 1] if node.level else []
            module = base + (node.module.split(".") if node.module else [])
            names |= {".".join([*module, alias.name]) for alias in node.names}
    return names


def ours(path):
    """Names inside the package, without its own: `wan.Config`, `world.state.COL`, ..."""
    return {name.removeprefix("livetalk_ref.") for name in imports(path)
            if name.startswith("livetalk_ref.")}


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_a_module_imports_what_its_place_allows(path):
    """Files before it in the house, for the method torch and lower levels alone; pictures in `viz`
    alone; of studies what all of them share. No pickle: it runs code when it is opened."""
    found, named = imports(path), ours(path)
    tops, rooms = ({name.split(".")[0] for name in names} for names in (found, named))
    ring = {name: number for number, names in enumerate(RINGS) for name in names}
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert all(ring[name] <= ring[own] for name in rooms & ring.keys()), rooms
    if own in BASE:
        more = {"runs": {"files", "parallel"}, "muon": {"parallel", "device"}}.get(own, set())
        assert rooms <= {"errors", "DATA"} | more
    if path in INNER:
        assert tops <= {"torch", "livetalk_ref", *sys.stdlib_module_names}, tops
        for name in rooms - BASE:           # the model comes as an argument
            assert LEVEL[name] < LEVEL[own] and name not in MODELS, f"{own} imports {name}"
    assert own == "viz" or not PICTURES & tops
    studies = {name.split(".")[1] for name in named if name.startswith("studies.")}
    assert studies <= ({"work"} if own == "studies" else set())
    assert not {"pickle", "dill", "joblib", "cloudpickle"} & tops
    assert not {"torch.save", "torch.load"} & found
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert f"{node.value.id}.{node.attr}" not in ("torch.save", "torch.load")


def test_the_house_does_not_grow():
    def lines(paths):
        return sum(len(path.read_text().splitlines()) for path in paths)

    page = [path for end in ("js", "css", "html") for path in (PACKAGE / "live").glob(f"*.{end}")]
    found = {"package": lines(MODULES), "files": len(MODULES), "page": lines(page),
             "tests": lines((ROOT / "tests").glob("*.py"))}
    assert all(found[name] <= cap for name, cap in CAPS.items()), found


def test_the_method_is_an_hours_reading_with_its_steps_commented():
    lines = [line.strip() for path in INNER for line in path.read_text().splitlines()]
    assert len(INNER) <= 9 and len(lines) <= 1800, len(lines)
    comments = sum(line.startswith("#") for line in lines)
    assert comments >= 0.05 * len(lines), f"{comments} comments on {len(lines)} lines"


@pytest.mark.parametrize("path", SOURCES, ids=label)
def test_files_are_short(path):
    lines = path.read_text().splitlines()
    assert len(lines) <= 350, f"{label(path)} has {len(lines)} lines"
    long = [number for number, line in enumerate(lines, 1) if len(line) > 100]
    assert not long, f"{label(path)}: more than 100 characters in lines {long}"


def test_importing_the_package_is_light():
    """Nothing is imported before a name is asked for; then all but what draws without the slow or
    optional packages."""
    code = ("import sys, livetalk_ref; assert 'torch' not in sys.modules\n"
            "assert livetalk_ref.load.__module__ == 'livetalk_ref.loading'")
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    drawing = {"viz", "__main__"}
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
             for path in MODULES if path.stem not in drawing]
    code = ("import importlib, json, sys\n"
            f"for name in {names!r}: importlib.import_module(name)\n"
            f"print(json.dumps(sorted(set({sorted(HEAVY)!r}) & set(sys.modules))))")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_no_machine_paths_and_no_registries():
    """Also in the outputs of notebooks, where warnings and tracebacks carry them."""
    found = [f"{name}:{number}: {line.strip()[:120]}"
             for name, text in text_files().items()
             for number, line in enumerate(text.splitlines(), 1)
             if MACHINE_PATH.search(line) or REGISTRY.search(line)]
    assert not found, "\n".join(found)
