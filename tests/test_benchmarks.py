"""The benchmarks: their clips are nobody else's, what they say, and still the same; the rule."""

from dataclasses import replace

import pytest
import torch
from tiny import dice, scripted, small_benchmark

from livetalk_ref import options
from livetalk_ref.judge import benchmarks, metrics
from livetalk_ref.world import clips
from livetalk_ref.world.clips import FRAMES, Clip
from livetalk_ref.world.degrade import Degradation
from livetalk_ref.world.identity import CONTINUOUS, SHIFTED, sample_identities
from livetalk_ref.world.prompts import is_held_out
from livetalk_ref.world.state import COL, S
from livetalk_ref.world.motion import MOUTH

OTHERS = 100_000        # more clips than any stage takes of a split


def test_no_clip_is_in_two_benchmarks_or_in_a_split():
    numbers = [*range(benchmarks.CLIPS), *range(benchmarks.SECOND,
                                                benchmarks.SECOND + benchmarks.CLIPS)]
    every = [clips.clip_generator("check", benchmarks.FIRST[name] + n).initial_seed()
             for name in benchmarks.PAPERS for n in numbers]
    held_out = [clips.clip_generator("held_out", n).initial_seed() for n in numbers]
    assert len({*every, *held_out}) == 8 * benchmarks.CLIPS
    for split in clips.SPLITS:
        first = clips.clip_generator(split, 0).initial_seed()
        assert not any(first <= seed < first + OTHERS for seed in every)
    assert options.SETS == benchmarks.BENCHMARKS


def plain(seed=0):
    """A clip without a voice: a tone, a random state."""
    g = dice(seed)
    samples = 0.2 * torch.sin(torch.arange(FRAMES * 1000) * 0.05)
    state = torch.rand(FRAMES, S, generator=g)
    return Clip(samples, samples, [("a", 0.1, 0.2), ("", 0.2, 0.5)], state,
                [(0, "a happy person")], sample_identities(1, g), None)


def test_a_fingerprint_notices_every_change_but_the_last_bits():
    clip = plain()
    same = replace(clip, state=clip.state + 1e-7, samples=clip.samples * 0.9)
    other = {"prompts": [(0, "a sad person")], "phones": [("a", 0.1, 0.21), ("", 0.21, 0.5)],
             "identity": sample_identities(1, dice(9)),
             "state": clip.state + 0.01, "degradation": Degradation((("blur", 0.5),), 3)}
    assert benchmarks.fingerprint(same) == benchmarks.fingerprint(clip)
    assert len({benchmarks.fingerprint(replace(clip, **{k: v})) for k, v in other.items()}
               | {benchmarks.fingerprint(clip)}) == len(other) + 1


def test_a_changed_world_is_said_in_a_sentence_and_the_list_is_whole():
    kept = benchmarks.frozen_lists()
    assert kept["version"] == benchmarks.VERSION and kept["frames"] == FRAMES
    assert tuple(kept["sets"]) == benchmarks.BENCHMARKS
    prints = [p for each in kept["sets"].values() for p in each]
    assert len(prints) == len(set(prints)) == 4 * benchmarks.CLIPS
    wild = kept["sets"]["wild"]
    assert benchmarks.check_version("wild", wild[:7]) == (str(benchmarks.VERSION), None)
    name, sentence = benchmarks.check_version("wild", [*wild[:3], "00000000", *wild[4:]])
    assert name == f"{benchmarks.VERSION}+"
    assert sentence.startswith("1 of 100 clips of 'wild', such as 3, are not those of version")


