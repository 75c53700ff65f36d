"""What the ablation found: rows that are made up, whole and in part, and what is said of them."""

import pytest

from livetalk_ref.judge import findings
from livetalk_ref.judge.findings import FAILURES
from livetalk_ref.judge.results import measured
from livetalk_ref.recipes import ROWS


def judged(name, update, seed=0, frames=21, **numbers):
    return {"part": "judged", "row": name, "update": update, "seed": seed, "frames": frames} | {
        key.replace("_", " "): value for key, value in numbers.items()}


def made(name, **numbers):
    """A line of what was not trained by a recipe."""
    return {key: value for key, value in judged(name, 0, **numbers).items() if key != "seed"}


def trained(name, seed=0, updates=(5, 10), **numbers):
    return [{"part": "training", "row": name, "seed": seed, "update": update} | numbers
            for update in updates]


ROUGH = [
    made("codec", sharpness=8.0, frechet=2.0), made("teacher", sharpness=7.0, frechet=20.0),
    made("student_ode_short", sharpness=6.0, frechet=40.0, black_frames=0.0),
    *trained("baseline", 0), *trained("baseline", 1), *trained("curated", 0),
    judged("baseline", 100, 0, frechet=30.0, sharpness=6.0, black_frames=0.0),
    judged("baseline", 100, 1, frechet=34.0, sharpness=6.2, black_frames=0.0),
    judged("baseline", 200, 0, frechet=50.0, sharpness=5.0, black_frames=0.1),
    judged("baseline", 200, 1, frechet=52.0, sharpness=5.2, black_frames=0.0),
    judged("curated", 50, 0, frechet=25.0, sharpness=6.6),
    {"part": "not run", "row": "final", "seed": 0},
]


def test_a_course_begins_at_its_start_and_has_the_spread_of_its_seeds():
    assert findings.course(ROUGH, "baseline", "frechet") == {
        0: (40.0, 40.0, 40.0), 100: (32.0, 30.0, 34.0), 200: (51.0, 50.0, 52.0)}
    assert findings.course(ROUGH, "final", "frechet") == {}
    assert findings.course(ROUGH, "baseline", "Sync-C") == {}
    without = [row for row in ROUGH if row["row"] != "student_ode_short"]
    assert list(findings.course(without, "baseline", "frechet")) == [100, 200]
    assert findings.course(ROUGH, "baseline", "frechet", frames=63) == {}


def test_the_table_says_what_was_run_and_how_far():
    table = {line[""]: line for line in findings.overview(ROUGH, ("frechet", "sharpness"))}
    assert table["baseline"]["seeds"] == "2 of 3"
    assert table["baseline"]["Fréchet distance"] == "51.0 ± 1.41"
    assert table["+ curated conditions, after 50 of 200"]["Fréchet distance"] == "25.0"
    assert table["+ stronger guidance = final"]["seeds"] == "not run"
    assert table["teacher, guided, 48 steps"]["sharpness"] == "7.00"
    assert table["start, converged"]["sharpness"] == ""
    assert len(table) == len(ROWS) + len(findings.MADE)
    lines = findings.markdown(list(table.values())).split("\n")
    assert len({line.count("|") for line in lines}) == 1 and len(lines) == len(table) + 2


def test_what_is_best_close_to_truth_counts_by_its_distance():
    assert findings.gain(ROUGH, "curated", "sharpness") == [pytest.approx(-1.4)]
    assert findings.gain(ROUGH, "baseline", "frechet") == [-50.0, -52.0]
    assert findings.gain(ROUGH[1:], "curated", "sharpness") == []       # without the truth


def test_a_knob_must_do_more_than_a_seed():
    """Seeds of the baseline differ by 2 in distance and .2 in sharpness."""
    line, = findings.knobs(ROUGH, ("frechet", "sharpness", "Sync-C"))
    assert (line["row"], line["against"], line["knob"]) == (
        "+ curated conditions", "baseline", "conditions")
    assert line["Fréchet distance"] == "**better 26.0**" and line["sharpness"] == "**better 1.50**"
    assert line["Sync-C"] == ""
    near = [row | ({"frechet": 49.5} if row["row"] == "curated" else {}) for row in ROUGH]
    assert findings.knobs(near, ("frechet",))[0]["Fréchet distance"] == "~"
    assert findings.knobs(ROUGH, ("Sync-C",)) == []
    one = [row for row in near if row.get("seed") != 1]
    assert findings.knobs(one, ("frechet",))[0]["Fréchet distance"] == "better 0.50"


def test_failures_are_found_by_their_limits():
    table = {line["failure"]: line for line in findings.failures(ROUGH, "baseline")}
    assert set(table) == {failure.name for failure in FAILURES}
    black = table["black pictures"]                 # on average over seeds
    assert (black["found"], black["worst"], black["limit"]) == (
        "**after 200 updates**", "0.050 after 200", "0.010")
    assert table["blur"]["found"] == "**after 200 updates**" and table["blur"]["limit"] == "5.40"
    decay = table["gets worse after its best"]
    assert (decay["found"], decay["limit"]) == ("**after 200 updates**", "35.2")
    assert table["contours overdrawn"]["found"] == "no"
    assert table["flicker"]["found"] == "not measured"
    better = [row | ({"frechet": 28.0} if row.get("update") == 200 else {}) for row in ROUGH]
    table = {line["failure"]: line for line in findings.failures(better, "baseline")}
    assert table["gets worse after its best"]["found"] == "no"
    early = [row | ({"sharpness": 5.0} if row.get("update") == 100 else
                    {"sharpness": 6.0} if row.get("update") == 200 else {}) for row in ROUGH]
    table = {line["failure"]: line for line in findings.failures(early, "baseline")}
    assert table["blur"]["found"] == "**after 100 updates**, not at the end"


def test_sentences_are_computed():
    assert findings.story(ROUGH, "baseline") == (
        "baseline: Fréchet distance 40.0 after 0 updates, best 32.0 after 100, 51.0 after 200")
    assert findings.story(ROUGH, "curated") == (
        "+ curated conditions: Fréchet distance 40.0 after 0 updates, best 25.0 after 50 where it "
        "was judged last")
    assert findings.story(ROUGH, "final") == ""
    said = findings.seen(ROUGH, "baseline")
    assert said.startswith("baseline: shows black pictures, blur, gets worse after its best; "
                           "does not show contours overdrawn; was not measured for exposure")
    assert findings.seen(ROUGH, "final") == ""
    rows = trained("baseline", updates=(2,), loss=0.3) + trained("baseline", updates=(10,),
                                                                 loss=0.5)
    assert findings.trend(rows, "baseline") == (
        "baseline: the critic's loss 0.30 between a tenth and three tenths of 10 updates, 0.50 in "
        "the last fifth")
    assert findings.trend([], "baseline") == ""


def test_the_shared_rows_are_those_of_the_papers_table():
    assert list(findings.PAPER) == list(ROWS)[:len(findings.PAPER)]


def test_what_is_not_measured_says_how_to(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("livetalk_ref.judge.results.RESULTS", tmp_path)
    assert measured("ablation", "ablation --minutes 60") == []
    assert capsys.readouterr().out == (
        "ablation: not measured yet; run `python -m livetalk_ref ablation --minutes 60`.\n")
