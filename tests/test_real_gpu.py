"""The measuring command at a small size; what ships of an H200, and what README says of it."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from repo import ROOT

from livetalk_ref.cache import FULL, KVCache
from livetalk_ref.files import read_result
from livetalk_ref.real import gpu
from livetalk_ref.real.avatar import cache_bytes, kept_frames
from livetalk_ref.real.standin import SMALL, random_cond, random_dit
from livetalk_ref.rollout import remember
from livetalk_ref.stream import AHIS


def test_every_stage_that_a_cpu_can_do_gives_numbers(tmp_path):
    gpu.main(["--small", "--out", str(tmp_path)])
    assert [path.name for path in tmp_path.iterdir()] == ["real_gpu.json"]
    rows = json.loads((tmp_path / "real_gpu.json").read_text())["cost"]["stages"]
    made = {row["stage"]: row for row in rows if row.get("mode", "eager") == "eager"}
    assert not any("result" in row for row in made.values()), made
    assert made["floor of a step"]["tflop"] > 0
    for stage in ("dit", "session", "teacher"):
        assert made[stage]["frames_per_second"] > 0
    assert made["vae"]["ms_per_block"] > 0


def test_a_stage_that_fails_or_comes_late_says_so_and_all_are_kept():
    kept = []
    bench = gpu.Bench(gpu.SMALL, "cpu", 1, lambda rows: kept.append(list(rows)))
    bench.stage("vae", lambda bench: {}["ms_per_block"])
    bench.stage("dit", lambda bench, rate: {"frames_per_second": rate}, 2.0, mode="eager")
    assert [len(rows) for rows in kept] == [1, 2] and "KeyError" in kept[0][0]["result"]
    assert kept[1][1] == {"stage": "dit", "mode": "eager", "frames_per_second": 2.0}
    bench.end = 0
    row = bench.stage("session", lambda bench: pytest.fail("it ran"))
    assert row == {"stage": "session", "result": "not measured: no time left"}


def test_it_needs_torch_transformers_and_diffusers_alone():
    """What a rented GPU machine may lack is not imported."""
    lacking = {"av", "soundfile", "PIL", "torchaudio", "diffusers", "tornado", "matplotlib"}
    code = ("import json, sys, livetalk_ref.real.gpu\n"
            "print(json.dumps([name for name in sys.modules if '.' not in name]))")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
                          check=True)
    assert not lacking & set(json.loads(done.stdout))


@torch.no_grad()
def test_a_cache_takes_the_bytes_that_are_computed_and_an_hour_no_more_than_six_seconds():
    model, cond = random_dit(SMALL), random_cond(SMALL, 32)
    cond = replace(cond, known=torch.zeros(1, 3).bool())
    x = torch.randn(1, 3, 16, 4, 4)
    for policy in (AHIS, FULL):
        cache = KVCache(policy)
        for blocks in range(1, 8):
            cache = remember(model, x, cond, cache)
            assert len(cache.frames) == kept_frames(policy, blocks)
        held = sum(t.nbytes for pair in cache.layers for t in pair)
        assert held == cache_bytes(SMALL, 4, len(cache.frames), torch.float32)
    assert kept_frames(AHIS, 8) == kept_frames(AHIS, 4800) == 15


def test_the_readme_says_what_was_measured_and_computed():
    """A line for every mode of the GPU, and for every card."""
    text = (ROOT / "README.md").read_text()
    stages = {(row["stage"], row.get("mode")): row
              for row in read_result("real_gpu")["cost"]["stages"] if "attention" not in row}
    for mode in ("eager", "graphs", "compiled", "compiled graphs"):
        dit, live = stages["dit", mode], stages["session", mode]
        assert (f"| {mode} | {dit['ms_per_step']:.1f} | {dit['ms_per_block']:.0f} | "
                f"{dit['frames_per_second']:.1f} | {live['frames_per_second']:.1f} | "
                f"{live['first_frame_seconds']:.3f} | {live['peak_gib']:.1f} |") in text
    for row in read_result("real_memory")["rows"]:
        if "card" in row:
            line, = (line for line in text.splitlines() if line.startswith(f"| {row['card']} "))
            assert line.endswith(f"| {row['dtype']} | {row['total']:.1f} of {row['GiB']:.1f} GiB | "
                                 f"{row['undo']} |")
