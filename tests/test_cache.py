"""The cache: a block behind it sees exactly what one masked pass over everything would show it."""

from dataclasses import replace

import pytest
import torch
from test_wan import SMALL, example, shake, worst

from livetalk_ref.cache import BLOCK, EMPTY, FULL, POLICIES, KVCache, Policy, block_causal_mask
from livetalk_ref.rollout import remember, split
from livetalk_ref.wan import TINY, WanDiT, rope_table, rotate


def setting(config=SMALL, size=4, frames=9, batch=2):
    """Random weights, noisy and clean latents, one noise level a block, a condition."""
    model = shake(WanDiT(config)).requires_grad_(False)
    noisy, _, cond = example(config, batch, frames, size)
    clean, level, _ = example(config, batch, frames, size, seed=2)
    sigma = level[:, ::BLOCK].repeat_interleave(BLOCK, dim=1)
    return model, noisy, clean, sigma, cond


def cached_velocities(model, noisy, clean, sigma, cond, cache):
    """Every noisy block behind the clean blocks before it, one after the other."""
    made = []
    for i, part in enumerate(split(cond)):
        now = slice(i * BLOCK, (i + 1) * BLOCK)
        v, _ = model(noisy[:, now], sigma[:, now], part, cache=cache)
        made.append(v)
        cache = remember(model, clean[:, now], part, cache)
    return torch.cat(made, dim=1)


def masked_velocities(model, noisy, clean, sigma, cond, policy):
    """The same without a cache: for every block one pass over [clean blocks, noisy block]."""
    made = []
    for start in range(0, noisy.shape[1], BLOCK):
        end = start + BLOCK
        x = torch.cat([clean[:, :start], noisy[:, start:end]], dim=1)
        level = torch.cat([torch.zeros_like(sigma[:, :start]), sigma[:, start:end]], dim=1)
        mask = block_causal_mask(end, 1, BLOCK, policy)
        made.append(model(x, level, cond.frames(0, end), mask=mask)[:, start:])
    return torch.cat(made, dim=1)


@pytest.mark.parametrize("config, size", [(SMALL, 4), (TINY, 6)], ids=["small", "tiny"])
def test_cached_block_by_block_is_one_masked_pass(config, size):
    everything = setting(config, size, frames=21 if config == TINY else 9)
    cached = cached_velocities(*everything, EMPTY)
    assert worst(cached, masked_velocities(*everything, FULL)) < 1e-5


@pytest.mark.parametrize("policy", [
    Policy(window=3), Policy(window=3, relative=False),
    Policy(sinks=3, window=3, relative=False)], ids=str)
def test_what_a_policy_drops_is_what_its_mask_hides(policy):
    everything = setting(frames=15)
    cached = cached_velocities(*everything, KVCache(policy))
    assert worst(cached, masked_velocities(*everything, policy)) < 1e-5
    assert worst(cached, masked_velocities(*everything, FULL)) > 1e-3


def numbered(first, count):
    """One layer of a cache whose keys and values are the numbers of their frames."""
    t = torch.arange(first, first + count).float().view(1, 1, count, 1, 1).expand(1, 2, count, 4, 8)
    return [(t, -t)]


@pytest.mark.parametrize("policy, frames", [
    (FULL, range(30)), (Policy(window=15), range(15, 30)),
    (POLICIES["ahis"], [*range(9), *range(24, 30)]),
    (POLICIES["released"], [*range(9), *range(27, 30)])], ids=str)
def test_sinks_and_window_keep_exactly_their_frames(policy, frames):
    cache = KVCache(policy)
    for start in range(0, 30, BLOCK):
        cache = cache.append(numbered(start, BLOCK))
    assert cache.frames == tuple(frames) and cache.now == 30
    keys, values = cache.layers[0]
    assert keys[0, 0, :, 0, 0].tolist() == list(frames)
    assert torch.equal(values, -keys)
    assert cache.read(0, 12, lambda keys: keys)[0].shape == (1, 2, 4 * len(frames) + 12, 8)
    if policy.relative:
        assert cache.positions(BLOCK) == tuple(range(len(frames) + BLOCK))
    else:
        assert cache.positions(BLOCK) == (*frames, 30, 31, 32)


@torch.no_grad()
@pytest.mark.parametrize("policy", [POLICIES["ahis"], replace(POLICIES["ahis"], relative=False)],
                         ids=["relative", "absolute"])
def test_keys_rotated_once_a_block_stand_where_those_rotated_at_each_pass_do(policy):
    """While the window rolls past the sinks, before an undo and behind it."""
    model, noisy, clean, sigma, cond = setting(frames=24, batch=1)
    cache, caches = KVCache(policy), []
    for i, part in enumerate(split(cond)):
        now = slice(i * BLOCK, (i + 1) * BLOCK)
        with torch.enable_grad():       # keys joined anew, of a value of which nothing is known yet
            want, _ = model(noisy[:, now], sigma[:, now], part, cache=replace(cache))
        for _ in range(2):                                  # the second pass finds them rotated
            got, _ = model(noisy[:, now], sigma[:, now], part, cache=cache)
            assert torch.equal(got, want)
        assert len(cache.room) == (model.config.layers if i else 0)
        if i:
            keys, table = cache.layers[0][0].flatten(2, 3), rope_table(cache.positions(3), 2, 2, 24)
            made = cache.room[0, 12][:, :, :-12]
            assert torch.equal(made, rotate(keys, table[:keys.shape[2]]))
        caches.append((cache, now, part, want))
        cache = remember(model, clean[:, now], part, cache)
        assert not caches[-1][0].room                       # an old cache holds no keys twice
    old, now, part, want = caches[-2]
    assert torch.equal(model(noisy[:, now], sigma[:, now], part, cache=old)[0], want)


@pytest.mark.parametrize("block, policy, rows", [
    (6, FULL, ["111111"] * 6),                                              # bidirectional
    (2, FULL, ["110000"] * 2 + ["111100"] * 2 + ["111111"] * 2),            # block-causal
    (2, Policy(window=2), ["110000"] * 2 + ["111100"] * 2 + ["001111"] * 2),
    (2, Policy(1, 0), ["110000"] * 2 + ["101100"] * 2 + ["100011"] * 2)],
    ids=["bidirectional", "block-causal", "window", "sink"])
def test_one_function_makes_every_mask(block, policy, rows):
    mask = block_causal_mask(6, 1, block, policy)
    assert ["".join(str(int(see)) for see in row) for row in mask] == rows
    tokens = block_causal_mask(6, 4, block, policy)
    assert tokens.shape == (24, 24)
    assert torch.equal(tokens[1::4, 2::4], mask)
