"""What latency is: the right frame is waited for, and the sound it needs is what is said."""

import pytest
import torch
from tiny import write_checkpoints

from livetalk_ref import generate, loading
from livetalk_ref.judge import bench
from livetalk_ref.portrait import portrait_of
from livetalk_ref.world.ear import AudioFeatures


@pytest.fixture(scope="module")
def avatar(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    write_checkpoints(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "CHECKPOINTS", folder)
        return loading.load("teacher")


def test_what_is_timed_is_frame_1(avatar):
    """Two roads to the first generated frame."""
    picture = portrait_of(0)
    frame, parts = bench.first_frame(avatar, bench.prepare(avatar, picture), 2)
    window = next(generate.stream(avatar, picture, bench.tone(81), bench.PROMPT, 0, 2))
    assert torch.equal(frame, window.frames[1])
    assert len(parts["steps"]) == 2 and parts["cache"] is None
    assert sum(parts["steps"]) + parts["features"] + parts["decode"] <= parts["seconds"]


def test_algorithmic_latency_is_the_sound_a_first_block_hears():
    wait = bench.algorithmic()
    assert wait["seconds"] == wait["first_block"] + wait["look_ahead"] == 5.0625
    samples = torch.randn(150_000, generator=torch.Generator().manual_seed(0))
    need = round(wait["seconds"] * 16_000)
    whole = next(generate.audio_windows(samples))
    silenced = torch.cat([samples[:need], torch.zeros(150_000 - need)])
    assert torch.equal(next(generate.audio_windows(silenced)), whole)
    silenced[need - 300:] = 0
    assert not torch.equal(next(generate.audio_windows(silenced)), whole)


def test_a_block_of_three_latent_frames_waits_less():
    wait = bench.algorithmic(2, 3, ahead=1)
    assert (wait["first_block"], wait["block"], wait["look_ahead"]) == (0.5, 0.75, 0.0625)
    rows = AudioFeatures().rows(torch.zeros(9 * 1000))
    assert len(rows) == 9 and wait["seconds"] == 9 / 16


def test_median_and_95th_percentile():
    assert bench.spread([None, None]) is None
    found = bench.spread([float(i) for i in range(21)])
    assert found["median"] == 10 and found["p95"] == pytest.approx(19)


def test_slow_models_have_fewer_runs_and_say_so(avatar, monkeypatch):
    def slow(*_):
        return None, {"seconds": 30.0, "features": 0.1, "steps": [14.0, 15.0], "cache": None,
                      "decode": 0.9}

    monkeypatch.setattr(bench, "first_frame", slow)
    few = bench.warm_runs(avatar, None, 2)
    assert few["runs"] == 4 and few["seconds"] == {"median": 30, "p95": 30}
    assert bench.warm_runs(avatar, None, 2, runs=25)["runs"] == 25
    monkeypatch.setattr(bench, "PATIENCE", 1e9)
    assert bench.warm_runs(avatar, None, 2)["runs"] == bench.RUNS == 20
    facts = {"model": "m", "steps": 2, "hardware": "h", "warm": few,
             "cold": slow()[1] | {"load": 1, "picture_and_prompt": 0.1},
             "algorithmic": bench.algorithmic(), "peak_memory_mib": None,
             "throughput": {"frames_per_second": 1, "real_time_factor": 16, "evaluations": 8},
             "many": {"batch": 16, "frames_per_second": 2}}
    text = bench.table(facts)
    assert "of 4 runs (fewer than 20" in text and "cache pass          none" in text
    assert "5.06 s of sound" in text
