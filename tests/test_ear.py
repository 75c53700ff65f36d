"""The audio encoder: the same bits from file and stream, and it hears what the mouth does."""

import pytest
import torch

from livetalk_ref.errors import UserError
from livetalk_ref.judge.metrics import correlation
from livetalk_ref.runs import save
from livetalk_ref.world import ear
from livetalk_ref.world.audio import MelRows
from livetalk_ref.world.ear import AUDIO_DIM, PHONES, AudioFeatures
from livetalk_ref.world.speech import list_spoken, load_spoken
from livetalk_ref.world.visemes import visemes

HELD_OUT = [i for i, clip in enumerate(list_spoken()) if clip["split"] == "held_out"]


@pytest.mark.parametrize("size", [1, 700, 1000, 4100])
def test_streaming_equals_whole_bit_for_bit(size):
    samples = load_spoken(0).samples[:12_345]
    stream, whole = AudioFeatures(), AudioFeatures().rows(samples)
    rows = [stream.push(chunk) for chunk in samples.split(size)]
    assert torch.equal(torch.cat([*rows, stream.finish()]), whole)
    assert whole.shape == (13, AUDIO_DIM)


def test_a_row_is_the_ear_on_its_mel_frames_and_a_constant():
    samples = load_spoken(3).samples[:30_000]
    rows = AudioFeatures().rows(samples)
    assert rows[:, -1].eq(1).all()
    torch.testing.assert_close(rows[:, :-1], ear.shipped()(MelRows().rows(samples)))
    assert rows[:, :-1].mean(1).abs().max() < 1e-4          # a layer norm is its last layer
    assert (rows[:, :-1].std(1) - 1).abs().max() < 0.02


def test_silence_is_not_no_audio():
    rows = AudioFeatures().rows(torch.zeros(5000))
    assert (rows == rows[0]).all() and rows[0].abs().mean() > 0.5


def test_phones_at_the_times_of_frames():
    phones = [("", 0.0, 0.1), ("aɪ", 0.1, 0.3), ("p", 0.3, 0.31), ("s", 0.31, 0.5)]
    now = ear.spoken_phones(phones, 10)
    for frame, found in enumerate(now.tolist()):
        t = frame / 16
        want = "" if t < 0.1 or t >= 0.5 else "a" if t < 0.2 else "ɪ" if t < 0.3 else \
            "p" if t < 0.31 else "s"
        assert PHONES[found] == want, t


def heard(which):
    """What the ear makes of a shipped clip: mouth (T, 3), phones (T,), and their truth."""
    spoken = load_spoken(which)
    rows = AudioFeatures().rows(spoken.samples)[:, :-1]
    truth = visemes(spoken.phones, len(rows)), ear.spoken_phones(spoken.phones, len(rows))
    return ear.shipped().mouth(rows), ear.shipped().phone(rows).argmax(1), *truth


def test_it_hears_the_mouth_in_voices_and_sentences_it_never_heard():
    mouth, phone, true_mouth, true_phone = (torch.cat(part) for part in
                                            zip(*map(heard, HELD_OUT)))
    assert correlation(mouth[:, 0], true_mouth[:, 0]) > 0.88
    assert correlation(mouth[:, 1], true_mouth[:, 1]) > 0.8
    assert (phone == true_phone).float().mean() > 0.65


def test_a_wrong_file_is_one_sentence(tmp_path, monkeypatch):
    save(tmp_path / "ear.safetensors", {"weight": torch.zeros(2)}, config={"row": 3})
    monkeypatch.setattr(ear, "WEIGHTS", tmp_path / "ear.safetensors")
    with pytest.raises(UserError, match="does not hold the weights of an ear"):
        ear.shipped.__wrapped__()