def test_wild_is_noisy_uneven_and_half_of_it_spoiled(monkeypatch):
    monkeypatch.setattr(benchmarks, "ECHO", 0.0)
    many = [benchmarks.in_the_wild(plain(seed), dice(seed)) for seed in range(40)]
    ratios = [20 * torch.log10(clip.samples.norm() / (clip.heard - clip.samples).norm())
              for clip in many]
    low, high = benchmarks.SNR
    assert low - 0.1 < min(ratios) < low + 3 and high - 3 < max(ratios) < high + 0.1
    for clip in many:
        assert clip.state[:, COL["key_strength"]].min() >= 0.7
        assert clip.state[:, COL["key_x"]].abs().min() >= 0.5
        assert len(clip.state[:, COL["key_x"]].unique()) == 1
    assert 10 <= sum(clip.degradation is not None for clip in many) <= 30


def test_a_cached_clip_is_the_scripted_one(tmp_path, monkeypatch):
    """Two roads: scripted and filmed, and read from the cache and filmed; so are its prompts."""
    def script(number, frames=FRAMES):
        two = [(0, "a happy person"), (30, "a sad man nods")]
        return replace(plain(number), degradation=Degradation((("noise", 0.7), ("dark", 0.4)), 5)
                       if number else None, prompts=two[:1 + number])

    monkeypatch.setattr("tiny.scripted", script)
    bench = small_benchmark(tmp_path, 2)
    for number, (film, again) in enumerate(zip(bench.film(), bench.decode(bench.data.latents))):
        clip = script(number)
        truth = clips.film(clip)
        assert torch.equal(film, truth) and bench.clip(number).prompts == clip.prompts
        assert (bench.heard[number] - clip.heard).abs().max() <= 1 / benchmarks.FULL_SCALE
        assert bench.facts[number]["fingerprint"] == benchmarks.fingerprint(clip)
        with torch.inference_mode():
            coded = bench.codec.decode(bench.codec.encode(truth[None]).half().float())[0]
        assert torch.allclose(again, coded, atol=1e-5)
    assert bench.data.degraded.tolist() == [False, True]
    x0, cond = bench.data.window(0, 1)
    assert x0.shape[:2] == (2, 21)
    assert cond.text_mask[:, :, 16:].any(-1).any(-1).tolist() == [False, True]


@pytest.mark.speech
@pytest.mark.parametrize("name", benchmarks.BENCHMARKS)
def test_the_clips_are_those_of_the_list(name):
    """If this fails the world has changed: see the sentence of `check_version`."""
    kept = benchmarks.frozen_lists()["sets"][name]
    for number in (0, 57):
        clip = benchmarks.script_clip(name, number)
        assert benchmarks.fingerprint(clip) == kept[number], benchmarks.check_version(
            name, [*kept[:number], "changed"])[1]
        assert all(is_held_out(prompt) for _, prompt in clip.prompts)
        assert len(clip.state) == FRAMES and torch.equal(clip.heard, clip.samples) == (
            name != "wild")
        low, high = torch.tensor(list(CONTINUOUS.values())).T
        inside = (clip.identity.continuous[0] >= low) & (clip.identity.continuous[0] <= high)
        shapes = torch.tensor([key not in SHIFTED for key in CONTINUOUS])
        assert inside[shapes].any() == (name != "celeb")
    assert benchmarks.fingerprint(benchmarks.script_clip(name, benchmarks.SECOND)) not in kept


def test_the_rule_holds_the_reference_and_opens_with_loudness():
    earned = []
    for number in range(4):
        clip = scripted(number)
        state = benchmarks.open_by_loudness(clip)
        assert torch.equal(state[0], clip.state[0])
        others = [i for name, i in COL.items() if name not in MOUTH]
        assert torch.equal(state[1:, others], clip.state[:1, others].expand(len(state) - 1, -1))
        mouth = state[:, COL["mouth_open"]]
        loud = metrics.loudness(clip.heard, len(state))
        assert metrics.correlation(mouth[1:], loud[1:]) > 0.999
        assert 0 <= mouth.min() and mouth.max() <= 1
        earned.append(metrics.mouth_correlation(mouth, clip.state[:, COL["mouth_open"]]))
    assert 0.2 < sum(earned) / len(earned) < 0.95               # truth earns all of it
