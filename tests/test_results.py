"""Every figure in data/results says how it was made, and the command exists."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from livetalk_ref import files
from livetalk_ref.errors import UserError
from livetalk_ref.judge import benchmarks
from livetalk_ref.studies.__main__ import STUDIES

FILES = sorted(files.RESULTS.glob("*.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_a_result_names_command_date_hardware_and_seeds(path):
    result = json.loads(path.read_text())
    assert {"made_by", "hardware", "date", "seeds", "rows", "cost"} <= result.keys()
    assert result["rows"] and all(isinstance(row, dict) for row in result["rows"])
    words = shlex.split(result["made_by"])
    assert words[:2] == ["python", "-m"]
    if words[2] == "livetalk_ref.studies":
        assert words[3] in STUDIES
    elif words[2] == "livetalk_ref" and "frozen" not in result:
        done = subprocess.run([sys.executable, "-m", "livetalk_ref", words[3], "--help"],
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_hardware_is_that_of_the_device(monkeypatch):
    """A GPU that is there and was not asked for does not count."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"the GPU {device}")
    assert "CPU cores" in files.hardware() and "CPU" in files.as_result("x", [])["hardware"]
    assert files.as_result("x", [], device="cuda")["hardware"] == "the GPU cuda"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full disk here")
def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
    """/dev/full opens and takes nothing, as a disk without room."""
    monkeypatch.setattr(files, "temporary_name", lambda path: link)
    for write in (lambda path: files.write_json(path, {"a": 1}), benchmarks.freeze_lists):
        link = tmp_path / "link"
        link.symlink_to("/dev/full")
        monkeypatch.setattr(benchmarks, "BENCHMARKS", ())
        with pytest.raises(UserError, match="No space left"):
            write(tmp_path / "x.json")
        assert list(tmp_path.iterdir()) == []


def test_results_are_written_whole_and_read_back(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "RESULTS", tmp_path)
    path = files.write_result("x", "python -m livetalk_ref bench", [{"a": 1}, {"a": [2]}], [0],
                                {"s": 2})
    back = files.read_result("x")
    assert path.name == "x.json" and back["cost"] == {"s": 2}
    assert back["rows"] == [{"a": 1}, {"a": [2]}]
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]
    assert '\n  {"a": 1},\n  {"a": [2]}\n' in path.read_text()     # a line a row: easy to compare
    with pytest.raises(UserError, match="no result"):
        files.read_result("y")
