"""Phones become mouth shapes: against a plain loop, and against what a viewer must see."""

import math

import pytest
import torch

from livetalk_ref.errors import UserError
from livetalk_ref.world import visemes as v
from livetalk_ref.world.state import FPS


def plain_opening(units, time):
    """The second road: Cohen and Massaro's formula for one moment, letter by letter."""
    above = below = 0.0
    for letter, start, end in units:
        (opening, _, _), strength, _ = v.LETTERS[letter] if letter else v.PAUSE
        edge = min(v.EDGE[0] * (end - start), v.EDGE[1])
        outside = max(0.0, start + edge - time, time - end + edge)
        pull = strength * math.exp(-((outside / v.SPREAD) ** 2))
        above, below = above + pull * opening, below + pull
    shut = 0.0
    for letter, start, end in units:
        if letter in ("p", "b", "m"):
            outside = abs(time - (start + end) / 2) - max((end - start) / 2, v.CLOSED_FOR)
            shut = max(shut, min(1.0, 1 - outside / v.REOPEN))
    return above / below * (1 - shut)


def test_equals_the_formula_moment_by_moment():
    phones = [("h", 0.1, 0.15), ("ə", 0.15, 0.2), ("l", 0.2, 0.27), ("oʊ", 0.27, 0.45),
              ("", 0.45, 0.6), ("m", 0.6, 0.66), ("aɪ", 0.66, 0.85)]
    units = [("", -10, 0.1), ("h", 0.1, 0.15), ("ə", 0.15, 0.2), ("l", 0.2, 0.27),
             ("o", 0.27, 0.36), ("ʊ", 0.36, 0.45), ("", 0.45, 0.6), ("m", 0.6, 0.66),
             ("a", 0.66, 0.755), ("ɪ", 0.755, 0.85), ("", 0.85, 10)]
    expected = torch.tensor([plain_opening(units, i / FPS) for i in range(20)])
    torch.testing.assert_close(v.visemes(phones, 20)[:, 0], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("delay", [i / 160 for i in range(10)])
def test_lips_meet_however_short_the_sound_and_wherever_the_frames_fall(delay):
    vowel_b_vowel = [("ɑː", 0.2, 0.5), ("b", 0.5, 0.52), ("ɑː", 0.52, 0.8)]
    opening = v.visemes([(s, a + delay, b + delay) for s, a, b in vowel_b_vowel], 20)[:, 0]
    middle = (0.51 + delay) * FPS
    assert opening[round(middle)] < 1e-6
    assert opening[round(middle) - 3] > 0.9 and opening[round(middle) + 3] > 0.9


def test_shapes_are_those_of_the_sounds():
    def held(symbol):
        return dict(zip(("open", "width", "round"), v.visemes([(symbol, 0, 1)], 16)[8].tolist()))

    assert held("ɑː")["open"] > held("ɛ")["open"] > held("ɪ")["open"] > held("f")["open"]
    assert held("iː")["width"] > 0.8 > -0.8 > held("uː")["width"]
    assert held("w")["round"] > 0.9 > held("ʃ")["round"] > 0.5 > held("s")["round"]
    assert held("m")["open"] == 0


def test_the_mouth_rests_in_silence_and_far_from_speech():
    assert v.visemes([], 5).equal(torch.zeros(5, 3))
    shapes = v.visemes([("ɑː", 1.0, 1.25), ("", 1.25, 2.25), ("ɑː", 2.25, 2.5)], 800)
    for quiet in (slice(0, 14), slice(23, 34), slice(43, 800)):     # 3 frames after a vowel
        assert shapes[quiet].abs().max() < 1e-2


def test_stress_length_and_accents_do_not_matter_but_unknown_letters_do():
    plain, signed = [("t", 0, 0.2), ("i", 0.2, 0.5)], [("t̪", 0, 0.2), ("ˈiː", 0.2, 0.5)]
    assert v.visemes(plain, 8).equal(v.visemes(signed, 8))
    with pytest.raises(UserError, match="ж"):
        v.visemes([("ж", 0, 1)], 4)
