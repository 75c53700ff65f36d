"""The one loop: streaming and training agree, noise is fresh, gradients go where they should."""

from dataclasses import replace
from itertools import islice, repeat

import pytest
import torch
from test_wan import SMALL, example, shake, worst

from livetalk_ref.cache import EMPTY, FULL, KVCache, Policy
from livetalk_ref.errors import UserError
from livetalk_ref.flow import add_noise, per_frame
from livetalk_ref.rollout import LAST, SIGMAS, denoise, draw, remember, rollout, sample, split
from livetalk_ref.wan import TINY, WanDiT


def setting(config=SMALL, size=4, frames=9, batch=2):
    """Random weights and a condition whose first frame alone is known."""
    _, _, cond = example(config, batch, frames, size)
    return shake(WanDiT(config)), cond


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


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


def oracle(x0, sign=1):
    """The exact velocity of one known block, or its opposite; it keeps nothing."""
    def model(x, sigma, cond, cache):
        return sign * (x - x0) / per_frame(sigma.clamp(min=1e-9), x), []
    return model


@pytest.mark.parametrize("config, size, frames", [(SMALL, 4, 9), (TINY, 6, 21)],
                         ids=["small", "tiny"])
@pytest.mark.parametrize("policy", [FULL, Policy(sinks=3, window=3)], ids=["full", "sinks"])
def test_training_rollout_is_the_streaming_rollout_bit_for_bit(config, size, frames, policy):
    model, cond = setting(config, size, frames)
    training = sample(model, cond, seeded(), policy, exit=LAST)
    assert training.requires_grad
    with torch.inference_mode():
        parts = (cond.frames(i, i + 3) for i in range(0, frames, 3))    # as they come in
        streamed = [block.x0 for block in rollout(model, parts, seeded(), KVCache(policy))]
    assert torch.equal(training, torch.cat(streamed, dim=1))


def test_the_schedule_is_four_steps_and_a_clean_pass():
    model, cond = setting()
    spy = Spy(model)
    with torch.no_grad():
        blocks = rollout(spy, split(cond), seeded())
        next(blocks)
        assert spy.sigmas == pytest.approx([1, 0.9375, 5 / 6, 0.625])    # shown before it
        next(blocks)
        assert spy.sigmas[4:6] == [0, 1]                                 # is remembered
        spy.calls.clear()
        sample(spy, cond, seeded())
    assert len(spy.calls) == 3 * 5 - 1                # nobody would read the last clean pass
    assert [len(cache.frames) for _, _, cache, _ in spy.calls] == [0] * 5 + [3] * 5 + [6] * 4


@pytest.mark.parametrize("exit", range(4))
def test_an_oracle_is_believed_with_the_right_sign_only(exit):
    _, cond = setting(frames=3)
    x0 = torch.randn(2, 3, *cond.ref.shape[1:], generator=seeded(5))
    x0[:, 0] = cond.ref
    noise = draw(cond, seeded())
    assert worst(denoise(oracle(x0), noise, cond, EMPTY, exit), x0) < 1e-6
    assert worst(denoise(oracle(x0, sign=-1), noise, cond, EMPTY, exit), x0) > 0.3


def test_noise_between_steps_is_fresh():
    """Every step starts from the prediction before it, taken back with noise of its own."""
    model, cond = setting(frames=3)
    spy, noise = Spy(model), draw(cond, seeded())
    with torch.no_grad():
        predictions = [denoise(model, noise, cond, EMPTY, exit) for exit in range(4)]
        denoise(spy, noise, cond, EMPTY)
    for step, (x, sigma, _, _) in enumerate(spy.calls):
        want = add_noise(predictions[step - 1], noise[step], sigma) if step else noise[0]
        assert torch.equal(x[:, 1:], want[:, 1:])
        assert torch.equal(x[:, 0], cond.ref)                            # always pasted
    flat = noise.flatten(1)
    assert (torch.corrcoef(flat) - torch.eye(4)).abs().max() < 0.2


def test_noise_does_not_depend_on_the_exit_step():
    model, cond = setting()
    ends = []
    with torch.no_grad():
        for exit in range(4):
            g = seeded()
            sample(model, cond, g, exit=exit)
            ends.append(g.get_state())
    assert all(torch.equal(end, ends[0]) for end in ends)


def test_gradient_sees_the_exit_step_alone():
    model, cond = setting()
    spy = Spy(model)
    x0 = sample(spy, cond, seeded(), exit=1)
    assert spy.sigmas == pytest.approx([1, 0.9375, 0] * 2 + [1, 0.9375])
    assert [recorded for *_, recorded in spy.calls] == [False, True, False] * 2 + [False, True]
    assert not any(x.requires_grad for x, sigma, *_ in spy.calls if sigma.max() > 0)
    assert not any(t.requires_grad for *_, cache, _ in spy.calls
                   for pair in cache.layers for t in pair)
    assert x0.requires_grad


