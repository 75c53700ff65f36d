"""`evaluate` on three fabricated clips and random weights: the same seed, the same rows; the truth
is at its floor; what another program wrote is judged like what was made here."""

import json

import pytest
import torch
from tiny import CODEC, shake, write_checkpoints

from livetalk_ref import loading
from livetalk_ref.codec import Codec
from livetalk_ref.errors import UserError
from livetalk_ref.flow import Guidance
from livetalk_ref.generate import evaluations
from livetalk_ref.judge import benchmark, panel, sets
from livetalk_ref.judge.metrics import Truth
from livetalk_ref.judge.table import DEFINITIONS
from livetalk_ref.nets.reader import READ, Reader, Reading
from livetalk_ref.nets.syncnet import SyncConfig, SyncNet
from tiny import act
from livetalk_ref.world.clips import FRAMES, Clip, film
from livetalk_ref.world.identity import sample_identities
from livetalk_ref.world.latents import NEVER, LatentClips
from livetalk_ref.world.speech import load_spoken
from livetalk_ref.world.state import EXPRESSIONS

PROMPTS = ("a happy person nods", "a sad woman", "an angry man shakes the head")
SMALL = SyncConfig(seen=(8, 8, 8), heard=(8, 8, 8), hidden=16, embedding=8)


def scripted(number, frames=FRAMES):
    """A clip of shipped speech, which needs no speech engine."""
    g, spoken = torch.Generator().manual_seed(number), load_spoken(12 + number % 12)
    prompt = PROMPTS[number % len(PROMPTS)]
    samples = torch.nn.functional.pad(spoken.samples, (0, frames * 1000))[:frames * 1000]
    samples = sets.sixteen_bits(samples) / sets.FULL
    return Clip(samples, samples, spoken.phones, act(spoken, prompt, g, frames), [(0, prompt)],
                sample_identities(1, g), None)


@torch.inference_mode()
def made(numbers):
    """A `Benchmark` of such clips."""
    clips, codec = [scripted(n) for n in numbers], shake(Codec(CODEC), 1)
    data = LatentClips(
        torch.cat([codec.encode(film(clip)[None]) for clip in clips]).half(),
        torch.stack([clip.audio for clip in clips]), torch.stack([clip.state for clip in clips]),
        sample_identities(1, torch.Generator()).repeat(len(clips)),
        torch.tensor([[0, NEVER]] * len(clips)), torch.zeros(len(clips)).bool(),
        [[clip.prompts[0][1]] for clip in clips])
    data.identity.continuous[:] = torch.cat([clip.identity.continuous for clip in clips])
    data.identity.categorical[:] = torch.cat([clip.identity.categorical for clip in clips])
    samples = torch.stack([clip.samples for clip in clips])
    facts = [{"prompt": clip.prompts[0][1], "spoilt": None, "fingerprint": "0"} for clip in clips]
    return sets.Benchmark("studio", data, samples, samples, facts, codec)


def random_reader():
    """A reader of random weights, its features random directions."""
    reader, g = shake(Reader(), 2), torch.Generator().manual_seed(0)
    reader.basis.copy_(torch.linalg.qr(torch.randn(192, 32, generator=g))[0])
    return reader


@pytest.fixture(scope="module")
def ground():
    judges = panel.Judges(random_reader(), shake(SyncNet(SMALL), 3))
    bench = made(range(3))
    return benchmark.Ground(bench, judges, panel.measure(judges, bench, made(range(3, 6))), "1")


