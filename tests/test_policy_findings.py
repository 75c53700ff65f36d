"""What long streams under every policy are said to show: words that go with their numbers, either
way, and figures of what was measured. Rows come from the study's own code; only the streams are
made by hand."""

import pytest
import torch
from test_policies import judges

from livetalk_ref import viz
from livetalk_ref.judge import findings as tables
from livetalk_ref.judge import overtime, policies, results
from livetalk_ref.judge import policy_figures as figures
from livetalk_ref.judge import policy_findings as findings
from livetalk_ref.portrait import portrait_of

ENDS = 256.0


def part(seconds, likeness, **more):
    """The numbers of ten seconds."""
    return {"seconds": seconds, "identity": likeness, "colour drift": 4.0, "sharpness": 8.0,
            "mouth": 0.8, "freeze": 0.0, "expression": 0.9} | more


def study(folder, monkeypatch, likeness, sync=True, seconds=600.0, **more):
    """The rows of a study whose streams have likeness(policy, seconds, person)."""
    def make(self, policy, seconds, identity, watch):
        end = seconds if policy.relative else min(seconds, ENDS)
        rows = [part(float(at), likeness(policy, at, identity)) |
                ({"sync": 0.3} if sync and at + 10 <= end else {})
                for at in range(0, round(end), 10)]
        marks = {mark: torch.full((3, 8, 8), 100, dtype=torch.uint8)
                 for mark in (*policies.MARKS, -1) if mark < end}
        return rows, marks, ENDS if end < seconds else None

    monkeypatch.setattr(policies.Study, "make", make)
    made = policies.Study("student", seconds, 3, folder)
    made.place = folder / "streams"
    made.place.mkdir()
    rows, strips = made.run()
    return made, rows, strips


def anchored(policy, at, person):
    """Sinks keep the face, all the better the more there are; absolute positions cost 0.1."""
    lost = 0.3 if policy.sinks == 0 and policy.window else 0.2 - policy.sinks / 100
    return 0.8 - lost * at / 600 - person / 50 - 0.1 * (not policy.relative) * (at > 60)


def forgetful(policy, at, person):
    """The window alone is the best; positions do not matter."""
    return 0.8 - policy.sinks * at / 6000


def mixed(policy, at, person):
    """Sinks help the first person and nobody else."""
    return 0.8 - (0.1 if policy.sinks else 0.05 if person else 0.3) * at / 600


@pytest.fixture
def rows(tmp_path, monkeypatch):
    return study(tmp_path, monkeypatch, anchored)[1]


def lines(ax):
    return {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}


def test_the_parts_are_those_of_the_watcher():
    watcher = overtime.Watcher(judges(), portrait_of(0), "a person talks", overtime.Talk.of(10, 0))
    seen = watcher(portrait_of(0).repeat(16, 1, 1, 1))
    assert set(seen) == set(part(0.0, 1.0)) == {"seconds", *findings.LABELS} - {"sync"}


def test_without_rows_there_are_no_words():
    assert findings.table([]) == [] and findings.numbers([]) == []
    for words in (findings.claim_words, findings.loss_words, findings.split_words,
                  findings.absolute_words):
        assert words([]) == ""


def test_a_claim_that_holds(rows):
    text = findings.claim_words(rows)
    assert "than a window alone: **holds here**, for all 3 people" in text
    assert "ahead in 59 of 60 stretches of 10 seconds" in text      # not in the very first
    assert "full -0.188, window only -0.28" in findings.loss_words(rows)
    assert findings.loss_words(rows).startswith(
        "Change of likeness from the first ten seconds to the end: AHIS 3 + 2 -0.104, released")
    assert "absolute" not in findings.loss_words(rows)              # they do not get so far


@pytest.mark.parametrize("likeness, verdict", [
    (forgetful, "**does not hold here**, for none of 3 people"),
    (mixed, "**holds for some people only**, for 1 of 3 people")])
def test_a_claim_that_does_not_hold(tmp_path, monkeypatch, likeness, verdict):
    assert verdict in findings.claim_words(study(tmp_path, monkeypatch, likeness)[1])


def test_the_best_split_and_where_the_papers_stands(rows, tmp_path, monkeypatch):
    text = findings.split_words(rows)
    assert "highest with **5 + 0** (0.768), ahead of 4 + 1 (0.761) for all 3 people." in text
    assert "The paper's 3 + 2 is number 3 of 6, 0.01" in text
    assert "0% (others 0% to 0%)" in text and "0.80 (others 0.80 to 0.80)" in text
    (tmp_path / "more").mkdir()
    other = study(tmp_path / "more", monkeypatch, lambda policy, *_: 0.9 - abs(policy.sinks - 9))
    assert findings.split_words(other[1]).count("It is the paper's.") == 1
    assert findings.beside([None, 0.1], ".2f") == "not measured"


