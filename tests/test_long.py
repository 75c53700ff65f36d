"""Three times as long: the teacher's windows, the student's 21 blocks, numbers block by block."""

from dataclasses import replace

import pytest
import torch
from test_benchmark import random_reader, scripted
from test_ode_stage import build_here
from tiny import CODEC, shake

from livetalk_ref import generate
from livetalk_ref.codec import Codec
from livetalk_ref.flow import sample
from livetalk_ref.judge import evaluate, long, metrics, sets
from livetalk_ref.judge.distances import frechet
from livetalk_ref.generate import Avatar
from livetalk_ref.wan import TINY, WanDiT
from livetalk_ref.world import shards
from livetalk_ref.world.clips import film
from livetalk_ref.world.state import COL

SMALL = replace(TINY, dim=32, ffn_dim=32, heads=2, layers=4, audio_hidden=8, freq_dim=16)


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """Two long clips of shipped speech."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "SHARD", 2)
        patch.setattr(shards, "build", build_here)
        patch.setattr(sets, "script", lambda name, number, frames: scripted(number, frames))
        folder = tmp_path_factory.mktemp("latents")
        return long.build(shake(Codec(CODEC), 1), "studio", 2, folder)


@pytest.fixture(scope="module")
def model():
    return shake(WanDiT(SMALL), 1).requires_grad_(False)


def test_long_clips_cover_the_students_blocks_and_the_teachers_windows(bench):
    assert long.LATENTS == 63 and long.WINDOWS == 4 and long.FRAMES == 285
    assert bench.data.latents.shape[:2] == (2, 72) and bench.data.state.shape[:2] == (2, 285)


def test_windows_are_those_of_generate(bench, model):
    """Two roads: from the cache in a batch, and from picture and sound, one by one."""
    latents = next(long.windows(model, bench, 2, seed=3))
    assert latents.shape[:2] == (2, 72)
    avatar = Avatar(model, bench.codec, "tiny")
    for i in range(2):
        made = list(generate.stream(avatar, film(bench.clip(i))[0], bench.heard[i],
                                    bench.data.prompts[i][0], evaluate.noise_seed(3, i), 2,
                                    generate.PLAIN))
        whole = torch.cat([made[0].latents, *(w.latents[:, 4:] for w in made[1:])], dim=1)
        assert (latents[i] - whole[0]).abs().max() < 0.05 * whole.abs().max()    # fp16 cache


def test_a_students_first_blocks_do_not_know_how_long_the_clip_will_be(bench, model):
    whole = next(evaluate.rolled(model, bench, policy=generate.KEPT, frames=long.LATENTS))
    short = next(evaluate.rolled(model, bench))
    assert whole.shape[1] == 63 and torch.allclose(whole[:, :21], short, atol=1e-5)


def test_a_teachers_first_window_is_the_short_clip(bench, model):
    x0, cond = bench.data.window(0, 1)
    noise = torch.stack([torch.randn(21, *x0.shape[2:], generator=torch.Generator().manual_seed(
        evaluate.noise_seed(0, i))) for i in range(2)])
    want = sample(model, noise, x0[:, :1], cond, steps=2)
    assert torch.allclose(next(long.windows(model, bench, 2))[:, :21], want, atol=1e-5)


def test_spans_cover_every_generated_frame_once():
    frames = [f for block in range(21) for f in range(249)[long.span(block)]]
    assert frames == list(range(1, 249))


def test_numbers_of_a_block_are_those_of_its_frames():
    g = torch.Generator().manual_seed(0)
    frames = torch.rand(33, 3, 96, 96, generator=g) * 2 - 1
    frames[21:] *= 0.2                                                  # block 2 is dull
    reading, state = random_reader().read(frames), torch.rand(33, len(COL), generator=g)
    rows = long.clip_blocks(frames, reading, state)
    assert len(rows) == 3
    part = frames[9:21]
    assert rows[1]["sharpness"] == pytest.approx(metrics.sharpness(part), rel=1e-5)
    gap = (reading.column("mouth_open") - state[:, COL["mouth_open"]])[9:21].abs().mean().item()
    assert rows[1]["mouth error"] == pytest.approx(gap, rel=1e-5)
    assert rows[2]["sharpness"] == pytest.approx(0.2 * rows[1]["sharpness"], rel=0.05)
    assert "mouth error" not in long.clip_blocks(frames, reading)[0]


def test_lines_are_means_over_clips(bench):
    reader = random_reader()
    films = [torch.rand(285, 3, 96, 96, generator=torch.Generator().manual_seed(i)) * (1 - i / 2)
             for i in range(2)]
    rows, features = long.judge(films, bench, reader, 2)
    assert features.shape[:2] == (2, 21) and [len(clip) for clip in rows] == [2, 2]
    truth = torch.randn(features.shape, generator=torch.Generator().manual_seed(9))
    first, second = long.by_block("noise", rows, features, truth)
    assert second["block"] == 1 and second["seconds"] == 0.56
    mean = (rows[0][1]["motion"] + rows[1][1]["motion"]) / 2
    assert second["motion"] == pytest.approx(mean, abs=1e-4)
    want = frechet(features[:, 9:21].flatten(0, 1), truth[:, 9:21].flatten(0, 1))
    assert second["frechet"] == pytest.approx(want, abs=1e-3)
