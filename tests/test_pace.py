"""The pace of a stream: deadlines by hand, counted work beside the work itself."""

import pytest
import torch
from test_student import folder, sound, student  # noqa: F401

from livetalk_ref import generate, loading
from livetalk_ref.errors import UserError
from livetalk_ref.judge import bench, cost, pace
from livetalk_ref.portrait import portrait_of
from livetalk_ref.rollout import EMPTY
from livetalk_ref.stream import frames_of, samples_for


def test_a_block_is_late_by_its_own_work_and_by_what_kept_the_machine():
    """Sound is complete at 9/16 s, 21/16 s, 33/16 s ..: one slow block delays the next."""
    assert pace.lateness([(0.1, 0.05)] * 4, 1) == pytest.approx([0.1] * 4)
    late = pace.lateness([(0.1, 0.0), (0.9, 0.25), (0.1, 0.0), (0.1, 0.0)], 1)
    assert late == pytest.approx([0.1, 0.9, 0.4 + 0.1, 0.1])
    late = pace.lateness([(0.1, 1.0), (0.1, 1.0), (0.1, 1.0)], 1)      # never catches up
    assert late == pytest.approx([0.1, 0.35 + 0.1, 0.7 + 0.1])


def test_percentiles():
    found = pace.percentiles([float(i) for i in range(101)])
    assert found == pytest.approx({"p50": 50, "p95": 95, "p99": 99})


def test_a_stream_makes_the_sessions_blocks(student):  # noqa: F811
    ticks = []
    found = pace.stream(student, portrait_of(0), bench.PROMPT, bench.hum, 3.0,
                        lambda: ticks.append(1))
    assert found["blocks"] == len(ticks) == pace.count_blocks(3.0) == 4
    assert found["seconds"] == frames_of(4) / 16
    assert 0 < found["pictures"]["p50"] <= found["pictures"]["p99"] <= found["busy"]
    assert found["missed"] in range(5) and found["latest"] > 0
    bound = pace.limit(2e9, 1e10, 0.5)
    assert bound["least_seconds"] == 0.2 and bound["times_the_limit"] == pytest.approx(2.5)
    assert "missed deadlines" in pace.table(found, bound)


def test_the_hum_goes_on_where_it_was():
    whole = bench.tone(3)
    assert torch.equal(torch.cat([bench.hum(0, 1700), bench.hum(1700, 1300)]), whole)


@torch.inference_mode()
def test_counted_work_is_that_of_the_work(student):  # noqa: F811
    """Two roads: the formula, and everything counted while a video is made."""
    picture, teacher = portrait_of(0), loading.load("teacher")
    cond = bench.heard_by(bench.prepare(teacher, picture), 21)
    made = pace.teacher_flops(teacher, cond, 2, 1)
    sees = cost.count_flops(lambda: list(generate.stream(teacher, picture, bench.tone(81),
                                                         bench.PROMPT, steps=2)))
    sees -= cost.count_flops(lambda: bench.prepare(teacher, picture))
    assert 81 * made["frame"] == pytest.approx(sees, rel=0.01)         # but for the ear's work

    cond = bench.heard_by(bench.prepare(student, picture), 3)
    block = pace.block_flops(student, picture, bench.PROMPT, bench.hum)
    found = pace.student_flops(student, cond, block)
    assert found["frame"] == block / 12 and cond.text_keys
    z = torch.zeros(1, 4, *cond.ref.shape[1:])
    three = cost.count_flops(lambda: student.codec.decode(z)) \
        - cost.count_flops(lambda: student.codec.decode(z[:, :1]))
    assert 12 * (found["frame"] - found["frame, model alone"]) == pytest.approx(three, rel=1e-6)
    assert samples_for(1, 1) == 9000
    x = torch.zeros(1, 3, *cond.ref.shape[1:])
    step = cost.count_flops(lambda: student.model(x, x[:, :, 0, 0, 0], cond, cache=EMPTY))
    assert found["first frame"] > 4 * step > 0.5 * found["first frame"] / 4


def test_cuda_graphs_need_a_gpu(student):  # noqa: F811
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="need a GPU"):
            bench.measure("student_ode", graphs=True)
    assert bench.faster(student) is student
