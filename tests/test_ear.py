"""Sound to rows: alike from file and stream, against torchaudio; and the ear hears the mouth."""

import pytest
import torch
from torchaudio.transforms import MelSpectrogram

from livetalk_ref.errors import UserError
from livetalk_ref.judge.metrics import correlation
from livetalk_ref.runs import save
from livetalk_ref.world import audio, ear
from livetalk_ref.world.audio import MelRows
from livetalk_ref.world.ear import AUDIO_DIM, PHONES, AudioFeatures
from livetalk_ref.world.speech import list_spoken, load_spoken
from livetalk_ref.world.visemes import visemes

HELD_OUT = [i for i, clip in enumerate(list_spoken()) if clip["split"] == "held_out"]


@pytest.mark.parametrize("count", [0, 1, 999, 1000, 1001, 12_345])
@pytest.mark.parametrize("longest", [40, 5000])
def test_streaming_equals_whole_bit_for_bit(count, longest):
    g, whole = torch.Generator().manual_seed(count), load_spoken(0).samples[:count]
    stream, samples, rows = AudioFeatures(), whole, []
    while len(samples):
        size = int(torch.randint(longest, (1,), generator=g))
        rows, samples = [*rows, stream.push(samples[:size])], samples[size:]
    rows, want = torch.cat([*rows, stream.finish()]), AudioFeatures().rows(whole)
    assert torch.equal(rows, want) and rows.shape == (-(-count // 1000), AUDIO_DIM)
    for frames in (7, 20):                      # cut, and with silence behind
        few = AudioFeatures().rows(whole, frames)
        assert len(few) == frames and torch.equal(few[:len(want)], want[:frames])


def test_rows_are_stacked_log_mel_of_torchaudio(monkeypatch):
    monkeypatch.setattr(MelRows, "gain", lambda self, block: 1.0)
    samples = load_spoken(0).samples[:20_000]
    mel = MelSpectrogram(16_000, n_fft=audio.WINDOW, hop_length=audio.HOP, n_mels=audio.MELS,
                         f_min=60.0, center=False)
    before = audio.BEHIND * 1000 + audio.WINDOW - audio.HOP
    padded = torch.nn.functional.pad(samples, (before, audio.AHEAD * 1000))
    frames = ((mel(padded).T + audio.FLOOR).log() - audio.MEAN) / audio.SCALE      # (4 (T + 3), M)
    per_row = 4 * (audio.BEHIND + audio.AHEAD)
    expected = torch.stack([frames[4 * i:4 * i + per_row].flatten() for i in range(20)])
    torch.testing.assert_close(MelRows().rows(samples), expected, atol=2e-4, rtol=1e-3)


def test_loudness_is_normalised_from_the_past_and_silence_stays_silence():
    """And is not the zeros that stand for no audio."""
    speech = torch.nn.functional.pad(load_spoken(5).samples, (0, 16_000))
    normal, quiet = MelRows().rows(0.5 * speech), MelRows().rows(0.05 * speech)
    assert (normal - quiet)[4:-20].abs().mean() < 0.1       # a factor of 10 is 1.5 without it
    silence = MelRows().rows(torch.zeros(5000))
    assert torch.equal(quiet[-5:], silence) and silence[0].abs().mean() > 0.5


def test_augmentation_half_the_time_and_never_late():
    samples, generator = load_spoken(0).samples[:1 << 15], torch.Generator().manual_seed(3)
    heard = [audio.augment(samples, generator) for _ in range(40)]
    changed = [x for x in heard if not torch.equal(x, samples)]
    assert 12 <= len(changed) <= 28
    for x in changed:
        assert x.shape == samples.shape and x.abs().max() <= 1
        lag = torch.fft.irfft(torch.fft.rfft(x) * torch.fft.rfft(samples).conj()).argmax()
        assert lag == 0
    noisy_silence = [audio.augment(torch.zeros(4000), generator) for _ in range(10)]
    assert any(x.abs().max() > 0 for x in noisy_silence)


def test_phones_at_the_times_of_frames():
    phones = [("", 0.0, 0.1), ("aɪ", 0.1, 0.3), ("p", 0.3, 0.31), ("s", 0.31, 0.5)]
    now = [PHONES[found] for found in ear.spoken_phones(phones, 10).tolist()]
    assert now == ["", "", "a", "a", "ɪ", "s", "s", "s", "", ""]       # p falls between frames


def test_it_hears_the_mouth_in_voices_and_sentences_it_never_heard():
    def heard(which):
        """What the ear makes of a clip: mouth (T, 3), phones (T,), and their truth."""
        phones, rows = load_spoken(which).phones, AudioFeatures().rows(load_spoken(which).samples)
        net, count = ear.shipped(), len(rows)
        return (net.mouth(rows[:, :-1]), net.phone(rows[:, :-1]).argmax(1),
                visemes(phones, count), ear.spoken_phones(phones, count))

    mouth, phone, true_mouth, true_phone = map(torch.cat, zip(*map(heard, HELD_OUT)))
    assert correlation(mouth[:, 0], true_mouth[:, 0]) > 0.88
    assert correlation(mouth[:, 1], true_mouth[:, 1]) > 0.8
    assert (phone == true_phone).float().mean() > 0.65


def test_a_wrong_file_is_one_sentence(tmp_path, monkeypatch):
    save(tmp_path / "ear.safetensors", {"weight": torch.zeros(2)}, config={"row": 3})
    monkeypatch.setattr(ear, "WEIGHTS", tmp_path / "ear.safetensors")
    with pytest.raises(UserError, match="does not hold the weights of an ear"):
        ear.shipped.__wrapped__()
