"""board_figures.py: the lines, intervals and colours are those of the rows."""

import pytest

from livetalk_ref import viz
from livetalk_ref.judge import board_figures as figures

BEST = "teacher, guided, 48 steps"


def row(who, place="studio", evaluations=0, **numbers):
    """A line of the board; the interval of x is x - 1 .. x + 1."""
    return {"name": who, "set": place, "clips": 2, "evaluations a clip": evaluations} | numbers | {
        f"{key} 95%": [value - 1, value + 1] for key, value in numbers.items()}


ROWS = [row("truth", frechet=0), row("floor: a second set of truth", frechet=2),
        row(figures.CEILING, frechet=5, sharpness=9), row(figures.RULE, frechet=99, sharpness=7),
        row("teacher, plain, 48 steps", evaluations=48, frechet=6, sharpness=8),
        row("teacher, plain, 4 steps", evaluations=4, frechet=9, sharpness=6),
        row(BEST, evaluations=96, frechet=7, sharpness=10),
        row("teacher, plain, 4 steps", "wild", 4, frechet=12)]


def test_the_table_has_every_maker_of_its_set_with_intervals():
    lines = figures.markdown(ROWS, "studio", ("frechet", "sharpness")).splitlines()
    assert lines[0] == "| studio | frechet | sharpness |" and len(lines) == 2 + 7
    assert "| truth | 0.00<br><sub>-1.00 .. 1.00</sub> |  |" in lines
    assert all(line.count("|") == lines[0].count("|") for line in lines)


def test_price_draws_quality_over_evaluations():
    studio, wild, sharp, empty = figures.price(ROWS, ("frechet", "sharpness"),
                                               ("studio", "wild")).axes
    lines = {line.get_label(): line for line in studio.lines}
    assert set(lines) == {"teacher, plain", "teacher, guided", figures.CEILING,
                          "floor: a second set of truth"}   # the rule's distance would hide all
    assert lines["teacher, plain"].get_xdata().tolist() == [4, 48]
    assert lines["teacher, plain"].get_ydata().tolist() == [9, 6]
    assert set(lines[figures.CEILING].get_ydata()) == {5}
    assert wild.lines[0].get_ydata().tolist() == [12] and not empty.lines
    assert figures.RULE in {line.get_label() for line in sharp.lines}


@pytest.mark.parametrize("number, interval, colour", [
    ("frechet", [1, 3], viz.CORAL), ("frechet", [-3, -1], viz.TEAL),
    ("frechet", [-1, 3], viz.SOFT), ("Sync-C", [1, 3], viz.TEAL), ("Sync-C", [-3, -1], viz.CORAL),
    ("sharpness", [1, 3], viz.CORAL)])      # which is compared by its distance from the truth
def test_contests_are_coloured_by_their_intervals(number, interval, colour):
    rows = [*ROWS, {"comparison": f"teacher, plain, 8 steps - {BEST}", "number": number,
                    "difference": sum(interval) / 2, "95%": interval, "superiority": 0.5,
                    "set": "studio"}]
    ax = figures.contests(rows, (number,), ("studio", "wild"), BEST).axes[0]
    line = ax.lines[0]
    assert list(line.get_xdata()) == interval and line.get_color() == colour
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert len(names) == 7 and names[round(line.get_ydata()[0] + 0.11)] == "plain, 8 steps"
