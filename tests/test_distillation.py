"""A distillation on disk: killed and continued it is the same run, and what it leaves is read."""

import json
from dataclasses import replace

import pytest
import torch
from test_dmd import SMALL, condition
from tiny import shake, write_student

from livetalk_ref import loading
from livetalk_ref.distillation import LEVELS, look, probed, run
from livetalk_ref.dmd import Distiller
from livetalk_ref.errors import UserError
from livetalk_ref.recipes import Recipe
from livetalk_ref.runs import kept, read, save
from livetalk_ref.wan import WanDiT

RECIPE = Recipe(start="student_ode", updates=6, ratio=1, warmup=1, batch=2, frames=6,
                ema_from=0.4, ema=0.9)
SAME = ("step", "loss", "gradient", "grad_norm", "exit", "size", "distance")


@pytest.fixture(autouse=True)
def shipped(tmp_path, monkeypatch):
    save(tmp_path / "teacher.safetensors", shake(WanDiT(SMALL), 0).state_dict(), config=SMALL)
    write_student(tmp_path, config=SMALL)
    monkeypatch.setattr(loading, "CHECKPOINTS", tmp_path)


def batch(g):
    return condition(seed=int(torch.randint(1000, (), generator=g)))


def go(out, stop=None, **options):
    """A run, killed after so many updates."""
    states = run(RECIPE, batch, out, keep=(2, 4), probe=condition(seed=5), save_every=0.0,
                 **options)
    return [state for _, state in zip(range(stop or 99), states)]


def rows(out):
    return [{k: json.loads(line)[k] for k in SAME}
            for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_a_killed_run_continues_as_if_nothing_had_happened(tmp_path):
    """Weights of all three, optimisers, average and figures, bit for bit."""
    go(tmp_path / "whole")
    go(tmp_path / "parts", stop=3)
    assert len(rows(tmp_path / "parts")) == 3
    more = go(tmp_path / "parts", resume=True)
    assert [state.step for state in more] == [4, 5, 6]
    assert rows(tmp_path / "whole") == rows(tmp_path / "parts")
    for name in ("last.safetensors", "ema.safetensors", "ema-000004.safetensors",
                 "probe-000004.safetensors", "probe-000006.safetensors"):
        whole, parts = (read(tmp_path / out / name)[0] for out in ("whole", "parts"))
        assert whole.keys() == parts.keys()
        assert all(torch.equal(whole[k], parts[k]) for k in whole), name
    assert any(k.startswith("critic.") for k in read(tmp_path / "parts/last.safetensors")[0])


def test_another_recipe_is_refused_and_a_run_of_two_steps_says_so(tmp_path):
    """A file that says nothing is of four."""
    two = replace(RECIPE, student_steps=2, updates=1)
    list(run(two, batch, tmp_path / "run", probe=condition(seed=5)))
    assert loading.steps_of(tmp_path / "run/ema.safetensors") == 2
    assert loading.steps_of("student_ode") == 4
    for other in ({"student_steps": 4}, {"lr": 1e-3}):
        with pytest.raises(UserError, match=f"holds a run of another {next(iter(other))}"):
            next(run(replace(two, **other), batch, tmp_path / "run", resume=True))
    assert len(rows(tmp_path / "run")) == 1


def test_what_is_kept_is_a_student(tmp_path):
    """The averaged weights, in half precision, load by their path and say how they were made."""
    go(tmp_path / "run")
    assert not kept(tmp_path / "run", 6).exists()
    facts = read(kept(tmp_path / "run", 4))[1]
    assert facts["step"] == 4 and facts["recipe"]["lr"] == RECIPE.lr
    assert loading.sampler(kept(tmp_path / "run", 4)) == "rollout"
    model = loading.load_module(kept(tmp_path / "run", 2), "dit")
    assert model.config == SMALL
    there = [n for n in range(9) if probed(tmp_path / "run", n).is_file()]
    assert there == [0, 2, 4, 6] and read(probed(tmp_path / "run", 2))[1]["levels"] == list(LEVELS)


def test_a_look_shows_all_three_models_and_changes_nothing(tmp_path):
    models = [loading.load_module(name, "dit") for name in ("student_ode", "teacher")]
    d = Distiller(models[0].requires_grad_(True), models[1], loading.load_module("teacher"), RECIPE)
    d.precision = "fp32"
    before = {k: v.clone() for k, v in d.pack().items()}
    cond = condition(seed=5)
    seen, again = look(d, cond), look(d, cond)
    assert all(torch.equal(seen[k], again[k]) for k in seen)
    assert all(torch.equal(v, before[k]) for k, v in d.pack().items())
    assert torch.equal(seen["x"][:, 0], cond.ref)           # the reference is given
    assert seen["real"].shape == seen["fake"].shape == (len(LEVELS), *seen["x"].shape)
    for part in ("real", "fake"):                           # to the two scores as well
        assert all(torch.equal(believed[:, 0], cond.ref) for believed in seen[part])
    with torch.no_grad():                           # the critic is the teacher still, unguided
        d.critic.head.head.bias += 1.0
    moved = look(d, cond)
    assert torch.equal(moved["x"], seen["x"]) and torch.equal(moved["real"], seen["real"])
    for level, fake, was in zip(LEVELS, moved["fake"], seen["fake"]):     # x0 = x - sigma v
        assert torch.allclose(fake[:, 1:], was[:, 1:] - level, atol=1e-4)
