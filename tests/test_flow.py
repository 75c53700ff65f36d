"""Flow matching: signs, the grid, guidance and the Euler step, against independent roads."""

from dataclasses import replace

import pytest
import torch
from test_wan import SMALL, example, shake, worst

from livetalk_ref import flow
from livetalk_ref.flow import Guidance, add_noise, guided, sigma_grid, x0_from_velocity
from livetalk_ref.wan import WanDiT


def latents(seed=0, batch=2, frames=4):
    return torch.randn(batch, frames, 3, 2, 2, generator=torch.Generator().manual_seed(seed))


def test_x0_of_the_true_velocity_is_the_data():
    x0, noise = latents(0), latents(1)
    sigma = torch.tensor([[1.0, 0.9375, 0.5, 0.01]]).expand(2, 4)
    back = x0_from_velocity(add_noise(x0, noise, sigma), sigma, noise - x0)
    assert torch.allclose(back, x0, atol=1e-6)


@pytest.mark.parametrize("steps", [4, 48])
def test_grid_timesteps_and_step_equal_diffusers(steps):
    from diffusers import FlowMatchEulerDiscreteScheduler
    theirs = FlowMatchEulerDiscreteScheduler(shift=5.0)
    theirs.set_timesteps(sigmas=torch.linspace(1, 0, steps + 1)[:-1].numpy())
    grid = sigma_grid(steps)
    assert torch.allclose(theirs.sigmas.double(), grid, atol=1e-6)
    assert torch.allclose(theirs.timesteps.double(), 1000 * grid[:-1], atol=1e-3)
    x = latents(3)
    clean = latents(4)[:, :1]
    model = lambda x, sigma, cond: torch.sin(3 * x) + flow.per_frame(sigma, x)  # noqa: E731
    ours = flow.sample(model, x, clean, None, steps=steps)
    y = flow.keep_known(x, clean)
    for t, sigma in zip(theirs.timesteps, grid[:-1]):
        v = model(y, sigma.float().expand(2, 4), None)
        y = flow.keep_known(theirs.step(v, t, y, return_dict=False)[0], clean)
    assert torch.allclose(ours, y, atol=1e-4)


def constant(x, sigma, cond):
    """Velocity 1, 3 or 7 by what the branch still knows: nothing, the text, the sound too."""
    read, heard = (part.flatten(1).any(1) for part in (cond.text, cond.audio))       # (B,)
    return (1.0 + 2 * read + 4 * heard)[:, None, None, None, None].expand_as(x)


@pytest.mark.parametrize("text, audio, want", [
    (1, 1, 7), (2, 2, 1 + 2 * 6), (2, 1, 1 + 2 * 2 + 4), (1, 3, 1 + 2 + 3 * 4), (0, 0, 1)])
def test_guidance_moves_along_text_and_audio_apart(text, audio, want):
    x, sigma, cond = example(SMALL)
    cond = replace(cond, no_text=0 * cond.no_text)
    v = guided(constant, x, sigma, cond, Guidance(text, audio))
    assert torch.allclose(v, torch.full_like(x, want))


@torch.no_grad()
def test_guidance_of_a_text_that_was_read_is_three_passes_over_plain_conditions():
    """The dropped sound is zeros, the dropped text the empty prompt's rows, read anew."""
    model, (x, sigma, cond) = shake(WanDiT(SMALL)), example(SMALL)
    read = replace(cond, text_keys=model.read_text(cond.text))
    deaf = replace(cond, audio=0 * cond.audio)
    none, text, both = (model(x, sigma, part) for part in (
        replace(deaf, text=cond.no_text.expand(2, -1, -1)), deaf, cond))
    want = none + 3 * (text - none) + 2 * (both - text)
    assert worst(guided(model, x, sigma, read, Guidance(3.0, 2.0)), want) < 1e-5
    assert worst(guided(model, x, sigma, read, Guidance()), both) < 1e-5


def test_loss_of_the_oracle_is_zero_and_known_frames_do_not_count():
    x0, noise = latents(0), latents(1)
    sigma = torch.tensor([0.3, 0.8])
    known = torch.zeros(2, 4, dtype=torch.bool)
    known[:, :1] = True
    seen = []

    def model(x, s, cond):
        seen.append(x)
        return torch.where(known[..., None, None, None], torch.full_like(x, 99.0), noise - x0)

    assert flow.flow_loss(model, x0, noise, sigma, known, None).item() == 0
    assert torch.equal(seen[0][:, 0], x0[:, 0])
    off, weight = latents(2), torch.tensor([[1.0, 0.0], [2.0, 5.0]])
    loss = flow.flow_loss(lambda x, s, c: noise - x0 + off, x0, noise, sigma, known, None, weight)
    assert loss.item() == pytest.approx((off[:, 1:].square() * weight).mean().item())


def test_draws_follow_the_shift():
    g = torch.Generator().manual_seed(0)
    draws = flow.draw_sigma(100_000, g)
    assert 0 <= draws.min() and draws.max() <= 1
    assert draws.median().item() == pytest.approx(5 / 6, abs=0.01)      # shift 5 of one half
    low = (flow.draw_sigma(100_000, g, plain=0.3) < 0.5).float().mean()
    assert low.item() == pytest.approx(0.3 / 2 + 0.7 / 6, abs=0.01)     # shift 5 of a sixth
