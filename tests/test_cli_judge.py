"""The commands that judge, on tiny weights: `evaluate` and `bench`."""

import json
from pathlib import Path

import pytest
from test_cli import checkpoints, go, place, refused  # noqa: F401
from test_distances import write_detectors
from tiny import random_reader, script_clips, scripted

from livetalk_ref import generate
from livetalk_ref.judge import bench, benchmarks, distances
from livetalk_ref.media import movie
from livetalk_ref.nets.reader import ReaderConfig
from livetalk_ref.runs import save
from livetalk_ref.world.clips import film

PLAIN = ["--text-guidance", "1", "--audio-guidance", "1"]


@pytest.fixture
def small(monkeypatch, checkpoints):  # noqa: F811
    """Shards of two clips of shipped speech, made in this process; a reader of random weights."""
    script_clips(monkeypatch)
    save(checkpoints / "reader.safetensors", random_reader().state_dict(), config=ReaderConfig())


def test_evaluate(go, small, place):  # noqa: F811
    """All of it: caches, judged truth, a model, a file; and again, from the caches."""
    words = ["evaluate", "--set", "wild", "--clips", "2", "--steps", "1", *PLAIN, "--seed", "4"]
    status, out, err = go(*words, "--json", "--out", "e.json")
    facts = json.loads(out)
    assert status == 0 and out.count("\n") == 1
    assert facts == json.loads(Path("e.json").read_text())
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


def test_export_and_videos(go, small, place):  # noqa: F811
    status, out, _ = go("evaluate", "--set", "celeb", "--clips", "2", "--export", "given")
    assert (status, out) == (0, "given/celeb.json\n")
    refused(go("evaluate", "--set", "celeb", "--clips", "2", "--videos", "given"),
            "lacks 2 of 2 videos, such as celeb-000.mp4")
    for number in range(2):
        clip = scripted(number)
        with movie(f"given/celeb-{number:03d}.mp4", clip.samples) as made:
            made.add(film(clip))
    status, out, _ = go("evaluate", "--set", "celeb", "--clips", "2", "--videos", "given", "--json")
    row, _, floor = json.loads(out)["rows"]
    assert row["name"] == "videos in given" and 0 < row["frechet"] < 0.5 * floor["frechet"]


def test_evaluate_refuses(go, place, checkpoints):  # noqa: F811
    (checkpoints / "reader.safetensors").unlink(missing_ok=True)
    refused(go("evaluate"), "--set")
    refused(go("evaluate", "--set", "all"), "invalid choice: 'all'")
    for words, said in ((("--model", "nobody"), "There is no model 'nobody'"),
                        (("--model", "codec", "--steps", "4"), "takes no steps"),
                        (("--clips", "101"), "'101' is not a number from 2 to"),
                        (("--videos", "a", "--model", "b"), "not allowed with"),
                        (("--out", "speech.wav/o.mp4"), "Could not write"),
                        ((), "There is no model 'reader'")):
        refused(go("evaluate", "--set", "wild", *words), said)


def test_evaluate_adds_fid_and_fvd(go, small, place):  # noqa: F811
    paths, rows = write_detectors(place), {}
    words = ["evaluate", "--set", "held_out", "--clips", "2", "--inception", paths["FID"],
             "--i3d", paths["FVD"]]
    for model in ("truth", "codec"):
        status, out, _ = go(*words, "--model", model, "--json")
        assert status == 0
        rows[model] = json.loads(out)["rows"][0]
    assert rows["codec"]["FID"] > 1e-4 and rows["codec"]["FVD"] > 1e-6
    for name in ("FID", "FVD", "frechet"):
        assert rows["truth"][name] == pytest.approx(0, abs=1e-3 if name == "frechet" else 1e-6)
    assert "FID" in distances.evaluation_text(json.loads(out))


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
