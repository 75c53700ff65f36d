"""The numbers against their definitions, worked out by another road; the table that names them."""

import math

import pytest
import torch
from tiny import dice, noise

from livetalk_ref.files import read_result
from livetalk_ref.judge import distances, metrics
from livetalk_ref.nets.reader import READ, Reading
from livetalk_ref.world.draw import render_clip
from livetalk_ref.world.identity import sample_identities
from livetalk_ref.world.latents import NEVER
from livetalk_ref.world.state import COL, EXPRESSIONS, S


@pytest.fixture(scope="module")
def clip():
    """Twenty frames of a face whose mouth moves and whose background rests."""
    state = torch.zeros(20, S)
    state[:, COL["mouth_open"]] = torch.sin(torch.arange(20.0)).abs()
    return render_clip(sample_identities(1, dice(3)), state, 64)


def grey(levels, size=8):
    """Frames of one grey each, levels in 0 .. 1: (T, 3, size, size)."""
    return (2 * torch.tensor(levels) - 1)[:, None, None, None].expand(-1, 3, size, size)


# --- the mouth and the face

def test_correlation_and_identity_equal_their_definitions():
    a = noise(50)
    b = a + noise(50, seed=1)
    want = torch.corrcoef(torch.stack([a, b]))[0, 1].item()
    assert metrics.correlation(a, b) == pytest.approx(want, abs=1e-6)
    angle = torch.arange(81) / 80 * 0.6                     # an embedding that turns
    identity = torch.stack([angle.cos(), angle.sin()], 1)
    reading = Reading(torch.zeros(81, len(READ)), identity, torch.zeros(81, 32))
    row = metrics.face_numbers(reading, torch.zeros(81, S))
    assert row["identity cosine"] == pytest.approx(math.sin(0.6) / 0.6, abs=0.005)
    assert row["open correlation"] is None


# --- the pictures

def test_a_passing_hand_is_neither_flicker_nor_drift(clip):
    """And where no place is still, nothing is said of either."""
    still = metrics.still_places(clip)
    passing = clip.clone()
    passing[9:11, :, :24] = 0
    assert metrics.restlessness(passing, still) < 0.01
    assert metrics.colour_drift(passing, still) < 0.5 and metrics.colour_jump(passing, still) < 0.5
    restless = clip + 0.1 * noise(*clip.shape)
    row = metrics.picture_numbers(clip, metrics.Truth.of(torch.zeros(20, S), restless, restless))
    assert [name for name, value in row.items() if value is None] == [
        "colour drift", "colour jump", "flicker"]


def test_restlessness_is_the_energy_of_what_changes_fastest_and_lost_detail_is_no_drift():
    everywhere = torch.ones(8, 8, dtype=torch.bool)
    blinking = grey([0.5, 0.5 + 10 / 255] * 10)
    assert metrics.restlessness(blinking, everywhere) == pytest.approx(100, rel=1e-3)
    ramp = grey([i / 20 for i in range(20)])
    assert metrics.restlessness(ramp, everywhere) == pytest.approx(0, abs=1e-3)
    jump = grey([0.5] * 10 + [0.5 + 10 / 255] * 10)         # two frames are 5 off, of 18
    assert metrics.restlessness(jump, everywhere) == pytest.approx(50 / 18, rel=1e-3)
    for number in (metrics.colour_jump, metrics.colour_drift):
        assert number(jump, everywhere) == pytest.approx(10 * 3 ** 0.5, rel=1e-3)
    pattern = (torch.arange(64).view(8, 8) % 2 * 0.4 - 0.2).expand(20, 3, 8, 8).clone()
    pattern[1:] *= 0.2
    assert metrics.colour_drift(pattern, everywhere) < 1e-3
    pattern[1:, 0] += 10 / 127.5
    assert metrics.colour_drift(pattern, everywhere) == pytest.approx(10, rel=1e-3)


