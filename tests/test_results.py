"""Every figure in data/results says how it was made, and the command exists. Weights in 8 bits: how
far they are off, and what stays whole."""

import json
import shlex
import subprocess
import sys

import pytest
import torch

from livetalk_ref import files
from livetalk_ref.errors import UserError
from livetalk_ref.files import LEAST, SCALE, eight_bits, unpacked
from livetalk_ref.studies.__main__ import STUDIES

FILES = sorted(files.RESULTS.glob("*.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_a_result_names_command_date_hardware_and_seeds(path):
    result = json.loads(path.read_text())
    assert {"made_by", "hardware", "date", "seeds", "rows", "cost"} <= result.keys()
    assert result["rows"] and all(isinstance(row, dict) for row in result["rows"])
    words = shlex.split(result["made_by"])
    assert words[:2] == ["python", "-m"]
    if "frozen" in result:
        return
    if words[2] == "livetalk_ref.studies":
        assert words[3] in STUDIES
    elif words[2] == "livetalk_ref":
        done = subprocess.run([sys.executable, "-m", "livetalk_ref", words[3], "--help"],
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_hardware_is_that_of_the_device(monkeypatch):
    """A GPU that is there and was not asked for does not count."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"the GPU {device}")
    assert "CPU cores" in files.hardware() and "CPU" in files.as_result("x", [])["hardware"]
    assert files.as_result("x", [], device="cuda")["hardware"] == "the GPU cuda"


def test_results_are_written_whole_and_read_back(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "RESULTS", tmp_path)
    rows = [{"a": 1}, {"a": [2]}]
    path = files.write_result("x", "python -m livetalk_ref bench", rows, [0], {"s": 2})
    back = files.read_result("x")
    assert back["cost"] == {"s": 2} and back["rows"] == rows
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]
    assert '\n  {"a": 1},\n  {"a": [2]}\n' in path.read_text()     # a line a row: easy to compare
    with pytest.raises(UserError, match="no result"):
        files.read_result("y")


# --- weights in 8 bits

def test_rows_are_off_by_half_a_step_at_most():
    g = torch.Generator().manual_seed(0)
    weight = torch.randn(64, 128, generator=g) * torch.logspace(-3, 3, 64)[:, None]
    weight[5] = 0
    tensors = {"big": weight, "small": torch.randn(8, 8, generator=g),
               "vector": torch.randn(LEAST, generator=g), "count": torch.tensor(7)}
    packed = eight_bits(tensors)
    assert packed["big"].dtype == torch.int8 and packed["big" + SCALE].shape == (64,)
    assert {packed[name].dtype for name in ("small", "vector")} == {torch.float16}
    found = unpacked(packed)
    assert found.keys() == tensors.keys() and found["count"] == 7
    step = weight.abs().amax(1, keepdim=True) / 127
    assert ((found["big"] - weight).abs() <= 0.52 * step + 1e-5).all()
    assert torch.equal(found["vector"], tensors["vector"].half().float())
