"""Known damage of growing strength, and that each judge notices it; truth is at its floor."""

from functools import cache

import pytest
import torch

from livetalk_ref.errors import UserError
from livetalk_ref.judge import distances, metrics
from livetalk_ref.judge.follow import loudness
from livetalk_ref.judge.lips import sync
from livetalk_ref.loading import CHECKPOINTS, load_module
from livetalk_ref.studies import judges as corrupt
from livetalk_ref.world import clips
from livetalk_ref.world.face import render
from livetalk_ref.world.identity import sample_identities
from livetalk_ref.world.state import COL
from livetalk_ref.world.still import reference_state

pytestmark = pytest.mark.usefixtures("recited")

FRAMES, COUNT, CROWD = 49, 3, 64
STRENGTHS = (0.0, 0.34, 0.67, 1.0)
NAMES = tuple(corrupt.corruptions(None))
needs_reader = pytest.mark.skipif(not (CHECKPOINTS / "reader.safetensors").exists(),
                                  reason="there are no weights of the face reader yet")
needs_sync = pytest.mark.skipif(not (CHECKPOINTS / "sync.safetensors").exists(),
                                reason="there are no weights of the SyncNet yet")


def shipped(name):
    """A shipped module; weights of an older form count as missing."""
    try:
        return load_module(name)
    except UserError as error:
        pytest.skip(str(error))


@cache
def filmed():
    """[(clip, its pictures, another face's)] of the first held-out clips in which much is said and
    something rests."""
    found, number = [], 0
    while len(found) < COUNT:
        clip = clips.script("held_out", number, FRAMES, degraded=0.0)
        if clips.speaking(clip.phones, FRAMES).float().mean() > 0.6:
            frames, g = clips.film(clip), torch.Generator().manual_seed(number)
            if metrics.still_places(frames).float().mean() > metrics.FEW:
                found.append((clip, frames, corrupt.another_face(clip, g)))
        number += 1
    return found


def damaged(name, which, strength, samples=None):
    """A filmed clip after a corruption: frames and samples."""
    clip, frames, other = filmed()[which]
    samples = clip.samples if samples is None else samples
    return corrupt.corruptions(other)[name](frames, samples, strength,
                                            torch.Generator().manual_seed(which))


def rising(values):
    return all(b > a for a, b in zip(values, values[1:]))


def along(measure, strengths=STRENGTHS):
    """What measure(which, strength) says on the average of all clips, for each strength."""
    return [sum(measure(which, s) for which in range(COUNT)) / COUNT for s in strengths]


@pytest.mark.parametrize("name", NAMES)
def test_no_strength_is_no_damage_and_the_reference_is_never_touched(name):
    clip, frames, _ = filmed()[0]
    before = frames.clone(), clip.samples.clone()
    same, sound = damaged(name, 0, 0.0)
    assert torch.allclose(same, frames, atol=1e-6) and torch.equal(sound, clip.samples)
    worst, sound = damaged(name, 0, 1.0)
    assert worst.shape == frames.shape and sound.shape == clip.samples.shape
    assert torch.equal(worst[0], frames[0]) and worst.abs().max() <= 1
    assert torch.equal(frames, before[0]) and torch.equal(clip.samples, before[1])
    assert torch.equal(frames, worst) == ("audio" in name)
    assert torch.equal(clip.samples, sound) == ("audio" not in name)


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_decides_everything(name):
    (frames, sound), (again, heard) = damaged(name, 1, 0.6), damaged(name, 1, 0.6)
    assert torch.equal(frames, again) and torch.equal(sound, heard)


def test_shuffled_audio_is_the_same_half_seconds_elsewhere():
    sound = torch.arange(81_000.0)
    for strength, moved in ((0.2, 2), (0.5, 5), (1.0, 10)):
        _, shuffled = corrupt.shuffled_audio(None, sound, strength,
                                             torch.Generator().manual_seed(0))
        assert torch.equal(shuffled.sort().values, sound)
        assert (shuffled != sound).sum() == 8000 * moved
        steps = shuffled.diff()
        assert (steps != 1).sum() <= 2 * moved + 1


# what must notice, and in which direction; these need no weights
NOTICED = [
    ("dropped frames", "freeze rate", 1), ("freeze", "freeze rate", 1),
    ("added flicker", "unrest", 1), ("added flicker", "flicker", 1),
    ("fade to black", "black frames", 1), ("fade to black", "exposure collapse", 1),
    ("blur", "sharpness", -1),
    ("colour shift", "colour drift", 1), ("colour shift", "colour jump", 1),
]


@cache
def truth(which):
    """What a filmed clip is compared with, its flicker with that of a perfect codec."""
    clip, frames, _ = filmed()[which]
    return metrics.Truth.of(clip.state, frames, frames)


@cache
def seen(name, which, strength):
    """What the pictures of a damaged clip say."""
    return metrics.picture_numbers(damaged(name, which, strength)[0], truth(which))


@pytest.mark.parametrize("name, number, sign", NOTICED)
def test_pictures_tell_of_their_damage(name, number, sign):
    assert rising(along(lambda which, strength: sign * seen(name, which, strength)[number]))


def test_truth_has_its_floor_in_the_pictures():
    for which, (_, frames, _) in enumerate(filmed()):
        row = metrics.picture_numbers(frames, truth(which))
        for number in ("freeze rate", "black frames"):
            assert row[number] == 0, number
        for number in ("colour drift", "colour jump", "unrest"):
            assert row[number] < 0.5, number
        assert row["flicker"] * metrics.CALMEST < 0.01 and row["exposure collapse"] < 0.5


@pytest.mark.parametrize("name", ("freeze", "blur", "fade to black"))
def test_damage_that_does_not_flicker_is_no_flicker(name):
    assert all(seen(name, which, 0.67)["unrest"] < 0.5 for which in range(COUNT))


