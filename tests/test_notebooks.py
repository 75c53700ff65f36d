"""The form of a notebook: what can be told without running it. (`make test` runs them too.)"""

import ast
import json
import re
import subprocess
import sys

import pytest
from repo import NOTEBOOKS, ROOT

from livetalk_ref import REPOSITORY

SETUP = 2                       # the cell that may reach outside Python
IDEA_WORDS, CELL_LINES, SETUP_LINES, FUNCTION_LINES, IMPORTED_NAMES = 120, 25, 6, 15, 30
SLUG = REPOSITORY.removeprefix("https://github.com/")
SHELL = re.compile(r"^\s*(!|%%(bash|sh|script|system|!)|%(pip|conda|sx|system|uv)\b)|= *!", re.M)
MAGIC = re.compile(r"^([ \t]*)(?:[%!?].*|[\w.]+\?{1,2})$", re.M)
LEAST_TEXT, MEAN_TEXT = 1.1, 1.2         # text cells for each code cell but the setup
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells_of(path):
    return json.loads(path.read_text())["cells"]


def source(cell):
    return "".join(cell["source"])


def code_cells(path):
    """[(index in the notebook, source, cell)] of the code cells."""
    return [(index, source(cell), cell) for index, cell in enumerate(cells_of(path))
            if cell["cell_type"] == "code"]


def text_cells(path):
    return [source(cell) for cell in cells_of(path) if cell["cell_type"] == "markdown"]


def parsed(text):
    return ast.parse(MAGIC.sub(r"\1pass", text))


@each_notebook
def test_opening_cells(path):
    title, learn, setup = (source(cell) for cell in cells_of(path)[:3])
    assert re.match(rf"# {path.name[:2]} - \S", title), "cell 0 starts with '# NN - Title'"
    badge = f"https://colab.research.google.com/github/{SLUG}/blob/main/notebooks/{path.name}"
    assert badge in title, "cell 0 has the Colab badge of this notebook"
    assert "?" in title.split(badge)[1], "cell 0 asks the notebook's question"
    for word in ("paper", "needs", "produces", "time"):
        assert re.search(rf"^\|.*\b{word}", title, re.M | re.I), f"cell 0's table tells: {word}"
    assert "you will learn" in learn.lower()
    assert len(re.findall(r"^\s*[-*] \S", learn, re.M)) == 3, "cell 1 has three bullets"
    assert '"google.colab" in sys.modules' in setup, "cell 2 is the Colab guard and nothing else"
    assert len(setup.splitlines()) <= SETUP_LINES and SETUP == code_cells(path)[0][0]
    assert not re.search(r"\btorch\b", setup), "an installed torch is left alone"


@each_notebook
def test_cells_are_thin_and_stay_in_python(path):
    """Notebook tests do not notice a shell command that fails."""
    asserting, imported = 0, {}
    for index, text, cell in code_cells(path):
        outside = SHELL.search(text) or re.search(r"\b(os\.system|subprocess|get_ipython)\b", text)
        assert index == SETUP or not outside, f"cell {index} leaves Python"
        assert 0 < len(text.strip().splitlines()) <= CELL_LINES, f"cell {index} is long or empty"
        nodes = list(ast.walk(parsed(text)))
        for node in nodes:
            assert not isinstance(node, ast.ClassDef), f"cell {index} defines a class"
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = node.end_lineno - node.lineno + 1
                assert lines <= FUNCTION_LINES, f"cell {index}: {node.name} has {lines} lines"
            if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "livetalk_ref":
                imported.setdefault(index, []).extend(node.names)
        names = {getattr(node, "id", getattr(node, "attr", "")) for node in nodes}
        if any(name.startswith("interact") for name in names):
            assert "nbval-ignore-output" in cell["metadata"].get("tags", []), f"tag cell {index}"
        asserting += any(isinstance(node, ast.Assert) for node in nodes)
    assert asserting >= 3, f"only {asserting} cells assert something"
    names, = imported.values()              # one cell imports what is ours
    assert len(names) <= IMPORTED_NAMES, f"{len(names)} names: import a module instead"


@each_notebook
def test_idea_is_short_and_it_ends_with_exercises_recap_and_the_next(path):
    headed = {word: [text for text in text_cells(path)
                     if re.search(rf"^#+ .*\b{word}", text, re.M | re.I)]
              for word in ("idea", "exercises", "recap")}
    assert all(headed.values()), "text cells headed 'The idea', 'Exercises' and 'Recap'"
    for text in headed["idea"]:
        words = re.sub(r"\$\$.*?\$\$", "", text, flags=re.S).split()
        assert len(words) <= IDEA_WORDS, f"the idea takes {len(words)} words"
    assert any("<details>" in text for text in headed["exercises"]), "hints are folded"
    following = NOTEBOOKS[NOTEBOOKS.index(path) + 1:]
    if following and int(following[0].name[:2]) == int(path.name[:2]) + 1:
        assert f"({following[0].name})" in source(cells_of(path)[-1])


def text_share(path):
    return len(text_cells(path)) / (len(code_cells(path)) - 1)


@each_notebook
def test_text_outweighs_code(path):
    assert text_share(path) >= LEAST_TEXT, f"{text_share(path):.2f} text cells for a code cell"


def test_text_outweighs_code_on_average():
    mean = sum(map(text_share, NOTEBOOKS)) / len(NOTEBOOKS)
    assert mean >= MEAN_TEXT, f"{mean:.2f} text cells for a code cell"


@each_notebook
def test_every_picture_is_followed_by_words(path):
    cells = cells_of(path)
    for index, (cell, following) in enumerate(zip(cells, cells[1:])):
        shown = {kind for output in cell.get("outputs", ()) for kind in output.get("data", {})}
        if shown & {"image/png", "image/jpeg", "text/html"}:
            assert following["cell_type"] == "markdown", f"say what cell {index} shows"


@each_notebook
def test_every_assert_says_what_it_expects(path):
    for index, text, _ in code_cells(path):
        for node in ast.walk(parsed(text)):
            assert not isinstance(node, ast.Assert) or node.msg, f"an assert of cell {index}"


@each_notebook
def test_outputs_come_from_one_clean_run_and_show_a_picture_beside_a_video(path):
    """The web view of a notebook shows no video."""
    counts = [cell["execution_count"] for _, _, cell in code_cells(path)]
    assert counts == list(range(1, len(counts) + 1)), f"run `make notebooks`: {counts}"
    outputs = [output for _, _, cell in code_cells(path) for output in cell["outputs"]]
    assert outputs and "error" not in {output["output_type"] for output in outputs}
    shown = [output.get("data", {}) for output in outputs]
    if any("<video" in "".join(data.get("text/html", "")) for data in shown):
        assert any("image/png" in data for data in shown)


@each_notebook
def test_file_is_small_and_normalised(path):
    assert path.stat().st_size <= 1_000_000, f"{path.stat().st_size / 1e6:.2f} MB"
    verify = [sys.executable, "-m", "nbstripout", "--verify", "--keep-output", "--keep-count",
              "--keep-id", "--extra-keys", "metadata.widgets metadata.language_info.version", path]
    done = subprocess.run(verify, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"run `make notebooks`: {done.stdout}{done.stderr}"
