"""A long sound becomes a video in the memory of a short one."""

from pathlib import Path

import pytest
import torch
from test_streams import folder  # noqa: F401

from livetalk_ref import generate
from livetalk_ref.judge.cost import peak_memory, reset_peak_memory
from livetalk_ref.loading import load
from livetalk_ref.portrait import portrait_of


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
def test_generate_takes_as_much_memory_late_as_early(tmp_path):
    """A minute of pictures would be 106 MB; it may grow by no more than a twentieth of that."""
    avatar, peaks = load("student"), []

    def watch(block):
        if block.index in (15, 79):
            peaks.append(peak_memory())
            reset_peak_memory()

    samples = 0.1 * torch.randn(960_000, generator=torch.Generator().manual_seed(0))
    facts = generate.make_video(avatar, portrait_of(0), samples, "a happy person",
                                tmp_path / "o.mp4", scale=1, watch=watch)
    assert facts["frames"] == 960
    early, late = peaks
    assert late < early + 5
