"""The trial of the judges: its own arithmetic, and what the shipped judges get right in it."""

import math

import pytest
import torch

from livetalk_ref.loading import CHECKPOINTS, load_module
from livetalk_ref.studies import judges as trial
from livetalk_ref.world.identity import CATEGORICAL, CONTINUOUS

needs_reader = pytest.mark.skipif(not (CHECKPOINTS / "reader.safetensors").exists(),
                                  reason="there are no weights of the face reader yet")


def test_share_explained_is_one_for_the_truth_and_zero_for_its_mean():
    truth = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(trial.share_explained(truth, truth), torch.ones(2))
    assert torch.allclose(trial.share_explained(truth.mean(0).expand(200, 2), truth),
                          torch.zeros(2), atol=1e-6)
    noisy = truth + 0.5 * torch.randn(200, 2, generator=torch.Generator().manual_seed(1))
    assert (trial.share_explained(noisy, truth) - 0.75).abs().max() < 0.1
    assert math.isnan(trial.share_explained(truth, torch.zeros(200, 2))[0])


@pytest.mark.parametrize("factor", ("skin_tone", "eye_hue", "glasses"))
def test_pairs_differ_in_one_factor_by_the_step(factor):
    for step in trial.STEPS:
        a, b = trial.pairs(factor, step, 16)
        moved, chosen = b.continuous - a.continuous, b.categorical != a.categorical
        if factor in CONTINUOUS:
            column, (low, high) = list(CONTINUOUS).index(factor), CONTINUOUS[factor]
            assert torch.allclose(moved[:, column], torch.full((16,), step * (high - low)),
                                  atol=1e-4)
            assert a.continuous[:, column].min() >= low - 1e-4
            assert b.continuous[:, column].max() <= high + 1e-4
            moved[:, column] = 0
        else:
            column = list(CATEGORICAL).index(factor)
            assert chosen[:, column].all() == (step > 0)
            chosen[:, column] = False
        assert not moved.any() and not chosen.any()


def test_verification_is_the_area_under_the_curve():
    assert trial.verified(torch.tensor([0.9, 0.8]), torch.tensor([0.1, 0.2])) == 1
    assert trial.verified(torch.tensor([0.5]), torch.tensor([0.5])) == 0.5
    assert trial.verified(torch.tensor([0.9, 0.3]), torch.tensor([0.5, 0.5])) == 0.5


@needs_reader
def test_the_embedding_moves_more_the_more_a_face_changes():
    rows = trial.identity_rows(load_module("reader"), 12, ("skin_tone", "hair_light", "face_width",
                                                           "back_hue", "glasses"))
    moved = [row["drift"] for row in rows if row["factor"] == "all continuous"]
    assert len(moved) == len(trial.STEPS) and all(a < b for a, b in zip(moved, moved[1:]))
    told = [row["verified"] for row in rows if row["factor"] == "all continuous"]
    assert told[0] == 0.5 and told[-1] > 0.8
    glasses = [row for row in rows if row["factor"] == "glasses"]
    assert glasses[1]["verified"] > 0.8


@needs_reader
@pytest.mark.speech
def test_the_reader_reads_rendered_truth():
    rows = trial.reader_rows(load_module("reader"), load_module("codec"), 8)
    rendered, coded, spoilt = rows
    assert [row["truth"] for row in rows] == ["rendered", "through the codec", "spoilt"]
    assert rendered["mouth_open R2"] >= 0.95 and rendered["expression right"] >= 0.98
    assert all(rendered[f"{name} R2"] >= 0.9 for name in ("mouth_width", "turn", "nod", "tilt"))
    assert coded["mouth_open R2"] > 0.8 and spoilt["mouth_open R2"] > 0.7
