"""Weights in 8 bits: how far they are off, what stays whole, and a model that loads from them."""

import torch
from test_wan import SMALL, shake, worst

from livetalk_ref.files import LEAST, SCALE, eight_bits, half, unpacked
from livetalk_ref.loading import load_module
from livetalk_ref.runs import save
from livetalk_ref.wan import WanDiT


def test_rows_are_off_by_half_a_step_at_most():
    g = torch.Generator().manual_seed(0)
    weight = torch.randn(64, 128, generator=g) * torch.logspace(-3, 3, 64)[:, None]
    weight[5] = 0
    tensors = {"big": weight, "small": torch.randn(8, 8, generator=g),
               "vector": torch.randn(LEAST, generator=g), "count": torch.tensor(7)}
    packed = eight_bits(tensors)
    assert packed["big"].dtype == torch.int8 and packed["big" + SCALE].shape == (64,)
    assert {packed[name].dtype for name in ("small", "vector")} == {torch.float16}
    found = unpacked(packed)
    assert found.keys() == tensors.keys() and found["count"] == 7
    step = weight.abs().amax(1, keepdim=True) / 127
    assert ((found["big"] - weight).abs() <= 0.52 * step + 1e-5).all()
    assert torch.equal(found["vector"], tensors["vector"].half().float())


def test_a_model_loads_from_either_form(tmp_path):
    model = shake(WanDiT(SMALL))
    whole = model.state_dict()
    for name, pack, bound in (("half", half, 1e-3), ("eight", eight_bits, 0.02)):
        save(tmp_path / f"{name}.safetensors", pack(whole), config=SMALL)
        loaded = load_module(tmp_path / f"{name}.safetensors").state_dict()
        assert loaded.keys() == whole.keys()
        assert max(worst(loaded[key], whole[key]) for key in whole) < bound
    assert (tmp_path / "eight.safetensors").stat().st_size < (
        tmp_path / "half.safetensors").stat().st_size
