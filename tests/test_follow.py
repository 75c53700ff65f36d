"""judge/follow.py: on tracks whose answer is known, and on clips whose phone times are known."""

import difflib
import json
import statistics
from types import SimpleNamespace

import pytest
import torch

from livetalk_ref.errors import UserError
from livetalk_ref.judge import follow as f
from livetalk_ref.loading import CHECKPOINTS, load_module
from livetalk_ref.media import movie
from tiny import act
from livetalk_ref.world.face import render_clip
from livetalk_ref.world.identity import sample_identities
from livetalk_ref.world.speech import load_spoken
from livetalk_ref.world.visemes import split_phone, visemes

needs_reader = pytest.mark.skipif(not (CHECKPOINTS / "reader.safetensors").exists(),
                                  reason="there are no weights of the face reader yet")


def tune(frames, seed=0):
    """A tone that swells and fades at random: its level (T,) per frame and its samples."""
    g = torch.Generator().manual_seed(seed)
    level = torch.rand(frames, generator=g)
    level = (level + level.roll(1) + level.roll(2)) / 3
    fine = torch.nn.functional.interpolate(level[None, None], scale_factor=1000,
                                           mode="linear")[0, 0].roll(-500)  # frame i at 1000 i
    return level, fine * torch.sin(torch.arange(1000 * frames) * 0.3)


def reading(mouth):
    """A reader that sees the given opening (T,), whatever the frames."""
    return SimpleNamespace(read=lambda frames: SimpleNamespace(column=lambda name: mouth))


def frames_like(mouth):
    return torch.zeros(len(mouth), 3, 96, 96)


def test_loudness_is_the_rms_around_the_moment_of_a_frame():
    _, samples = tune(30)
    track = f.loudness(samples, 30)
    weight = 0.5 - 0.5 * torch.cos(torch.arange(2000) * torch.pi / 1000)
    peak = (10 ** track).max() / (1 + f.QUIET)
    for i in (1, 7, 28):
        around = samples[1000 * i - 1000:1000 * i + 1000]
        rms = ((around.square() * weight).sum() / weight.sum()).sqrt()
        assert track[i].item() == pytest.approx((rms + f.QUIET * peak).log10().item(), abs=1e-4)
    assert len(f.loudness(samples, 40)) == 40               # silence after the end
    assert len(f.loudness(samples, 20)) == 20
    assert torch.equal(f.loudness(samples, 20)[:19].argsort(), track[:19].argsort())


@pytest.mark.parametrize("late", (-3, 0, 2))
def test_a_late_mouth_has_a_positive_lag(late):
    level, samples = tune(81)
    mouth = level.log10().roll(late)
    row = f.follow(frames_like(mouth), samples, phones=load_spoken(5).phones,
                   reader=reading(mouth))["loudness"]
    assert row["lag"] == late and row["best"] > 0.95
    assert row["r"] == row["lags"][0] and set(row["lags"]) == set(range(-4, 5))
    assert late == 0 or row["r"] < row["best"] - 0.1


def test_known_phones_give_the_visemes_exactly():
    spoken = load_spoken(5)
    mouth = visemes(spoken.phones, 79)[:, 0]
    row = f.follow(frames_like(mouth), spoken.samples, phones=spoken.phones,
                   reader=reading(mouth.roll(1)))
    assert row["visemes"]["lag"] == 1 and row["visemes"]["best"] == pytest.approx(1, abs=1e-4)
    assert row["phones"] == "given" and row["frames"] == 79


def test_without_words_or_aligner_loudness_remains(monkeypatch):
    monkeypatch.setattr(f, "find_spec", lambda name: None)
    level, samples = tune(40)
    row = f.follow(frames_like(level), samples, reader=reading(level))
    assert row["loudness"]["r"] > 0.8 and "visemes" not in row


def test_bad_input_is_one_sentence():
    level, samples = tune(40)
    with pytest.raises(UserError, match="has 9 frames"):
        f.follow(frames_like(level[:9]), samples, reader=reading(level))
    with pytest.raises(UserError, match="silent"):
        f.follow(frames_like(level), 0 * samples, reader=reading(level))


