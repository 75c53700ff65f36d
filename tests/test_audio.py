"""Files to samples, samples to rows: streaming against whole, ours against torchaudio's mel."""

import av
import numpy as np
import pytest
import soundfile
import torch
from torchaudio.transforms import MelSpectrogram

from livetalk_ref.errors import UserError
from livetalk_ref.world import audio
from livetalk_ref.world.audio import ROW, MelRows, load_audio
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


def tone(rate, seconds=1.0, channels=1):
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(int(rate * seconds)) / rate)
    return np.repeat(wave[:, None], channels, 1).astype(np.float32)


def assert_is_the_tone(samples, seconds=1.0, slack=1200):
    assert samples.dtype == torch.float32 and abs(len(samples) - 16_000 * seconds) <= slack
    middle = samples[4000:12_000]
    assert torch.fft.rfft(middle).abs().argmax() == 220                 # 440 Hz in half a second
    assert abs(middle.square().mean().sqrt() - 0.5 / 2 ** 0.5) < 0.02


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("rate, channels", [(8000, 1), (16_000, 2), (44_100, 2), (48_000, 1)])
def test_reads_any_format_rate_and_channels(tmp_path, ending, rate, channels):
    path = tmp_path / f"tone.{ending}"
    soundfile.write(path, tone(rate, channels=channels), rate)
    assert_is_the_tone(load_audio(path))


def test_reads_odd_rates_and_what_only_pyav_opens(tmp_path):
    odd = tmp_path / "odd.wav"
    soundfile.write(odd, tone(22_051), 22_051)
    assert_is_the_tone(load_audio(odd))
    write_av(tmp_path / "tone.m4a", "aac", tone(44_100))
    assert_is_the_tone(load_audio(tmp_path / "tone.m4a"), slack=3000)


def write_av(path, codec, wave, rate=44_100):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(wave.T.copy(), format="fltp", layout="mono")
        frame.sample_rate = rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)


def write_silent_film(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=16)
        stream.width = stream.height = 32
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)


def test_every_bad_file_gives_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.mp3").write_text("this is not sound " * 100)
    (tmp_path / "broken.flac").write_bytes(b"fLaC" + bytes(range(256)) * 8)
    soundfile.write(tmp_path / "no_samples.wav", np.zeros(0, np.float32), 16_000)
    nan = np.full(5000, np.nan, np.float32)
    soundfile.write(tmp_path / "nan.wav", nan, 16_000, subtype="FLOAT")
    soundfile.write(tmp_path / "long.wav", tone(8000, 3.0), 8000)
    write_silent_film(tmp_path / "film.mp4")
    monkeypatch.setattr(audio, "MAX_SECONDS", 2)
    for name, reason in {"missing.wav": "no sound file", ".": "no sound file", "empty.wav": "empty",
                         "text.mp3": "not a sound file", "broken.flac": "broken",
                         "no_samples.wav": "holds no sound", "nan.wav": "no valid sample",
                         "long.wav": "longer than an hour", "film.mp4": "holds no sound"}.items():
        with pytest.raises(UserError, match=reason) as error:
            load_audio(tmp_path / name)
        assert str(error.value).count("\n") == 0, name


def test_a_few_bad_samples_become_silence(tmp_path):
    wave = tone(16_000)
    wave[100:110] = np.nan
    soundfile.write(tmp_path / "a.wav", wave, 16_000, subtype="FLOAT")
    samples = load_audio(tmp_path / "a.wav")
    assert (samples[100:110] == 0).all() and samples.isfinite().all()


def test_silent_is_told_from_quiet():
    assert audio.is_silent(torch.zeros(16_000)) and audio.is_silent(torch.zeros(0))
    assert not audio.is_silent(0.01 * load_spoken(0).samples.roll(3000) + 0.0)


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
