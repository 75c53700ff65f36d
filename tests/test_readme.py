"""README and pages do what they say: their Python runs, their commands run, links lead somewhere.

Commands run in their order and write below outputs/, which is a temporary folder here.
What takes hours or opens a window (NOT_RUN) is only checked to exist, with its options.
"""

import json
import os
import re
import shlex
import subprocess
import sys

import pytest
from repo import NOTEBOOKS, ROOT, text_files

from livetalk_ref import REPOSITORY
from livetalk_ref.studies.__main__ import STUDIES

NOT_RUN = {"train", "trajectories", "weights", "evaluate", "live", "prepare", "bench"}
LANGUAGES = {"bash", "python", "text", "bibtex", "mermaid"}
PAGES = [ROOT / name for name in ("README.md", "docs/training.md", "docs/real_weights.md")]
TEXT = "\n".join(page.read_text() for page in PAGES)
BLOCKS = re.findall(r"^```(\w*)[^\n]*\n(.*?)^```", TEXT, re.M | re.S)
SECONDS = 600


def commands():
    """Every command of the bash blocks as words, joined over \\ and split at &&."""
    found = []
    for language, block in BLOCKS:
        if language == "bash":
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line.removeprefix("$ "), comments=True)
                while words:
                    end = words.index("&&") if "&&" in words else len(words)
                    found.append(words[:end])
                    words = words[end + 1:]
    return found


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("readme") / "outputs"
    folder.mkdir()
    return folder


def run(arguments, outputs):
    """`python -m livetalk_ref` with these arguments and outputs/ moved away."""
    moved = [word.replace("outputs/", f"{outputs}/") for word in arguments]
    return subprocess.run([sys.executable, "-m", "livetalk_ref", *moved], cwd=ROOT, text=True,
                          capture_output=True, timeout=SECONDS)


def check_livetalk(arguments, outputs):
    if arguments[0] in NOT_RUN:
        done = run([arguments[0], "--help"], outputs)
        for option in arguments[1:]:
            if option.startswith("--"):
                assert option.split("=")[0] in done.stdout, f"{arguments[0]} has no {option}"
    else:
        done = run(arguments, outputs)
    assert done.returncode == 0, done.stderr[-3000:]


def check_make(arguments, outputs):
    done = subprocess.run(["make", "-n", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def check_files(arguments, outputs):
    """pip, conda, source: the files and extras that they name exist."""
    for word in arguments:
        path, _, extras = word.partition("[")
        if path.endswith((".txt", ".yml")) or path == ".":
            assert (ROOT / path).exists(), f"there is no {path}"
        for extra in filter(None, re.split(r"[\],]", extras)):
            assert re.search(rf"^{extra} = ", text_files()["pyproject.toml"], re.M), extra


def check_studies(arguments, outputs):
    assert not arguments or arguments[0] in STUDIES and arguments[1] in ("--minutes", "--quick")


CHECKS = {"livetalk": check_livetalk, "livetalk.studies": check_studies, "make": check_make,
          "pip": check_files, "conda": check_files, "source": check_files}
FETCH = (["git", "clone", REPOSITORY], ["git", "clone", f"{REPOSITORY}.git"],
         ["cd", REPOSITORY.rsplit("/", 1)[1]])


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_command(words, outputs):
    if words in FETCH:
        return
    while re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words = words[1:]
    program, arguments = words[0], words[1:]
    if os.path.basename(program) in ("python", "python3") and arguments[:1] == ["-m"]:
        program, arguments = arguments[1].replace("livetalk_ref", "livetalk"), arguments[2:]
    assert not {"|", ">", ">>", ";", "&"} & set(arguments), "one plain command a line"
    assert program in CHECKS, f"no check knows the command {program}: add one or leave it out"
    CHECKS[program](arguments, outputs)


def test_python_blocks_run_one_after_the_other(outputs, monkeypatch):
    assert {"bash", "python"} <= {language for language, _ in BLOCKS} <= LANGUAGES
    monkeypatch.chdir(ROOT)
    namespace = {"__name__": "readme"}
    for language, block in BLOCKS:
        if language == "python":
            moved = block.replace("outputs/", f"{outputs.as_posix()}/")
            exec(compile(moved, "README.md", "exec"), namespace)


def pages():
    """(path, prose) of every markdown file and of the text cells in notebooks."""
    for name, text in text_files().items():
        if name.endswith(".md"):
            yield name, text
        elif name.endswith(".ipynb"):
            yield name, "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"]
                                  if cell["cell_type"] == "markdown")


def anchors(text):
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(("name", "text"), [pytest.param(*page, id=page[0]) for page in pages()])
def test_relative_links_lead_somewhere(name, text):
    prose = re.sub(r"```.*?```|`[^`\n]*`|\$\$.*?\$\$", "", text, flags=re.S)
    links = re.findall(r"\]\(([^)\s]+)[^)]*\)", prose)
    links += re.findall(r'(?:src|href)="([^"]+)"', prose)
    for link in links:
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = ((ROOT / name).parent / path) if path else ROOT / name
        assert target.exists(), f"{name} links to {link}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target.read_text()), f"{name} links to {link}"
    if name == "README.md":
        assert {f"notebooks/{path.name}" for path in NOTEBOOKS} <= set(links)
