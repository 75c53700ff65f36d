"""The real model's arithmetic, at small and at full width, against roads of its own.

All with re-randomised weights in float32: diffusers' transformer (text path), a straight line of
float64 arithmetic (audio, a noise level for every frame, block-causal).
"""

import functools
from dataclasses import replace

import pytest
import torch
from straight import Straight
from test_wan import SMALL, example, shake, worst
from tiny import dice, noise

from livetalk_ref.cache import BLOCK, EMPTY, block_causal_mask
from livetalk_ref.flow import euler, group_audio
from livetalk_ref.rollout import SIGMAS, denoise, draw
from livetalk_ref.wan import LIVETALK_1P3B, WanDiT, sinusoid

HEARING = replace(LIVETALK_1P3B, layers=4)         # the fewest layers into which sound is added
MORE = replace(SMALL, layers=8)
BOUNDS = {MORE: 1e-5, HEARING: 1e-4}


@functools.cache
def made(config):
    with torch.device("meta"):
        model = WanDiT(config)
    return shake(model.to_empty(device="cpu")).requires_grad_(False)


def clip(config):
    """One clip: noisy latents, a noise level a frame, audio rows, and all as a condition."""
    x, sigma, cond = example(config, 1, 6)
    rows = noise(1, 21, config.audio_dim, seed=1)
    return x, sigma, rows, replace(cond, audio=group_audio(rows))


def straight(model, x, sigma, rows, cond, block):
    """The other road to the velocity of one clip, (1, F, C, h, w)."""
    frames, _, h, w = x.shape[1:]
    unknown = (~cond.known[0]).double().view(1, frames, 1, 1).expand(1, frames, h, w)
    y = torch.cat([cond.ref[0][:, None].expand(-1, frames, h, w).double(), unknown])
    # At full width float64 would take twice the memory.
    precision = torch.float64 if model.config.dim < 1000 else torch.float32
    road = Straight(model.state_dict(), model.config.heads, precision)
    # The released weights embed timesteps as bf16 holds them.
    read = (1000 * sigma[0]).bfloat16().double() / 1000 if model.config.bf16_time else sigma[0]
    return road(x[0].transpose(0, 1), y, read, rows[0], cond.text[0], block).transpose(0, 1)[None]


@pytest.mark.parametrize("config, block", [
    pytest.param(MORE, BLOCK, id="small, block-causal"),
    pytest.param(MORE, 6, id="small, bidirectional"),
    pytest.param(HEARING, BLOCK, id="full width, block-causal")])
def test_sound_levels_and_mask_equal_the_straight_line(config, block):
    model, (x, sigma, rows, cond) = made(config), clip(config)
    mask = block_causal_mask(6, 1, block)
    want = straight(model, x, sigma, rows, cond, block)
    with torch.no_grad():
        got = model(x, sigma, cond, mask=mask)
        deaf = model(x, sigma, cond.drop("audio"), mask=mask)
    assert worst(got, want) < BOUNDS[config]
    assert worst(deaf, want) > 100 * BOUNDS[config]                     # so the sound was in it


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_see_timesteps_in_bf16_and_samplers_exact_levels(dtype):
    """1000, 936, 832, 624 are embedded in every type, as in the weights' training; the arithmetic
    around the model goes by 1, .9375, .8333, .625."""
    config = replace(SMALL, bf16_time=True)
    model, seen, levels = shake(WanDiT(config)).to(dtype), [], []
    model.time_embedding.register_forward_pre_hook(lambda _, args: seen.append(args[0][0, 0]))
    _, _, cond = example(config, batch=1, frames=3)
    cond = cond.map(lambda t: t.to(dtype) if t.is_floating_point() else t)

    def watched(x, sigma, cond, **cache):
        levels.append(sigma[0, 0].item())
        return model(x, sigma, cond, **cache)

    drawn = draw(cond, dice())
    with torch.no_grad():
        denoise(watched, drawn, cond, EMPTY)
        *_, last = euler(watched, drawn[0], drawn[0][:, :0], cond, steps=4)
    want = [sinusoid(torch.tensor(t), config.freq_dim).to(dtype) for t in (1000, 936, 832, 624)]
    assert torch.equal(torch.stack(seen), torch.stack(want * 2)) and last.x.dtype == dtype
    assert levels == pytest.approx(SIGMAS.tolist() * 2, abs=1e-7)
