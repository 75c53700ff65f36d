"""The commands that judge, on tiny weights: `evaluate` and `bench`."""

import json

import pytest
from test_cli import checkpoints, go, place, refused  # noqa: F401
from tiny import random_reader, script_clips

from livetalk_ref import generate
from livetalk_ref.judge import bench, benchmarks, distances
from livetalk_ref.nets.reader import ReaderConfig
from livetalk_ref.runs import save
from livetalk_ref.stream import frames_of

PLAIN = ["--text-guidance", "1", "--audio-guidance", "1"]


def test_evaluate(go, checkpoints, monkeypatch):  # noqa: F811
    """All of it: caches, judged truth, a model; and again, from the caches."""
    script_clips(monkeypatch)
    save(checkpoints / "reader.safetensors", random_reader().state_dict(), config=ReaderConfig())
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


def test_evaluate_refuses(go, checkpoints):  # noqa: F811
    (checkpoints / "reader.safetensors").unlink(missing_ok=True)
    refused(go("evaluate", "--set", "all"), "invalid choice: 'all'")
    for words, said in ((("--model", "nobody"), "There is no model 'nobody'"),
                        (("--model", "codec", "--steps", "4"), "takes no steps"),
                        (("--clips", "101"), "'101' is not a number from 2 to"),
                        ((), "There is no model 'reader'")):
        refused(go("evaluate", "--set", "wild", *words), said)


def test_bench(go, monkeypatch):  # noqa: F811
    """A student and the guided teacher in one run."""
    for name in ("RUNS", "MANY"):
        monkeypatch.setattr(bench, name, 2)
    monkeypatch.setattr(generate, "TEACHER_STEPS", 1)
    status, out, _ = go("bench", "--model", "student_ode", "--seconds", "3", "--json")
    facts = json.loads(out)
    assert status == 0 and out.count("\n") == 1
    assert facts["algorithmic"]["seconds"] == 9 / 16 and facts["steps"] == 4
    assert facts["teacher"]["model"] == "teacher" and facts["teacher"]["steps"] == 1
    assert facts["throughput"]["frames"] == 149 and facts["peak_memory_mib"] > 50
    assert {"features", "step", "decode"} <= facts["warm"].keys()
    assert 0 < facts["warm"]["seconds"]["median"] <= facts["warm"]["seconds"]["p95"]
    stream = facts["stream"]
    assert stream["blocks"] == 4 and stream["seconds"] == frames_of(4) / 16
    assert 0 < stream["pictures"]["p50"] <= stream["pictures"]["p99"]
    assert stream["missed"] in range(5) and stream["latest"] > 0
    assert set(facts["times"]) == {"first frame", "frames a second", "frames a second, many"}
    counted = facts["times_counted"]
    assert set(counted) == {"frames a second", "without decoding"}
    assert counted["frames a second"] != counted["without decoding"]
    bound = bench.far_from_limit(2e9, 1e10, 0.5)
    assert bound["least_seconds"] == 0.2 and bound["times_the_limit"] == pytest.approx(2.5)
    text = bench.figures_text(facts)
    for line in ("\n  missed: ", "\n    median: ", "\ntimes counted:\n", "look ahead: 0.0625"):
        assert line in text
