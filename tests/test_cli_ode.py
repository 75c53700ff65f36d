"""The commands of the ODE stage: a student's video, trajectories, training options."""

import json
import os

from test_cli import FAST, checkpoints, generation, go, place, refused  # noqa: F401

from livetalk_ref import curation, distillation, recipes, stages, trajectories
from livetalk_ref.train import TrainState


def test_generate_with_a_student(go):  # noqa: F811
    """Block after block, and what only a teacher takes is refused."""
    words = generation(model="student_ode")[:-len(FAST)]
    status, out, err = go(*words, "--json")
    facts = json.loads(out)
    assert status == 0 and "block 1/1" in err
    assert (facts["frames"], facts["windows"], facts["steps"]) == (5, 1, 4)
    assert facts["evaluations"] == 4 and facts["text_weight"] == 1
    os.remove("o.mp4")
    for option in ("--steps", "--audio-weight"):
        refused(go(*words, option, "2"), "student_ode is a student: it always makes 4 steps")


def test_options_of_the_ode_stage(go, monkeypatch):  # noqa: F811
    asked = []

    def run_stage(name, out, steps, resume, *more, **options):
        asked.append((name, options))
        yield TrainState(1, 0.5, 1e-3, 1.0, 0.1, 7.0)

    monkeypatch.setattr(stages, "run_stage", run_stage)
    assert go("train", "ode", "--recipe", "short", "--pairs", "250", "--seed", "2")[0] == 0
    assert asked == [("ode", {"recipe": "short", "count": 250, "seed": 2})]
    refused(go("train", "teacher", "--recipe", "short"),
            "--recipe is no option of the stage teacher")
    refused(go("train", "ode", "--variant", "odd"), "invalid choice: 'odd'")


def test_options_of_the_dmd_stage(go, monkeypatch, checkpoints):  # noqa: F811
    """They reach the run; a start without weights and a wrong name are said in one sentence."""
    asked = []

    def run(recipe, batch, out, resume, start, probe, compiled, paths, device):
        asked.append((recipe, str(out), resume, start, compiled, device))
        assert (paths == "paths") == (recipe.anchor > 0)
        yield TrainState(1, 0.5, 1e-3, 1.0, 0.1, 7.0)

    class Made:
        def batch(self, *words):
            return None

        probe = batch

    monkeypatch.setattr(distillation, "run", run)
    monkeypatch.setattr(curation, "conditions", lambda kind, count: Made())
    monkeypatch.setattr(distillation, "paths_of", lambda r, count: "paths" if r.anchor else None)
    status, _, err = go("train", "dmd", "--recipe", "baseline", "--seed", "3", "--updates", "7",
                        "--resume", "--compile", "--device", "cpu")
    assert status == 0 and "dmd step 1, loss 0.5000" in err
    want = recipes.recipe("baseline", seed=3, updates=7)
    assert asked == [(want, "runs/dmd/baseline-seed3", True, None, True, "cpu")]
    assert go("train", "dmd")[0] == 0 and asked[1][0] == recipes.SHIPPED
    refused(go("train", "dmd", "--recipe", "odd"), "There is no recipe 'odd'; choose one of")
    refused(go("train", "dmd", "--variant", "livetalk"), "--variant is no option of the stage dmd")
    refused(go("train", "dmd", "--rate", "2"), "--rate is no option of the stage dmd")
    refused(go("train", "ode", "--recipe", "final"), "There is no ODE recipe 'final'; choose")


def test_trajectories(go, monkeypatch):  # noqa: F811
    asked = []

    def from_shipped(count, split, teacher, watch):
        asked.append((count, split, teacher))
        for path in ("a", "b"):
            watch(None)
            yield path

    monkeypatch.setattr(trajectories, "from_shipped", from_shipped)
    status, out, err = go("trajectories", "--count", "40", "--split", "held_out")
    assert (status, out) == (0, "a\nb\n") and asked == [(40, "held_out", "bidirectional")]
    assert "trajectories: shard 1 of 2, step 1 of 48" in err
    monkeypatch.setattr(trajectories, "write_sample", lambda watch: "sample")
    assert go("trajectories", "--sample")[1] == "sample\n"
    refused(go("trajectories", "--count", "0"), "'0' is not a number from 1")
