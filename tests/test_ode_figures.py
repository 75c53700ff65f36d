"""What the ODE stage's figures draw and say, from a few rows that are easy to reckon by hand."""

import pytest

from livetalk_ref import ode_figures, viz
from livetalk_ref.judge import commands, results
from livetalk_ref.judge import ode_findings as findings
from livetalk_ref.judge import ode_verdicts as verdicts
from livetalk_ref.judge.convergence import Size

SIZE = Size(pairs=(2, 4), seeds=(0, 1), steps=8, short=2, kept=(2, 4, 8), sets=("studio",),
            causal_pairs=2)


def number(key, value, half=0.5):
    return {key: value, f"{key} 95%": [value - half, value + half]}


def told(name, frechet, sharpness, **more):
    return {"name": name, "frechet": frechet} | number("sharpness", sharpness) \
        | number("open correlation", 0.5) | more


def snapshot(count, seed, update, error, frechet=5.0, sharpness=8.0, **more):
    return {"count": count, "seed": seed, "update": update, "error 1": error + 0.1,
            "error 0.625": error - 0.1} | told("student", frechet, sharpness) | more


def training():
    rows = [told("truth through the codec", 0.0, 10.0)]
    rows += [told(f"teacher, {guidance}, {steps} steps", 9.0 - steps / 12, 9.0, steps=steps,
                  guidance=guidance) for guidance in ("plain", "guided") for steps in (4, 48)]
    for seed, off in ((0, 0.0), (1, 0.02)):
        rows += [{"count": 4, "seed": seed, "step": step, "loss": 1 / step} for step in (2, 4, 8)]
        rows += [snapshot(4, seed, update, error + off, 4 + update / 8)
                 for update, error in ((2, 0.6), (4, 0.31), (8, 0.3))]
    rows += [snapshot(2, 0, update, error) for update, error in ((2, 0.6), (4, 0.3), (8, 0.5))]
    return rows + [{"update": 8, "exit": k} | told("exit", 9 - k, 5.0 + k) for k in (1, 2, 3, 4)]


def duel(ours, theirs, number, difference, half=0.1, wins=1.0, part="studio"):
    return {"set": part, "comparison": f"{ours} against {theirs}", "number": number,
            "difference": difference, "95%": [difference - half, difference + half],
            "superiority": wins}


def benchmarks():
    rows = [{"set": "studio"} | told(name, frechet, 9.0) for name, frechet in (
        ("teacher", 5.0), ("teacher-4", 7.0), ("student_ode-0", 4.0), ("student_ode-1", 6.0))]
    for seed in (0, 1):
        pair = f"student_ode-{seed}", "teacher-4"
        rows += [duel(*pair, "frechet", -1.0), duel(*pair, "sharpness", -0.3),
                 duel(*pair, "open correlation", 0.01, wins=0.6 + seed / 10)]
    return rows


def blocks(name="student_ode-0", loses=0.5):
    return [{"set": "studio", "blocks": 21, "name": name, "block": block, "frechet": 1.0}
            | number("sharpness", 10 - loses * (block > 14)) | number("identity cosine", 0.7)
            | number("mouth error", 0.1) for block in range(21)]


def labels(made):
    return [text.get_text() for text in made.legends[0].get_texts()]


def drawn(ax, label):
    return next(line for line in ax.lines if line.get_label() == label)


# What is there, and what is not.

