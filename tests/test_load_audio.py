"""Sound files in: a zoo of containers and of damage against FFmpeg itself, loudness, bad files."""

import os
import struct
import subprocess
from functools import cache

import imageio_ffmpeg
import numpy as np
import pytest
import soundfile
import torch

from livetalk_ref import media
from livetalk_ref.errors import UserError
from livetalk_ref.media import is_silent, load_audio
from livetalk_ref.world.speech import load_spoken

CODECS = {"mp3": "libmp3lame", "m4a": "aac", "aac": "aac", "ogg": "libvorbis", "opus": "libopus",
          "flac": "flac", "wav": "pcm_s16le", "aiff": "pcm_s24be", "au": "pcm_s16be",
          "caf": "alac", "mka": "pcm_f32le", "webm": "libopus", "wma": "wmav2", "w64": "pcm_f64le",
          "mov": "aac", "ac3": "ac3", "mp2": "mp2", "avi": "pcm_u8"}
FIXED = {"opus": 48_000, "webm": 48_000, "mp2": 48_000, "ac3": 48_000}      # rates they need


def ffmpeg(*words):
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, words)]
    return subprocess.run(command, capture_output=True).stdout


def tone(rate, seconds=1.0, channels=1):
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(int(rate * seconds)) / rate)
    return np.repeat(wave[:, None], channels, 1).astype(np.float32)


@pytest.fixture(scope="module")
def encode(tmp_path_factory):
    """encode(ending, rate, channels) -> the bytes of such a file with 1.3 s of a tone."""
    folder = tmp_path_factory.mktemp("sounds")

    @cache
    def make(ending, rate=44_100, channels=1):
        rate, path = FIXED.get(ending, rate), folder / f"out.{ending}"
        soundfile.write(folder / "in.wav", tone(rate, 1.3, channels), rate)
        ffmpeg("-i", folder / "in.wav", "-c:a", CODECS[ending], path)
        return path.read_bytes()

    return make


def spoiled(data):
    """A tenth of it is noise."""
    begin, size = len(data) // 2, len(data) // 10
    noise = np.random.default_rng(0).integers(0, 256, size, np.uint8).tobytes()
    return data[:begin] + noise + data[begin + size:]


def with_sizes(data, size):
    """A wav whose header says `size` wherever it should say how long it is."""
    where = data.index(b"data") + 4
    field = struct.pack("<I", size)
    return data[:4] + field + data[8:where] + field + data[where + 4:]


