"""The ODE stage on tiny trajectories: recipes, kept weights, what ships and what a file says."""

import pytest
import torch
from test_wan import worst
from tiny import CODEC, SMALL, build_here, scripted, shake

from livetalk_ref import loading, ode, stages, trajectories
from livetalk_ref.codec import Codec
from livetalk_ref.files import eight_bits, unpacked
from livetalk_ref.runs import kept, read, save
from livetalk_ref.wan import WanDiT
from livetalk_ref.world import clips, shards
from livetalk_ref.world.clips import FRAMES


@pytest.fixture(scope="module")
def small_world(tmp_path_factory):
    """Tiny weights, clips of shipped speech, shards of two, a teacher of four steps."""
    folder = tmp_path_factory.mktemp("ode")
    save(folder / "codec.safetensors", shake(Codec(CODEC), 1).state_dict(), config=CODEC)
    save(folder / "teacher.safetensors", shake(WanDiT(SMALL), 1).state_dict(), config=SMALL)
    asked = []

    def script(split, number, frames=FRAMES, degraded=None, **_):
        asked.append((split, number, frames, degraded))
        return scripted(number, frames)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "CHECKPOINTS", folder)
        patch.setattr(shards, "SHARD", 2)
        patch.setattr(shards, "build", build_here)
        patch.setattr(clips, "script", script)
        patch.setattr(ode, "TEACHER_STEPS", 4)
        patch.setattr(stages, "ODE_STEPS", {"short": 2, "converged": 5})
        patch.setattr(stages, "ODE_KEPT", (1, 2, 5))
        patch.chdir(folder)
        yield folder, asked


def test_conditions_are_clean_and_paths_are_kept(small_world):
    _, asked = small_world
    paths = list(trajectories.from_shipped(3))                          # two shards of two
    assert len(paths) == 2 and {row[2:] for row in asked} == {(FRAMES, None)}
    data = trajectories.Trajectories.load(paths)
    assert data.states.shape[:3] == (4, 5, 21) and data.seeds.tolist() == [0, 1, 2, 3]
    assert not data.clips.degraded.any()
    before = len(asked)
    held_out = list(trajectories.from_shipped(2, "held_out"))
    assert [row[0] for row in asked[before:]] == ["held_out"] * 2
    assert list(trajectories.from_shipped(3)) == paths and len(asked) == before + 2   # kept
    assert not set(held_out) & set(paths)


def test_a_sample_is_the_first_paths(small_world, monkeypatch, tmp_path):
    monkeypatch.setattr(trajectories, "SHIPPED", 2)
    path = trajectories.write_sample(tmp_path / "sample.safetensors")
    data = trajectories.Trajectories.load([path])
    whole = trajectories.Trajectories.load(list(trajectories.from_shipped(2)))
    assert len(data) == 2
    assert worst(data.states.float(), whole.states.float()) < 0.05      # which may be in bf16


def test_the_short_recipe_is_the_converged_ones_beginning(small_world, tmp_path):
    """Weight for weight: so one run gives both, and a curve along training besides."""
    short, whole = tmp_path / "short", tmp_path / "whole"
    few = [s.loss for s in stages.run_stage("ode", short, count=3, recipe="short", seed=1)]
    many = [s.loss for s in stages.run_stage("ode", whole, count=3, seed=1)]
    assert len(few) == 2 and len(many) == 5 and many[:2] == few
    ended, facts = read(short / "ema.safetensors")
    on_the_way, more = read(kept(whole, 2))
    assert all(torch.equal(ended[k].half(), on_the_way[k]) for k in ended)
    assert facts["step"] == more["step"] == 2
    assert (more["sampler"], more["pairs"], more["variant"]) == ("rollout", 3, "self_forcing")
    assert [kept(whole, n).is_file() for n in (1, 2, 3, 5)] == [True, True, False, True]
    last, _ = read(whole / "ema.safetensors")
    assert all(torch.equal(last[k].half(), v) for k, v in read(kept(whole, 5))[0].items())


def test_a_student_begins_as_its_teacher_and_other_seeds_differ(small_world):
    stage = stages.ode_stage(count=3)
    teacher = loading.load_module("teacher").state_dict()
    assert all(torch.equal(v, teacher[k]) for k, v in stage.model.state_dict().items())
    assert all(p.requires_grad for p in stage.model.parameters())
    one, two = (stage.loss(stage.model, torch.Generator().manual_seed(s)).item() for s in (0, 1))
    assert one != two
    states, cond = trajectories.Trajectories.load(list(trajectories.from_shipped(3))).select(
        range(3)).batch(8, g := torch.Generator().manual_seed(0))
    assert one == pytest.approx(ode.ode_loss(stage.model, (states, cond), g).item(), rel=1e-5)


def test_both_students_ship_and_are_students(small_world, tmp_path, monkeypatch):
    list(stages.run_stage("ode", tmp_path / "run", count=2))
    monkeypatch.setattr(loading, "CHECKPOINTS", tmp_path / "shipped")
    save(tmp_path / "shipped/codec.safetensors", shake(Codec(CODEC), 1).state_dict(), config=CODEC)
    path = stages.export("ode", tmp_path / "run")
    assert path == tmp_path / "shipped/student_ode.safetensors"
    for name, step in (("student_ode", 5), ("student_ode_short", 2)):
        tensors, _ = read(kept(tmp_path / "run", step))
        avatar = loading.load(name)
        assert avatar.is_student and avatar.model.config == SMALL
        for k, v in avatar.model.state_dict().items():
            assert torch.equal(v, unpacked(eight_bits({k: tensors[k]}))[k])
