"""Text to speech with the time of every phone, and the spoken clips shipped in data/speech.

    spoken = say("The moon is out.", "us-f2", rate=1.1)
    spoken.samples          # (N,) float32, 16 kHz mono, in [-1, 1]
    spoken.phones           # [("ð", 0.01, 0.06), ("ə", 0.06, 0.11), ...]; "" is a pause

The phones come from the engine that made the sound, so the mouth's truth (visemes.py) is exact.
`python -m livetalk_ref.world.speech` makes data/speech anew.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import soundfile
import torch
from torchaudio.functional import resample

from livetalk_ref import DATA
from livetalk_ref.errors import UserError, run_program
from livetalk_ref.files import placed, write_text
from livetalk_ref.world.engines import say_by_rules, say_naturally
from livetalk_ref.world.state import SAMPLE_RATE

SENTENCES, CLIPS = DATA / "sentences.txt", DATA / "speech"
ENGINES = {"espeak": say_by_rules, "natural": say_naturally}

# name: (engine, what the engine calls it, split)
VOICES = {
    "us": ("espeak", "en-us", "train"),
    "us-f2": ("espeak", "en-us+f2", "train"),
    "us-f3": ("espeak", "en-us+f3", "train"),
    "us-m1": ("espeak", "en-us+m1", "train"),
    "us-m7": ("espeak", "en-us+m7", "train"),
    "us-klatt": ("espeak", "en-us+klatt4", "train"),
    "us-annie": ("espeak", "en-us+Annie", "train"),
    "us-gene": ("espeak", "en-us+Gene", "train"),
    "nyc-m2": ("espeak", "en-us-nyc+m2", "train"),
    "british": ("espeak", "en", "train"),
    "british-f1": ("espeak", "en+f1", "train"),
    "british-m4": ("espeak", "en+m4", "train"),
    "british-steph": ("espeak", "en+steph", "train"),
    "rp-f4": ("espeak", "en-gb-x-rp+f4", "train"),
    "rp-andrea": ("espeak", "en-gb-x-rp+Andrea", "train"),
    "scottish-m5": ("espeak", "en-gb-scotland+m5", "train"),
    "scottish-f1": ("espeak", "en-gb-scotland+f1", "train"),
    "midlands-f3": ("espeak", "en-gb-x-gbcwmd+f3", "train"),
    "lancaster-m1": ("espeak", "en-gb-x-gbclan+m1", "train"),
    "caribbean-f2": ("espeak", "en-029+f2", "train"),
    "natural": ("natural", "1.00", "train"),            # one speaker, at several sizes
    "natural-big": ("natural", "0.90", "train"),
    "natural-small": ("natural", "1.12", "train"),
    "natural-tiny": ("natural", "1.24", "train"),
    "us-f5": ("espeak", "en-us+f5", "held_out"),
    "rp-m3": ("espeak", "en-gb-x-rp+m3", "held_out"),
    "midlands-m6": ("espeak", "en-gb-x-gbcwmd+m6", "held_out"),
    "british-m2": ("espeak", "en+m2", "held_out"),
    "natural-mid": ("natural", "1.06", "held_out"),
}


@dataclass(frozen=True)
class Spoken:
    """samples (N,) float32 16 kHz mono; phones [(IPA symbol, start s, end s)] without gaps."""
    samples: torch.Tensor
    phones: list
    text: str
    voice: str

    @property
    def seconds(self):
        return len(self.samples) / SAMPLE_RATE


def say(text, voice="us", rate=1.0, pitch=1.0):
    """Speak one text -> Spoken.

    rate 0.5 .. 2 is the speed and pitch 0.5 .. 2 the height, 1 being the voice's own.
    UserError for an unknown voice, numbers out of range, nothing to speak, or a missing engine.
    """
    if voice not in VOICES:
        raise UserError(f"No voice is called '{voice}'; choose one of {', '.join(VOICES)}.")
    if not (0.5 <= rate <= 2 and 0.5 <= pitch <= 2):
        raise UserError("rate and pitch must lie between 0.5 and 2.")
    if not re.search(r"\w", text):
        raise UserError("There is nothing to speak: the text has no letter or digit.")
    engine, name, _ = VOICES[voice]
    samples, sample_rate, starts = ENGINES[engine](text, name, rate, pitch)
    phones = close_phones(starts, sample_rate, len(samples))
    samples = resample(samples, sample_rate, SAMPLE_RATE).clamp(-1, 1)             # (N,)
    return Spoken(samples, phones, text, voice)


def close_phones(starts, sample_rate, count):
    """Each phone ends where the next begins; stress marks and empty stretches are dropped."""
    phones = []
    ends = [position for _, position in starts[1:]] + [count]
    for (symbol, start), end in zip(starts, ends):
        symbol = symbol.replace("ˈ", "").replace("ˌ", "")
        start, end = round(start / sample_rate, 4), round(end / sample_rate, 4)
        if phones and (symbol == phones[-1][0] == "" or symbol == "ʲ"):     # lasts on
            phones[-1] = (*phones[-1][:2], end)
        elif end > start:
            phones.append((symbol, start, end))
    return phones


def voices(split):
    """Names of the voices of a split, "train" or "held_out"."""
    return [name for name, (_, _, of) in VOICES.items() if of == split]


def sentences(split):
    """The project's sentences of a split: every fifth line of data/sentences.txt is held out."""
    lines = SENTENCES.read_text(encoding="utf-8").splitlines()
    held_out = lines[4::5]
    return held_out if split == "held_out" else [s for i, s in enumerate(lines) if i % 5 != 4]


