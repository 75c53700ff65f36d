"""The study of the judges: its corruptions, its own arithmetic, and that what it breaks is seen.

How all judges answer to growing damage is asserted in notebook 09.
"""

import itertools
import math

import pytest
import torch
from tiny import dice, noise, scripted

from livetalk_ref.judge import metrics
from livetalk_ref.loading import load_module
from livetalk_ref.studies import judges as trial
from livetalk_ref.world import clips
from livetalk_ref.world.identity import CATEGORICAL, CONTINUOUS

FRAMES = 49
NAMES = tuple(trial.corruptions(None))
NOTICED = {"dropped frames": ("freeze rate", 1), "freeze": ("freeze rate", 1),
           "added flicker": ("flicker", 1), "fade to black": ("black frames", 1),
           "blur": ("sharpness", -1), "colour shift": ("colour drift", 1)}


@pytest.fixture(scope="module")
def filmed():
    """A clip, its pictures, and another face's."""
    clip = scripted(0, FRAMES)
    return clip, clips.film(clip), trial.another_face(clip, dice(1))


@pytest.mark.parametrize("name", NAMES)
def test_damage_grows_from_none_and_the_reference_is_never_touched(filmed, name):
    clip, frames, other = filmed
    damage = trial.corruptions(other)[name]

    def at(strength):
        return damage(frames, clip.samples, strength, dice(3))

    same, sound = at(0.0)
    assert torch.allclose(same, frames, atol=1e-6) and torch.equal(sound, clip.samples)
    worst, sound = at(1.0)
    assert torch.equal(worst[0], frames[0]) and worst.abs().max() <= 1
    assert torch.equal(frames, worst) == ("audio" in name)
    assert torch.equal(clip.samples, sound) == ("audio" not in name)
    assert all(torch.equal(a, b) for a, b in zip(at(0.6), at(0.6)))         # a seed decides
    if name in NOTICED:
        number, sign = NOTICED[name]
        truth = metrics.Truth.of(clip.state, frames, frames)
        values = [sign * metrics.picture_numbers(at(s)[0], truth)[number] for s in (0, 0.5, 1)]
        assert values[0] < values[1] < values[2]


def test_shuffled_audio_is_the_same_half_seconds_elsewhere():
    sound = torch.arange(81_000.0)
    for strength, moved in ((0.2, 2), (0.5, 5), (1.0, 10)):
        _, shuffled = trial.shuffled_audio(None, sound, strength, dice())
        assert torch.equal(shuffled.sort().values, sound)
        assert (shuffled != sound).sum() == 8000 * moved


def test_share_explained_is_one_for_the_truth_and_zero_for_its_mean():
    truth = noise(200, 2)
    for read, share, off in ((truth, 1, 1e-6), (truth.mean(0).expand(200, 2), 0, 1e-6),
                             (truth + 0.5 * noise(200, 2, seed=1), 0.75, 0.1)):
        assert (trial.share_explained(read, truth) - share).abs().max() <= off
    assert math.isnan(trial.share_explained(truth, torch.zeros(200, 2))[0])


def test_pairs_differ_in_one_factor_by_the_step():
    for step, factor in itertools.product(trial.STEPS, ("skin_tone", "glasses")):
        a, b = trial.face_pairs(factor, step, 16)
        moved = dict(zip(CONTINUOUS, (b.continuous - a.continuous).T)) | dict(
            zip(CATEGORICAL, (b.categorical != a.categorical).T))
        own = moved.pop(factor)
        assert not any(other.any() for other in moved.values())
        if factor == "glasses":
            assert own.all() == (step > 0)
        else:
            low, high = CONTINUOUS[factor]
            assert torch.allclose(own, torch.full((16,), step * (high - low)), atol=1e-4)


def test_the_embedding_moves_more_the_more_a_face_changes():
    rows = trial.identity_rows(load_module("reader"), 12, ("skin_tone", "glasses"))
    skin, glasses = ([row for row in rows if row["factor"] == factor]
                     for factor in ("skin_tone", "glasses"))
    assert all(a["drift"] < b["drift"] for a, b in zip(skin, skin[1:]))
    assert skin[0]["verified"] == 0.5 and min(skin[-1]["verified"], glasses[1]["verified"]) > 0.8