def test_contrast_is_the_references():
    frames = torch.rand(12, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert metrics.contrast(frames[:1] * 0.25 + 0.3, frames[0]) == pytest.approx(0.25, rel=1e-4)
    row = metrics.picture_numbers(torch.cat([frames[:1], torch.zeros(20, 3, 8, 8)]),
                                  metrics.Truth(torch.zeros(21, 1), torch.ones(17), None, None))
    assert row["contrast"] == 0


def test_black_and_exposure_in_stops():
    frames = grey([0.8, 0.8, 0.4, 0.2, 0.02])
    row = metrics.picture_numbers(frames, metrics.Truth.of(torch.zeros(5, S), frames, frames))
    assert row["black frames"] == pytest.approx(0.2)
    stops = [math.log2((v + 1 / 255) / (0.8 + 1 / 255)) for v in (0.8, 0.8, 0.4, 0.2, 0.02)]
    assert row["exposure collapse"] == pytest.approx(-sum(stops) / 5, rel=1e-4)
    brighter, darker = (metrics.exposure(grey(levels))[1] for levels in ([0.2, 0.8], [0.8, 0.2]))
    assert brighter.item() == pytest.approx(darker.item(), rel=1e-4)


def test_freeze_counts_where_the_truth_moves_and_a_loop_of_four_frames_is_no_movement():
    truth = torch.tensor([1.0] * 6 + [0.1] * 4)             # it rests at the end
    assert metrics.freeze_rate(truth, truth) == 0
    held = torch.tensor([1.0] * 3 + [0.0] * 7)
    assert metrics.freeze_rate(held, truth) == pytest.approx(3 / 6)
    assert metrics.freeze_rate(held, torch.zeros(10)) is None
    frames = noise(20, 3, 8, 8)
    loop = frames[torch.arange(20) % 4]
    assert metrics.change(loop).min() > 100 and metrics.movement(loop).max() == 0
    assert metrics.movement(frames).min() > 100 and len(metrics.movement(frames)) == 16
    held = frames[torch.arange(20).clamp(max=9)]
    assert (metrics.movement(held) > 0).tolist() == [True] * 6 + [False] * 10


# --- expressions, and real speech

def reading(weights):
    """A reading whose expressions are given per frame as (name, weight)."""
    state = torch.zeros(len(weights), len(READ))
    for row, (name, weight) in zip(state, weights):
        if name != "neutral":
            row[READ.index(name)] = weight
    return Reading(state, torch.ones(len(weights), 1), torch.zeros(len(weights), 1))


def test_expression_counts_once_it_had_time_to_come():
    shown = reading([("happy", 0.6), ("sad", 0.1), ("surprised", 0.9)]).expression()
    assert [EXPRESSIONS[i] for i in shown] == ["happy", "neutral", "surprised"]
    right = metrics.expression_right
    sad_late = reading([("happy", 0.8)] * 16 + [("sad", 0.8)] * 65)
    assert right(sad_late, ["a sad person"], [0, NEVER]) == 1
    assert right(sad_late, ["a happy person"], [0, NEVER]) == 0
    both = reading([("happy", 0.8)] * 50 + [("sad", 0.8)] * 31)
    prompts = ["a happy person", "a sad person"]
    assert right(both, prompts, [0, 40]) == 1 and right(both, prompts[::-1], [0, 40]) == 0


def test_loudness_is_the_rms_around_the_moment_of_a_frame():
    samples = noise(30_000) * torch.linspace(0.1, 1, 30_000)
    track = metrics.loudness(samples, 30)
    weight = 0.5 - 0.5 * torch.cos(torch.arange(2000) * torch.pi / 1000)
    peak = (10 ** track).max() / (1 + metrics.QUIET)
    for i in (1, 7, 28):
        around = samples[1000 * i - 1000:1000 * i + 1000]
        rms = ((around.square() * weight).sum() / weight.sum()).sqrt()
        assert track[i].item() == pytest.approx((rms + metrics.QUIET * peak).log10().item(),
                                                abs=1e-4)
    assert len(metrics.loudness(samples, 40)) == 40         # silence after the end


# --- the table

def test_every_number_that_is_computed_is_defined_in_the_table(clip):
    reading = Reading(noise(20, len(READ)), torch.ones(20, 1), torch.zeros(20, 32))
    truth = metrics.Truth.of(noise(20, S), clip, clip)
    row = metrics.face_numbers(reading, truth.state) | metrics.picture_numbers(clip, truth)
    found = distances.distances(noise(3, 40, 32), noise(3, 40, 32, seed=1), draws=2)
    assert set(row) | set(found) <= set(metrics.DEFINITIONS)
    for name in ("teacher", "guidance", "gate"):            # what ships, too
        for shipped in read_result(name)["rows"]:
            judged = {key.removesuffix(" 95%") for key in shipped if key.endswith(" 95%")}
            assert judged and judged <= set(metrics.DEFINITIONS)