@pytest.fixture(autouse=True)
def checkpoints(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("checkpoints")
    write_checkpoints(folder)
    monkeypatch.setattr(loading, "CHECKPOINTS", folder)
    return folder


PLAIN = {"steps": 2, "guidance": Guidance(1, 1)}


def test_the_same_seed_gives_the_same_rows(ground):
    one, two, other = (benchmark.evaluate(benchmark.maker("teacher", seed=seed, **PLAIN), ground,
                                          seed)[0] for seed in (5, 5, 6))
    assert json.dumps(one["rows"]) == json.dumps(two["rows"]) != json.dumps(other["rows"])
    assert one["seeds"] == [5] and one["settings"]["steps"] == 2
    row, floor = one["rows"]
    assert row["clips"] == 3 and row["frechet"] > floor["frechet"] > 0
    assert set(row) - {"name", "clips"} <= {f"{key}{end}" for key in DEFINITIONS
                                            for end in ("", " 95%")}
    for key in set(row) & set(DEFINITIONS):
        low, high = row[f"{key} 95%"]
        assert low <= row[key] + 1e-4 and row[key] <= high + 1e-4, key
    text = benchmark.table(one)
    assert "teacher on studio 1: 3 clips, steps 2" in text and "floor" in text


@pytest.mark.parametrize("guidance", [Guidance(1, 1), Guidance(2, 3)])
def test_costs_are_those_of_the_sampler(ground, guidance):
    _, price = benchmark.judge(benchmark.maker("teacher", 2, guidance), ground)
    assert price["evaluations_per_clip"] == evaluations(1, 2, guidance)
    assert price["seconds"] > 0 and price["flops_per_frame"] > 1e6


def test_flops_grow_with_steps_by_one_evaluation_each(ground):
    few, more, most = (benchmark.judge(benchmark.maker("teacher", n, Guidance(1, 1)), ground)[1]
                       ["flops_per_frame"] for n in (1, 2, 4))
    assert most - more == pytest.approx(2 * (more - few), rel=1e-9)


def test_truth_and_codec_are_what_the_yardstick_says(ground):
    """Two roads: judged as a model's clips are, and when the set was measured."""
    for name, known in (("truth", ground.truth.rendered), ("codec", ground.truth.coded)):
        facts, judged = benchmark.evaluate(benchmark.maker(name), ground)
        assert judged.rows == known.rows and torch.equal(judged.features, known.features)
        assert facts["cost"]["evaluations_per_clip"] == 0
        assert facts["cost"]["flops_per_frame"] is None
    assert benchmark.line("codec", judged.rows, judged.features,
                          ground.truth.coded.features)["frechet"] == pytest.approx(0, abs=1e-3)


def test_the_rule_moves_nothing_but_the_mouth(ground):
    judged, _ = benchmark.judge(benchmark.maker("rule"), ground)
    for row, true in zip(judged.rows, ground.truth.rendered.rows):
        assert row["motion"] < true["motion"] and row["freeze rate"] > true["freeze rate"]


def test_a_yardstick_is_measured_once(ground, tmp_path, monkeypatch):
    ground.truth.save(tmp_path / "kept.safetensors")
    kept = panel.Yardstick.load(tmp_path / "kept.safetensors")
    assert kept.rendered.rows == ground.truth.rendered.rows
    assert torch.equal(kept.second, ground.truth.second)
    for a, b in zip(kept.truths, ground.truth.truths):
        assert isinstance(a, Truth)
        for one, other in zip(vars(a).values(), vars(b).values()):
            assert torch.equal(one, other) if torch.is_tensor(one) else one == other
    calls = []
    monkeypatch.setattr(panel, "measure", lambda *_: calls.append(1) or ground.truth)
    for _ in range(2):
        panel.yardstick(ground.judges, ground.bench, None, tmp_path)
    assert len(calls) == 1


def test_other_judges_measure_anew(ground):
    other = panel.Judges(shake(Reader(), 9), ground.judges.syncnet)
    without = panel.Judges(ground.judges.reader, None)
    assert len({judges.key() for judges in (ground.judges, other, without)}) == 3


def test_without_a_syncnet_there_are_no_numbers_of_it(ground, monkeypatch):
    frames = torch.zeros(FRAMES, 3, 96, 96)
    with_it, _ = ground.judges.clip(frames, ground.truth.truths[0], ground.bench, 0)
    judges = panel.Judges(ground.judges.reader, None)
    without, _ = judges.clip(frames, ground.truth.truths[0], ground.bench, 0)
    assert with_it.keys() - without.keys() == {"Sync-C", "Sync-D", "Sync offset"}
    assert with_it.keys() <= DEFINITIONS.keys()


def test_numbers_that_apply_to_no_clip_are_left_out():
    found = benchmark.columns([{"a": 1.0, "b": None, "c": None}, {"a": 2.0, "b": 3.0, "c": None}])
    assert found == {"a": [1.0, 2.0], "b": [None, 3.0]}


def reading(weights):
    """A reading whose expressions are given per frame as (name, weight)."""
    state = torch.zeros(len(weights), len(READ))
    for row, (name, weight) in zip(state, weights):
        if name != "neutral":
            row[READ.index(name)] = weight
    return Reading(state, torch.ones(len(weights), 1), torch.zeros(len(weights), 1))


def test_expressions_are_named_and_faint_ones_are_neutral():
    shown = reading([("happy", 0.6), ("sad", 0.1), ("surprised", 0.9)]).expression()
    assert [EXPRESSIONS[i] for i in shown] == ["happy", "neutral", "surprised"]


def test_expression_counts_once_it_had_time_to_come():
    right = panel.expression_right
    sad_late = [("happy", 0.8)] * 16 + [("sad", 0.8)] * 65
    assert right(reading(sad_late), ["a sad person"], [0, NEVER]) == 1
    assert right(reading(sad_late), ["a happy person"], [0, NEVER]) == 0
    both = [("happy", 0.8)] * 50 + [("sad", 0.8)] * 31
    prompts = ["a happy person", "a sad person"]
    assert right(reading(both), prompts, [0, 40]) == 1
    assert right(reading(both), prompts[::-1], [0, 40]) == 0


def test_bad_input_is_refused_before_any_work():
    with pytest.raises(UserError, match="The maker 'truth' takes no steps"):
        benchmark.maker("truth", steps=4)
    with pytest.raises(UserError, match="There is no model 'nobody'"):
        benchmark.maker("nobody")
    with pytest.raises(UserError, match="A folder of videos takes no steps and no guidance"):
        benchmark.video_maker("somewhere", "studio", 2, guidance=Guidance(2, 2))
