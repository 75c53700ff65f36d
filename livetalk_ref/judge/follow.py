"""Does the mouth follow real speech? For sounds whose true mouth nobody knows.

Two yardsticks for the opening that the face reader sees: the loudness of the sound, and the
visemes of its phones, which an acoustic model finds: well where the words are known (forced
alignment), roughly where they are not. T video frames; a positive lag means a late mouth.

    python -m livetalk_ref.judge.follow --video V.mp4 [--text "the words spoken"] [--keep NAME]
"""

import argparse
import json
import re
import shlex
import sys
from importlib.util import find_spec

import torch
import torch.nn.functional as F

from livetalk_ref.errors import UserError, run_program
from livetalk_ref.files import write_result
from livetalk_ref.judge.metrics import correlation
from livetalk_ref.loading import load_module
from livetalk_ref.media import is_silent, load_audio, read_video
from livetalk_ref.world.state import SAMPLE_RATE, SAMPLES_PER_FRAME
from livetalk_ref.world.visemes import visemes

LAGS = range(-4, 5)         # frames
SHORTEST = 24               # frames that a correlation needs at least
QUIET = 0.02                # of the loudest frame; what is below counts as silence
PAD = 4000                  # samples put before and after the sound
HOP = 0.01                  # seconds between the acoustic model's frames
PHONE_WEIGHT = 2.0          # of the phone model; chosen among 1, 2, 4 and 6.5 on shipped clips
SHIFT = 0.0128 - PAD / SAMPLE_RATE      # a frame stands for the middle of its 25.6 ms

# The 39 phones of the pronouncing dictionary, in letters that visemes.py knows. AH is the vowel
# of "cup" and of "the" alike.
ARPABET = {
    "AA": "ɑ", "AE": "æ", "AH": "ʌ", "AO": "ɔ", "AW": "aʊ", "AY": "aɪ", "B": "b", "CH": "tʃ",
    "D": "d", "DH": "ð", "EH": "ɛ", "ER": "ɝ", "EY": "eɪ", "F": "f", "G": "ɡ", "HH": "h",
    "IH": "ɪ", "IY": "i", "JH": "dʒ", "K": "k", "L": "l", "M": "m", "N": "n", "NG": "ŋ",
    "OW": "oʊ", "OY": "ɔɪ", "P": "p", "R": "ɹ", "S": "s", "SH": "ʃ", "T": "t", "TH": "θ",
    "UH": "ʊ", "UW": "u", "V": "v", "W": "w", "Y": "j", "Z": "z", "ZH": "ʒ",
}


def loudness(samples, frames):
    """(T,) log10 of the RMS around every video frame i, at the sample 1000 i.

    The window is two frames wide, so that single glottal pulses do not count.
    """
    behind, count = SAMPLES_PER_FRAME, (frames + 1) * SAMPLES_PER_FRAME
    padded = F.pad(samples[:count - behind], (behind, count))[:count]
    windows = padded.unfold(0, 2 * SAMPLES_PER_FRAME, SAMPLES_PER_FRAME)      # (T, 2000)
    weight = torch.hann_window(2 * SAMPLES_PER_FRAME)
    rms = (windows.square() @ (weight / weight.sum())).sqrt()               # (T,)
    return (rms + QUIET * rms.max() + 1e-9).log10()


def align(samples, text=None):
    """The phones of (N,) samples: [(IPA symbol, start s, end s)], "" being a pause.

    text: the words spoken, in English; None has the phones themselves recognised, which is
    rougher. UserError without pocketsphinx, for words that it does not know or does not hear.
    """
    try:
        from pocketsphinx import Decoder, get_model_path
    except ImportError as error:
        raise UserError("Finding phones needs pocketsphinx: install the extra 'speech' "
                        "(requirements-speech.txt).") from error
    # a best path through the word lattice would end in a word too short to have phones
    common = {"samprate": SAMPLE_RATE, "loglevel": "FATAL", "lm": None, "bestpath": False}
    sound = quiet_ends(samples)
    if text is None:
        phones = get_model_path("en-us/en-us-phone.lm.bin")
        decoder = Decoder(allphone=phones, lw=PHONE_WEIGHT, **common)
        listen(decoder, sound)
        found = [(part.word, part.start_frame, part.end_frame + 1) for part in decoder.seg()]
    else:
        decoder = Decoder(**common)
        decoder.set_align_text(known_words(decoder, text))
        listen(decoder, sound)
        if decoder.hyp() is None:
            raise UserError("These words are not what is said in the sound; check the text.")
        decoder.set_alignment()             # words are found: now their phones
        listen(decoder, sound)
        found = [(phone.name, phone.start, phone.start + phone.duration)
                 for word in decoder.get_alignment() for phone in word]
    return [(ARPABET.get(name, ""), max(0.0, start * HOP + SHIFT), max(0.0, end * HOP + SHIFT))
            for name, start, end in found]


