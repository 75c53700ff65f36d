"""The scoreboard: everybody is judged once, and a board goes on where it was left."""

import pytest

from livetalk_ref.judge import benchmark, scoreboard
from livetalk_ref.judge.table import DEFINITIONS


@pytest.mark.speech
def test_a_board_has_a_line_for_everybody_and_is_continued(tmp_path, monkeypatch):
    monkeypatch.setattr(scoreboard, "STEPS", (1, 2))
    monkeypatch.setattr(scoreboard, "BEST", "teacher, guided, 2 steps")
    rows = scoreboard.Board(("studio",), 3, tmp_path).rows()
    lines = {row["name"]: row for row in rows if "name" in row}
    assert set(lines) == {*scoreboard.makers(), "floor: a second set of truth"}
    guided, plain = (lines[f"teacher, {kind}, 2 steps"] for kind in ("guided", "plain"))
    assert (guided["evaluations a clip"], plain["evaluations a clip"]) == (4, 2)
    assert guided["GFLOP a frame"] > plain["GFLOP a frame"]     # both with the same decoding
    assert lines["truth"]["open correlation"] > lines["rule: loudness opens the mouth"][
        "open correlation"]
    assert lines["truth"]["frechet"] < 0.01 < lines["teacher, plain, 1 steps"]["frechet"]
    versus = [row for row in rows if "comparison" in row]
    assert {row["comparison"] for row in versus} == {
        f"teacher, {kind} steps - teacher, guided, 2 steps"
        for kind in ("guided, 1", "plain, 1", "plain, 2")}
    assert {row["number"] for row in versus} <= set(DEFINITIONS)

    def never(*_):
        raise AssertionError("judged again")

    monkeypatch.setattr(benchmark, "evaluate", never)
    assert scoreboard.Board(("studio",), 3, tmp_path).rows() == rows