def opening(which):
    return filmed()[which][0].state[:, COL["mouth_open"]]


@pytest.mark.parametrize("name, strengths", [("shuffled audio", (0, 0.34, 0.67, 1)),
                                             ("delayed audio", (0, 1 / 8, 2 / 8, 3 / 8))])
def test_the_mouth_goes_less_with_damaged_sound(name, strengths):
    """Without any judge: the true opening against the loudness of the sound."""
    def measure(which, strength):
        _, sound = damaged(name, which, strength)
        return -metrics.correlation(opening(which)[4:], loudness(sound, FRAMES)[4:])
    assert rising(along(measure, strengths))


def belongs(name, which, strength):
    """The mouth opening (T,) that belongs to the damaged sound of a clip."""
    track = opening(which).repeat_interleave(1000)
    return damaged(name, which, strength, track)[1][::1000]


@cache
def read(name, which, strength):
    """What the face reader says of a damaged clip."""
    return shipped("reader").read(damaged(name, which, strength)[0])


@needs_reader
@pytest.mark.parametrize("name, strengths", [("shuffled audio", (0, 0.34, 0.67, 1)),
                                             ("delayed audio", (0, 1 / 8, 2 / 8, 3 / 8))])
def test_mouth_correlation_tells_of_damaged_sound(name, strengths):
    values = along(lambda which, strength: metrics.mouth_correlation(
        read("freeze", which, 0.0).column("mouth_open"), belongs(name, which, strength)), strengths)
    assert values[0] > 0.85 and rising([-v for v in values])


@needs_reader
def test_identity_numbers_tell_of_a_swap():
    def measure(which, strength):
        row = metrics.face_numbers(read("identity swap", which, strength),
                                   filmed()[which][0].state)
        return torch.tensor([row["identity cosine"], row["identity drift"]])

    cosine, drift = torch.stack(along(measure)).T.tolist()
    assert rising([-v for v in cosine]) and rising(drift)
    assert cosine[0] > 0.7 and abs(drift[0]) < 0.5 * drift[-1]


@needs_reader
@pytest.mark.parametrize("name", ("blur", "fade to black"))
def test_distances_of_frames_tell_of_damage(name):
    """On a crowd of single pictures, each a clip of its own."""
    reader, values = shipped("reader"), []
    frames, damage = crowd(), corrupt.corruptions(None)[name]
    for strength in STRENGTHS:
        made, _ = damage(frames, None, strength, torch.Generator())
        features = [reader.read(x).features[1:] for x in (made, frames)]
        pairs = distances.kernel_pairs(*(x[:, None] for x in features))
        values.append([distances.frechet(*features), distances.kernel_distance(pairs)])
    frechet, kernel = torch.tensor(values).T.tolist()
    assert max(frechet[0], kernel[0]) < 1e-4 and rising(frechet) and rising(kernel)


@cache
def crowd():
    """A picture each of many people, after a first one who does not count."""
    g = torch.Generator().manual_seed(0)
    return render(sample_identities(CROWD + 1, g),
                  torch.stack([reference_state(g) for _ in range(CROWD + 1)]))


@needs_reader
@pytest.mark.parametrize("name", ("blur", "freeze", "fade to black", "added flicker"))
def test_distances_of_clips_tell_of_damage(name):
    """The kernel distance has no bias and is therefore uncertain with few clips."""
    features = [torch.stack([read(name, which, strength).features for which in range(COUNT)])
                for strength in STRENGTHS]
    rows = [distances.distances(x, features[0], draws=2) for x in features]
    frechet, kernel = ([row[f"clip {kind}"][0] for row in rows] for kind in ("frechet", "kernel"))
    assert frechet[0] == pytest.approx(0, abs=1e-4) and rising(frechet)
    assert kernel[0] == pytest.approx(0, abs=1e-6) and kernel[-1] > max(kernel[:-1])


@needs_reader
def test_truth_through_the_codec_has_its_floor():
    codec = shipped("codec")
    for clip, frames, _ in filmed()[:2]:
        with torch.inference_mode():
            z = codec.encode(frames[None])
            coded = codec.decode(z)[0]
            held = codec.decode(torch.cat([z[:, :6], z[:, 5:6].expand(-1, 7, -1, -1, -1)], 1))[0]
        true = metrics.Truth.of(clip.state, frames, coded)
        row = metrics.picture_numbers(coded, true)
        assert true.codec > metrics.CALMEST and row["flicker"] == pytest.approx(1, rel=1e-4)
        assert metrics.picture_numbers(frames, true)["flicker"] < 0.2
        assert row["freeze rate"] == 0 and row["black frames"] == 0
        # latents that stand still are held frames, whatever the decoder makes of them
        assert metrics.freeze_rate(metrics.movement(held), true.moves) > 0.4


@needs_sync
@pytest.mark.parametrize("number, sign", [("confidence", -1), ("distance", 1)])
def test_sync_tells_of_shuffled_sound(number, sign):
    net = shipped("sync")

    def measure(which, strength):
        return sign * getattr(sync(net, *damaged("shuffled audio", which, strength)), number)
    assert rising(along(measure, (0, 0.34, 0.67, 1)))


@needs_sync
def test_sync_finds_the_delay_of_the_sound():
    net = shipped("sync")
    found = [sync(net, *damaged("delayed audio", which, late / 8)).offset == -late
             for which in range(COUNT) for late in (0, 2, 5)]
    assert sum(found) >= 8


@needs_sync
def test_sync_tells_of_dropped_frames():
    net = shipped("sync")
    values = along(lambda which, strength: sync(
        net, *damaged("dropped frames", which, strength)).confidence, (0, 0.4, 0.8))
    assert rising([-v for v in values])
