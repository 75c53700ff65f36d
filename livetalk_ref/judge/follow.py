"""Does the mouth follow real speech? For sounds whose true mouth nobody knows.

Two yardsticks for the opening that the face reader sees: the loudness of the sound, and the
visemes of its phones, which an acoustic model finds: exactly where the words are known (forced
alignment), roughly where they are not. T video frames; a positive lag means a late mouth.

    python -m livetalk_ref.judge.follow --video V.mp4 [--text "the words spoken"]
"""

import argparse
import json
import re
import sys

import torch
import torch.nn.functional as F

from livetalk_ref.errors import UserError
from livetalk_ref.judge.metrics import correlation
from livetalk_ref.load import load_module
from livetalk_ref.media import read_video
from livetalk_ref.world.audio import is_silent, load_audio
from livetalk_ref.world.state import SAMPLE_RATE, SAMPLES_PER_FRAME
from livetalk_ref.world.visemes import visemes

LAGS = range(-4, 5)         # frames
SHORTEST = 24               # frames that a correlation needs at least
QUIET = 0.02                # of the loudest frame; what is below counts as silence
ALIGNER_RATE = 100          # the aligner's frames a second

# The 39 phones of the pronouncing dictionary, in letters that visemes.py knows. AH is more often
# the schwa of "the" than the vowel of "cup".
ARPABET = {
    "AA": "ɑ", "AE": "æ", "AH": "ə", "AO": "ɔ", "AW": "aʊ", "AY": "aɪ", "B": "b", "CH": "tʃ",
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
    loud = 0.9 * samples / samples.abs().max().clamp(min=1e-9)
    sound = (loud * 32767).short().numpy().tobytes()
    if text is None:
        model = get_model_path("en-us/en-us-phone.lm.bin")
        decoder = Decoder(samprate=SAMPLE_RATE, loglevel="FATAL", lm=None, allphone=model, lw=2.0)
        listen(decoder, sound)
        found = [(part.word, part.start_frame, part.end_frame + 1) for part in decoder.seg()]
    else:
        decoder = Decoder(samprate=SAMPLE_RATE, loglevel="FATAL", lm=None)
        decoder.set_align_text(known_words(decoder, text))
        if not listen(decoder, sound):
            raise UserError("These words are not what is said in the sound; check the text.")
        decoder.set_alignment()
        listen(decoder, sound)
        found = [(phone.name, phone.start, phone.start + phone.duration)
                 for word in decoder.get_alignment() for phone in word]
    return [(ARPABET.get(name, ""), start / ALIGNER_RATE, end / ALIGNER_RATE)
            for name, start, end in found]


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
    """One pass of the decoder over 16-bit sound; False when it found no way through."""
    decoder.start_utt()
    decoder.process_raw(sound, full_utt=True)
    decoder.end_utt()
    return decoder.hyp() is not None


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


def follow(frames, samples, text=None, reader=None):
    """How well the mouth in frames (T, 3, 96, 96) follows (N,) samples, as a dict.

    text: the words spoken, None if unknown; reader: a face reader, else the shipped one.
    Visemes are left out (None) where pocketsphinx is not installed and no text is given.
    UserError for a video that is too short, a silent sound, and as `align`.
    """
    if len(frames) < SHORTEST:
        raise UserError(f"The video has {len(frames)} frames; following needs {SHORTEST}.")
    if is_silent(samples):
        raise UserError("The sound is silent: there is nothing to follow.")
    reader = reader or load_module("reader")
    mouth = reader.read(frames).column("mouth_open")                      # (T,)
    found = visemes(align(samples, text), len(frames))[:, 0]              # (T,)
    return {"frames": len(frames), "text": text,
            "phones": "recognised" if text is None else "forced alignment",
            "loudness": compare(mouth, loudness(samples, len(frames))),
            "visemes": compare(mouth, found)}


def main(words=None):
    """The command line; bad input ends with exit status 2 and one sentence."""
    parser = argparse.ArgumentParser(prog="livetalk_ref.judge.follow", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", required=True, metavar="V.mp4", help="with its sound")
    parser.add_argument("--text", metavar="T", help="the words spoken, if known")
    options = parser.parse_args(words)
    try:
        frames, samples = read_video(options.video), load_audio(options.video)
        print(json.dumps({"video": options.video, **follow(frames, samples, options.text)}))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
