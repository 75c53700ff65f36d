"""What changes a session under way: another prompt, an interruption, the end of speech."""

import copy
from dataclasses import replace

import pytest
import torch
from test_stream import (ANGRY, AVATAR, HAPPY, LONG, WHOLE, condition, hearing, offline, pictures,
                         session, speech)
from tiny import dice

from livetalk_ref import wan
from livetalk_ref.cache import EMPTY, FULL, Policy
from livetalk_ref.errors import UserError
from livetalk_ref.rollout import remember, sample
from livetalk_ref.stream import frames_of, samples_for


def test_a_prompt_changes_later_blocks_only():
    cut = samples_for(4, 1)
    live = session()
    made = [live.push(LONG[:cut + 5_000])]          # in the middle of block 4
    live.change_prompt(ANGRY)
    made.append(live.push(LONG[cut + 5_000:]))
    change = (pictures(made) - WHOLE).abs().amax(dim=(1, 2, 3))
    assert change[:frames_of(4)].max() == 0.0
    assert change[frames_of(4):frames_of(5)].max() > 1e-3

    same = session()
    same.push(LONG[:cut])
    same.change_prompt(HAPPY)
    assert torch.equal(same.push(LONG[cut:]).pictures, WHOLE[frames_of(4):])


@torch.no_grad()
@pytest.mark.parametrize("policy", [FULL, Policy(sinks=1, window=5),
                                    Policy(sinks=3, window=3, relative=False)], ids=str)
def test_recaching_shows_the_past_under_the_new_prompt(policy):
    """By hand: the frames that the policy kept, in their blocks, through the model again."""
    live, cut = session(policy=policy), samples_for(5, 1)
    live.push(LONG[:cut])
    live.change_prompt(ANGRY, recache=True)
    block = next(live.hear(LONG[cut:]))

    latents = sample(AVATAR.model, condition(LONG), dice(), policy)
    cond, cache = condition(LONG, ANGRY), replace(EMPTY, policy=policy)
    for b in range(5):
        kept = [f for f in range(3 * b, 3 * b + 3) if policy.keeps(f, 15)]
        if kept:
            part = cond.frames(kept[0], kept[-1] + 1)
            cache = remember(AVATAR.model, latents[:, kept], part, replace(cache, now=kept[0]))
    assert block.past.frames == cache.frames and block.past.now == cache.now == 15
    for ours, theirs in zip(block.past.layers, cache.layers):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs))
    old = session(policy=policy)
    old.push(LONG[:cut])
    assert not torch.equal(old.state.cache.layers[1][0], cache.layers[1][0])


@pytest.mark.parametrize("shown, stay", [(0, 0), (1, 9), (9, 9), (10, 21), (33, 33), (40, 45)])
def test_an_interrupted_stream_never_heard_what_was_dropped(shown, stay):
    """It goes on, bit for bit, like one to which only the sound of the shown blocks was pushed."""
    live, other = session(), speech(4, extra=77, seed=9)
    live.push(LONG[:samples_for(5, 1) + 3_333])
    assert live.interrupt(shown) == stay
    heard = 1000 * stay
    assert live.state.samples == heard
    made = live.push(other)
    assert made.first == stay
    assert torch.equal(made.pictures, offline(torch.cat([LONG[:heard], other]))[stay:])


def test_what_cannot_have_been_shown_or_taken_back_is_one_sentence():
    live = session(undo=2)
    live.push(LONG)
    for shown, words in ((-1, "cannot have been shown"), (94, "93 are made"), (57, "2 blocks can")):
        before = live.state
        with pytest.raises(UserError, match=words):
            live.interrupt(shown)
        assert live.state is before
    assert live.interrupt(58) == 69


@pytest.mark.parametrize("ahead", [1, 3])
@pytest.mark.parametrize("extra", [1, 7_000, 12_000])
def test_flush_shows_all_that_was_pushed(ahead, extra, monkeypatch):
    monkeypatch.setattr(AVATAR, "audio", lambda: hearing(ahead))
    live, samples = session(), LONG[:33_000 + extra]
    made = [live.push(samples), live.flush()]
    n = sum(map(len, made))
    assert n - 12 < len(samples) / 1000 <= n
    assert len(live.flush()) == 0
    silence = torch.zeros(samples_for(live.state.blocks, ahead) - len(samples))
    assert torch.equal(pictures(made), offline(torch.cat([samples, silence]), ahead=ahead))


def test_a_model_can_be_trained_after_it_has_streamed():
    """What streaming leaves behind, rotations kept for later among it, can be differentiated."""
    for table in (wan.rope_table, wan.frequencies):
        table.cache_clear()
    made = session().push(LONG[:21_000])
    model = copy.deepcopy(AVATAR.model).requires_grad_(True)
    sample(model, condition(LONG[:21_000]), dice(), FULL).square().mean().backward()
    assert model.patch_embedding.weight.grad.abs().max() > 0
    assert not made.pictures.is_inference()
    made.pictures.requires_grad_(True).mean().backward()
