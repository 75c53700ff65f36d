"""The memory table: its formulas against bytes that are really held; what ships says it fits."""

import json
from dataclasses import replace

import pytest
import torch

from livetalk_ref.cache import BLOCK, FULL, KVCache
from livetalk_ref.judge.results import RESULTS, read_result
from livetalk_ref.real import full, gpu
from livetalk_ref.real.memory import (Meter, bytes_of, cache_bytes, example, kept_frames, measure,
                                      peak)
from livetalk_ref.real.standin import SMALL, SMALL_SPEECH, SMALL_VAE, random_dit, random_vae
from livetalk_ref.real.vae import WanCodec
from livetalk_ref.rollout import draw, remember
from livetalk_ref.stream import AHIS


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
    held, phases = measure(SMALL, torch.float32, 32, small_vae, small_speech)
    model, codec = random_dit(SMALL, "cpu", torch.float32), WanCodec(random_vae(**SMALL_VAE))
    x, cond, cache = example(SMALL, torch.float32, 32)
    sigma, _ = torch.ones(1, BLOCK), model(x, torch.ones(1, BLOCK), cond, cache=cache)
    known = model, vars(cond), x, sigma, cache.layers
    assert phases["denoise"] == peak(lambda: model(x, sigma, cond, cache=cache), *known)
    assert held["cache"] == bytes_of(cache.layers)
    _, memory = codec.decode_step(x[:, :1])
    _, memory = codec.decode_step(x[:, :1], memory)
    assert held["vae_state"] == bytes_of(memory) and held["vae"] == bytes_of(codec)
    assert phases["remember"] > held["cache"]       # the new cache, while the old one is there


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
    assert rows[-1]["card"] == "T4" and rows[-1]["fits"]


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
    rows = json.loads((tmp_path / "real_gpu.json").read_text())["rows"]
    made = {(row["stage"], row.get("attention")): row for row in rows}
    for stage in ("ceilings", "bf16 against fp32", "floor of a step", "vae", "dit", "session",
                  "teacher", "summary"):
        assert "result" not in made[stage, None], made[stage, None]
    assert 0 < made["bf16 against fp32", None]["block"] < 0.2
    assert made["session", None]["frames_per_second"] > 0
    assert "result" not in made["dit", "math"]
    if not torch.cuda.is_available():
        assert "not measured" in made["dit", "cudnn"]["result"]


def test_without_time_nothing_is_made_up():
    bench = gpu.Bench(gpu.SMALL, "cpu", 0)
    row = bench.stage("dit", lambda: pytest.fail("it ran"), mode="eager")
    assert row == {"stage": "dit", "mode": "eager", "result": "not measured: no time left"}
