"""The recipes: neighbours differ in the knob that they name, ratios are the paper's; and a stage
computes where its model is."""

from dataclasses import replace

import pytest
import torch

from livetalk_ref import recipes, stages, trajectories
from livetalk_ref.errors import UserError
from livetalk_ref.recipes import BASELINE, FINAL, KNOBS, ROWS, Recipe
from livetalk_ref.trajectories import SAMPLE, Trajectories


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.like])
def test_a_row_differs_from_its_neighbour_in_the_named_knob_only(name):
    row = ROWS[name]
    assert recipes.differences(row.recipe, ROWS[row.like].recipe) == set(KNOBS[row.knob])


def test_the_papers_four_knobs_are_turned_together_and_each_once():
    four = ("conditions", "start", "rates", "guidance")
    turned = {field for knob in four for field in KNOBS[knob]}
    assert recipes.differences(BASELINE, FINAL) == turned
    assert [ROWS[name].knob for name in ("curated", "converged", "aggressive", "final")] == [*four]


def test_ratios_are_the_papers():
    assert FINAL.lr / BASELINE.lr == pytest.approx(2)
    assert FINAL.critic_lr / BASELINE.critic_lr == pytest.approx(2)
    assert FINAL.lr / FINAL.critic_lr == pytest.approx(4e-6 / 8e-7)
    for r in (FINAL, BASELINE):
        assert r.guidance.text == r.guidance.audio
    assert (FINAL.guidance.text - 1) / (BASELINE.guidance.text - 1) == pytest.approx(5 / 3)
    assert stages.ODE_STEPS["converged"] >= 5 * stages.ODE_STEPS["short"]
    assert Recipe() == replace(FINAL, batch=8, frames=21)


def test_names():
    assert recipes.recipe("final", seed=2, updates=7) == replace(FINAL, seed=2, updates=7)
    assert recipes.recipe("student").frames == BASELINE.frames == 9
    beyond = recipes.differences(recipes.recipe("student"), ROWS["mild"].recipe)
    assert beyond == {"anchor", "batch"}
    with pytest.raises(UserError, match="no recipe 'odd'; choose one of baseline, curated"):
        recipes.recipe("odd")


@pytest.mark.parametrize("stage", ("teacher", "ode"))
def test_a_stage_computes_where_its_model_is(stage, monkeypatch):
    """The meta device stands for a GPU: nothing of a batch may stay on the CPU."""
    clips = Trajectories.load([SAMPLE]).clips
    monkeypatch.setattr(trajectories, "from_shipped", lambda *_, **__: [SAMPLE])
    twice = {name: torch.cat([x, x, x[:, :more]], 1) for name, more in
             (("latents", 0), ("audio", 3), ("state", 3)) for x in [getattr(clips, name)]}
    options = {"teacher": {"data": replace(clips, **twice)},        # windows of longer clips
               "ode": {"count": len(clips)}}
    made = stages.STAGES[stage](**options.get(stage, {}))
    model = made.model.to("meta")
    loss = made.loss(model, torch.Generator().manual_seed(0))
    loss.backward()
    devices = {p.grad.device.type for p in model.parameters() if p.grad is not None}
    assert loss.device.type == "meta" and devices == {"meta"}
