"""The ablation at its very smallest: all jobs, stopped and continued."""

import json

import pytest
import torch
from test_benchmark import random_reader, scripted
from test_ode_stage import SMALL, small_world  # noqa: F401
from tiny import shake

from livetalk_ref import curation, generate, loading, recipes
from livetalk_ref.distillation import probed
from livetalk_ref.errors import UserError
from livetalk_ref.files import unpacked
from livetalk_ref.judge import long, sets
from livetalk_ref.judge.distances import diversity
from livetalk_ref.nets.reader import ReaderConfig
from livetalk_ref.nets.restorer import Restorer, RestorerConfig
from livetalk_ref.studies import ablation, work
from livetalk_ref.runs import read, save
from livetalk_ref.wan import WanDiT
from livetalk_ref.world import clips
from livetalk_ref.world.clips import FRAMES, LONG_FRAMES

SIZE = ablation.Size(plan=(("baseline", 0), ("final", 1)), updates=2, points=(1, 5), clips=2,
                     long=2, varied=1, seeds=2, count=2, shown=1, sets=("studio",), judged=2)
LONG = 24       # latent frames of long clips here


@pytest.fixture(scope="module")
def done(small_world):  # noqa: F811
    """(folder, lines of a stopped run, lines of the run that ended it)."""
    folder, _ = small_world
    restorer = Restorer()
    torch.nn.init.zeros_(restorer.judge[2].weight)      # it finds every reference good
    torch.nn.init.constant_(restorer.judge[2].bias, -1.0)
    save(folder / "restorer.safetensors", restorer.state_dict(), config=RestorerConfig())
    save(folder / "reader.safetensors", random_reader().state_dict(), config=ReaderConfig())
    with pytest.raises(UserError, match="There is no model 'student_ode_short'"):
        study()
    for seed, name in enumerate((*ablation.STARTS, "student")):
        save(folder / f"{name}.safetensors", shake(WanDiT(SMALL), seed).state_dict(),
             config=SMALL, sampler="rollout")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sets, "script", lambda name, number, frames=FRAMES: scripted(number, frames))
        patch.setattr(clips, "script", lambda split, number, frames=LONG_FRAMES, **_:
                      scripted(number, frames))
        patch.setattr(work, "RESULTS", folder / "results")
        patch.setattr(generate, "TEACHER_STEPS", 1)
        patch.setattr(long, "LATENTS", LONG)
        for name in recipes.ROWS:                        # a batch of one, without a warm-up
            row = recipes.ROWS[name]
            small = recipes.replace(row.recipe, batch=1, ratio=1, warmup=0)
            patch.setitem(recipes.ROWS, name, recipes.replace(row, recipe=small))
        stopped, lines = list(study().run(0)), list(study().run())
        yield folder, stopped, lines


def study(size=SIZE, **where):
    return ablation.Ablation(size=size, **where)


def table(folder, name="ablation"):
    return json.loads((folder / f"results/{name}.json").read_text())["rows"]


def test_it_stops_and_continues(done):
    folder, stopped, lines = done
    assert stopped[0] == "stopped in codec-21; call it again to continue"
    jobs = [f"done  {job.name}" for job in study().jobs()]
    assert [line.split(",")[0] for line in lines if line.startswith("done")] == jobs
    assert set(lines) - {line for line in lines if line.startswith("done")} == {
        str(folder / f"results/{name}.json") for name in ("ablation", "student")}
    assert list(study().run()) == jobs


def test_every_run_is_judged_along_the_way(done):
    rows = [row for row in table(done[0]) if row.get("part") == "judged"]
    runs = [(row["row"], row["seed"], row["update"], row["frames"]) for row in rows
            if "seed" in row]
    assert runs == [(name, seed, update, frames) for name, seed in SIZE.plan
                    for update, frames in ((1, 21), (2, 21), (2, LONG))]
    others = [(row["row"], row["frames"]) for row in rows if "seed" not in row]
    assert others == [(name, frames) for name in ("codec", *ablation.STARTS, "teacher")
                      for frames in (21, LONG)]
    for row in rows:
        assert {"frechet", "sharpness", "black frames", "exposure collapse", "identity cosine",
                "motion"} <= row.keys()
        assert ("diversity" in row) == (row["frames"] == 21 and row["row"] != "codec")


