"""Studies at their very smallest: all jobs, stopped and continued; what they write."""

import json
from dataclasses import replace

import pytest
import torch
from test_ode_stage import small_world  # noqa: F401
from tiny import SMALL, noise, random_reader, script_clips, scripted, shake

from livetalk_ref import generate, loading, recipes, trajectories
from livetalk_ref.errors import UserError
from livetalk_ref.files import unpacked
from livetalk_ref.flow import sigma_grid, x0_from_velocity
from livetalk_ref.judge import evaluate
from livetalk_ref.nets import whole_faces
from livetalk_ref.nets.reader import ReaderConfig
from livetalk_ref.nets.restorer import Restorer, RestorerConfig
from livetalk_ref.ode import behind_noisy
from livetalk_ref.studies import ablation, teacher, work
from livetalk_ref.studies import ode as ode_study
from livetalk_ref.runs import kept, read, save
from livetalk_ref.wan import WanDiT
from livetalk_ref.world import clips
from livetalk_ref.world.clips import LONG_FRAMES

LONG = 24       # latent frames of long clips here
ODE = {"pairs": 2, "seeds": (0,), "steps": 2, "short": 1, "kept": (1, 2), "errors": 2,
       "clips": 2, "sets": ("wild",), "judged": 2, "walked": 1}
ABLATION = {"plan": (("baseline", 0), ("one-step", 1)), "updates": 2, "points": (1, 5), "ode": 2,
            "pairs": 2, "clips": 2, "long": 2, "varied": 1, "again": 2, "count": 2,
            "sets": ("studio",)}


@pytest.fixture(scope="module")
def world(small_world):  # noqa: F811
    folder, _ = small_world
    restorer = Restorer()
    torch.nn.init.zeros_(restorer.judge[2].weight)      # it finds every reference good
    torch.nn.init.constant_(restorer.judge[2].bias, -1.0)
    save(folder / "restorer.safetensors", restorer.state_dict(), config=RestorerConfig())
    save(folder / "reader.safetensors", random_reader().state_dict(), config=ReaderConfig())
    with pytest.MonkeyPatch.context() as patch:
        script_clips(patch)
        patch.setattr(work, "RESULTS", folder / "results")
        patch.setattr(evaluate, "LONG", LONG)
        patch.setattr(evaluate, "LONG_WINDOWS", 2)
        patch.setattr(generate, "TEACHER_STEPS", 2)
        patch.setattr(ablation, "LONG", LONG)
        patch.setattr(ablation, "JUDGED", (("studio", LONG), *ablation.JUDGED[1:]))
        yield folder, patch


def written(folder, name):
    return json.loads((folder / f"results/{name}.json").read_text())["rows"]


# --- ode

@pytest.fixture(scope="module")
def ode_done(world):
    """(folder, lines of a stopped run, lines of the run that ended it)."""
    folder, patch = world
    patch.setattr(ode_study, "TEACHER_STEPS", 4)
    stopped, lines = list(of_ode().run(0)), list(of_ode().run())
    return folder, stopped, lines


def of_ode(**options):
    return ode_study.OdeStudy(**ODE | options)


def test_a_study_stops_and_continues(ode_done):
    folder, stopped, lines = ode_done
    assert stopped == ["stopped in straightness; call it again to continue"]
    assert list(of_ode().run(only=("held-out", "straight"))) == [
        "done  straightness", "done  held-out-trajectories"]
    assert list(of_ode().run()) == [f"done  {job.name}" for job in of_ode().jobs()]
    results = [str(folder / f"results/{name}.json") for name in (
        "straightness", "ode_training", "ode_benchmarks")]
    assert [line for line in lines if line.endswith(".json")] == results
    before = written(folder, "ode_benchmarks")
    (folder / "results/ode_benchmarks.json").unlink()   # stopped before the result was written
    assert list(of_ode().run())[-1] == results[-1] and written(folder, "ode_benchmarks") == before
    place, = folder.glob("runs/studies/ode/*/jobs/wild-student_ode.json")
    job = json.loads(place.read_text())["rows"]
    place.unlink()
    list(of_ode().run())
    assert json.loads(place.read_text())["rows"] == job     # done again: the same rows


def test_what_the_ode_study_writes(ode_done):
    folder = ode_done[0]
    table = written(folder, "ode_training")
    assert [(row["count"], row["seed"], row["update"]) for row in table if "error 1" in row] == [
        (2, 0, 1), (2, 0, 2)]
    assert [row["name"] for row in table if "update" not in row and "name" in row] == [
        "truth through the codec", *["teacher, guided, 4 steps"] * 2]
    board = written(folder, "ode_benchmarks")
    assert [row["name"] for row in board if "name" in row] == [
        "teacher", "teacher-4", "student_ode_short", "student_livetalk", "student_ode", "codec"]
    assert board[4]["evaluations_per_clip"] == 34
    assert {row["comparison"] for row in board if "comparison" in row} >= {
        "student_ode against student_ode_short"}


