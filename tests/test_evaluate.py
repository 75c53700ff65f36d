"""One road for all makers, on three fabricated clips and random weights."""

import json

import pytest
import torch
from tiny import SMALL, dice, random_reader, shake, shipped_in, small_benchmark, write_student

from livetalk_ref import generate, loading, rollout
from livetalk_ref.flow import Guidance
from livetalk_ref.judge import distances, evaluate, metrics
from livetalk_ref.nets.syncnet import SyncConfig, SyncNet
from livetalk_ref.runs import save
from livetalk_ref.wan import WanDiT
from livetalk_ref.world.clips import film

PLAIN, GUIDED = {"steps": 2, "guidance": Guidance(1, 1)}, Guidance(2, 3)
LENGTH = generate.frames_in(evaluate.LONG_WINDOWS)


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    with shipped_in(tmp_path_factory.mktemp("checkpoints")) as folder:
        save(folder / "teacher.safetensors", shake(WanDiT(SMALL), 1).state_dict(), config=SMALL)
        write_student(folder, config=SMALL)
        yield folder


@pytest.fixture(scope="module")
def bench(folder):
    return small_benchmark(folder / "cache", 3)


@pytest.fixture(scope="module")
def ground(bench, folder):
    net = shake(SyncNet(SyncConfig(seen=(8, 8, 8), heard=(8, 8, 8), hidden=16, embedding=8)), 3)
    judges = evaluate.Judges(random_reader(), net)
    second = small_benchmark(folder / "cache", 3, second=True)
    truth = evaluate.JudgedTruth.measure(judges, bench, second)
    return evaluate.Ground(bench, judges, truth, "1", bench, folder)


@pytest.fixture(scope="module")
def long(folder):
    return small_benchmark(folder / "cache", 2, LENGTH)


@torch.no_grad()
def test_a_clip_does_not_depend_on_those_beside_it(bench):
    """In a batch and alone: a teacher's noise, a student's whole rollout."""
    def model(x, sigma, cond):
        return x * 0.1

    three, one, other = (torch.cat(list(evaluate.make_teacher_latents(
        model, bench, 2, seed=seed, batch=batch))) for seed, batch in ((0, 3), (0, 1), (1, 3)))
    assert torch.equal(three, one) and not torch.equal(three[:, 1:], other[:, 1:])
    assert torch.equal(three[:, 0], bench.data.latents[:, 0].float())   # the reference is kept
    student = loading.load("student_ode").model
    both = torch.cat(list(evaluate.make_student_latents(student, bench, 5, batch=2)))
    for i in range(3):
        cond = bench.data.select([i]).window(0, 1)[1]
        alone = rollout.sample(student, cond, dice(5_000_015 + i))
        assert (both[i] - alone[0]).abs().max() < 1e-4 * alone.abs().max()


def test_long_windows_are_those_of_generate(long):
    """Two roads: from the cache in a batch, and from picture and sound, one by one."""
    assert evaluate.LONG == 63 and evaluate.LONG_WINDOWS == 4 and LENGTH == 285
    model = shake(WanDiT(SMALL), 1).requires_grad_(False)
    latents = next(evaluate.make_teacher_latents(model, long, 2, seed=3, windows=4))
    assert latents.shape[:2] == (2, 72)
    avatar = generate.Avatar(model, long.codec, "tiny")
    for i in range(2):
        made = list(generate.stream(avatar, film(long.clip(i))[0], long.heard[i],
                                    long.data.prompts[i][0], 3_000_009 + i, 2, generate.PLAIN))
        whole = torch.cat([made[0].latents, *(w.latents[:, 4:] for w in made[1:])], dim=1)
        assert (latents[i] - whole[0]).abs().max() < 0.05 * whole.abs().max()    # fp16 cache
    first = next(evaluate.make_teacher_latents(model, long, 2, seed=3))
    assert torch.allclose(latents[:, :21], first, atol=1e-5)
    cut = long.cut(6)
    assert cut.data.state.shape[1] == 21 and cut.samples.shape[1] == cut.heard.shape[1] == 21_000


def test_the_same_seed_gives_the_same_rows_and_each_maker_and_judge_judges_once(
        ground, monkeypatch):
    def maker(seed):
        return evaluate.find_maker("teacher", seed=seed, **PLAIN)

    def once(seed):
        return evaluate.evaluate_once(maker(seed), ground)

    one, _ = evaluate.evaluate_maker(maker(5), ground)
    assert one["seeds"] == [5] and one["settings"]["steps"] == 2
    row, ceiling, floor = one["rows"]
    assert row["clips"] == 3 and row["frechet"] > floor["frechet"] > 0
    assert ceiling["name"] == "truth through the codec"

    found, judged = once(5)
    assert json.dumps(found["rows"]) == json.dumps(one["rows"])
    names = judged.rows[0].keys()
    assert {"Sync-C", "Sync-D", "Sync offset"} <= names <= metrics.DEFINITIONS.keys()
    calls, true = [], evaluate.evaluate_maker
    monkeypatch.setattr(evaluate, "evaluate_maker", lambda *given, **more: calls.append(1)
                        or true(*given, **more))
    again, known = once(5)
    assert again == found and known.rows == judged.rows and not calls
    assert torch.equal(known.features, judged.features)
    assert once(1)[1].rows != judged.rows and len(calls) == 1
    other = evaluate.Judges(random_reader(), None)
    assert len({ground.judges.key(), other.key(), other.key(facts="x")}) == 3


def test_costs_are_those_of_the_samplers(ground):
    (_, cost), (_, more) = (evaluate.judge_clips(evaluate.find_maker("teacher", n, GUIDED), ground)
                            for n in (2, 4))
    assert cost["evaluations_per_clip"] == generate.evaluations(1, 2, GUIDED) \
        == evaluate.find_maker("teacher", 2, GUIDED).passes
    assert 1 < more["flops_per_frame"] / cost["flops_per_frame"] < 2        # decoding is the rest
    facts, _ = evaluate.evaluate_maker(evaluate.find_maker("student_ode", seed=3), ground)
    assert facts["settings"] == {"steps": 4, "text_guidance": 1.0, "audio_guidance": 1.0,
                                 "block": 3}
    assert facts["cost"]["evaluations_per_clip"] == generate.passes(7) == 34


def test_truth_and_codec_are_what_was_measured_of_them(ground):
    """Two roads: judged as a model's clips are, and when the benchmark's truth was measured."""
    for name, known in (("truth", ground.truth.rendered), ("codec", ground.truth.coded)):
        judged, cost = evaluate.judge_clips(evaluate.find_maker(name), ground)
        assert judged.rows == known.rows and torch.equal(judged.features, known.features)
        assert cost["evaluations_per_clip"] == 0 and cost["flops_per_frame"] is None
    facts, _ = evaluate.evaluate_maker(evaluate.find_maker("codec"), ground)
    row, ceiling, _ = facts["rows"]
    assert ceiling == row | {"name": ceiling["name"]}
    truth = ground.truth.rendered
    found = distances.judged_row("truth", truth.rows, truth.features, truth.features)
    assert found["frechet"] == pytest.approx(0, abs=1e-3) and row["frechet"] > 0.01
    judged, _ = evaluate.judge_clips(evaluate.find_maker("rule"), ground)   # it moves the mouth
    for row, true in zip(judged.rows, truth.rows):
        assert row["motion"] < true["motion"] and row["freeze rate"] > true["freeze rate"]
