"""The one loop: streaming and training agree, noise is fresh, gradients go where they should."""

import pytest
import torch
from test_wan import SMALL, example, shake
from tiny import dice

from livetalk_ref.cache import EMPTY, FULL, KVCache, Policy
from livetalk_ref.errors import UserError
from livetalk_ref.flow import add_noise, per_frame
from livetalk_ref.rollout import LAST, SIGMAS, denoise, draw, rollout, sample, split
from livetalk_ref.wan import TINY, WanDiT


def setting(config=SMALL, size=4, frames=9, batch=2):
    """Random weights and a condition whose first frame alone is known."""
    _, _, cond = example(config, batch, frames, size)
    return shake(WanDiT(config)), cond


class Spy:
    """A model that notes what it is called with: x, sigma, cache, and whether it is recorded."""

    def __init__(self, model):
        self.model, self.calls = model, []

    def __call__(self, x, sigma, cond, cache):
        assert (sigma == sigma[0, 0]).all()
        self.calls.append((x, sigma, cache, torch.is_grad_enabled()))
        return self.model(x, sigma, cond, cache=cache)

    @property
    def sigmas(self):
        return [sigma[0, 0].item() for _, sigma, _, _ in self.calls]


@pytest.mark.parametrize("config, size, frames", [(SMALL, 4, 9), (TINY, 6, 21)],
                         ids=["small", "tiny"])
@pytest.mark.parametrize("policy", [FULL, Policy(sinks=3, window=3)], ids=["full", "sinks"])
def test_training_rollout_is_the_streaming_rollout_bit_for_bit(config, size, frames, policy):
    model, cond = setting(config, size, frames)
    training = sample(model, cond, dice(), policy, exit=LAST)
    assert training.requires_grad
    with torch.inference_mode():
        parts = (cond.frames(i, i + 3) for i in range(0, frames, 3))    # as they come in
        streamed = [block.x0 for block in rollout(model, parts, dice(), KVCache(policy))]
    assert torch.equal(training, torch.cat(streamed, dim=1))


def test_the_schedule_is_four_steps_and_a_clean_pass():
    model, cond = setting()
    spy = Spy(model)
    with torch.no_grad():
        blocks = rollout(spy, split(cond), dice())
        next(blocks)
        assert spy.sigmas == pytest.approx([1, 0.9375, 5 / 6, 0.625])    # shown before it
        next(blocks)
        assert spy.sigmas[4:6] == [0, 1]                                 # is remembered
        spy.calls.clear()
        sample(spy, cond, dice())
    assert len(spy.calls) == 3 * 5 - 1                # nobody would read the last clean pass
    assert [len(cache.frames) for _, _, cache, _ in spy.calls] == [0] * 5 + [3] * 5 + [6] * 4


@torch.no_grad()
def test_noise_between_steps_is_fresh_and_does_not_depend_on_the_exit():
    """Every step starts from the prediction before it, taken back with noise of its own."""
    model, cond = setting(frames=3)
    spy, noise = Spy(model), draw(cond, dice())
    assert not torch.equal(noise[:, 0], noise[:, 1])                     # of two clips
    predictions = [denoise(model, noise, cond, EMPTY, exit) for exit in range(4)]
    denoise(spy, noise, cond, EMPTY)
    for step, (x, sigma, _, _) in enumerate(spy.calls):
        want = add_noise(predictions[step - 1], noise[step], sigma) if step else noise[0]
        assert torch.equal(x[:, 1:], want[:, 1:])
        assert torch.equal(x[:, 0], cond.ref)                            # always pasted
    assert (torch.corrcoef(noise.flatten(1)) - torch.eye(4)).abs().max() < 0.2
    generators = [dice() for _ in range(4)]
    for exit, g in enumerate(generators):
        sample(model, cond, g, exit=exit)
        assert torch.equal(g.get_state(), generators[0].get_state())


def test_gradient_sees_the_exit_step_of_the_generated_block_alone():
    """That of the last block equals one made by hand, with everything before it held fixed."""
    model, cond = setting()
    spy, weights = Spy(model), list(model.parameters())
    x0 = sample(spy, cond, dice(), exit=2)
    assert spy.sigmas == pytest.approx([1, 0.9375, 5 / 6, 0] * 2 + [1, 0.9375, 5 / 6])
    recorded = [False, False, True, False]
    assert [flag for *_, flag in spy.calls] == recorded * 2 + recorded[:3]
    assert not any(x.requires_grad for x, sigma, *_ in spy.calls if sigma.max() > 0)
    assert not any(t.requires_grad for *_, cache, _ in spy.calls
                   for pair in cache.layers for t in pair)
    assert torch.equal(x0[:, 0], cond.ref)                              # the reference is given
    got = torch.autograd.grad(x0[:, 6:].square().sum(), weights)
    x, sigma, cache, _ = spy.calls[-1]
    v, _ = model(x, sigma, cond.frames(6, 9), cache=cache)
    by_hand = (x.double() - per_frame(sigma.double(), x.double()) * v.double()).float()
    want = torch.autograd.grad(by_hand.square().sum(), weights)
    assert all(torch.equal(g, w) for g, w in zip(got, want))
    assert max(g.abs().max() for g in got) > 1e-3


@torch.no_grad()
def test_the_number_of_steps_is_a_knob():
    """The first step is that of any number, for its noise is."""
    model, cond = setting(frames=3, batch=1)
    for steps, sigmas in ((1, [1]), (2, [1, 5 / 6]), (4, SIGMAS.tolist())):
        spy = Spy(model)
        x0 = sample(spy, cond, dice(), steps=steps)
        assert spy.sigmas == pytest.approx(sigmas)
        noise = draw(cond, dice())
        assert torch.equal(x0, denoise(model, noise, cond, EMPTY, exit=0)) == (steps == 1)
        assert torch.equal(x0, sample(model, cond, dice())) == (steps == 4)


def test_broken_blocks_and_steps_off_the_teachers_grid_are_one_sentence():
    model, cond = setting(frames=8)
    with pytest.raises(UserError, match="use 9 of them"):
        split(cond)
    with pytest.raises(UserError, match="makes 1, 2 or 4 steps a block, not 3"):
        sample(model, cond.frames(0, 3), dice(), steps=3)
