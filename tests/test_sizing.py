"""What sizing counts is what PyTorch keeps."""

from contextlib import nullcontext

import pytest
import torch
from test_dmd import SMALL, condition
from tiny import shake

from livetalk_ref import rollout, sizing
from livetalk_ref.cache import BLOCK
from livetalk_ref.wan import WanDiT

CLIPS, FRAMES, SIDE, ROWS = 2, 12, 4, 16


def kept_bytes(run, precision, recomputes=False):
    """Bytes of what the gradient of run(model) needs, without the weights: all that is saved, or
    what goes into the blocks and a share of what is saved besides."""
    model, saved, given, held = shake(WanDiT(SMALL), 0), {}, {}, []

    def keep(tensor, where=saved):
        held.append(tensor)             # or another would take its place
        where[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    def look(block, arguments):
        for argument in arguments if torch.is_grad_enabled() else ():
            for tensor in argument if isinstance(argument, tuple) else [argument]:
                if torch.is_tensor(tensor):
                    keep(tensor, given)

    for block in model.blocks:
        block.register_forward_pre_hook(look)
    half = torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else nullcontext()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t), half:
        run(model)
    for p in model.parameters():
        saved.pop(p.untyped_storage().data_ptr(), None)
    copies = 2 * sizing.held_numbers(SMALL) * (precision == "bf16")
    every = sum(saved.values()) - copies
    return sum(given.values()) + every / SMALL.layers if recomputes else every


def one_pass(model):
    cond = condition(CLIPS, FRAMES)
    x = torch.zeros(CLIPS, FRAMES, SMALL.latent_channels, SIDE, SIDE)
    return model(x, torch.ones(CLIPS, FRAMES), cond)


def rolled_out(model):
    return rollout.sample(model, condition(CLIPS, FRAMES), torch.Generator(), exit=1)


@pytest.mark.parametrize("checkpoint", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("run", [one_pass, rolled_out])
def test_activations_to_a_fifth(run, precision, checkpoint):
    found = kept_bytes(run, precision, checkpoint)
    size, passes = (CLIPS, FRAMES, SIDE), FRAMES // BLOCK if run is rolled_out else 1
    counted = sizing.activation_bytes(SMALL, *size, checkpoint, precision, passes, ROWS)
    if run is rolled_out:
        counted += sizing.rollout_cache_bytes(SMALL, *size, precision)
    assert counted == pytest.approx(found, rel=0.2)
