"""The study of the student's convergence at its very smallest: all jobs, stopped and continued."""

import json
from dataclasses import replace

import pytest
import torch
from test_benchmark import random_reader, scripted
from test_ode_stage import SMALL, small_world  # noqa: F401
from tiny import shake

from livetalk_ref import generate, loading, stages, trajectories
from livetalk_ref.flow import x0_from_velocity
from livetalk_ref.judge import panel, sets, students
from livetalk_ref.nets.reader import ReaderConfig
from livetalk_ref.ode import behind_noisy
from livetalk_ref.studies import ode as convergence
from livetalk_ref.studies import work
from livetalk_ref.runs import kept, save
from livetalk_ref.world.clips import FRAMES

SIZE = convergence.Size(pairs=(2, 4), seeds=(0,), steps=2, short=1, kept=(1, 2), held_out=2,
                        judged=2, sets=("wild",), clips=2, long_sets=("wild",), long=2, walked=1,
                        causal_pairs=2, causal_clips=2, causal_steps=1)


RECIPES = dict(stages.ODE_STEPS)        # before the fixtures make them small


@pytest.fixture(scope="module")
def study(small_world):  # noqa: F811
    """(folder, lines of a stopped run, lines of the run that ended it)."""
    folder, _ = small_world
    save(folder / "reader.safetensors", random_reader().state_dict(), config=ReaderConfig())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sets, "script", lambda name, number, frames=FRAMES: scripted(number, frames))
        patch.setattr(work, "RESULTS", folder / "results")
        patch.setattr(convergence, "TEACHER_STEPS", 5)
        patch.setattr(generate, "TEACHER_STEPS", 2)
        stopped, lines = list(made().run(0)), list(made().run())
        yield folder, stopped, lines


def made(size=SIZE, **options):
    return convergence.Convergence(size=size, **options)


def rows(folder, name):
    return json.loads((folder / f"results/{name}.json").read_text())["rows"]


def test_it_stops_and_continues(study):
    folder, stopped, lines = study
    assert stopped == ["stopped in straightness; call it again to continue"]
    assert list(made().run()) == [f"done  {job.name}" for job in made().jobs()]
    assert [line for line in lines if line.endswith(".json")] == [
        str(folder / f"results/{name}.json")
        for name in ("straightness", "ode_training", "ode_variants", "ode_benchmarks", "ode_blocks",
                     "ode_whose")]


def test_a_result_whose_jobs_are_all_done_is_written(study):
    """Stopped between the last job and its result, the next call writes it: once."""
    path = study[0] / "results/ode_whose.json"
    before = rows(study[0], "ode_whose")
    path.unlink()
    assert list(made().run())[-1] == str(path)
    assert rows(study[0], "ode_whose") == before
    assert not [line for line in made().run() if line.endswith(".json")]


def test_a_quick_study_leaves_the_full_ones_teacher_alone(study):
    """It trains, walks and starts its student from one of its own."""
    folder, _, _ = study
    full = {path: path.read_bytes() for path in (folder / "runs/teacher_causal").iterdir()}
    quick = made(replace(SIZE, causal_steps=2), quick=True)
    own = quick.causal
    label, options = "causal", {"count": 2, "seed": 0, "teacher": "causal"}
    for job in (quick.tune(), quick.walk(2, "train", "causal"),
                quick.train(label, "ode_whose", options)):
        list(job)
    assert {path: path.read_bytes() for path in full} == full
    start = trajectories.load_teacher("causal", run=own).state_dict()
    begun = stages.ode_stage(2, teacher="causal", causal=own).model.state_dict()
    assert all(torch.equal(value, begun[name]) for name, value in start.items())
    other = trajectories.load_teacher("causal").state_dict()
    assert any(not torch.equal(value, other[name]) for name, value in start.items())


def test_a_job_done_again_gives_the_same_rows(study):
    folder, _, _ = study
    place, = folder.glob("runs/studies/ode/*/jobs/wild-student_ode-0.json")
    before = json.loads(place.read_text())["rows"]
    result = rows(folder, "ode_benchmarks")
    place.unlink()
    assert [job.name for job in made().jobs() if not made().is_done(job)] == ["wild-student_ode-0"]
    list(made().run())
    assert json.loads(place.read_text())["rows"] == before
    assert rows(folder, "ode_benchmarks") == result


