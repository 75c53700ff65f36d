"""The exercises of notebooks: no answer, a typical wrong one, and the right one are told apart.

Of a notebook's code only those statements run on which its answer cell depends, so that nothing
is trained or drawn. A file of `notebooks/solutions` holds two texts that take the place of the
answer cell's line `my_.. = None`.
"""

import ast
import dis
import json
import re
import runpy

import pytest
from repo import ROOT

SOLUTIONS = sorted((ROOT / "notebooks" / "solutions").glob("[0-9][0-9]_*.py"))
STORES, LOADS = {"STORE_NAME", "STORE_GLOBAL"}, {"LOAD_NAME", "LOAD_GLOBAL"}
FILLERS = {"append", "extend", "update", "add", "eval", "to", "mkdir", "write_text"}


def names_of(node, kinds):
    """The global names that a statement stores or loads, its functions' bodies included."""
    codes, found = [compile(ast.Module([node], []), "cell", "exec")], set()
    for code in codes:
        codes += [const for const in code.co_consts if hasattr(const, "co_code")]
        found |= {step.argval for step in dis.get_instructions(code) if step.opname in kinds}
    return found


def changed_names(node):
    """The names that a statement binds, and those whose content it changes."""
    changed = names_of(node, STORES)
    for part in ast.walk(node):
        stored = isinstance(part, ast.Subscript | ast.Attribute) and isinstance(part.ctx, ast.Store)
        filled = isinstance(part, ast.Attribute) and part.attr in FILLERS
        while stored and isinstance(part, ast.Subscript | ast.Attribute):
            part = part.value
        part = part.value if filled else part
        if (stored or filled) and isinstance(part, ast.Name):
            changed.add(part.id)
    return changed


def needed_before(statements, wanted, all_of_them=False):
    """The statements that names depend on, and the names that these wait for in their turn."""
    kept, wanted = [], set(wanted)
    for node in reversed(statements):
        changed = changed_names(node)
        if all_of_them or changed & wanted:
            kept.append(node)
            if isinstance(node, ast.Assign | ast.FunctionDef):      # set anew, whatever was before
                wanted -= names_of(node, STORES) if changed == names_of(node, STORES) else set()
            wanted |= names_of(node, LOADS)
    return kept[::-1], wanted


def needed_code(cells, versions):
    """The code of `cells` on which any version of the answer cell depends."""
    wanted = set().union(*(needed_before(ast.parse(version).body, (), True)[1]
                           for version in versions))
    kept, _ = needed_before([node for cell in cells for node in ast.parse(cell).body], wanted)
    return ast.unparse(ast.Module(kept, []))


def notebook_code(path):
    """Every code cell of a notebook without its magic lines, and the answer cell's number."""
    cells = ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"]
             if cell["cell_type"] == "code"]
    cells = [re.sub(r"^([ \t]*)[%!].*$", r"\1pass", cell, flags=re.M) for cell in cells]
    return cells, max(i for i, cell in enumerate(cells) if "my_" in cell and "verdict(" in cell)


def answered(cell, answer):
    """The answer cell with `answer` where it sets its names `my_..` to None."""
    empty = [node for node in ast.parse(cell).body if isinstance(node, ast.Assign)
             and {name[:3] for name in names_of(node, STORES)} == {"my_"}]
    lines = cell.splitlines()
    for node in reversed(empty):
        lines[node.lineno - 1:node.end_lineno] = [answer] if node is empty[0] else []
    return "\n".join(lines)


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_answers_are_told_apart(path, capsys, monkeypatch):
    notebooks = path.parent.parent
    texts, (cells, at) = runpy.run_path(path), notebook_code(notebooks / f"{path.stem}.ipynb")
    versions = [cells[at], *(answered(cells[at], texts[name]) for name in ("WRONG", "SOLUTION"))]
    monkeypatch.chdir(notebooks)
    space = {"__name__": "notebook", "display": print}
    exec(needed_code(cells[:at], versions), space)
    said = []
    for version in versions:
        capsys.readouterr()
        exec(version, space)
        said.append(re.findall(r"^\w+: ((?:not|right).*)", capsys.readouterr().out, re.M))
    empty, wrong, right = said
    assert len(empty) >= 3 and set(empty) == {"not answered yet"}, empty
    assert len(wrong) == len(empty) and all(re.match("not yet", text) for text in wrong), wrong
    assert right == ["right"] * len(empty), right