def test_the_table_of_phones_is_complete():
    assert len(f.ARPABET) == 39
    for symbol in f.ARPABET.values():
        units = split_phone(symbol, 0, 1)
        assert units and all(letter for letter, _, _ in units)


@pytest.mark.speech
def test_the_table_has_the_dictionarys_phones():
    import pocketsphinx
    with open(pocketsphinx.get_model_path("en-us/cmudict-en-us.dict")) as lines:
        assert {phone for line in lines for phone in line.split()[1:]} == set(f.ARPABET)


def boundaries(phones):
    """Letters and where they begin, in seconds."""
    units = [unit for phone in phones for unit in split_phone(*phone) if unit[0]]
    return [unit[0] for unit in units], [unit[1] for unit in units]


@pytest.mark.speech
@pytest.mark.parametrize("which", (0, 5, 10))
def test_alignment_finds_the_times_that_the_engine_tells(which):
    spoken = load_spoken(which)
    found = f.align(spoken.samples, spoken.text)
    (letters, true), (others, aligned) = boundaries(spoken.phones), boundaries(found)
    blocks = difflib.SequenceMatcher(None, letters, others, False).get_matching_blocks()
    errors = [abs(true[b.a + k] - aligned[b.b + k]) for b in blocks for k in range(b.size)]
    assert len(errors) > 0.8 * len(letters)
    assert statistics.median(errors) < 0.02             # 10 ms when written; a frame is 62
    frames = int(16 * spoken.seconds)
    mouth = visemes(spoken.phones, frames)[:, 0]
    assert f.compare(mouth, visemes(found, frames)[:, 0])["r"] > 0.85
    assert f.align(spoken.samples, spoken.text) == found


@pytest.mark.speech
def test_without_words_phones_are_recognised_roughly():
    spoken = load_spoken(17)
    mouth = visemes(spoken.phones, 80)[:, 0]
    assert f.compare(mouth, visemes(f.align(spoken.samples), 80)[:, 0])["r"] > 0.5


@pytest.mark.speech
def test_alignment_of_wrong_words():
    spoken = load_spoken(0)
    with pytest.raises(UserError, match="does not know 42, qwzx"):
        f.align(spoken.samples, "Are the qwzx 42")
    with pytest.raises(UserError, match="no word"):
        f.align(spoken.samples, " .. ")
    with pytest.raises(UserError, match="check the text"):
        f.align(spoken.samples[:16000], 40 * "extraordinary circumstances ")


@needs_reader
@pytest.mark.parametrize("late", (0, 2))
def test_rendered_truth_follows_its_sound(late):
    spoken, g = load_spoken(5), torch.Generator().manual_seed(1)
    state = act(spoken, "a person speaks", g)
    frames = render_clip(sample_identities(1, g), state).roll(late, dims=0)
    row = f.follow(frames, spoken.samples, phones=spoken.phones, reader=load_module("reader"))
    assert row["visemes"]["lag"] == late and row["visemes"]["best"] > 0.9


def test_command_line(tmp_path, monkeypatch, capsys):
    """Pictures and sound come back from a video file in step."""
    level, samples = tune(48)
    path = tmp_path / "v.mp4"
    with movie(path, 0.5 * samples, scale=1) as made:
        made.add(level.log10()[:, None, None, None].expand(-1, 3, 96, 96) / 2 + 0.5)
    sees = SimpleNamespace(read=lambda x: SimpleNamespace(column=lambda name: x.mean((1, 2, 3))))
    monkeypatch.setattr(f, "load_module", lambda name: sees)
    monkeypatch.setattr(f, "find_spec", lambda name: None)
    f.main(["--video", str(path)])
    row = json.loads(capsys.readouterr().out)
    assert row["frames"] == 48 and row["loudness"]["lag"] == 0 and row["loudness"]["r"] > 0.95

    with pytest.raises(UserError, match="There is no video file"):
        f.main(["--video", str(tmp_path / "none.mp4")])
