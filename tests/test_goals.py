"""The goals of the shipped student: limits, verdicts, and where the numbers come from."""

import pytest
from test_benchmark import checkpoints, ground  # noqa: F401
from test_ode_stage import SMALL
from tiny import shake

from livetalk_ref import generate
from livetalk_ref.errors import UserError
from livetalk_ref.judge import benchmark, goals, scoreboard
from livetalk_ref.judge.goals import COST, GOALS, WITH_CODEC
from livetalk_ref.train import save
from livetalk_ref.wan import WanDiT

NUMBERS = ("Sync-C", "open correlation", "frechet", "flicker", "black frames", "expression right",
           "identity cosine", "diversity", COST, WITH_CODEC)


def rows(**student):
    """Rows of one set in which everybody is as good as the teacher, but for these."""
    line = dict.fromkeys(NUMBERS, 1.0) | {"black frames": 0.0, COST: 20.0, WITH_CODEC: 20.0,
                                          "set": "studio"}
    cheap = {COST: 1.0, WITH_CODEC: 1.2}
    return [line | {"name": "teacher"}, line | {"name": "codec"},
            line | cheap | student | {"name": "student"}]


def found(rows, number):
    goal = [goal.number for goal in GOALS].index(number)
    return goals.verdicts(rows, "studio")[goal]["found"]


def test_every_goal_is_met_or_its_distance_told():
    met = rows()
    assert [line["found"] for line in goals.verdicts(met, "studio")[:-1]] == ["**met**"] * 9
    assert found(met, WITH_CODEC) == "missed by 0.147 (14%)"            # 20 / 19 is 1.053
    for number, good, bad, words in (
            ("frechet", 1.3, 1.43, "missed by 0.13 (10%)"),
            ("flicker", 1.2, 1.5, "missed by 0.3 (25%)"),
            ("black frames", 0.0, 0.01, "missed by 0.01"),
            ("expression right", 0.96, 0.86, "missed by 0.1 (10%)"),
            ("diversity", 0.8, 0.4, "missed by 0.4 (50%)"),
            ("identity cosine", 1.0, 0.9, "missed by 0.1 (10%)")):
        assert found(rows(**{number: good}), number) == "**met**"
        assert found(rows(**{number: bad}), number) == words


def test_a_miss_within_chance_is_said_to_be_so():
    between = {"comparison": "student - teacher", "number": "Sync-C", "set": "studio"}
    assert found([*rows(**{"Sync-C": 0.9}), between | {"95%": [-0.3, 0.1]}], "Sync-C") == \
        "missed by 0.1 (10%), within chance"
    assert found([*rows(**{"Sync-C": 0.9}), between | {"95%": [-0.3, -0.05]}], "Sync-C") == \
        "missed by 0.1 (10%)"


def test_what_is_not_there_is_not_measured():
    some = rows()
    del some[2]["diversity"]
    assert found(some, "diversity") == "not measured"
    assert {line["found"] for line in goals.verdicts(some, "wild")} == {"not measured"}


def test_the_table_has_a_column_for_every_set_that_was_measured():
    both = rows() + [row | {"set": "wild"} for row in rows(frechet=1.43)]
    table = {line["goal"]: line for line in goals.table(both)}
    line = table["Fréchet distance at most 1.3 times"]
    assert (line["studio"], line["wild"]) == ("1, limit 1.3: **met**",
                                              "1.43, limit 1.3: missed by 0.13 (10%)")
    assert len(table) == len(GOALS)
    assert goals.sentence(both) == "studio: 9 of 10 met; wild: 8 of 10 met"


def test_a_report_has_both_on_every_set(monkeypatch, ground, checkpoints):  # noqa: F811
    """A teacher of one step, a student of random weights, three clips."""
    for name, facts in (("teacher", {}), ("student", {"sampler": "rollout"})):
        save(checkpoints / f"{name}.safetensors", shake(WanDiT(SMALL), 2).state_dict(),
             config=SMALL, **facts)
    monkeypatch.setattr(generate, "TEACHER_STEPS", 1)
    monkeypatch.setattr(goals, "SEEDS", 2)
    monkeypatch.setattr(goals, "VARIED", 1)

    class Board:
        names = ("studio",)

        def __init__(self, count):
            assert count == 3

        def ground(self, name):
            return ground

        def entry(self, name, who):
            assert who == scoreboard.BEST
            return benchmark.evaluate(benchmark.maker("teacher", 1), ground)

    monkeypatch.setattr(scoreboard, "Board", Board)
    made, cost = goals.measure(3)
    lines = {row["name"]: row for row in made if "name" in row}
    assert list(lines) == ["codec", "teacher", "student"] and set(cost) == {
        "studio: teacher", "studio: student"}
    teacher, student = lines["teacher"], lines["student"]
    assert teacher["evaluations a clip"] == 2
    assert student["evaluations a clip"] == generate.passes(7)
    assert teacher["diversity"] > 0 and student["diversity"] > 0
    for line in (teacher, student):                     # decoding comes on top
        assert line[WITH_CODEC] > line[COST] > 0
    gap = next(row for row in made if row.get("number") == "frechet")
    assert gap["difference"] == pytest.approx(student["frechet"] - teacher["frechet"], abs=1e-3)
    assert found(made, "frechet") != "not measured"
    with pytest.raises(UserError, match="leave steps and weights out"):
        goals.measure(3, steps=8)
