"""What a soak and a bench of streams are said to show, from rows that their own code makes."""

import pytest
from test_policies import folder  # noqa: F401

from livetalk_ref.judge import findings as tables
from livetalk_ref.judge import results, soak
from livetalk_ref.judge import stream_findings as findings


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder of results."""
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def facts(folder):  # noqa: F811
    """Two seconds of a soak, kept as an hour is."""
    rows, cost = soak.run("student", 2, 1)
    return results.as_result("python -m livetalk_ref soak", rows, [1], cost)


def test_a_missing_soak_is_said_and_nothing_breaks(here, capsys):
    assert findings.soak_words(results.kept("soak", "soak")) == ""
    assert capsys.readouterr().out == \
        "soak: not measured yet; run `python -m livetalk_ref soak`.\n"
    assert findings.soak_table([]) == []


def test_a_soak_that_held(facts):
    text = findings.soak_words(facts)
    assert text.startswith("The session held: 0.0 h asked for, nothing wrong, the same pictures")
    table = findings.soak_table(facts["rows"])
    assert [line["run"] for line in table] == [row["run"] for row in facts["rows"][:-1]]
    assert {line["wrong"] for line in table} == {"nothing"}
    first, row = table[0], facts["rows"][0]
    assert first["shown"] == f"{row['frames'] / 16:.0f} s"
    assert sum(int(word.split()[0]) for word in first["happened"].split(", ")) == \
        sum(row["events"].values())
    assert [line["happened"] for line in table[2:]] == ["nobody reads", "the source breaks"]
    assert tables.markdown(table).count("\n") == 5


def test_a_soak_that_did_not(facts):
    rows = [dict(row) for row in facts["rows"]]
    rows[1]["wrong"] = ["frame 21 came where 9 was due"]
    rows[-1] |= {"same pictures": False, "held": False}
    text = findings.soak_words(facts | {"rows": rows})
    assert text.startswith("**The session did not hold**: 0.0 h asked for, 1 thing wrong, "
                           "**different pictures**")
    assert findings.soak_table(rows)[1]["wrong"] == "frame 21 came where 9 was due"


@pytest.mark.parametrize("late, said", [
    (1010.0, "flat: 1000 MiB early, 1010 MiB at the end (+1.0%)"), (1100.0, "growing"),
    (500.0, "falling"), (None, "not measured")])
def test_memory_is_flat_or_not(late, said):
    assert said in findings.memory_words(1000.0, late, "early")


def speed(model="student", missed=0, rate=118.6, late=700.0):
    """What `bench` prints, as far as it is told here."""
    stream = {"seconds": 599.8, "blocks": 800, "frames_per_second": rate, "real_time": rate / 16,
              "pictures": {"p50": 0.088, "p95": 0.093, "p99": 0.096},
              "block": {"p50": 0.1, "p95": 0.107, "p99": 0.11}, "allowance": 0.15,
              "missed": missed, "latest": 0.097, "early_seconds": 9.6,
              "memory_mib": {"early": 700.0, "late": late}}
    return {"model": model, "hardware": "a machine", "compiled": False, "graphs": False,
            "warm": {"runs": 20, "seconds": {"median": 0.05, "p95": 0.06}},
            "algorithmic": {"seconds": 0.5625}, "stream": stream,
            "limit": {"times_the_limit": 1.4}}


def keep(name, facts):
    results.write_result(name, f"python -m livetalk_ref bench --keep {name}", [], [0], facts)


def test_no_bench_of_a_model_is_one_sentence(here, capsys):
    keep("bench_student_ode", speed("student_ode"))
    keep("bench_teacher", {"model": "teacher", "warm": {}})
    assert findings.benched("student") == {}
    assert capsys.readouterr().out == "bench_student: not measured yet; run `python -m " \
        "livetalk_ref bench --model student --keep bench_student`.\n"
    assert list(findings.benched("student_ode")) == ["bench_student_ode"]


def test_every_machine_is_a_column_beside_the_papers(here):
    keep("bench_student", speed())
    keep("bench_student_gpu", speed(rate=300.0) | {"hardware": "a GPU", "graphs": True})
    found = findings.benched("student")
    table = {line[""]: list(line.values())[1:] for line in findings.promises(found)}
    assert table["**throughput**, frames a second"] == ["118.6", "300.0", "24.82"]
    assert table["times real time"] == ["7.41", "18.75", "1.55"]
    assert table["**latency**: then first frame, ms, median / p95"] == ["50 / 60"] * 2 + ["330"]
    assert table["a block's pictures, ms, p50 / p95 / p99"] == ["88 / 93 / 96"] * 2 + [""]
    assert table["**deadlines** missed"] == ["0 of 800"] * 2 + [""]
    assert list(findings.promises(found)[0])[1:3] == ["a machine (`bench_student`)",
                                                      "a GPU, graphs (`bench_student_gpu`)"]


def test_promises_are_kept_or_not():
    assert findings.promise_words(speed()) == (
        "a machine, 600 s: throughput kept, deadlines kept (0 of 800 blocks later than 150 ms "
        "after their sound); memory is flat: 700 MiB in the first 10 s, 700 MiB at the end "
        "(+0.0%).")
    text = findings.promise_words(speed(missed=9, rate=12.0, late=900.0))
    assert "throughput **not kept**, deadlines **not kept** (9 of 800" in text
    assert "memory is growing" in text
