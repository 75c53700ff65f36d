"""What dialogues and turns are said to show, from rows that the reports' own code makes."""

import itertools
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import pytest

from livetalk_ref.judge import findings as tables
from livetalk_ref.judge import multiturn, results, turn_latency
from livetalk_ref.judge import turn_findings as findings
from livetalk_ref.live import scenarios

BETTER = multiturn.BETTER
GOOD, BAD = ({name: value if way == "higher" else 1 - value for name, way in BETTER.items()}
             for value in (0.9, 0.4))


def result(monkeypatch, judged, count=4, steps=None):
    """multiturn.json of systems whose dialogues are judged so: {system: numbers}, with a reply
    a second later in each."""
    made = {name: lambda scenario, name=name, after=after: SimpleNamespace(
        name=name, seconds=[after]) for after, name in enumerate(judged, 1)}
    calls = itertools.count()

    def judge(film, judges):
        shift = next(calls) % 2 / 1000              # dialogues differ a little
        return {key: value if value is None else value + shift
                for key, value in judged[film.name].items()}

    monkeypatch.setattr(multiturn, "systems", lambda *_: made)
    monkeypatch.setattr(multiturn, "judge", judge)
    with TemporaryDirectory() as folder:
        rows, cost = multiturn.measure(count, "student", steps=steps, folder=folder)
    return results.as_result("a test", rows, [0], cost)


def three(ours=GOOD, restarted=GOOD, clips=BAD):
    return dict(zip(findings.SYSTEMS, (ours, restarted, clips)))


