"""What work costs: latency to the right frame, deadlines, counted operations, each by hand too."""

import pytest
import torch
from tiny import condition, dice, shake, shipped_in, write_student

from livetalk_ref import generate, loading
from livetalk_ref.judge import bench, cost
from livetalk_ref.portrait import portrait_of
from livetalk_ref.wan import TINY, WanDiT


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Teacher and student of random weights."""
    with shipped_in(tmp_path_factory.mktemp("checkpoints")) as folder:
        write_student(folder)
        return loading.load("teacher"), loading.load("student_ode")


def test_what_is_timed_is_frame_1(models):
    """Two roads to the first generated frame, of a window and of a block."""
    teacher, student = models
    picture, sound = portrait_of(0), bench.hum(0, 81_000)
    for avatar, steps, made in (
            (teacher, 2, generate.stream(teacher, picture, sound, bench.PROMPT, 0, 2)),
            (student, 4, generate.roll(student, picture, sound, bench.PROMPT))):
        frame, parts = bench.time_first_frame(avatar, bench.unheard_cond(avatar, picture), steps)
        assert torch.equal(frame, next(made).frames[1])
        whole = steps * parts["step"] + parts["features"] + parts["decode"]
        assert whole == pytest.approx(parts["seconds"])


def test_algorithmic_latency_is_the_sound_a_first_block_hears():
    wait = bench.algorithmic_latency()
    assert wait == {"block": 4.25, "look_ahead": 0.0625, "seconds": 5.0625}
    samples = torch.randn(150_000, generator=torch.Generator().manual_seed(0))
    need = round(wait["seconds"] * 16_000)
    whole = next(generate.audio_windows(samples))
    silenced = torch.cat([samples[:need], torch.zeros(150_000 - need)])
    assert torch.equal(next(generate.audio_windows(silenced)), whole)
    silenced[need - 300:] = 0
    assert not torch.equal(next(generate.audio_windows(silenced)), whole)


def test_a_released_stream_is_measured_with_the_options_of_its_weights():
    facts = bench.bench_model("livetalk-1.3b", 2.0, path="random", int8=True)
    assert facts["model"] == "livetalk-1.3b" and facts["stream"]["blocks"] == 3
    assert facts["stream"]["frames_per_second"] > 0


def test_a_block_is_late_by_its_own_work_and_by_what_kept_the_machine():
    """Sound is complete at 9/16 s, 21/16 s, 33/16 s ..: one slow block delays the next."""
    assert bench.lateness([(0.1, 0.05)] * 4, 1) == pytest.approx([0.1] * 4)
    late = bench.lateness([(0.1, 0.0), (0.9, 0.25), (0.1, 0.0), (0.1, 0.0)], 1)
    assert late == pytest.approx([0.1, 0.9, 0.4 + 0.1, 0.1])
    late = bench.lateness([(0.1, 1.0), (0.1, 1.0), (0.1, 1.0)], 1)      # never catches up
    assert late == pytest.approx([0.1, 0.35 + 0.1, 0.7 + 0.1])


def test_counted_work_is_that_of_the_work(models):
    """Two roads: the formula, and everything counted while a video is made."""
    teacher, student = models
    picture = portrait_of(0)
    cond = bench.unheard_cond(teacher, picture)
    made = bench.teacher_flops(teacher, cond, 2, 1)
    sees = cost.count_flops(lambda: list(generate.stream(teacher, picture, bench.hum(0, 81_000),
                                                         bench.PROMPT, steps=2)))
    sees -= cost.count_flops(lambda: bench.unheard_cond(teacher, picture))
    assert 81 * made["frame"] == pytest.approx(sees, rel=0.01)         # but for the ear's work

    cond = bench.unheard_cond(student, picture)
    block = bench.block_flops(student, picture)
    found = bench.student_flops(student, cond, block)
    assert found["frame"] == block / 12 and cond.text_keys
    z = torch.zeros(1, 4, *cond.ref.shape[1:])
    three = cost.count_flops(lambda: student.codec.decode(z)) \
        - cost.count_flops(lambda: student.codec.decode(z[:, :1]))
    assert 12 * (found["frame"] - found["frame, model alone"]) == pytest.approx(three, rel=1e-6)


def by_hand(c, frames, text):
    """FLOPs of one evaluation: two for every weight and token, and attention's two products."""
    n, d = frames * 9, c.dim
    linear = n * d * (4 * (2 * c.latent_channels + 1)                    # patches in
                      + 4 * c.latent_channels                            # and out
                      + c.layers * (6 * d + 2 * c.ffn_dim))              # q k v o, q o, both of ffn
    linear += text * d * (c.text_dim + d + c.layers * 2 * d)             # text, its keys and values
    linear += frames * (d * (c.freq_dim + d + 6 * d)                     # time
                        + 4 * c.audio_dim * c.audio_hidden
                        + len(c.audio_layers) * c.audio_hidden * d)
    return 2 * linear + c.layers * 4 * n * (n + text) * d


@torch.no_grad()
@pytest.mark.parametrize("masked", [False, True])
def test_flops_of_the_dit(masked):
    model, cond = shake(WanDiT(TINY), 1), condition(TINY, dice(), 1, 3, 6)
    if masked:
        cond.__dict__["text_mask"] = torch.ones(1, 3, 16, dtype=torch.bool)
    x = torch.zeros(1, 3, *cond.ref.shape[1:])
    counted = cost.count_flops(lambda: model(x, torch.ones(1, 3), cond))
    assert counted == pytest.approx(by_hand(TINY, 3, 16), rel=1e-3)
