"""The memory table: its formulas against bytes that are really held; what ships says it fits."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from repo import ROOT

from livetalk_ref.cache import BLOCK, FULL, KVCache
from livetalk_ref.judge.results import RESULTS, read_result
from livetalk_ref.real import full, gpu, memory
from livetalk_ref.real.memory import (Meter, bytes_of, cache_bytes, example, kept_frames, measure,
                                      peak, stream_peak, without_content)
from livetalk_ref.real.standin import (SMALL, SMALL_SPEECH, SMALL_VAE, random_dit, random_speech,
                                       random_vae)
from livetalk_ref.real.vae import WanCodec
from livetalk_ref.real.wav2vec import WINDOW, Speech
from livetalk_ref.rollout import draw, remember
from livetalk_ref.stream import AHIS, SAMPLES_PER_FRAME


def test_the_meter_counts_what_is_alive():
    """Known tensors and their views are free, what is dropped is given back."""
    a = torch.zeros(100)
    with Meter(a) as meter:
        b = a.view(10, 10) + 1                      # 400 bytes
        c = b * 2                                   # 400 more
        del b
        d = c.reshape(-1)                           # a view
        e = d + 1                                   # 400 again
    assert (meter.now, meter.peak) == (800, 800)
    del c, d, e
    assert meter.now == 0


@torch.no_grad()
def test_computed_cache_and_weights_are_the_real_ones():
    """A real run at a small size, block after block, against the table's formulas."""
    model = random_dit(SMALL, "cpu", torch.float32)
    cond = replace(full.condition(SMALL, 32, torch.float32), known=torch.zeros(1, 3).bool())
    x = draw(cond, torch.Generator().manual_seed(0))[0]
    for policy in (AHIS, FULL):
        cache = KVCache(policy)
        for blocks in range(1, 8):
            cache = remember(model, x, cond, cache)
            assert len(cache.frames) == kept_frames(policy, blocks)
            assert bytes_of(cache.layers) == cache_bytes(SMALL, 4, len(cache.frames),
                                                         torch.float32)
    assert bytes_of(model) == 4 * sum(p.numel() for p in model.parameters())


def small_vae():
    from diffusers import AutoencoderKLWan
    return AutoencoderKLWan(**SMALL_VAE).eval()


def small_speech():
    from transformers import Wav2Vec2Config, Wav2Vec2Model
    return Wav2Vec2Model(Wav2Vec2Config(**SMALL_SPEECH)).eval()


@torch.no_grad()
def test_counted_activations_are_those_of_a_real_run():
    """On the meta device, and with numbers in them, a step holds the same bytes."""
    held, phases = measure(*without_content(SMALL, torch.float32, small_vae, small_speech), 32)
    model, codec = random_dit(SMALL, "cpu", torch.float32), WanCodec(random_vae(**SMALL_VAE))
    x, cond, cache = example(SMALL, torch.float32, 32)
    sigma, _ = torch.ones(1, BLOCK), model(x, torch.ones(1, BLOCK), cond, cache=cache)
    known = model, vars(cond), x, sigma, cache.layers
    assert phases["denoise"] == peak(lambda: model(x, sigma, cond, cache=cache), *known)
    assert held["cache"] == bytes_of(cache.layers)
    _, state = codec.decode_step(x[:, :1])
    _, state = codec.decode_step(x[:, :1], state)
    assert held["vae_state"] == bytes_of(state) and held["vae"] == bytes_of(codec)
    assert phases["remember"] > held["cache"]       # the new cache, while the old one is there


@torch.no_grad()
def test_the_total_is_what_a_session_holds(monkeypatch):
    """Streaming with numbers against streaming where nothing has content: the CPU saves copies of
    a window's sound, and of nothing else. Each block that can be taken back adds its share; a
    longer stream adds nothing."""
    empty = without_content(SMALL, torch.float32, small_vae, small_speech)
    with torch.device("meta"):
        z = torch.empty(1, 1, 16, 8, 8)
        _, state = empty[1].decode_step(z, empty[1].decode_step(z)[1])
    real = (random_dit(SMALL, "cpu", torch.float32), WanCodec(random_vae(**SMALL_VAE)),
            Speech(random_speech(**SMALL_SPEECH)))
    cache = cache_bytes(SMALL, 16, kept_frames(AHIS, 8), torch.float32)
    copied = stream_peak(*empty, 64, device=None) - stream_peak(*real, 64, device=None)
    assert 0 <= copied <= 4 * WINDOW * SAMPLES_PER_FRAME < cache
    one = stream_peak(*empty, 64)
    more = stream_peak(*empty, 64, undo=1) - one
    assert more == pytest.approx(cache + bytes_of(state), rel=0.05)
    monkeypatch.setattr(memory, "STEADY", memory.STEADY + 1)
    assert stream_peak(*empty, 64) == one


def test_what_a_card_can_take_back():
    """T4: 14.7 less 1 in reserve leaves 1.7, room for one block."""
    line = {"dtype": "fp16", "total": 12.0, "each undo": 1.5}
    rows = memory.cards([line, line | {"dtype": "bf16", "total": 50.0}])
    assert (rows[0]["fits"], rows[0]["undo"]) == (True, 1)
    assert (rows[1]["fits"], rows[1]["undo"]) == (False, None)


