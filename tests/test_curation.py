"""Curation on drawn references: what is good stays, damage is mended, prompts ask for motion."""

from dataclasses import replace

import pytest
import torch

from livetalk_ref import curation, loading
from livetalk_ref.curation import KEPT, MENDED, REPLACED
from livetalk_ref.errors import UserError
from livetalk_ref.judge import metrics
from livetalk_ref.nets.restorer import difference, spoil, through
from livetalk_ref.world.draw import render
from livetalk_ref.world.identity import sample_identities
from livetalk_ref.world.latents import NEVER, LatentClips
from livetalk_ref.world.prompts import MAX_WORDS, is_held_out, parse, sample_prompt, words
from livetalk_ref.world.motion import reference_state

COUNT = 24


@pytest.fixture(scope="module")
def codec():
    return loading.load_module("codec")


@pytest.fixture(scope="module")
def clips(codec):
    """Clips of as many new faces, every second one with a damaged reference; no sound."""
    g = torch.Generator().manual_seed(123)
    identity = sample_identities(COUNT, g)
    state = torch.stack([reference_state(g) for _ in range(COUNT)])
    references = curation.encoded(render(identity, state), codec)
    prompts = [[sample_prompt(g, vague=i % 4 < 2)] for i in range(COUNT)]
    made = LatentClips(references[:, None].expand(-1, 27, -1, -1, -1).clone(),
                       torch.zeros(COUNT, 105, 64).half(), state[:, None].expand(-1, 105, -1),
                       identity, torch.tensor([[0, NEVER]] * COUNT),
                       torch.arange(COUNT) % 2 == 1, prompts)
    bad = made.degraded.nonzero().flatten()
    worse, _ = spoil(curation.pictures(references[bad], codec), g, clean=0.0)
    made.latents[bad] = curation.encoded(worse, codec)[:, None]
    return made


@pytest.fixture(scope="module")
def kinds(clips):
    return {kind: curation.make(kind, clips) for kind in curation.KINDS}


@torch.inference_mode()
def wrong(references, clips, codec):
    """Distance of references from the truth, (N,) in 1/255."""
    truth = through(codec, render(clips.identity, clips.state[:, 0].float()))
    return difference(curation.pictures(references, codec), truth)


def test_vague_prompts_become_prompts_for_motion():
    g = torch.Generator().manual_seed(0)
    longer = 0
    for _ in range(200):
        vague = sample_prompt(g, vague=True)
        asks = curation.rewrite(vague, g)
        assert curation.is_vague(vague) and not curation.is_vague(asks)
        assert parse(asks) != parse("") and len(words(asks)) <= MAX_WORDS
        assert not is_held_out(asks)
        longer += asks.startswith(vague)
    assert longer > 100                     # what was said of the looks mostly stays
    for _ in range(50):
        prompt = sample_prompt(g)
        assert curation.is_vague(prompt) or curation.rewrite(prompt, g) == prompt


def test_mixture_has_the_stated_shares():
    degraded = torch.tensor([True] + [False] * 9).repeat(10)
    vague = torch.tensor([True] * 10 + [False] * 90)
    weights = curation.mixture(degraded, vague)
    for found, want in ((weights.sum(), 1), (weights[degraded].sum(), curation.DEGRADED),
                        (weights[vague].sum(), curation.VAGUE)):
        assert found == pytest.approx(want, abs=1e-5)
    none = torch.zeros(100, dtype=torch.bool)
    assert torch.allclose(curation.mixture(none, none), torch.full((100,), 0.01))


