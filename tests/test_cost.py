"""Counted costs beside the same worked out by hand."""

from pathlib import Path

import pytest
import torch
from tiny import shake

from livetalk_ref.flow import Cond, Guidance, sample
from livetalk_ref.judge import cost
from livetalk_ref.wan import TINY, WanDiT


def condition(batch=1, frames=3, text=16):
    return Cond(torch.zeros(batch, 16, 6, 6), torch.zeros(batch, frames, 4 * TINY.audio_dim),
                torch.zeros(batch, text, TINY.text_dim), torch.zeros(batch, frames).bool(),
                torch.zeros(1, text, TINY.text_dim))


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
    model, cond = shake(WanDiT(TINY), 1), condition()
    if masked:
        cond.__dict__["text_mask"] = torch.ones(1, 3, 16, dtype=torch.bool)
    counted = cost.count_flops(lambda: model(torch.zeros(1, 3, 16, 6, 6), torch.ones(1, 3), cond))
    assert counted == pytest.approx(by_hand(TINY, 3, 16), rel=1e-3)


@pytest.mark.parametrize("guidance, branches", [((1, 1), 1), ((2, 2), 2), ((2, 3), 3)])
def test_evaluations_are_counted(guidance, branches):
    model, noise = shake(WanDiT(TINY), 1), torch.zeros(2, 3, 16, 6, 6)
    with cost.counted(model) as seen:
        sample(model, noise, noise[:, :1], condition(2), steps=3, guidance=Guidance(*guidance))
    assert sum(seen) == 2 * 3 * branches
    sample(model, noise, noise[:, :1], condition(2), steps=1)
    assert sum(seen) == 2 * 3 * branches                   # no longer counted


def test_the_clock_counts_the_making_alone(monkeypatch):
    time = [0.0]
    monkeypatch.setattr(cost.time, "perf_counter", lambda: time[0])

    def slow():
        for i in range(3):
            time[0] += 2
            yield i

    clock, got = cost.Clock(), []
    for i in clock.watch(slow()):
        time[0] += 100
        got.append(i)
    assert got == [0, 1, 2] and clock.seconds == 6


def test_memory_is_seen_and_where_the_system_can_forgotten():
    def hold(mib):
        torch.ones(mib, 2 ** 18).sum()
        yield

    if cost.peak_memory() is None:
        pytest.skip("this system tells nothing")
    small, large, again = cost.Clock(), cost.Clock(), cost.Clock()
    list(small.watch(hold(1)))
    list(large.watch(hold(300)))
    list(again.watch(hold(1)))
    if Path("/proc/self/clear_refs").exists():
        assert large.peak_mib > small.peak_mib + 250
        assert again.peak_mib < large.peak_mib - 200
    else:
        assert 0 < small.peak_mib <= large.peak_mib <= again.peak_mib