def zoo():
    """(name, its ending, bytes from `encode`) of all kinds of files."""
    for ending in CODECS:
        yield f"{ending}", ending, lambda encode, e=ending: encode(e)
        yield f"{ending} in stereo", ending, lambda encode, e=ending: encode(e, 48_000, 2)
    for ending, rate, channels in (*((e, 8_000, 1) for e in ("wav", "flac", "mp3", "ogg", "mka")),
                                   *((e, 48_000, 6) for e in ("wav", "flac", "m4a", "ogg")),
                                   ("wav", 22_051, 1), ("flac", 16_000, 2)):
        yield f"{ending} of {rate} Hz, {channels} channels", ending, \
            lambda encode, words=(ending, rate, channels): encode(*words)
    for ending in ("mp3", "aac", "ogg", "opus", "flac", "wav", "mp2", "ac3"):
        for kind, change in (("twice, glued", lambda data: 2 * data), ("spoiled", spoiled),
                             ("cut off", lambda data: data[:len(data) * 6 // 10])):
            yield f"{ending} {kind}", ending, lambda encode, e=ending, c=change: c(encode(e))
    for ending in ("mp3", "aac", "ogg", "mp2"):
        yield f"{ending} that changes", ending, lambda encode, e=ending: \
            encode(e, 22_050) + encode(e, 44_100, 2)
    yield "an ogg and a broken one", "ogg", lambda encode: encode("ogg") + spoiled(encode("ogg"))
    for size in (0, 5_000, 2 ** 31 - 1, 2 ** 32 - 1):
        yield f"wav that says {size}", "wav", lambda encode, s=size: with_sizes(encode("wav"), s)


@pytest.mark.parametrize(("ending", "make"), [pytest.param(*one, id=name) for name, *one in zoo()])
def test_a_file_is_as_long_as_for_ffmpeg_and_sounds_as_it_was(tmp_path, encode, ending, make):
    path = tmp_path / f"a.{ending}"
    path.write_bytes(make(encode))
    expected = len(ffmpeg("-i", path, "-f", "s16le", "-ar", 16_000, "-ac", 1, "-")) // 2
    if not expected:
        with pytest.raises(UserError):
            load_audio(path)
        return
    samples = load_audio(path, warn=pytest.fail)
    whole = ending == "flac" and 16_000 * 2.6       # FFmpeg's newer parser loses fewer frames
    assert expected - 1000 <= len(samples) <= max(whole, expected) + 1000
    assert samples.isfinite().all() and samples.dtype == torch.float32
    part = samples[1600:9600]
    if len(part) == 8000:                               # 440 Hz in half a second
        assert torch.fft.rfft(part).abs().argmax() == 220
        assert abs(part.square().mean().sqrt() - 0.5 / 2 ** 0.5) < 0.07    # a lost bass channel


def heard(tmp_path, samples, rate=16_000, subtype="FLOAT"):
    """What is read of samples (n,) or (n, C) in a file, and what is said about them."""
    said = []
    soundfile.write(tmp_path / "a.wav", np.asarray(samples), rate, subtype=subtype)
    return load_audio(tmp_path / "a.wav", said.append), said


def test_sixteen_bits_stay_and_channels_that_cancel_are_heard_from_one_of_them(tmp_path):
    speech = (load_spoken(0).samples * 32_768).round() / 32_768
    samples, said = heard(tmp_path, speech, subtype="PCM_16")
    assert torch.equal(samples, speech) and not said
    for others in ((-1,), (-0.9,), (0, 0, 0, 0, 0)):
        channels = torch.stack([speech, *(share * speech for share in others)], 1)
        samples, said = heard(tmp_path, channels)
        assert torch.equal(samples, speech) and not said
    samples, _ = heard(tmp_path, torch.stack([speech, 0.5 * speech], 1))
    torch.testing.assert_close(samples, 0.75 * speech)


def test_loudness_is_mended_and_said(tmp_path):
    speech = load_spoken(0).samples
    samples, (said,) = heard(tmp_path, 25_000 * speech / speech.abs().max())
    assert samples.abs().max() == 1 and "up to 25,000 instead of 1" in said
    for subtype in ("FLOAT", "PCM_16"):
        samples, (said,) = heard(tmp_path, speech / 1000, subtype=subtype)
        assert samples.abs().max() > 0.4 and "very quiet" in said
        likeness = torch.corrcoef(torch.stack([samples, speech]))[0, 1]
        assert likeness > 0.99
    samples, said = heard(tmp_path, 1.4 * speech / speech.abs().max())   # as lossy codecs do
    assert samples.abs().max() > 1 and not said


def test_an_offset_is_no_sound_and_silent_is_told_from_quiet(tmp_path):
    speech = load_spoken(0).samples
    for rate in (16_000, 44_100):
        for level in (0.0, 0.3, 1e-3):
            samples, said = heard(tmp_path, np.full(2 * rate, level, np.float32), rate)
            assert is_silent(samples) and not said
    samples, _ = heard(tmp_path, speech + 0.4)
    torch.testing.assert_close(samples, speech - speech.mean(), atol=1e-5, rtol=0)
    assert is_silent(torch.zeros(0)) and not is_silent(0.01 * speech.roll(3000))


def test_any_name_is_a_file(tmp_path, encode):
    names = (b"10:30:12.m4a", b"http:a.m4a", b"UPPER.M4A", "caf\u00e9.m4a".encode(),
             b"caf\xe9.m4a", b"a %d?#.m4a", b"no_ending")
    for name in names:
        path = os.path.join(os.fsencode(tmp_path), name)
        try:
            with open(path, "wb") as file:
                file.write(encode("m4a"))
        except OSError:
            continue                            # a file system that does not take such names
        assert abs(len(load_audio(os.fsdecode(path))) - 1.3 * 16_000) < 2000


def test_every_bad_file_gives_one_sentence(tmp_path, monkeypatch):
    """But a few bad samples become silence."""
    raw, nan = (tone(16_000) * 32_767).astype("<i2").tobytes(), tone(16_000)
    for name, data in {"empty.wav": b"", "text.mp3": b"this is not sound " * 100, "speech": raw,
                       "broken.flac": b"fLaC" + bytes(range(256)) * 8, "speech.raw": raw,
                       "list.m3u8": b"#EXTM3U\n#EXTINF:1,\nlong.wav\n"}.items():
        (tmp_path / name).write_bytes(data)
    nan[100:110] = np.nan
    for name, wave, rate in (("no_samples", np.zeros(0, np.float32), 16_000), ("few", nan, 16_000),
                             ("nan", np.nan * nan, 16_000), ("long", tone(8000, 3.0), 8000)):
        soundfile.write(tmp_path / f"{name}.wav", wave, rate, subtype="FLOAT")
    ffmpeg("-f", "lavfi", "-i", "color=s=32x32:r=16:d=1", tmp_path / "film.mp4")
    samples = load_audio(tmp_path / "few.wav")
    assert (samples[100:110] == 0).all() and samples.isfinite().all()
    monkeypatch.setattr(media, "MAX_SECONDS", 2)
    for name, reason in {"missing.wav": "no sound file", ".": "no sound file", "empty.wav": "empty",
                         "text.mp3": "no sound", "broken.flac": "is broken",
                         "speech.raw": "no sound", "speech": "no sound", "list.m3u8": "no sound",
                         "no_samples.wav": "holds no sound", "nan.wav": "no valid sample",
                         "long.wav": "longer than an hour", "film.mp4": "holds no sound"}.items():
        with pytest.raises(UserError, match=reason) as error:
            load_audio(tmp_path / name)
        assert str(error.value).count("\n") == 0, name
