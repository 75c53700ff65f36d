"""A model file that says it is a student is sampled by the rollout, everywhere."""

import pytest
import torch
from test_benchmark import made, random_reader
from tiny import shake, write_checkpoints, write_student

from livetalk_ref import flow, generate, loading, rollout
from livetalk_ref.cache import EMPTY, FULL, KVCache
from livetalk_ref.errors import UserError
from livetalk_ref.flow import Cond, Guidance, group_audio
from livetalk_ref.judge import bench, benchmark, cost, evaluate, panel
from livetalk_ref.portrait import portrait_of
from livetalk_ref.runs import save
from livetalk_ref.wan import TINY, WanDiT
from livetalk_ref.world import text

PROMPT = "a happy person nods"


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    write_checkpoints(folder)
    write_student(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "CHECKPOINTS", folder)
        yield folder


@pytest.fixture(scope="module")
def student(folder):
    return loading.load("student_ode")


def sound(frames):
    return 0.1 * torch.randn(frames * 1000, generator=torch.Generator().manual_seed(5))


def test_the_file_says_what_it_is(folder, student):
    assert student.is_student and not loading.load("teacher").is_student
    assert loading.sampler(folder / "student_ode.safetensors") == "rollout"
    save(folder / "odd.safetensors", shake(WanDiT(TINY), 1).state_dict(), config=TINY,
         sampler="heun")
    with pytest.raises(UserError, match="asks for the sampler 'heun'; this version knows euler"):
        loading.load(folder / "odd.safetensors")


@torch.no_grad()
def test_generated_blocks_are_the_offline_rollout(student):
    """Two roads: the session that `roll` drives, and one rollout of a whole condition."""
    picture, samples = portrait_of(3), sound(57)                         # 5 blocks
    windows = list(generate.roll(student, picture, samples, PROMPT, seed=4))
    rows = student.audio().rows(torch.cat([samples, torch.zeros(1000)]), 57)
    ref = student.codec.encode(picture[None, None])[:, 0]
    known = torch.arange(15)[None] == 0
    cond = Cond(ref, group_audio(rows[None]), text.encode([PROMPT]), known, text.encode([""]))
    whole = rollout.sample(student.model, cond, torch.Generator().manual_seed(4), generate.KEPT)
    assert [(w.index, w.count) for w in windows] == [(i, 5) for i in range(5)]
    assert torch.equal(torch.cat([w.latents for w in windows], 1), whole)
    frames = torch.cat([w.frames for w in windows])
    assert torch.equal(frames, student.codec.decode(whole)[0])


@pytest.mark.parametrize("frames, blocks", [(1, 1), (9, 1), (10, 2), (21, 2), (22, 3), (81, 7)])
def test_blocks_cover_the_frames(student, frames, blocks):
    assert generate.count_blocks(frames) == blocks
    if frames < 22:
        windows = list(generate.roll(student, portrait_of(3), sound(frames), PROMPT))
        assert len(windows) == blocks and sum(len(w.frames) for w in windows) == frames


def test_a_longer_sound_leaves_earlier_blocks_as_they_were(student):
    short, long = (list(generate.roll(student, portrait_of(3), sound(40)[:n], PROMPT))
                   for n in (21_000, 40_000))
    assert all(torch.equal(a.latents, b.latents) for a, b in zip(short, long))


def test_kept_frames_are_those_of_training():
    """All of them while a clip is as long as in training; never more than that afterwards."""
    for start in range(0, 90, 3):
        kept = [f for f in range(start) if generate.KEPT.keeps(f, start)]
        assert len(kept) == min(start, 18) and kept[:3] == list(range(min(3, start)))


def test_a_student_takes_neither_steps_nor_weights(student):
    assert generate.settle(student) == (4, Guidance())
    assert generate.settle(student, 4, Guidance(1, 1)) == (4, Guidance())
    for wrong in ({"steps": 48}, {"guidance": Guidance(2, 2)}):
        with pytest.raises(UserError, match="student_ode is a student: it always makes 4 steps"):
            generate.settle(student, **wrong)
        with pytest.raises(UserError, match="leave steps and weights out"):
            benchmark.maker("student_ode", **wrong)
    assert generate.settle(loading.load("teacher")) == (48, generate.GUIDANCE)