def test_training_is_told_for_every_size_and_kept_update(study):
    table = rows(study[0], "ode_training")
    told = [(row["count"], row["seed"], row["update"]) for row in table if "error 1" in row]
    assert told == [(4, 0, 1), (4, 0, 2), (2, 0, 1), (2, 0, 2)]
    assert all({"frechet", "sharpness", "error 0.625"} <= row.keys() for row in table
               if "error 1" in row)
    assert [(row["steps"], row["guidance"]) for row in table if "guidance" in row] == [
        (4, "plain"), (5, "plain"), (4, "guided"), (5, "guided")]
    assert [row["exit"] for row in table if "exit" in row] == [1, 2, 3, 4] * 2
    assert [row["step"] for row in table if "loss" in row] == [2, 2]


def test_benchmarks_compare_what_ran(study):
    table = rows(study[0], "ode_benchmarks")
    names = [row["name"] for row in table if "name" in row]
    assert names == ["teacher", "teacher-4", "teacher-4-plain", "student_ode_short-0",
                     "student_livetalk-0", "student_ode-0", "codec"]
    student, short = table[5], table[3]
    assert student["evaluations_per_clip"] == 34
    found = next(row for row in table if row.get("comparison") ==
                 "student_ode-0 against student_ode_short-0" and row["number"] == "sharpness")
    truth = panel.Yardstick.load(next(study[0].glob("runs/latents/*/judged-wild-2-*")))
    true = [row["sharpness"] for row in truth.rendered.rows]
    ours, theirs = (students.kept_judged(next(study[0].glob(
        f"runs/studies/ode/*/judged-wild-{row['name']}.safetensors"))).rows
        for row in (student, short))
    gap = sum(abs(a["sharpness"] - t) - abs(b["sharpness"] - t)
              for a, b, t in zip(ours, theirs, true)) / 2
    assert found["difference"] == pytest.approx(gap, abs=1e-4)


def test_blocks_are_told_over_7_and_over_21(study):
    table = rows(study[0], "ode_blocks")
    for count in (7, 21):
        some = [row for row in table if row["blocks"] == count]
        assert [row["block"] for row in some[:count]] == list(range(count))
        models = 7 if count == 7 else 6         # the truth through the codec has no long clips
        assert len(some) == models * count and all(row["frechet"] > 0 for row in some)


def test_a_causal_teachers_student_is_judged_too(study):
    table = rows(study[0], "ode_whose")
    assert table[0]["name"] == "autoregressive teacher" and table[0]["frechet"] > 0
    assert [row["update"] for row in table if "error 1" in row] == [1, 2]
    assert {row["teacher"] for row in table[1:]} == {"causal"}


def test_errors_are_those_of_one_noise_level(study):
    folder = study[0]
    held_out = made().held_out
    run, = folder.glob("runs/studies/ode/*/pairs4-seed0")
    model = loading.load_module(kept(run, 2), "dit")
    states, cond = held_out.states.float(), held_out.cond()
    sigma = torch.full((2, 21), 5 / 6)
    x0 = x0_from_velocity(states[:, 2], sigma, behind_noisy(model, states[:, 2], sigma, None, cond))
    want = (x0 - states[:, 4]).square().mean().item()
    got = students.level_errors(model, held_out, batch=1)
    assert got["error 0.8333"] == pytest.approx(want, rel=1e-3)
    row = next(row for row in rows(folder, "ode_training")
               if row.get("count") == 4 and row.get("update") == 2)
    assert row["error 0.8333"] == pytest.approx(want, rel=1e-3)


def test_other_weights_begin_another_study(study, monkeypatch, tmp_path):
    before = made().key()
    (tmp_path / "codec.safetensors").write_bytes(loading.checkpoint("codec").read_bytes())
    teacher = loading.load_module("teacher")
    save(tmp_path / "teacher.safetensors", shake(teacher, 9).state_dict(), config=SMALL)
    monkeypatch.setattr(loading, "CHECKPOINTS", tmp_path)
    assert made().key() != before


def test_the_real_size_is_that_of_the_recipes(study):
    size = convergence.FULL
    assert size.steps == 5 * size.short == RECIPES["converged"]
    assert {size.short, size.steps} <= set(size.kept)
    assert size.causal_pairs in size.pairs and len(size.seeds) == 3
    jobs = made(size).jobs()
    assert len({job.name for job in jobs}) == len(jobs)
