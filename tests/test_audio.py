"""Samples to rows: streaming against whole, ours against torchaudio's mel."""

import pytest
import torch
from torchaudio.transforms import MelSpectrogram

from livetalk_ref.world import audio
from livetalk_ref.world.audio import ROW, MelRows
from livetalk_ref.world.speech import load_spoken


def random_chunks(samples, longest, generator):
    while len(samples):
        count = int(torch.randint(0, longest, (1,), generator=generator))
        yield samples[:count]
        samples = samples[count:]


@pytest.mark.parametrize("count", [0, 1, 999, 1000, 1001, 2500, 30_000])
@pytest.mark.parametrize("longest", [300, 5000])
def test_streaming_equals_whole_bit_for_bit(count, longest):
    generator = torch.Generator().manual_seed(count + longest)
    samples = 0.2 * torch.randn(count, generator=generator)
    stream = MelRows()
    rows = [stream.push(chunk) for chunk in random_chunks(samples, longest, generator)]
    rows = torch.cat([*rows, stream.finish()])
    whole = MelRows().rows(samples)
    assert rows.shape == (-(-count // 1000), ROW)
    assert torch.equal(rows, whole)


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
    torch.testing.assert_close(MelRows().rows(samples), expected,
                               atol=2e-4, rtol=1e-3)


def test_a_row_sees_its_look_ahead_and_not_one_sample_more():
    samples = 0.1 * torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    rows, end = MelRows().rows(samples), (10 + audio.AHEAD) * 1000
    later, inside = samples.clone(), samples.clone()
    later[end:] = 0
    inside[end - 200:end] += 0.5
    assert torch.equal(MelRows().rows(later)[:11], rows[:11])
    assert not torch.equal(MelRows().rows(inside)[10], rows[10])


def test_silence_is_not_no_audio():
    rows = MelRows().rows(torch.zeros(5000))
    assert (rows == rows[0]).all() and rows[0].abs().mean() > 0.5


def test_loudness_is_normalised_from_the_past_and_silence_stays_silence():
    speech = torch.nn.functional.pad(load_spoken(5).samples, (0, 16_000))
    normal, quiet = MelRows().rows(0.5 * speech), MelRows().rows(0.05 * speech)
    assert (normal - quiet)[4:-20].abs().mean() < 0.1       # a factor of 10 is 1.5 without it
    assert torch.equal(quiet[-5:], MelRows().rows(torch.zeros(5000)))


def test_rows_are_about_normal_over_speech():
    rows = torch.cat([MelRows().rows(load_spoken(i).samples) for i in range(5, 15)])
    assert rows.mean().abs() < 0.3 and 0.7 < rows.std() < 1.3


def test_rows_for_a_given_number_of_frames():
    samples = load_spoken(0).samples
    whole = MelRows().rows(samples)
    assert torch.equal(MelRows().rows(samples, 12), whole[:12])
    longer = MelRows().rows(samples, len(whole) + 4)
    assert torch.equal(longer[:len(whole)], whole) and len(longer) == len(whole) + 4


def test_augmentation_half_the_time_and_never_late():
    samples, generator = load_spoken(0).samples[:1 << 15], torch.Generator().manual_seed(3)
    heard = [audio.augment(samples, generator) for _ in range(40)]
    changed = [x for x in heard if not torch.equal(x, samples)]
    assert 12 <= len(changed) <= 28
    for x in changed:
        assert x.shape == samples.shape and x.abs().max() <= 1
        lag = torch.fft.irfft(torch.fft.rfft(x) * torch.fft.rfft(samples).conj()).argmax()
        assert lag == 0
    again = torch.Generator().manual_seed(3)
    assert all(torch.equal(audio.augment(samples, again), x) for x in heard)
    noisy_silence = [audio.augment(torch.zeros(4000), generator) for _ in range(10)]
    assert any(x.abs().max() > 0 for x in noisy_silence)
