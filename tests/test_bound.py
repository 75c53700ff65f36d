"""The ceiling that the sound sets: a regression that finds what is in the rows, and no more."""

import torch

from livetalk_ref.judge import bound
from livetalk_ref.world.ear import AUDIO_DIM
from test_clips import made


def clips(count, seed, noise):
    """Clips whose mouth is a fixed map of two neighbouring rows, and noise."""
    data = made()
    g = torch.Generator().manual_seed(seed)
    rows = torch.randn(count, 40, AUDIO_DIM, generator=g)
    state = torch.zeros(count, 40, data.state.shape[-1])
    state[..., bound.COLUMNS] = (rows[..., :3] + rows.roll(1, 1)[..., 3:6]).tanh()
    state[..., bound.COLUMNS] += noise * torch.randn(count, 40, 3, generator=g)
    return type(data)(None, rows, state, None, None, None, [None] * count)


def test_what_the_rows_tell_is_found_and_noise_is_not(monkeypatch):
    monkeypatch.setattr(type(made()), "__len__", lambda self: len(self.audio))
    clear, noisy = (bound.compare(bound.fit(clips(96, 0, noise), 200), clips(16, 1, noise))
                    for noise in (0.0, 1.0))
    assert clear["clips"] == 16
    for name in ("open", "width", "round"):
        low, high = clear[f"{name} correlation 95%"]
        assert clear[f"{name} correlation"] > 0.85 and low <= clear[f"{name} correlation"] <= high
        # noise of variance 1 on a signal of about 0.5: nobody can do better than this
        assert noisy[f"{name} correlation"] < 0.7
