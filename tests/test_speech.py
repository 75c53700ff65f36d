"""Speech with phone times: the times against the sound itself, the shipped clips against both."""

import shutil
import sys

import pytest
import torch

from livetalk_ref.errors import UserError
from livetalk_ref.world import engines, speech
from livetalk_ref.world.speech import CLIPS, VOICES, list_spoken, load_spoken, say, sentences
from livetalk_ref.world.visemes import visemes

SHIPPED = list_spoken()


def loudness(spoken, start, end):
    part = spoken.samples[int(16_000 * start):int(16_000 * end)]
    return part.square().mean().sqrt().item()


def crossings(spoken, start, end):
    """Share of neighbouring samples that change sign: high for hiss, low for vowels."""
    part = spoken.samples[int(16_000 * start):int(16_000 * end)]
    return (part[1:] * part[:-1] < 0).float().mean().item()


@pytest.mark.parametrize("number", range(len(SHIPPED)))
def test_phone_times_fit_the_sound(number):
    """Independent of the engine: where an s is said to be it hisses, where a vowel is it hums,
    pauses are quiet, and there is no gap."""
    spoken = load_spoken(number)
    hiss = [(a, b) for symbol, a, b in spoken.phones if symbol in ("s", "ʃ") and b - a > 0.04]
    vowels = [(a, b) for symbol, a, b in spoken.phones
              if symbol[:1] in tuple("aɑæɔʌoɛeɜiɪuʊ") and b - a > 0.04]
    assert sorted(loudness(spoken, a, b) for a, b in vowels)[len(vowels) // 2] > 0.05
    if hiss:
        there = sum(crossings(spoken, a, b) for a, b in hiss) / len(hiss)
        vowel = sum(crossings(spoken, a, b) for a, b in vowels) / len(vowels)
        assert there > 0.3 and there > 2 * vowel
    for (_, start, end), (_, following, _) in zip(spoken.phones, spoken.phones[1:]):
        assert start < end == following
    assert abs(spoken.phones[-1][2] - spoken.seconds) < 0.01
    assert all(loudness(spoken, start + 0.06, end - 0.03) < 0.02
               for symbol, start, end in spoken.phones if not symbol and end - start > 0.15)


def test_sentences_and_shipped_clips_are_split():
    train, held_out = sentences("train"), sentences("held_out")
    assert not set(train) & set(held_out) and 0.15 < len(held_out) / len(train) < 0.3
    for clip in SHIPPED:
        assert VOICES[clip["voice"]][2] == clip["split"]


def test_a_shipped_clip_has_a_number_and_a_name():
    by_name = load_spoken(SHIPPED[0]["file"].removesuffix(".flac"))
    assert torch.equal(by_name.samples, load_spoken(0).samples)
    with pytest.raises(UserError, match="No spoken clip"):
        load_spoken("nobody")


def test_shipped_clips_stay_where_they_cannot_be_made_anew(monkeypatch, tmp_path):
    """A missing engine says how to install it; an old clip goes when all new ones are there."""
    folder = tmp_path / "speech"
    shutil.copytree(CLIPS, folder)
    (folder / "99-nobody.flac").write_bytes(b"old")
    before = sorted(path.name for path in folder.iterdir())
    with monkeypatch.context() as patch:
        for module in ("espeakng_loader", "piper.config"):
            patch.setitem(sys.modules, module, None)
        engines.load_voice.cache_clear()
        for speak in (lambda: speech.write_clips(folder), lambda: say("Hello there.", "natural")):
            with pytest.raises(UserError, match="pip install"):
                speak()
    assert sorted(path.name for path in folder.iterdir()) == before
    assert [path.name for path in tmp_path.iterdir()] == ["speech"]
    monkeypatch.setattr(speech, "say", lambda text, voice, rate: load_spoken(0))
    speech.write_clips(folder)
    names = [clip["file"] for clip in SHIPPED]
    assert sorted(path.name for path in folder.iterdir()) == [*names, "index.json"]


@pytest.mark.parametrize("arguments, reason", [
    (("Hello", "nobody"), "No voice"), ((" ?!", "us"), "nothing to speak"),
    (("Hello", "us", 9.0), "between"), (("Hello", "us", 1.0, 0), "between")])
def test_bad_requests(arguments, reason):
    with pytest.raises(UserError, match=reason):
        say(*arguments)


@pytest.mark.speech
def test_espeak_gives_the_shipped_clips():
    made, shipped = say(SHIPPED[0]["text"], "us", 0.9), load_spoken(0)
    assert [symbol for symbol, _, _ in made.phones] == [symbol for symbol, _, _ in shipped.phones]
    assert all(abs(a - b) < 0.01 for (_, a, _), (_, b, _) in zip(made.phones, shipped.phones))


def fundamental(spoken):
    """Hz of the strongest period between 60 and 400 Hz, over the whole sentence."""
    spectrum = torch.fft.rfft(spoken.samples, 1 << 17).abs() ** 2
    correlation = torch.fft.irfft(spectrum)
    return 16_000 / (40 + correlation[40:267].argmax().item())


@pytest.mark.speech
@pytest.mark.parametrize("voice, text", [("us", "We all were away, a year or more."),
                                         ("natural", "We saw a boat.")])
def test_a_voice_repeats_itself_and_follows_rate_and_pitch(voice, text):
    normal, fast, high, again = (say(text, voice, rate, pitch) for rate, pitch in
                                 ((1, 1), (1.5, 1), (1, 1.4), (1, 1)))
    assert torch.equal(normal.samples, again.samples) and normal.phones == again.phones
    assert 1.15 < normal.seconds / fast.seconds < 1.8
    assert abs(normal.seconds / high.seconds - 1) < 0.15
    assert voice == "natural" or 1.25 < fundamental(high) / fundamental(normal) < 1.55
    assert [s for s, _, _ in normal.phones if s] == [s for s, _, _ in high.phones if s]


@pytest.mark.speech
def test_every_voice_speaks_phones_the_mouth_knows():
    lines = sentences("held_out")
    for i, (name, (engine, _, _)) in enumerate(VOICES.items()):
        if engine == "espeak":
            spoken = say(" ".join(lines[3 * i:3 * i + 3]), name)
            mouth = visemes(spoken.phones, int(16 * spoken.seconds))
            assert mouth[:, 0].std() > 0.15, name