@torch.no_grad()
def test_a_benchmark_rolls_every_clip_out_by_itself(student):
    """In a batch, and alone; what the evaluation judges is decoded from it."""
    clips = made(range(3))
    both = torch.cat(list(evaluate.rolled(student.model, clips, seed=5, batch=2)))
    for i in range(3):
        cond = clips.data.select([i]).window(0, 1)[1]
        g = torch.Generator().manual_seed(evaluate.noise_seed(5, i))
        alone = rollout.sample(student.model, cond, g)
        assert (both[i] - alone[0]).abs().max() < 1e-4 * alone.abs().max()
    assert torch.equal(both[:, 0], clips.data.latents[:, 0].float())
    ticks = []
    list(evaluate.rolled(student.model, clips, batch=2, watch=ticks.append))
    assert len(ticks) == benchmark.maker("student_ode").ticks * 2 == 14


def test_evaluate_counts_what_a_student_costs():
    clips = made(range(2))
    judges = panel.Judges(random_reader(), None)
    ground = benchmark.Ground(clips, judges, panel.measure(judges, clips, made(range(2, 4))), "1")
    facts, _ = benchmark.evaluate(benchmark.maker("student_ode", seed=3), ground, 3)
    assert facts["settings"] == {"steps": 4, "text_guidance": 1.0, "audio_guidance": 1.0,
                                 "block": 3}
    assert facts["cost"]["evaluations_per_clip"] == generate.passes(7) == 34
    again, _ = benchmark.evaluate(benchmark.maker("student_ode", seed=3), ground, 3)
    assert facts["rows"] == again["rows"] and facts["rows"][0]["name"] == "student_ode"


def test_a_student_needs_19_times_fewer_operations_than_the_guided_teacher():
    """Counted on shapes alone: 34 passes over 3 frames against 96 over 21."""
    with torch.device("meta"), torch.no_grad():
        model, words = WanDiT(TINY), torch.zeros(1, text.TEXT_ROWS, TINY.text_dim)
        cond = Cond(torch.zeros(1, TINY.latent_channels, 6, 6),
                    torch.zeros(1, 21, 4 * TINY.audio_dim), words,
                    torch.zeros(1, 21, dtype=torch.bool), words)
        x, sigma = torch.zeros(1, 21, TINY.latent_channels, 6, 6), torch.ones(1, 21)
        guided = cost.count_flops(lambda: flow.guided(model, x, sigma, cond, generate.GUIDANCE))

        def clip():
            cache, noise = EMPTY, torch.zeros(4, 1, 3, *x.shape[2:])
            *parts, last = rollout.split(cond)
            for part in parts:
                x0 = rollout.denoise(model, noise, part, cache)
                cache = rollout.remember(model, x0, part, cache)
            rollout.denoise(model, noise, last, cache)

        assert 48 * guided > 19 * cost.count_flops(clip)


def test_bench_waits_for_frame_1_of_the_first_block(student):
    picture = portrait_of(0)
    cond = bench.prepare(student, picture)
    frame, parts = bench.first_block_frame(student, cond, 4)
    window = next(generate.roll(student, picture, bench.tone(81), bench.PROMPT))
    assert torch.equal(frame, window.frames[1])
    assert len(parts["steps"]) == 4 and parts["cache"] > 0
    assert sum(parts["steps"]) + parts["features"] + parts["decode"] <= parts["seconds"]


def test_bench_measures_both_in_one_run(monkeypatch):
    monkeypatch.setattr(bench, "TEACHER_STEPS", 1)
    monkeypatch.setattr(bench, "MANY", 2)
    facts = bench.measure("student_ode", runs=1, seconds=1)
    assert facts["algorithmic"]["seconds"] == 0.5625 and facts["steps"] == 4
    assert facts["teacher"]["model"] == "teacher" and facts["teacher"]["steps"] == 1
    assert facts["throughput"]["evaluations"] == generate.passes(13)
    assert set(facts["times"]) == {"first frame", "frames a second", "frames a second, many"}
    counted = facts["times_counted"]
    assert set(counted) == {"first frame", "frames a second", "without decoding"}
    assert counted["frames a second"] != counted["without decoding"]
    text = bench.table(facts)
    assert "times the teacher: first frame" in text and "by counted operations: first" in text
    assert "missed deadlines" in text and facts["stream"]["blocks"] == 1


@torch.no_grad()
def test_a_cache_policy_that_keeps_everything_changes_nothing(student):
    clips = made(range(1))
    one, other = (next(evaluate.rolled(student.model, clips, policy=p)) for p in
                  (FULL, generate.KEPT))
    assert torch.equal(one, other) and KVCache(generate.KEPT).policy != FULL