def quiet_ends(samples):
    """The sound as 16-bit bytes, at one loudness, with faint noise and some of it at both ends:
    the acoustic model knows neither digital silence nor a voice that is there at once."""
    loud = 0.7 * F.pad(samples, (PAD, PAD)) / samples.abs().max().clamp(min=1e-9)
    noise = 1e-3 * torch.randn(len(loud), generator=torch.Generator().manual_seed(0))
    return ((loud + noise).clamp(-1, 1) * 32767).short().numpy().tobytes()


def known_words(decoder, text):
    """The text as the words of the pronouncing dictionary. UserError for others."""
    words = re.findall(r"[\w']+", text.lower().replace("\u2019", "'"))
    unknown = sorted({word for word in words if decoder.lookup_word(word) is None})
    if unknown or not words:
        raise UserError(f"The pronouncing dictionary does not know {', '.join(unknown)}; write "
                        f"numbers as words and try American spelling." if words else
                        "There is no word in the text.")
    return " ".join(words)


def listen(decoder, sound):
    """One pass of the decoder over the whole sound."""
    decoder.start_utt()
    decoder.process_raw(sound, full_utt=True)
    decoder.end_utt()


def lagged(mouth, track):
    """Correlation of two tracks (T,) with the mouth taken 4 frames early .. 4 late: {lag: r}.

    Every lag is judged on the same moments of the track, the first 4 frames, which are the
    reference's, not among them.
    """
    edge = max(LAGS)
    inside = track[edge:len(track) - edge]
    return {lag: round(correlation(mouth[edge + lag:edge + lag + len(inside)], inside), 4)
            for lag in LAGS}


def compare(mouth, track):
    """{"r": as it is, "best": the highest, "lag": where, "lags": all} of two tracks (T,)."""
    lags = lagged(mouth, track)
    lag = max(lags, key=lags.get)
    return {"r": lags[0], "best": lags[lag], "lag": lag, "lags": lags}


def follow(frames, samples, text=None, phones=None, reader=None):
    """How well the mouth in frames (T, 3, 96, 96) follows (N,) samples, as a dict.

    text: the words spoken, if known; phones: [(IPA symbol, start s, end s)], if even they are;
    else they are found by `align`, or left out where nothing is known and pocketsphinx is not
    installed. reader: a face reader, else the shipped one. UserError for a video that is too
    short, a silent sound, and as `align`.
    """
    if len(frames) < SHORTEST:
        raise UserError(f"The video has {len(frames)} frames; following needs {SHORTEST}.")
    if is_silent(samples):
        raise UserError("The sound is silent: there is nothing to follow.")
    source = "given" if phones else "recognised" if text is None else "forced alignment"
    if not phones and (text is not None or find_spec("pocketsphinx")):
        phones = align(samples, text)
    reader = reader or load_module("reader")
    mouth = reader.read(frames).column("mouth_open")                      # (T,)
    row = {"frames": len(frames), "loudness": compare(mouth, loudness(samples, len(frames)))}
    if phones:
        asked = visemes(phones, len(frames))[:, 0]                        # (T,)
        row |= {"visemes": compare(mouth, asked), "phones": source}
    return row


def main(words=None):
    """The command line."""
    parser = argparse.ArgumentParser(prog="livetalk_ref.judge.follow", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", required=True, metavar="V.mp4", help="with its sound")
    parser.add_argument("--text", metavar="T", help="the words spoken, if known")
    parser.add_argument("--keep", metavar="NAME", help="write data/results/NAME.json as well")
    options = parser.parse_args(words)
    frames, samples = read_video(options.video), load_audio(options.video)
    row = {"video": options.video, "text": options.text, **follow(frames, samples, options.text)}
    if options.keep:
        command = shlex.join(["python", "-m", "livetalk_ref.judge.follow",
                              *(words or sys.argv[1:])])
        write_result(options.keep, command, [row])
    print(json.dumps(row))


if __name__ == "__main__":
    run_program(main)