def list_spoken():
    """The shipped clips: [{"file", "text", "voice", "split", "phones"}]; needs no engine."""
    return json.loads((CLIPS / "index.json").read_text(encoding="utf-8"))


def load_spoken(which):
    """A shipped clip by its number or its file name without ending -> Spoken."""
    clips = list_spoken()
    names = [Path(clip["file"]).stem for clip in clips]
    if isinstance(which, str):
        if which not in names:
            raise UserError(f"No spoken clip is called '{which}'; there are {', '.join(names)}.")
        which = names.index(which)
    clip = clips[which]
    samples, _ = soundfile.read(CLIPS / clip["file"], dtype="float32")
    phones = [tuple(phone) for phone in clip["phones"]]
    return Spoken(torch.from_numpy(samples), phones, clip["text"], clip["voice"])


def spoken_clips():
    """What data/speech shall hold: 12 (index entry, samples (N,)) of the training split, and 12
    with held-out sentence and voice."""
    number = 0
    for split in ("train", "held_out"):
        lines = sorted(sentences(split), key=len)[-40:]             # long ones show more
        names = voices(split)
        for i in range(12):
            voice = names[(29 * i) % len(names)]        # 29: every engine and accent comes up
            several = 4 if i == 4 else 1                # one clip longer than a model's window
            text = " ".join(lines[(7 * (i + k)) % len(lines)] for k in range(several))
            spoken = say(text, voice, rate=0.9 + 0.05 * (i % 4))
            yield {"file": f"{number:02d}-{voice}.flac", "text": text, "voice": voice,
                   "split": split, "phones": spoken.phones}, spoken.samples
            number += 1


def write_clips(folder=CLIPS):
    """Make data/speech anew, file by file; what is no longer spoken goes last."""
    clips = list(spoken_clips())
    for entry, samples in clips:
        with placed(folder / entry["file"]) as path:
            soundfile.write(path, samples.numpy(), SAMPLE_RATE, format="FLAC")
    body = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry, _ in clips)
    write_text(folder / "index.json", f"[\n{body}\n]\n")
    for old in set(folder.glob("*.flac")) - {folder / entry["file"] for entry, _ in clips}:
        old.unlink()


if __name__ == "__main__":
    run_program(write_clips)
