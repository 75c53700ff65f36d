"""Talkers: a sentence's speech, chunk by chunk, 16 kHz.

    speak = talker("us-f2")         # a `speak` function; world/speech.py names the voices

espeak-ng gives a sentence within milliseconds; piper's natural voice takes a fifth of the
sentence's length. Both are the 'speech' extra, and GPL-3.
"""

from functools import partial

import torch

from livetalk_ref.world.speech import VOICES, say
from livetalk_ref.errors import UserError

CHUNK = 4_000           # samples, a quarter of a second
PAUSE = 2_400           # behind a sentence
LOUD = 0.35             # the largest sample, so that voices are equally loud


def speak(sentence, voice="us", rate=1.0):
    """Yield the chunks of a `Sentence`, with a short pause behind it."""
    samples = say(sentence.text, voice, rate).samples
    samples = samples * (LOUD / max(samples.abs().max().item(), 1e-3))
    yield from torch.cat([samples, torch.zeros(PAUSE)]).split(CHUNK)


def talker(voice="us", rate=1.0):
    """A `speak` function of one of the world's voices. UserError for an unknown one, or where
    its engine is missing."""
    if voice not in VOICES:
        raise UserError(f"No voice is called '{voice}'; choose one of {', '.join(VOICES)}.")
    say("a", voice)                 # now, and not in the middle of a dialogue
    return partial(speak, voice=voice, rate=rate)
