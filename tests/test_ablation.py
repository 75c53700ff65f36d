"""The ablation at its very smallest: all jobs, stopped and continued, shared by processes."""

import json

import pytest
import torch
from test_benchmark import random_reader, scripted
from test_ode_stage import SMALL, small_world  # noqa: F401
from tiny import shake

from livetalk_ref import curation, generate, load, recipes
from livetalk_ref.distillation import probed
from livetalk_ref.errors import UserError
from livetalk_ref.judge import ablation, long, looks, sets
from livetalk_ref.judge.distances import diversity
from livetalk_ref.judge.reader import ReaderConfig
from livetalk_ref.packing import unpacked
from livetalk_ref.restorer import Restorer, RestorerConfig
from livetalk_ref.train import read, save
from livetalk_ref.wan import WanDiT
from livetalk_ref.world import clips
from livetalk_ref.world.clips import FRAMES, LONG_FRAMES

SIZE = ablation.Size(plan=(("baseline", 0), ("final", 1)), updates=2, points=(1, 5), clips=2,
                     long=2, varied=1, seeds=2, count=2, shown=1)
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
        list(ablation.run(size=SIZE))
    for seed, name in enumerate(ablation.STARTS):
        save(folder / f"{name}.safetensors", shake(WanDiT(SMALL), seed).state_dict(),
             config=SMALL, sampler="rollout")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sets, "script", lambda name, number, frames=FRAMES: scripted(number, frames))
        patch.setattr(clips, "script", lambda split, number, frames=LONG_FRAMES, **_:
                      scripted(number, frames))
        patch.setattr(ablation, "RESULTS", folder / "results")
        patch.setattr(generate, "TEACHER_STEPS", 1)
        patch.setattr(long, "LATENTS", LONG)
        for name in recipes.ROWS:                        # a batch of one, without a warm-up
            row = recipes.ROWS[name]
            small = recipes.replace(row.recipe, batch=1, ratio=1, warmup=0)
            patch.setitem(recipes.ROWS, name, recipes.replace(row, recipe=small))
        stopped = list(ablation.run(size=SIZE, minutes=0))
        lines = list(ablation.run(size=SIZE))
        yield folder, stopped, lines


def table(folder):
    return json.loads((folder / "results/ablation.json").read_text())["rows"]


def test_it_stops_and_continues(done):
    folder, stopped, lines = done
    assert stopped[0] == "stopped in codec-21; call it again to continue"
    jobs = ablation.Ablation(SIZE, "").jobs()
    assert [line.split(",")[0] for line in lines[:-2]] == [f"done  {job.name}" for job in jobs]
    written = [str(folder / "results" / name) for name in ("ablation.json",
                                                           "ablation_looks.safetensors")]
    assert list(ablation.run(size=SIZE)) == lines[-2:] == written
    listed = list(ablation.run(size=SIZE, only_list=True))
    assert listed == [f"done  {job.name}" for job in jobs]


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
    study = ablation.Ablation(more, next(folder.glob("runs/ablation/*")), folder / "more")
    rows = json.loads(study.write().read_text())["rows"]
    assert [row["row"] for row in rows if row.get("part") == "not run"] == ["oracle"]


def test_a_job_done_again_gives_the_same_rows(done):
    folder = done[0]
    place, = folder.glob("runs/ablation/*/jobs/final-seed1-2-21.json")
    before = json.loads(place.read_text())["rows"]
    place.unlink()
    assert [line.split(",")[0] for line in ablation.run(size=SIZE)][0] == "done  final-seed1-2-21"
    assert json.loads(place.read_text())["rows"] == before


def test_what_another_process_does_is_left_to_it(done):
    folder, _, _ = done
    place, = folder.glob("runs/ablation/*/jobs/final-seed1-2-21.json")
    kept = place.read_bytes()
    place.unlink()
    study = ablation.Ablation(SIZE, place.parents[1], folder / "results")
    with ablation.claimed(study.folder / "claims" / "final-seed1") as mine:
        assert mine
        lines = list(ablation.work(study, float("inf")))
    assert lines == ["under way elsewhere  final-seed1"] and not place.exists()
    place.write_bytes(kept)


def test_diversity_is_that_of_seeds(done):
    folder = done[0]
    study = ablation.Ablation(SIZE, folder / "elsewhere", folder / "results")
    ground, avatar = study.ground_of(21), load.load("student_ode")
    films = [next(iter(ground.bench.decode(next(ablation.made_by(avatar, ground.bench, 21, seed)))))
             for seed in range(2)]
    want = diversity(torch.stack([ground.judges.reader.read(film).features for film in films]))
    assert ablation.varied(avatar, ground, 1, 2) == pytest.approx(want, rel=1e-3)


def test_latents_are_kept_for_filmstrips(done):
    path, = done[0].glob("runs/ablation/*/shown/final-seed1-2-24.safetensors")
    assert read(path)[0]["latents"].shape[:2] == (1, LONG)


def test_pictures_are_collected(done):
    """The end of every row; of some, what the three models made of fixed conditions."""
    tensors, facts = read(done[0] / "results/ablation_looks.safetensors")
    tensors = unpacked(tensors)
    assert tensors["end baseline-seed0"].shape[:1] == (LONG,) and facts["level"] == 0.5
    assert "end final-seed1" not in tensors             # one seed is enough to look at
    tracks = {part: looks.track(tensors, part, "baseline-seed0") for part in ("x", "real", "fake")}
    assert all(list(track) == [0, 1, 2] for track in tracks.values())
    assert looks.track(tensors, "told", "baseline-seed0")[2].shape == (2, len(looks.TOLD))
    x, real, fake = (tracks[part][0] for part in ("x", "real", "fake"))
    assert x.shape == real.shape == fake.shape and not torch.equal(real, fake)
    made = read(probed(next(done[0].glob("runs/ablation/*/baseline-seed0")), 0))[0]["x"][[0, -1]]
    assert (x - made).abs().max() < 0.01 * made.abs().max()         # 8 bits are enough to look at


def test_a_look_is_told_in_numbers():
    """Of every condition: the spread of what is made, and how far the three are apart."""
    g = torch.Generator().manual_seed(0)
    x, real, fake = (torch.randn(4, 3, 2, 5, 5, generator=g) for _ in range(3))
    seen = {"x": x, "real": torch.stack([real, x]), "fake": torch.stack([fake, x])}
    spread, pull, surprise, apart = looks.told(seen)[2]
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
