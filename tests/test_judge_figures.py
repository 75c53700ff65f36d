"""judge_figures.py: what is drawn is what was said."""

import pytest
import torch

from livetalk_ref import viz
from livetalk_ref.judge import judge_figures as figures

NUMBERS = ("Sync-C", "sharpness", "flicker")            # higher, close to truth, lower
TRUTH = dict(zip(NUMBERS, (0.5, 10.0, 0.0)))


def rgb(colour):
    return viz.plt.matplotlib.colors.to_rgb(colour)


def cells(ax):
    """The texts of a table in reading order, and the numbers that decide its colours."""
    shown = ax.images[0].get_array()
    texts = {tuple(map(round, text.get_position()[::-1])): text.get_text() for text in ax.texts}
    return texts, shown


def test_gain_follows_the_direction():
    assert figures.gain(0.6, 0.5, "higher") == pytest.approx(0.1)
    assert figures.gain(0.6, 0.5, "lower") == pytest.approx(-0.1)
    for value in (0.4, 0.6):
        assert figures.gain(value, 0.5, "close to truth") == pytest.approx(-0.1)


def test_a_cheat_passes_when_it_is_no_worse_than_the_ceiling():
    assert figures.passes(0.9, 0.8, 1.0, "higher") and not figures.passes(0.7, 0.8, 1.0, "higher")
    assert figures.passes(0.8, 0.8, 1.0, "higher")
    assert figures.passes(11.0, 9.0, 10.0, "close to truth")
    assert not figures.passes(11.1, 9.0, 10.0, "close to truth")


def test_cheats_are_marked_where_they_pass():
    found = {"truth": TRUTH, "codec": dict(zip(NUMBERS, (0.4, 9.0, 1.0))),
             "cheat": dict(zip(NUMBERS, (0.1, 10.5, 2.0)))}
    ax = figures.cheats(found, NUMBERS).axes[0]
    texts, shown = cells(ax)
    assert shown[:2].sum() == 0 and shown[2].tolist() == [-1, 1, -1]
    assert [texts[2, j] for j in range(3)] == ["0.10", "10.50", "2.00"]
    assert [label.get_text() for label in ax.get_yticklabels()] == list(found)


def test_reactions_are_shares_of_the_largest():
    found = {"truth": TRUTH, "blur": dict(zip(NUMBERS, (0.5, 6.0, 0.0))),
             "noise": dict(zip(NUMBERS, (0.6, 12.0, 8.0)))}
    texts, shown = cells(figures.reactions(found, NUMBERS).axes[0])
    assert shown.tolist() == [[0, -1, 0], [1, -0.5, -1]]
    assert texts[0, 0] == "" and texts[1, 1] == "-0.5" and texts[1, 0] == "+1.0"


def test_damage_draws_the_mean_and_what_is_kept():
    found = {("blur", "sharpness"): [[10, 8, 4], [8, 6, 2]], ("freeze", "freeze rate"): [[0, 1, 2]],
             ("a", "Sync-C"): [[1, 1, 1]]}
    kept = [{"judge": "damage", "corruption": "blur", "strength": s, "sharpness": 9 - s}
            for s in (0.0, 1.0)] + [{"judge": "SyncNet", "clips": 3}]
    blur, freeze, _ = figures.damage((0.0, 0.5, 1.0), found, kept).axes
    assert blur.lines[0].get_ydata().tolist() == [9, 7, 3]
    assert list(blur.lines[1].get_ydata()) == [9, 8] and len(freeze.lines) == 1
    assert "1/255" in blur.get_ylabel() and freeze.get_title(loc="left") == "freeze"


def test_offsets_mark_the_best_and_measure_the_first():
    curve = torch.tensor([1.4, 1.3, 0.8, 1.2, 1.5])
    ax = figures.offsets({"truth": curve, "late": curve.roll(1)}, 2).axes[0]
    assert [dots.get_offsets()[0][0] for dots in ax.collections] == [0, 1]
    assert {"Sync-C 0.50", "Sync-D 0.80"} <= {text.get_text() for text in ax.texts}


def test_ranks_count_from_the_best():
    values = [[8.0, 3.0], [10.0, 5.0], [9.0, 4.0]]
    made = figures.ranks({"a": (("x", "y", "z"), ("FID", "Sync-C"), values, (-1, 1))})
    texts, shown = cells(made.axes[0])
    assert [texts[i, 0] for i in range(3)] == ["1", "3", "2"]
    assert [texts[i, 1] for i in range(3)] == ["3", "1", "2"]
    assert shown[0, 0] == 1 and shown[0, 1] == -1


def test_faces_are_sorted_by_how_well_they_are_told_apart():
    rows = [{"judge": "identity", "factor": name, "step": step, "verified": value}
            for name, step, value in (("jaw", 0.0, 0.5), ("jaw", 0.5, 0.6), ("jaw", 1.0, 0.7),
                                      ("glasses", 1.0, 0.9), ("all continuous", 1.0, 0.8))]
    ax = figures.faces(rows).axes[0]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["glasses", "jaw"]
    half, whole = (dots.get_offsets().tolist() for dots in ax.collections)
    assert half == [[1, 0.6]] and whole == [[0, 0.9], [1, 0.7]]
