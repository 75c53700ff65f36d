"""What conditions are worth: a model that reads them is told from one that does not."""

import torch

from livetalk_ref.flow import Cond, per_frame
from livetalk_ref.judge import heed


class Clips:
    """Eight clips whose content is their sound's first number; the prompt means nothing."""

    def __init__(self):
        g = torch.Generator().manual_seed(0)
        self.level = torch.arange(8.0)
        audio = self.level[:, None, None].expand(8, 5, 4).clone()
        known = torch.zeros(8, 5, dtype=torch.bool)
        known[:, 0] = True
        self.cond = Cond(torch.zeros(8, 2, 2, 2), audio, torch.randn(8, 3, 6, generator=g), known,
                         torch.zeros(1, 3, 6))
        self.x0 = self.level[:, None, None, None, None].expand(8, 5, 2, 2, 2)

    def window(self, first, prefix):
        return self.x0, self.cond


def reader_of_sound(x, sigma, cond):
    """The right velocity, if the sound is right."""
    x0 = cond.audio[:, :, :1, None, None].expand(x.shape)
    return (x - x0) / per_frame(sigma, x)


def test_a_wrong_sound_costs_and_a_wrong_prompt_does_not():
    found = heed.losses(reader_of_sound, Clips(), 0.5)
    assert found["right"] == found["no prompt"] == found["another's prompt"] < 1e-6
    assert found["another's sound"] > 1 and found["no sound"] > 1
    # the mean square of levels 0 .. 7 over sigma squared
    assert abs(found["no sound"] - (Clips().level ** 2).mean() / 0.25) < 1e-3