def test_absolute_positions_are_held_against_relative_ones_at_the_same_time(rows, tmp_path,
                                                                           monkeypatch):
    first, second = findings.absolute_words(rows).splitlines()
    assert first.startswith("- **AHIS 3 + 2**, absolute against relative: the stream ends after "
                            "256 s, the other goes on. In the last minute that both show (200 .. "
                            "256 s) absolute positions cost 0.100 of likeness; colour drift 4.00 "
                            "against 4.00")
    assert second.startswith("- **released 3 + 1**")
    for name, seconds, says in (("a", 600.0, "cost no likeness (+0.000)"),
                                ("b", 180.0, "no end within 180 s. In the last minute that both "
                                             "show (120 .. 180 s)")):
        (tmp_path / name).mkdir()
        found = study(tmp_path / name, monkeypatch, forgetful, seconds=seconds)[1]
        assert says in findings.absolute_words(found)


def test_the_table_has_a_line_a_policy(rows, tmp_path, monkeypatch):
    table = findings.table(rows)
    assert len(table) == len(policies.STREAMS) + len(policies.SPLITS)
    by_name = {line["first ten seconds \u2192 end"]: line for line in table}
    ended = by_name["AHIS 3 + 2, absolute"]
    assert (ended["shown"], ended["ends"]) == ("256 s", "after 256 s")
    assert (by_name["full"]["ends"], by_name["split 3 + 2"]["shown"]) == ("never", "180 s")
    assert by_name["window only"]["likeness to the reference"] == "0.78 \u2192 0.50"
    assert by_name["full"]["Sync-C"] == "0.30 \u2192 0.30"
    assert tables.markdown(table).count("\n") == len(table) + 1
    (tmp_path / "mute").mkdir()
    mute = study(tmp_path / "mute", monkeypatch, anchored, sync=False)[1]
    assert "Sync-C" not in findings.table(mute)[0]


def test_curves_are_calm_coloured_by_policy_and_marked_where_they_end(rows):
    made = figures.over_time(rows)
    likeness, _, _, sync, *_ = made.axes
    drawn = lines(likeness)
    assert set(drawn) == set(policies.STREAMS)
    dashed, plain = drawn["AHIS 3 + 2, absolute"], drawn["AHIS 3 + 2"]
    assert (dashed.get_linestyle(), plain.get_linestyle()) == ("--", "-")
    assert dashed.get_color() == plain.get_color() == viz.TEAL
    assert plain.get_xdata()[-1] == 10 and len(dashed.get_xdata()) == 26
    row = findings.of(rows, "stream")["AHIS 3 + 2"]
    assert plain.get_ydata()[0] == row["identity"][0]
    assert plain.get_ydata()[-1] == findings.end(row, "identity")
    crosses = [spot.get_offsets()[0].tolist() for spot in likeness.collections if
               len(spot.get_offsets())]
    assert crosses == [[line.get_xdata()[-1], line.get_ydata()[-1]] for line in
                       (dashed, drawn["released 3 + 1, absolute"])]
    assert sync.get_title(loc="left") == "Sync-C"
    assert [text.get_text() for text in made.legends[0].get_texts()][-1] == "positions end"


def test_the_mouth_stands_in_where_no_syncnet_judged(tmp_path, monkeypatch):
    rows = study(tmp_path, monkeypatch, anchored, sync=False, seconds=60.0)[1]
    made = figures.over_time(rows)
    titles = [ax.get_title(loc="left") for ax in made.axes]
    assert "mouth correlation" in titles and "Sync-C" not in titles
    assert "positions end" not in [text.get_text() for text in made.legends[0].get_texts()]


def test_splits_show_every_person_and_the_papers_place(rows):
    made = figures.splits(rows)
    ax = made.axes[0]
    assert lines(ax)["mean over people"].get_ydata().tolist() == [
        findings.end(row, "identity") for row in findings.of(rows, "split").values()]
    assert lines(ax)["the paper's split"].get_xdata()[0] == 3
    assert [len(spot.get_offsets()) for spot in ax.collections] == [3] * 6
    assert [tick.get_text() for tick in ax.get_xticklabels()][3] == "3+2"


def test_filmstrips_are_those_that_the_study_keeps(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results")
    assert figures.strips() is None
    assert capsys.readouterr().out == \
        "policies.png: not made yet; run `python -m livetalk_ref policies`.\n"
    for name in ("results", "pictures"):
        (tmp_path / name).mkdir()
    made, rows, strips = study(tmp_path, monkeypatch, anchored)
    policies.keep(made, rows, strips, "python -m livetalk_ref policies")
    assert results.measured("policies", "policies") == rows
    assert figures.strips().height > len(policies.STREAMS) * 96
