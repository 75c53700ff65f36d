"""The commands that judge, on tiny weights: `evaluate` and `bench`."""

import json

import pytest
from test_cli import checkpoints, go, place, refused  # noqa: F401
from tiny import random_reader, script_clips

from livetalk_ref import generate
from livetalk_ref.judge import bench, benchmarks, distances
from livetalk_ref.nets.reader import ReaderConfig
from livetalk_ref.runs import save

PLAIN = ["--text-guidance", "1", "--audio-guidance", "1"]


@pytest.fixture
def small(monkeypatch, checkpoints):  # noqa: F811
    """Shards of two clips of shipped speech, made in this process; a reader of random weights."""
    script_clips(monkeypatch)
    save(checkpoints / "reader.safetensors", random_reader().state_dict(), config=ReaderConfig())


def test_evaluate(go, small, place):  # noqa: F811
    """All of it: caches, judged truth, a model; and again, from the caches."""
    words = ["evaluate", "--set", "wild", "--clips", "2", "--steps", "1", *PLAIN, "--seed", "4"]
    status, out, err = go(*words, "--json")
    facts = json.loads(out)
    assert status == 0 and out.count("\n") == 1
    assert facts["made_by"].split()[:6] == ["python", "-m", "livetalk_ref", *words[:3]]
    assert {"code", "hardware", "date", "seeds", "rows", "cost"} <= facts.keys()
    assert facts["settings"] == {"steps": 1, "text_guidance": 1, "audio_guidance": 1}
    assert [row["name"] for row in facts["rows"]] == [
        "teacher", "truth through the codec", "floor: a second set of truth"]
    assert facts["version"] == f"{benchmarks.VERSION}+"
    assert "warning: 2 of 2 clips of 'wild', such as 0, are not those of version" in err

    status, out, _ = go(*words)
    text = distances.evaluation_text(facts)
    assert status == 0 and out.splitlines()[:-1] == text.splitlines()[:-1]      # but for its cost
    assert out.startswith(f"teacher on wild {benchmarks.VERSION}+: 2 clips, steps 1")


def test_evaluate_refuses(go, place, checkpoints):  # noqa: F811
    (checkpoints / "reader.safetensors").unlink(missing_ok=True)
    refused(go("evaluate"), "--set")
    refused(go("evaluate", "--set", "all"), "invalid choice: 'all'")
    for words, said in ((("--model", "nobody"), "There is no model 'nobody'"),
                        (("--model", "codec", "--steps", "4"), "takes no steps"),
                        (("--clips", "101"), "'101' is not a number from 2 to"),
                        ((), "There is no model 'reader'")):
        refused(go("evaluate", "--set", "wild", *words), said)


def test_bench(go, monkeypatch):  # noqa: F811
    for name in ("RUNS", "MANY"):
        monkeypatch.setattr(bench, name, 1)
    monkeypatch.setattr(generate, "TEACHER_STEPS", 1)
    status, out, _ = go("bench", "--json")
    facts = json.loads(out)
    assert status == 0 and out.count("\n") == 1 and facts["steps"] == 1
    assert {"features", "step", "decode"} <= facts["warm"].keys()
    status, out, _ = go("bench")
    assert status == 0 and "look ahead: 0.0625" in out
