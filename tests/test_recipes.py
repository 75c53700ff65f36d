"""The recipes: neighbours differ in the knob that they name, ratios are the paper's."""

import pytest

from livetalk_ref import recipes, stages
from livetalk_ref.errors import UserError
from livetalk_ref.recipes import BASELINE, FINAL, KNOBS, ROWS, SINGLE, Recipe


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.like])
def test_a_row_differs_from_its_neighbour_in_the_named_knob_only(name):
    row = ROWS[name]
    assert recipes.differences(row.recipe, ROWS[row.like].recipe) == set(KNOBS[row.knob])


def test_baseline_and_final_differ_in_the_papers_four_knobs():
    turned = {field for knob in ("conditions", "start", "rates", "guidance")
              for field in KNOBS[knob]}
    assert recipes.differences(BASELINE, FINAL) == turned
    assert [ROWS[name].seeds for name in ("baseline", "final")] == [3, 3]


def test_single_rows_turn_each_knob_once():
    assert {ROWS[name].knob for name in SINGLE} == {"conditions", "start", "rates", "guidance"}
    assert all(ROWS[name].like == "baseline" for name in SINGLE)


def test_ratios_are_the_papers():
    assert FINAL.lr / BASELINE.lr == pytest.approx(2)
    assert FINAL.critic_lr / BASELINE.critic_lr == pytest.approx(2)
    assert FINAL.lr / FINAL.critic_lr == pytest.approx(4e-6 / 8e-7)
    for r in (FINAL, BASELINE):
        assert r.guidance.text == r.guidance.audio
    assert (FINAL.guidance.text - 1) / (BASELINE.guidance.text - 1) == pytest.approx(5 / 3)
    assert stages.ODE_STEPS["converged"] == 5 * stages.ODE_STEPS["short"]
    assert Recipe() == recipes.replace(FINAL, frames=21)


def test_names():
    assert recipes.recipe("final", seed=2, updates=7) == recipes.replace(FINAL, seed=2, updates=7)
    assert recipes.recipe("student").frames == 21 and BASELINE.frames == 9
    beyond = {"critic_lr", "warmup", "anchor", "guidance", "frames"}
    assert recipes.differences(recipes.recipe("student"), FINAL) == beyond
    with pytest.raises(UserError, match="no recipe 'odd'; choose one of baseline, curated"):
        recipes.recipe("odd")