def test_damage_is_seen_mended_and_good_references_stay(clips, kinds, codec):
    """The shipped restorer on faces that it never saw."""
    made = kinds["curated"]
    doubt = torch.tensor([row["doubt"] for row in made.record])
    above = doubt[clips.degraded][:, None] > doubt[~clips.degraded]     # the area under the curve
    assert above.float().mean() > 0.85
    did = [row["did"] for row in made.record]
    before, after = (wrong(c.latents[:, 0], clips, codec) for c in (clips, made.clips))
    for i, word in enumerate(did):
        same = torch.equal(made.clips.latents[i, 0], clips.latents[i, 0])
        assert same == (word == KEPT)
        if word == REPLACED:
            by = made.record[i]["by"]
            assert did[by] == KEPT
            assert torch.equal(made.clips.latents[i, 0], clips.latents[by, 0])
    mended = torch.tensor([word == MENDED for word in did])
    assert mended.sum() >= 3 and after[mended].mean() < 0.9 * before[mended].mean()
    good = [did[i] for i in range(COUNT) if not clips.degraded[i]]
    assert good.count(KEPT) >= 0.75 * len(good)


def test_kinds_are_drawn_alike_and_differ_in_references_and_prompts_only(clips, kinds, codec):
    raw, curated = kinds["raw"], kinds["curated"]
    draws = [k.draw(64, torch.Generator().manual_seed(1)) for k in kinds.values()]
    assert all(torch.equal(draws[0], d) for d in draws)
    assert torch.equal(raw.clips.latents[:, 0], clips.latents[:, 0])
    assert raw.clips.prompts == clips.prompts
    some = torch.arange(8)
    one, other = raw.cond(some, 9), curated.cond(some, 9)
    assert one.audio.shape == (8, 9, 256) and torch.equal(one.audio, other.audio)
    assert one.known[:, 0].all() and not one.known[:, 1:].any()
    assert not torch.equal(one.ref, other.ref) and not torch.equal(one.text, other.text)


def test_dark_references_have_no_light_until_they_are_curated(clips, kinds, codec):
    """Curation keeps none of them; the others are as they were."""
    dark, made = kinds["dark"].clips, kinds["curated dark"]
    light = metrics.brightness(curation.pictures(dark.latents[:, 0], codec))
    assert light[clips.degraded].max() < 0.12 and light[~clips.degraded].min() > 0.2
    good = ~clips.degraded
    assert torch.equal(dark.latents[good], clips.latents[:, :1][good].expand_as(dark.latents[good]))
    did = [row["did"] for row in made.record]
    assert all(word != KEPT for word, bad in zip(did, clips.degraded) if bad)
    fixed = metrics.brightness(curation.pictures(made.clips.latents[:, 0], codec))
    assert fixed.min() > 0.2


def test_a_second_prompt_that_nobody_reads_is_left_out(clips):
    """The teacher's answer stays the same; where the prompt changes in time, nothing is cut."""
    model, some = loading.load_module("teacher"), clips.select(range(3))
    some = replace(some, prompts=[[*pair, "an angry man nods"] for pair in some.prompts],
                   starts=torch.tensor([[0, 60]] * 3))
    x, whole = some.window(0, 1, 9)
    cut = curation.trim(whole)
    assert cut.text.shape[1] == 16 and cut.text_mask is None and whole.text.shape[1] == 32
    sigma = torch.full((3, 9), 0.7)
    with torch.no_grad():
        want, got = model(x, sigma, whole), model(x, sigma, cut)
        assert torch.allclose(want, got, atol=1e-5 * want.abs().max().item())
        bare = model(x, sigma, cut.drop("text"))
        assert torch.allclose(model(x, sigma, whole.drop("text")), bare,
                              atol=1e-5 * want.abs().max().item())
    later = some.window(0, 1, 21)[1]
    assert curation.trim(later) is later


def test_conditions_are_kept(clips, monkeypatch, tmp_path):
    monkeypatch.setattr(curation, "cached_clips", lambda count: clips)
    first = curation.conditions("curated", COUNT, tmp_path)
    with pytest.raises(UserError, match="no conditions 'odd'; choose one of raw, dark"):
        curation.make("odd", clips)
    monkeypatch.setattr(curation, "make", lambda *words: pytest.fail("it is made again"))
    again = curation.conditions("curated", COUNT, tmp_path)
    assert again.record == first.record and again.clips.prompts == first.clips.prompts
    assert torch.equal(again.clips.latents, first.clips.latents)
    assert torch.equal(again.weights, first.weights)
