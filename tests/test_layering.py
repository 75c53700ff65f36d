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
RINGS = (                       # a file imports from its own ring and from those before it
    {"errors", "files", "runs", "device", "muon", "options", "parallel"}, {*LEVEL},
    {"nets", "world", "media"},
    {"generate", "loading", "real", "portrait", "pipeline", "graphs", "toy", "sizing"},
    {"stages", "trajectories", "recipes", "curation", "distillation", "own_clips", "judge", "live",
     "viz", "diagrams"}, {"studies", "train_commands"}, {"__main__"})
CAPS = {"package": 16_890, "files": 108, "tests": 11_800, "page": 700}       # they only fall
MODELS = {"wan", "codec"}       # algorithms get the model as an argument
BASE = {"device", "errors", "files", "runs", "muon", "options", "parallel"}
INNER = [PACKAGE / f"{name}.py" for name in LEVEL if (PACKAGE / f"{name}.py").exists()]
MODULES = sorted(PACKAGE.rglob("*.py"))
SOURCES = MODULES + sorted((ROOT / "tests").glob("*.py")) + sorted((ROOT / "tools").glob("*.py"))
HEAVY = {"diffusers", "transformers", "matplotlib", "mediapy", "IPython"}
PICTURES = {"matplotlib", "mediapy", "IPython"}

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
def test_imports_go_one_way(path):
    ring = {name: number for number, names in enumerate(RINGS) for name in names}
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for name in {name.split(".")[0] for name in ours(path)} & ring.keys():
        assert ring[name] <= ring[own], f"{label(path)} must not import {name}"


def test_the_house_does_not_grow():
    def lines(paths):
        return sum(len(path.read_text().splitlines()) for path in paths)

    page = [path for end in ("js", "css", "html") for path in (PACKAGE / "live").glob(f"*.{end}")]
    found = {"package": lines(MODULES), "files": len(MODULES), "page": lines(page),
             "tests": lines((ROOT / "tests").glob("*.py"))}
    assert all(found[name] <= cap for name, cap in CAPS.items()), found


@pytest.mark.parametrize("path", INNER, ids=label)
def test_inner_ring_imports_torch_and_lower_levels_only(path):
    allowed = {"torch", "livetalk_ref", *sys.stdlib_module_names}
    foreign = {name for name in imports(path) if name.split(".")[0] not in allowed}
    assert not foreign, f"{label(path)} may import torch and the standard library, not {foreign}"

    for name in {name.split(".")[0] for name in ours(path)} - BASE:
        assert name in LEVEL, f"{label(path)} imports {name} of the outer ring"
        assert LEVEL[name] < LEVEL[path.stem], f"{label(path)} must not import {name}"
        assert name not in MODELS, f"{label(path)} gets its model as an argument, not from {name}"


def test_inner_ring_is_an_hours_reading():
    lines = {path.name: len(path.read_text().splitlines()) for path in INNER}
    assert len(lines) <= 9 and sum(lines.values()) <= 1800, lines


def test_the_steps_of_the_method_are_commented():
    lines = [line.strip() for path in INNER for line in path.read_text().splitlines()]
    comments = sum(line.startswith("#") for line in lines)
    assert comments >= 0.05 * len(lines), f"{comments} comments on {len(lines)} lines"


@pytest.mark.parametrize("name", sorted(BASE))
def test_base_imports_nothing_of_ours_but_base(name):
    found = {name.split(".")[0] for name in ours(PACKAGE / f"{name}.py")}
    more = {"runs": {"files", "parallel"}, "muon": {"parallel"}}.get(name, set())
    assert found <= {"errors", "DATA"} | more


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_only_viz_imports_pictures(path):
    if label(path) != "livetalk_ref/viz.py":
        assert not PICTURES & {name.split(".")[0] for name in imports(path)}


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_nobody_imports_a_study(path):
    """But for what all of them share, and the program that runs them."""
    allowed = {"studies.work"} if path.parent.name == "studies" else set()
    found = {name for name in ours(path) if name.startswith("studies.")}
    assert not {name for name in found if ".".join(name.split(".")[:2]) not in allowed}


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_weights_are_safetensors_only(path):
    """A pickle runs code when it is opened."""
    forbidden = {"pickle", "dill", "joblib", "cloudpickle"}
    assert not forbidden & {name.split(".")[0] for name in imports(path)}
    assert not {"torch.save", "torch.load"} & imports(path)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert f"{node.value.id}.{node.attr}" not in ("torch.save", "torch.load")


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
    drawing = {"viz", "diagrams", "__main__"}
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