def test_training_curves_and_what_was_not_run(done):
    folder = done[0]
    training = [row for row in table(folder) if row.get("part") == "training"]
    assert [(row["row"], row["seed"], row["update"]) for row in training] == [
        ("baseline", 0, 2), ("final", 1, 2)]
    assert all(row["loss"] > 0 for row in training)
    assert not [row for row in table(folder) if row.get("part") == "not run"]
    more = ablation.replace(SIZE, plan=(*SIZE.plan, ("oracle", 0)))
    rows = json.loads(study(more, results=folder / "more").write("ablation").read_text())["rows"]
    assert [row["row"] for row in rows if row.get("part") == "not run"] == ["oracle"]


def test_a_job_done_again_gives_the_same_rows(done):
    folder = done[0]
    place, = folder.glob("runs/studies/ablation/*/jobs/final-seed1-2-21.json")
    before = json.loads(place.read_text())["rows"]
    place.unlink()
    assert "done  final-seed1-2-21" in [line.split(",")[0] for line in study().run()]
    assert json.loads(place.read_text())["rows"] == before


def test_diversity_is_that_of_seeds(done):
    ground, avatar = study().ground_of(21), loading.load("student_ode")
    films = [next(iter(ground.bench.decode(next(ablation.made_by(avatar, ground.bench, 21, seed)))))
             for seed in range(2)]
    want = diversity(torch.stack([ground.judges.reader.read(film).features for film in films]))
    assert ablation.varied(avatar, ground, 1, 2) == pytest.approx(want, rel=1e-3)


def test_the_student_stands_beside_the_teacher(done):
    rows = table(done[0], "student")
    codec, teacher, student = rows[:3]
    assert [row["name"] for row in rows[:3]] == ["codec", "teacher", "student"]
    assert student["evaluations a clip"] == 34 and student["diversity"] > 0
    assert student["GFLOP a frame"] < student["GFLOP a frame, decoded"]
    gap = next(row for row in rows if row.get("number") == "identity cosine")
    assert gap["difference"] == pytest.approx(
        student["identity cosine"] - teacher["identity cosine"], abs=2e-4)


def test_latents_are_kept_for_filmstrips(done):
    path, = done[0].glob("runs/studies/ablation/*/shown/final-seed1-2-24.safetensors")
    assert read(path)[0]["latents"].shape[:2] == (1, LONG)


def test_pictures_are_collected(done):
    """The end of every row; of some, what the three models made of fixed conditions."""
    tensors, facts = read(done[0] / "results/ablation_looks.safetensors")
    tensors = unpacked(tensors)
    assert tensors["end baseline-seed0"].shape[:1] == (LONG,) and facts["level"] == 0.5
    assert "end final-seed1" not in tensors             # one seed is enough to look at
    assert tensors["told baseline-seed0 2"].shape == (2, 4)
    assert all(f"real baseline-seed0 {update}" in tensors for update in (0, 1, 2))
    x, real, fake = (tensors[f"{part} baseline-seed0 0"] for part in ("x", "real", "fake"))
    assert x.shape == real.shape == fake.shape and not torch.equal(real, fake)
    run, = done[0].glob("runs/studies/ablation/*/baseline-seed0")
    made = read(probed(run, 0))[0]["x"][[0, -1]]
    assert (x - made).abs().max() < 0.01 * made.abs().max()         # 8 bits are enough to look at


def test_a_look_is_told_in_numbers():
    """Of every condition: the spread of what is made, and how far the three are apart."""
    g = torch.Generator().manual_seed(0)
    x, real, fake = (torch.randn(4, 3, 2, 5, 5, generator=g) for _ in range(3))
    seen = {"x": x, "real": torch.stack([real, x]), "fake": torch.stack([fake, x])}
    spread, pull, surprise, apart = ablation.gaps(seen)[2]
    assert spread == pytest.approx(x[2, 1:].std().item())
    assert pull == pytest.approx((x - real)[2, 1:].abs().mean().item())
    assert surprise == pytest.approx((x - fake)[2, 1:].abs().mean().item())
    assert apart == pytest.approx((fake - real)[2, 1:].abs().mean().item())


def test_the_plan_has_all_that_is_required():
    plan = ablation.FULL.plan
    assert len(set(plan)) == len(plan) and {name for name, _ in plan} == set(recipes.ROWS)
    for name, row in recipes.ROWS.items():
        assert [seed for other, seed in plan if other == name] == list(range(row.seeds))
        assert row.recipe.updates in ablation.FULL.points
    assert curation.COUNT == ablation.FULL.count
