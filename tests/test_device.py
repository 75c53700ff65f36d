"""Devices: a wrong name is one sentence, and a stage computes where its model is."""

from dataclasses import replace

import pytest
import torch

from livetalk_ref import stages, trajectories
from livetalk_ref.device import best_device, check_device
from livetalk_ref.errors import UserError
from livetalk_ref.trajectories import SAMPLE, Trajectories


def twice(clips):
    """The shipped clips, played twice: training draws windows from longer ones."""
    def again(x, extra=0):
        return torch.cat([x, x, x[:, :extra]], 1)

    return replace(clips, latents=again(clips.latents), audio=again(clips.audio, 3),
                   state=again(clips.state, 3))


def test_a_device_that_is_not_there_is_one_sentence():
    assert check_device(best_device()) == best_device()
    for name in ("tpu", "cuda:99"):
        with pytest.raises(UserError, match=f"cannot use the device '{name}' here"):
            check_device(name)


@pytest.mark.parametrize("stage", ("teacher", "ode"))
def test_a_stage_computes_where_its_model_is(stage, monkeypatch):
    """The meta device stands for a GPU: nothing of a batch may stay on the CPU."""
    data = Trajectories.load([SAMPLE])
    monkeypatch.setattr(trajectories, "from_shipped", lambda *_, **__: [SAMPLE])
    options = {"teacher": {"data": twice(data.clips)}, "ode": {"count": len(data.clips)}}
    made = stages.STAGES[stage](**options.get(stage, {}))
    model = made.model.to("meta")
    loss = made.loss(model, torch.Generator().manual_seed(0))
    loss.backward()
    devices = {p.grad.device.type for p in model.parameters() if p.grad is not None}
    assert loss.device.type == "meta" and devices == {"meta"}