def test_errors_are_those_of_one_noise_level(ode_done):
    held_out = of_ode().held_out
    run, = ode_done[0].glob("runs/studies/ode/*/seed0")
    model = loading.load_module(kept(run, 2), "dit")
    states, cond = held_out.states.float(), held_out.cond()
    sigma = torch.full((2, 21), 5 / 6)
    x0 = x0_from_velocity(states[:, 2], sigma, behind_noisy(model, states[:, 2], sigma, cond))
    want = (x0 - states[:, 4]).square().mean().item()
    found = ode_study.level_errors(model, held_out, batch=1)
    assert found["error 0.8333"] == pytest.approx(want, rel=1e-3)


def test_rows_of_bent_paths_are_means_without_the_known_frame():
    states, grid = noise(5, 49, 4, 2, 3, 3), sigma_grid(48)
    states[:, :, 0] = 7.0
    rows = ode_study.straightness_rows(states, "plain")
    deviation, curvature = trajectories.straightness(states[:, :, 1:])
    assert len(rows) == 48 and "curvature" not in rows[0]
    assert rows[20]["deviation"] == pytest.approx(deviation[:, 20].mean().item(), abs=1e-5)
    assert rows[20]["curvature"] == pytest.approx(curvature[:, 19].mean().item(), abs=1e-5)
    assert rows[20]["sigma"] == pytest.approx((grid[20] + grid[21]).item() / 2, abs=1e-5)
    assert rows[20]["bend"] == pytest.approx(grid[20].item(), abs=1e-5)


# --- ablation

@pytest.fixture(scope="module")
def ablation_done(world):
    folder, _ = world
    with pytest.raises(UserError, match="There is no model 'student_ode_short'"):
        of_ablation()
    for seed, name in enumerate((*ablation.STARTS, "student")):
        save(folder / f"{name}.safetensors", shake(WanDiT(SMALL), seed).state_dict(),
             config=SMALL, sampler="rollout")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clips, "script", lambda split, number, frames=LONG_FRAMES, **_:
                      scripted(number, frames))
        for name in recipes.ROWS:                        # a batch of one, without a warm-up
            row = recipes.ROWS[name]
            small = replace(row.recipe, batch=1, ratio=1, warmup=0)
            patch.setitem(recipes.ROWS, name, replace(row, recipe=small))
        yield folder, list(of_ablation().run())


def of_ablation():
    return ablation.Ablation(**ABLATION)


def test_every_row_is_trained_and_judged_along_the_way(ablation_done):
    folder, lines = ablation_done
    table = written(folder, "ablation")
    rows = [row for row in table if row["part"] == "judged"]
    places = [("studio", 21), ("studio", LONG), ("wild", 21), ("dark", 21)]
    where = [(row["row"], row.get("seed"), row["update"], row["set"], row["frames"])
             for row in rows]
    assert where == [(name, None, 0, *place) for name in
                     ("codec", *ablation.STARTS, "teacher", "ode-1") for place in places
                     if (name, place[0]) != ("codec", "dark")] + [
        (name, seed, update, *place) for name, seed in ABLATION["plan"]
        for update, place in ((1, places[0]), *((2, place) for place in places[:3]))]
    for row in rows:
        assert {"frechet", "sharpness", "black frames", "flicker", "motion"} <= row.keys()
    light = {row["set"]: row["exposure collapse"] for row in rows if row["row"] == "student_ode"}
    assert light["dark"] != light["studio"]             # beside a reference without light
    made, = folder.glob("runs/studies/ablation/*/one-step-seed1")
    facts = read(made / "ema.safetensors")[1]
    assert facts["student_steps"] == 1
    assert facts["recipe"]["start"].endswith("ode-1/ema.safetensors")
    changed = {(row["row"], row["number"]) for row in table if row["part"] == "compared"}
    assert changed >= {("baseline", "frechet"), ("one-step", "sharpness")}
    training = [row for row in table if row["part"] == "training"]
    assert [(row["row"], row["seed"], row["update"]) for row in training] == [
        ("baseline", 0, 2), ("one-step", 1, 2)]
    assert all(row["loss"] > 0 for row in training)


