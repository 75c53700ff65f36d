"""The clock of a live stream."""

import pytest
from test_student import folder, student  # noqa: F401

from livetalk_ref.judge import bench, timeline
from livetalk_ref.portrait import portrait_of
from livetalk_ref.stream import samples_for


def test_every_pass_and_group_of_a_live_stream_is_noted_in_its_order(student):  # noqa: F811
    notes = timeline.live(student, portrait_of(0), bench.PROMPT, bench.hum(0, samples_for(2, 1)))
    lanes = {lane: [n for n in notes if n.lane == lane] for lane in
             ("sound", "step", "clean pass", "decoding", "shown")}
    assert [len(lane) for lane in lanes.values()] == [21, 8, 2, 6, 2]
    assert [n.start for n in notes] == sorted(n.start for n in notes)
    assert [n.block for n in lanes["sound"]] == [0] * 9 + [1] * 12
    for block in (0, 1):
        of = {lane: [n for n in some if n.block == block] for lane, some in lanes.items()}
        heard = max(n.end for n in of["sound"])
        assert of["step"][0].start >= heard                         # nobody works on the unheard
        assert of["decoding"][0].start >= of["step"][-1].end
        assert of["shown"][0].start >= of["decoding"][-1].end
        assert of["clean pass"][0].start >= of["step"][-1].end
    assert not student.model._forward_hooks and not student.codec.decoder._forward_hooks
    spent = timeline.budget(notes)
    parts = sum(v for k, v in spent.items() if k != "from the last sound")
    assert parts == pytest.approx(spent["from the last sound"]) and spent["four steps"] > 0