def test_a_result_that_is_missing_is_said_and_nothing_breaks(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    assert findings.measured("ode_blocks") == []
    assert capsys.readouterr().out == \
        "ode_blocks: not measured yet; run `python -m livetalk_ref study`.\n"
    assert findings.measured_speed("bench_x", "bench --keep bench_x") == {}
    results.write_result("ode_blocks", "made by hand", [{"a": 1}])
    assert findings.measured("ode_blocks") == [{"a": 1}]
    for rows in ([],):
        assert verdicts.sets_of(rows) == [] and verdicts.duels(rows) == {}
        assert findings.exits(rows) == {}


def test_what_was_not_run_is_one_sentence():
    rows = training()
    assert findings.left_out(rows, SIZE) == "All that was planned has run."
    some = [row for row in rows if (row.get("seed"), row.get("update")) != (1, 8)
            and row.get("count") != 2]
    assert findings.left_out(some, SIZE) == \
        "Not run: 4 pairs, seed 1 beyond update 4; 2 pairs, seed 0."
    assert findings.left_out(benchmarks(), SIZE) == \
        "Not run: teacher-4-plain, student_ode_short-0, student_livetalk-0, " \
        "student_ode_short-1, student_livetalk-1, codec on studio."
    rival = [snapshot(4, 0, 8, 0.3, variant="livetalk")]
    assert findings.left_out(rival, SIZE) == "Not run: 4 pairs, seed 1."
    assert "studio, 7 blocks;" in findings.left_out(blocks(), SIZE)
    causal = [told("autoregressive teacher", 1.0, 9.0), snapshot(2, 0, 4, 0.5, teacher="causal")]
    assert findings.left_out(causal, SIZE) == "Not run: 2 pairs, seed 0 beyond update 4."


# How it converged.

def test_curves_are_means_of_seeds_in_bands_beside_the_teacher():
    made = ode_figures.learning(training(), {"short": 2, "converged": 8})
    error, _, distance, _ = made.axes
    line = drawn(error, "student of 4 pairs")
    assert line.get_ydata() == pytest.approx([0.71, 0.42, 0.41])
    band = error.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((0.40, 0.72))
    assert drawn(distance, "teacher, guided, 48 steps").get_ydata()[0] == 5.0
    assert drawn(distance, "truth through the codec").get_ydata()[0] == 0.0
    assert labels(made)[:2] == ["student of 4 pairs", "student of 2 pairs"]
    assert [text.get_text() for text in error.texts] == ["short ", "converged "]


def test_labels_of_updates_keep_their_distance():
    assert ode_figures.spaced({25, 50, 700, 1000, 1500, 2000}) == [2000, 1000, 50, 25]


def test_converged_is_when_the_held_out_error_stands_still():
    points = findings.along(training(), "error")
    assert findings.noise(points[4]) == pytest.approx(0.02)
    assert findings.settled(points[4]) == (4, pytest.approx(0.02))
    assert findings.settled(points[2])[0] == 8 and findings.best(points[2]) == 4
    text = findings.convergence_words(training(), 2)
    assert "**4 pairs**: from update 4 on the held-out error stays within 0.0200" in text
    assert "the training loss -75 %, the held-out error -49 %, the Fréchet distance +18 %" in text
    assert "**2 pairs**: the held-out error still moves at update 8" in text
    table = findings.convergence_table(training(), (2, 8)).splitlines()
    assert "| student of 4 pairs | 8 | 0.3100 (0.3000 .. 0.3200) | 5.00 (5.00 .. 5.00) |" \
        in table[5]
    assert len(table) == 2 + 4 + 5


def test_blur_is_told_for_every_step():
    made = ode_figures.blur(training())
    assert drawn(made.axes[0], "student, 8 updates").get_ydata().tolist() == [6, 7, 8, 9]
    words = findings.exit_words(training())
    assert "after step 1 .. 4: 60 %, 70 %, 80 %, 90 %." in words
    assert "- teacher, guided, 48 steps: 90 %." in words and "truth" not in words


def test_whose_paths_served_better_is_measured_against_the_seeds():
    causal = [told("autoregressive teacher", 6.0, 8.5)]
    causal += [snapshot(2, 0, update, 0.4, 5.0, sharpness, teacher="causal")
               for update, sharpness in ((2, 8.0), (4, 9.5))]
    words = findings.whose_words(training(), causal)
    assert "after 4 updates on 2 pairs" in words
    assert "| Fréchet distance | 5.00 (its teacher 6.00) | 5.00 (its teacher 5.00) | neither |" \
        in words
    assert "| 9.50 (its teacher 8.50) | 8.00 (its teacher 9.00) | better |" in words
    assert words.endswith("paths: found here.")
    made = ode_figures.whose(training(), causal)
    assert drawn(made.axes[2], "student of the autoregressive teacher").get_ydata().tolist() == \
        [8.0, 9.5]
    assert "autoregressive teacher" in labels(made) and "no update" in findings.whose_words(
        training(), causal[:1])


# Who is better.

@pytest.mark.parametrize("difference, wins, said", [
    (-1.0, 1.0, "better"), (1.0, 0.0, "worse"), (0.05, 0.2, "within the noise")])
def test_a_word_is_what_the_interval_says(difference, wins, said):
    assert verdicts.word(duel("a", "b", "frechet", difference, wins=wins)) == said


def test_seeds_that_disagree_are_counted():
    rows = [duel("a", "b", "frechet", -1.0), duel("a", "b", "frechet", 1.0, wins=0.0),
            duel("a", "b", "frechet", 0.0, wins=0.5)]
    assert verdicts.words(rows) == "better with 1 and worse with 1 of 3 seeds"
    assert verdicts.words(rows[:1]) == "better"


def test_the_goal_is_reached_only_with_every_seed():
    rows = benchmarks()
    text = verdicts.goal(rows, "teacher-4", "studio")
    assert "frechet better, sharpness better; open correlation +0.010" in text
    assert text.endswith("no worse). Reached.")
    rows[-3] = duel("student_ode-1", "teacher-4", "frechet", 0.0, wins=0.5)
    assert "better with 1 of 2 seeds" in verdicts.goal(rows, "teacher-4", "studio")
    assert verdicts.goal(rows, "teacher-4", "studio").endswith("Not reached.")
    worse = [row | {"difference": -0.2} if row.get("number") == "open correlation" else row
             for row in benchmarks()]
    assert verdicts.goal(worse, "teacher-4", "studio").endswith("worse). Not reached.")
    assert "no comparison" in verdicts.goal(rows, "teacher", "studio")


def test_the_table_holds_means_of_seeds_and_the_widest_interval():
    rows = [row | number("frechet", row["frechet"]) if "name" in row else row
            for row in benchmarks()]
    table = verdicts.benchmark_table(rows, "studio").splitlines()
    assert table[0] == "| **studio** | frechet | sharpness | open correlation |"
    assert table[-1].startswith("| student, converged (2 seeds) | 5.00 [3.50, 6.50] |")
    told = verdicts.duel_words(rows, "studio")
    assert "**better** in frechet, sharpness; **within the noise** in open correlation" in told
    made = ode_figures.standing(rows)
    spots = {(round(line.get_xdata()[0], 6), round(line.get_ydata()[0], 2))
             for line in made.axes[0].lines if line.get_marker() == "o"}
    assert spots == {(5.0, 0.0), (7.0, 1.0), (5.0, 2.0)}


def test_duels_are_coloured_by_what_was_won():
    ax = ode_figures.duels(benchmarks()).axes[0]
    assert ax.images[0].get_array().data.tolist()[0] == pytest.approx([1.0, 1.0, 0.65])
    signs = [text.get_text() for text in ax.texts]
    assert signs == ["\u25b2 \u25b2", "\u25b2 \u25b2", "\u2013 \u2013"]


# How it lasts, and how fast it is.

def test_drift_compares_the_last_blocks_with_the_first():
    rows = blocks() + blocks("student_ode-1", 1.0) + blocks("teacher", 0.7)
    text = verdicts.drift_table(rows, "studio")
    assert "| teacher, 48 steps | -7.0 % | +0.0 % | +0.0 % |" in text
    assert "| student, converged | -7.5 % (-10.0 .. -5.0) |" in text
    assert text.endswith("sharpness 1 of 2, identity cosine 0 of 2, mouth error 0 of 2.")
    short = [row | {"blocks": 7} for row in blocks() if row["block"] < 7]
    assert verdicts.drift_table(short, "studio") == "studio: long rollouts were not made."
    made = ode_figures.blocks(rows + short, "studio")
    top, bottom = made.axes[0], made.axes[4]
    assert drawn(top, "student, converged").get_ydata().tolist() == [10.0] * 7
    assert drawn(bottom, "student, converged").get_ydata()[-1] == pytest.approx(9.25)
    assert drawn(bottom, "teacher, 48 steps").get_color() == viz.INK


def speed():
    spread = {"median": 0.01, "p95": 0.02}
    one = {"model": "teacher", "hardware": "a machine", "steps": 48, "cold": {"seconds": 3.0},
           "warm": {"step": spread, "seconds": spread, "features": spread, "cache": None,
                    "decode": spread, "block": None}, "algorithmic": {"seconds": 5.0},
           "throughput": {"frames_per_second": 20.0}, "peak_memory_mib": None,
           "many": {"batch": 16, "frames_per_second": 25.0},
           "flops": {"first frame": 1e11, "frame": 2e9, "frame, model alone": 1e9}}
    return one | {"model": "student_ode", "steps": 4, "teacher": one, "times_counted": {
        "first frame": 40.0, "frames a second": 4.0, "without decoding": 20.0}, "times": {
        "first frame": 30.0, "frames a second": 3.0, "frames a second, many": 5.0}}


def test_the_clock_is_told_beside_the_teachers(tmp_path, monkeypatch):
    table = verdicts.speed_table(speed())
    assert "| pass that fills the cache, ms: median / p95 | none | none |  |" in table
    assert "| **first frame**, ms: median / p95 | 10.0 / 20.0 | 10.0 / 20.0 | 30.0 |" in table
    assert "| counted GFLOP a frame, no decoding | 1.000 | 1.000 | 20.0 |" in table
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    results.write_result("bench_x", "made by hand", commands.counted(speed()), [0], speed())
    assert findings.measured_speed("bench_x", "bench") == speed()
    student, teacher = results.read_result("bench_x")["rows"]
    assert student["times_counted"]["without decoding"] == 20.0
    assert (student["steps"], teacher["steps"]) == (4, 48) and "warm" not in student