def test_missing_results_are_said_and_nothing_breaks(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    dialogues, turns = (results.kept(name, f"report {name}")
                        for name in ("multiturn", "turn_latency"))
    assert "multiturn: not measured yet; run `python -m livetalk_ref report multiturn`." in \
        capsys.readouterr().out
    assert findings.wait_words(dialogues) == findings.contest_words([]) == ""
    assert findings.latency_table(turns) == [] and findings.latency_words(turns) == ""


def test_the_systems_are_those_of_the_benchmark():
    assert tuple(multiturn.systems("teacher", "teacher", 1)) == findings.SYSTEMS


def test_every_dimension_of_the_paper_has_its_numbers_or_is_empty(monkeypatch):
    assert set(findings.PAPER) == set(findings.MEASURED) | set(scenarios.CONTENT)
    assert set(itertools.chain(*findings.MEASURED.values())) == set(BETTER)
    rows = result(monkeypatch, three(clips=GOOD | {"Sync-C": None}))["rows"]
    table = findings.dimension_table(rows)
    assert len(table) == len(BETTER) + len(scenarios.CONTENT)
    by_number = {line["measured by"]: line for line in table}
    assert by_number["identity across turns"]["one stream"].startswith("0.90<br><sub>0.90 .. 0.9")
    assert by_number["identity across turns"]["paper: LiveTalk / Veo3 / Sora2"] == "87 / 27 / 26"
    assert by_number["colour step"]["paper: LiveTalk / Veo3 / Sora2"] == ""
    assert by_number["Sync-C"][multiturn.CLIPS] == ""
    for line in table[-5:]:
        assert [line[name] for name in ("measured by", *findings.SYSTEMS)] == [""] * 4
        assert line["the paper's dimension"] in scenarios.CONTENT
    assert tables.markdown(table).count("\n") == len(table) + 1


def test_one_stream_is_held_against_each_rival_by_intervals(monkeypatch):
    rows = result(monkeypatch, three())["rows"]
    restart, clips = findings.contest_words(rows).splitlines()
    assert restart.startswith("- *one stream* against *restarted each turn*: **open** in "
                              "identity across turns, colour step")
    assert restart.endswith("surely the more coherent one in 0 of 4 numbers.")
    assert clips.startswith("- *one stream* against *teacher, a clip each turn*: **better** in ")
    assert "listening motion" not in clips              # "close to ours" has no better
    assert clips.endswith("in 4 of 4 numbers; the paper's order (87 against 27 and 26) is here "
                          "too.")


@pytest.mark.parametrize("ours, said, order", [
    (BAD, "**worse** in identity across turns", "in 0 of 4 numbers; the paper's order (87 "
     "against 27 and 26) is not here."),
    (BAD | {"colour step": 0.0, "pose step": None}, "**not measured** in pose step",
     "in 1 of 4 numbers; the paper's order (87 against 27 and 26) is here in part.")])
def test_one_stream_may_be_the_worse_one(monkeypatch, ours, said, order):
    text = findings.contest_words(result(monkeypatch, three(ours, ours, GOOD))["rows"])
    assert said in text and text.endswith(order)


def test_one_dialogue_decides_nothing(monkeypatch):
    text = findings.contest_words(result(monkeypatch, three(), count=1)["rows"])
    assert "**better**" not in text and "0 of 4 numbers; the paper's order" in text


def test_waits_are_told_as_times_beside_the_papers(monkeypatch):
    text = findings.wait_words(result(monkeypatch, three()))
    assert ", 4 of 100 dialogues only: one stream 1.00 s, restarted each turn 2.00 s (2.00 " \
        "times as long), teacher, a clip each turn 3.00 s (3.00 times as long). The paper" in text
    some = findings.wait_words(result(monkeypatch, three(), steps=4))
    assert "4 of 100 dialogues only, the teacher in 4 steps: one stream" in some
    assert text.endswith("1.16 s against 61.46 s and 121.85 s, 53 and 105 times as long.")


# A turn.

def latency(total, answers=2):
    """turn_latency.json of typed turns alone that take so long, as its own code writes it."""
    found = [{"end of turn": 0.0, "first token": 0.01, "speech": 0.02, "first picture": 0.1,
              "its place": total - 0.13, "total": total + more} for more in (0.0, 0.2)][:answers]
    played = SimpleNamespace(meters=[SimpleNamespace(first_frame=f) for f in ({}, *found, *found)])
    assert turn_latency.parts_of(played) == found
    cost = turn_latency.rows_of("typed", found) if found else []
    cost.append({"input": "typed", "part": "stalled", "largest": 0.25})
    rows = [{"input": "typed", "questions": 2, "understood": 2, "answers": answers}]
    return results.as_result("a test", rows, [0], {"model": "student", "seconds": cost})


def test_a_turn_is_told_part_by_part():
    table = findings.latency_table(latency(0.6))
    assert table[0] == {"ms: median / largest": "end of turn", "typed": "0 / 0"}
    assert table[-1] == {"ms: median / largest": "**total**", "typed": "700 / 800"}
    assert len(table) == 6                                              # not what stalled
    both = latency(0.6)
    both["cost"]["seconds"] += [{"input": "spoken", "part": "total", "median": 1, "largest": 2}]
    assert [line["spoken"] for line in findings.latency_table(both)] == [""] * 5 + ["1000 / 2000"]


@pytest.mark.parametrize("total, said", [(0.6, "0.70 s in the median, 0.46 s sooner than the "
                                          "paper's 1.16 s; most of it is 'its place' (0.47 s)"),
                                         (2.0, "2.10 s in the median, 0.94 s later")])
def test_a_turn_is_sooner_or_later_than_the_papers(total, said):
    text = findings.latency_words(latency(total))
    assert text.startswith("- **typed**: 2 of 2 questions understood, 2 answered. An answer takes")
    assert said in text and text.endswith("Without a picture in time: 0.25 s in all.")


def test_no_answer_has_no_time():
    facts = latency(0.6, 0)
    assert findings.latency_table(facts) == []
    assert findings.latency_words(facts) == "- **typed**: 2 of 2 questions understood, 0 " \
        "answered. Without a picture in time: 0.25 s in all."