def test_gradient_sees_the_generated_block_alone():
    """That of the last block equals one made by hand, with everything before it held fixed."""
    model, cond = setting()
    spy, weights = Spy(model), list(model.parameters())
    x0 = sample(spy, cond, seeded(), exit=2)
    got = torch.autograd.grad(x0[:, 6:].square().sum(), weights)
    x, sigma, cache, _ = spy.calls[-1]
    v, _ = model(x, sigma, cond.frames(6, 9), cache=cache)
    by_hand = (x.double() - per_frame(sigma.double(), x.double()) * v.double()).float()
    want = torch.autograd.grad(by_hand.square().sum(), weights)
    assert all(torch.equal(g, w) for g, w in zip(got, want))
    assert max(g.abs().max() for g in got) > 1e-3


def test_the_reference_frame_is_given_and_gets_no_gradient():
    model, cond = setting()
    x0 = sample(model, cond, seeded())
    assert torch.equal(x0[:, 0], cond.ref)
    loss = x0[:, 0].square().sum() + 0 * x0.sum()
    assert all(g.abs().max() == 0 for g in torch.autograd.grad(loss, list(model.parameters())))


@torch.no_grad()
def test_a_block_reads_all_blocks_before_it_and_none_after():
    model, cond = setting()
    before = sample(model, cond, seeded())
    for block in range(3):
        audio = cond.audio.clone()
        audio[:, 3 * block:3 * block + 3] += 1
        change = (sample(model, replace(cond, audio=audio), seeded()) - before).abs()
        assert change[:, :3 * block].sum() == 0.0                        # exactly
        for later in range(block, 3):
            assert change[:, 3 * later + 1:3 * later + 3].max() > 1e-4


@torch.no_grad()
def test_the_noise_of_the_first_block_reaches_the_last():
    """A rollout without a working cache would show a change of exactly 0.0 here."""
    model, cond = setting()
    parts = list(split(cond))
    ends = []
    for seed in (0, 1):
        x0 = denoise(model, draw(parts[0], seeded(seed)), parts[0], EMPTY)
        cache = remember(model, x0, parts[0], EMPTY)
        *_, last = rollout(model, parts[1:], seeded(2), cache)
        ends.append(last.x0)
    assert (ends[0] - ends[1]).abs().max() > 1e-4


@torch.no_grad()
def test_an_old_cache_is_the_undo():
    model, cond = setting(frames=12)
    parts, g = list(split(cond)), seeded()
    states, blocks = [], []
    for block in rollout(model, parts, g):
        states.append(g.get_state())
        blocks.append(block)
    g.set_state(states[1])                      # as it was when block 1 had been shown
    again = list(rollout(model, parts[2:], g, blocks[2].past))
    assert [torch.equal(a.x0, b.x0) for a, b in zip(again, blocks[2:])] == [True, True]
    g.set_state(states[1])
    other = [replace(part, audio=part.audio + 1) for part in parts[2:]]
    assert not torch.equal(next(rollout(model, other, g, blocks[2].past)).x0, blocks[2].x0)


@torch.no_grad()
def test_two_clips_at_once_are_two_rollouts():
    model, cond = setting()
    both = sample(model, cond, [seeded(3), seeded(4)])
    for i in range(2):
        assert worst(both[i:i + 1], sample(model, cond[i:i + 1], seeded(3 + i))) < 1e-5


@torch.no_grad()
def test_a_stream_has_no_end_and_a_bounded_memory():
    model, cond = setting()
    first, later, _ = split(cond)
    stream = rollout(model, (part for part in [first, *repeat(later, 40)]), seeded(),
                     KVCache(Policy(sinks=3, window=6)))
    sizes = [[t.numel() for pair in block.past.layers for t in pair]
             for block in islice(stream, 12)]
    assert sizes[4:] == [sizes[4]] * 8
    assert next(stream).past.frames == (0, 1, 2, *range(30, 36))


def test_broken_blocks_are_one_sentence():
    _, cond = setting(frames=8)
    with pytest.raises(UserError, match="use 9 of them"):
        split(cond)


def test_student_sigmas():
    assert SIGMAS.tolist() == pytest.approx([1, 0.9375, 0.8333, 0.625], abs=1e-4)


@pytest.mark.parametrize("steps, sigmas", [(1, [1]), (2, [1, 5 / 6]), (4, SIGMAS.tolist())])
@torch.no_grad()
def test_the_number_of_steps_is_a_knob(steps, sigmas):
    """The first step is that of any number, for its noise is."""
    model, cond = setting(frames=3, batch=1)
    spy = Spy(model)
    x0 = sample(spy, cond, seeded(), steps=steps)
    assert spy.sigmas == pytest.approx(sigmas)
    if steps == 1:
        noise = draw(cond, seeded())
        assert torch.equal(x0, denoise(model, noise, cond, EMPTY, exit=0))
    if steps == 4:
        assert torch.equal(x0, sample(model, cond, seeded()))


def test_a_number_of_steps_off_the_teachers_grid_is_one_sentence():
    model, cond = setting(frames=3)
    with pytest.raises(UserError, match="makes 1, 2 or 4 steps a block, not 3"):
        sample(model, cond, seeded(), steps=3)