def test_a_measured_peak_takes_its_place(tmp_path, monkeypatch):
    monkeypatch.setattr(memory.results, "RESULTS", tmp_path)
    assert memory.measured("bf16") == "not measured"
    stages = [{"stage": "session", "result": "not measured"}, {"stage": "session", "peak_gib": 9}]
    (tmp_path / "real_gpu.json").write_text(json.dumps({"cost": {"stages": stages}}))
    assert (memory.measured("bf16"), memory.measured("fp16")) == (9, "not measured")


def test_an_hour_costs_the_memory_of_six_seconds():
    assert kept_frames(AHIS, 8) == kept_frames(AHIS, 4800) == 15
    assert kept_frames(FULL, 100) == 300


def shipped(name):
    if not (RESULTS / f"{name}.json").exists():
        pytest.skip(f"{name} was not made yet")
    return read_result(name)["rows"]


def test_the_shipped_table():
    rows = shipped("real_memory")
    assert [row["dtype"] for row in rows[:3]] == ["fp32", "bf16", "fp16"]
    streams = {row["policy"]: row for row in rows if "policy" in row}
    assert streams["ahis"]["6 s"] == streams["ahis"]["60 min"] < streams["full"]["60 min"] / 100
    cards = {row["card"]: row for row in rows if "card" in row}
    assert cards["T4"]["fits"] and cards["T4"]["undo"] == 0
    assert cards["T4"]["total"] == rows[2]["total"]


def test_the_readme_says_what_was_computed():
    """A card's line: how much of what it has, and what can be taken back."""
    text, rows = (ROOT / "README.md").read_text(), shipped("real_memory")
    for row in (row for row in rows if "card" in row):
        line, = (line for line in text.splitlines() if line.startswith(f"| {row['card']} "))
        want = f"{row['total']:.1f} of {row['GiB']:.1f} GiB | {row['undo']} |"
        assert f"| {row['dtype']} | {want}" in line
    assert f"costs {rows[2]['each undo']:.1f} GiB more" in text
    assert f"umT5 alone would take {rows[-1]['GiB']:.1f} GiB" in text


def test_the_shipped_run_of_the_full_layout():
    row, = shipped("real_full")
    assert (row["tensors"], row["parameters"]) == (857, 1_421_187_232)
    assert row["peak_over_weights"] <= 1.2 and row["finite"] and row["dtype"] == "torch.bfloat16"


def test_the_full_commands_steps_at_a_small_size(tmp_path):
    facts = full.run(tmp_path, 32, SMALL, torch.float32)
    assert facts["block"] == [1, 3, 16, 4, 4] and facts["finite"] and facts["spread"] > 0
    assert facts["tensors"] == len(random_dit(SMALL, "meta", torch.float32).state_dict())
    assert not list(tmp_path.iterdir())


def test_the_gpu_script_runs_at_a_small_size(tmp_path):
    """Every stage that a CPU can do gives numbers; what is not there says so."""
    gpu.main(["--small", "--out", str(tmp_path)])
    assert [path.name for path in tmp_path.iterdir()] == ["real_gpu.json"]
    rows = json.loads((tmp_path / "real_gpu.json").read_text())["cost"]["stages"]
    made = {(row["stage"], row.get("attention")): row for row in rows}
    for stage in ("ceilings", "bf16 against fp32", "floor of a step", "vae", "dit", "session",
                  "teacher", "summary"):
        assert "result" not in made[stage, None], made[stage, None]
    assert 0 < made["bf16 against fp32", None]["block"] < 0.2
    assert made["session", None]["frames_per_second"] > 0
    assert "result" not in made["dit", "math"]
    summary = made["summary", None]
    assert {f"target_{name}" for name in gpu.TARGETS} | gpu.TARGETS.keys() < summary.keys()
    assert summary["first_frame_seconds"] == made["session", None]["first_frame_seconds"]
    if not torch.cuda.is_available():
        assert "not measured" in made["dit", "cudnn"]["result"]


def test_without_time_nothing_is_made_up():
    bench = gpu.Bench(gpu.SMALL, "cpu", 0)
    row = bench.stage("dit", lambda: pytest.fail("it ran"), mode="eager")
    assert row == {"stage": "dit", "mode": "eager", "result": "not measured: no time left"}
    assert all(gpu.summary(bench)[name] == "not measured" for name in gpu.TARGETS)


def test_a_stage_that_fails_ends_nothing_and_every_stage_is_kept():
    kept = []
    bench = gpu.Bench(gpu.SMALL, "cpu", 1, lambda rows: kept.append(list(rows)))
    bench.stage("vae", lambda: {}["ms_per_block"])
    bench.stage("dit", lambda: {"frames_per_second": 2.0})
    assert [len(rows) for rows in kept] == [1, 2] and "KeyError" in kept[0][0]["result"]
    assert gpu.summary(bench)["dit_frames_per_second"] == 2.0


def test_the_gpu_script_needs_torch_and_transformers_alone():
    """What a GPU machine without a network may lack is not imported before the wheels are there."""
    lacking = {"av", "soundfile", "PIL", "torchaudio", "diffusers", "tornado", "matplotlib"}
    code = ("import json, sys, livetalk_ref.real.gpu\n"
            "print(json.dumps([name for name in sys.modules if '.' not in name]))")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
                          check=True)
    assert not lacking & set(json.loads(done.stdout))