def test_predictions_are_held_against_what_came():
    """Each is about a row that is run, and says what would refute it."""
    claims = json.loads(ablation.PREDICTIONS.read_text())["claims"]
    assert {claim["row"] for claim in claims} <= recipes.ROWS.keys()
    kinds = {"surely better", "at most", "at least"}
    assert all(len(kinds & claim.keys()) == 1 for claim in claims)
    rows = [{"part": "judged", "row": name, "set": "studio", "frames": 21, "update": update,
             "flicker": value} | seed for name, seed, update, value in (
                 ("start", {}, 0, 2.0), ("a", {"seed": 0}, 50, 9.0), ("a", {"seed": 0}, 200, 3.0),
                 ("a", {"seed": 1}, 200, 4.0))]
    # One seed of another row, which is shorter.
    rows += [rows[1] | {"row": row, "seed": 1, "flicker": value} for row, value in
             (("a", 6.0), ("c", 2.0))]
    claim = {"row": "a", "against": "start", "number": "flicker", "set": "studio"}
    assert ablation.verdict(claim | {"against": "c", "at least": 2}, rows)["values"] == [3.0]
    assert ablation.verdict(claim | {"at least": 1.5}, rows) == {"values": [1.5, 2.0],
                                                                 "holds": True}
    assert not ablation.verdict(claim | {"at least": 1.6}, rows)["holds"]
    assert ablation.verdict(claim | {"update": 50, "at most": 5}, rows)["values"] == [4.5, 3.0]
    assert not ablation.verdict(claim | {"row": "b", "at most": 5}, rows)["holds"]
    sure = {"row": "a", "surely better": [["frechet"], ["sharpness", "whole faces"]]}
    rows = [{"part": "compared", "row": "a", "seed": seed, "number": number, "superiority": value}
            for seed, number, value in ((0, "frechet", 0.99), (0, "sharpness", 0.2),
                                        (0, "whole faces", 1.0), (1, "frechet", 1.0),
                                        (1, "sharpness", 0.98))]
    assert ablation.verdict(sure, rows) == {"superiority": [0.99, 0.98], "holds": True}
    rows[0]["superiority"] = 0.9
    assert not ablation.verdict(sure, rows)["holds"]


def test_the_student_stands_beside_the_teacher(ablation_done):
    rows = written(ablation_done[0], "student")
    codec, guide, student = rows[:3]
    assert [row["name"] for row in rows[:3]] == ["codec", "teacher", "student"]
    assert student["evaluations a clip"] == 34 and student["diversity"] > 0
    assert student["GFLOP a frame"] < student["GFLOP a frame, decoded"]
    gap = next(row for row in rows if row.get("number") == "identity cosine")
    assert gap["difference"] == pytest.approx(
        student["identity cosine"] - guide["identity cosine"], abs=2e-4)


def test_looks_are_kept_for_filmstrips(ablation_done):
    """The end of every row; of some, what the three models made of fixed conditions."""
    folder = ablation_done[0]
    tensors, facts = read(folder / "results/ablation_looks.safetensors")
    tensors = unpacked(tensors)
    assert tensors["end baseline-seed0"].shape[:1] == (LONG,) and facts["level"] == 0.5
    assert "end one-step-seed1" not in tensors             # one seed is enough to look at
    assert tensors["told baseline-seed0 2"].shape == (2, 4)
    x, real, fake = (tensors[f"{part} baseline-seed0 0"] for part in ("x", "real", "fake"))
    assert x.shape == real.shape == fake.shape and not torch.equal(real, fake)
    spread, pull, *_ = ablation.gaps({"x": x, "real": x[None] + 1, "fake": x[None]})[0]
    assert pull.item() == pytest.approx(1, rel=1e-4)
    assert spread.item() == pytest.approx(x[0, 1:].std().item(), rel=1e-4)


# --- teacher

def test_the_teachers_tables(world, monkeypatch, tmp_path):
    folder, _ = world
    monkeypatch.chdir(tmp_path)         # whose clips are long enough to train on
    monkeypatch.setattr(clips, "script", lambda split, number, *_, **__: scripted(
        number, LONG_FRAMES if split == "train" else clips.FRAMES))
    for name, value in (("STEPS", (1, 2)), ("FEW", (1, 2)), ("SWEEP", [(1, 2)]),
                        ("PAPERS", ("studio",))):
        monkeypatch.setattr(teacher, name, value)
    study = teacher.Teacher(quick=True, folder=folder / "runs/studies")
    study.judges = replace(study.judges, wholeness=whole_faces.WholeFaces(ReaderConfig()))
    list(study.run())
    results, = folder.glob("runs/studies/teacher-quick/*/results")
    found = {path.stem: json.loads(path.read_text())["rows"] for path in results.iterdir()}
    assert [row["name"] for row in found["teacher"]] == [
        "truth through the codec", "truth", "teacher", "floor: a second set of truth"]
    assert [row.get("text") for row in found["guidance"]] == [None, 1, None]
    assert [row.get("steps") for row in found["gate"]] == [None, 1, 2, 1, 2, None]
    assert len(found["parts"]) == 2 and {*whole_faces.PARTS} < found["parts"][0].keys()
    codec, = found["codec"]
    assert codec["clips"] == 4 and 0 < codec["PSNR of mouths"] < codec["PSNR"] + 20
    assert 0 < codec["deviation, 10% quantile"] < codec["deviation, 50% quantile"]
    assert [(row["updates"], row["windows"]) for row in found["teacher_samples"]] == [
        (2, 43), (26_000, 554_667)]
    board = {row["name"]: row for row in found["scoreboard"] if "name" in row}
    assert set(board) == {*teacher.board_makers(), "floor: a second set of truth"}
    assert board["teacher, guided, 2 steps"]["evaluations a clip"] == 4
    assert board["truth"]["frechet"] < 0.01 < board["teacher, plain, 1 steps"]["frechet"]
    assert {row["comparison"] for row in found["scoreboard"] if "comparison" in row} == {
        f"teacher, {kind} steps - teacher, guided, 2 steps"
        for kind in ("guided, 1", "plain, 1", "plain, 2")}
