"""How a sentence is performed: an emotion and a motion, as a prompt of the world's grammar."""

import re

from livetalk_ref.errors import UserError
from livetalk_ref.live.events import EMOTIONS
from livetalk_ref.world.prompts import (AFTER, DEGREES, EXPRESSION_WORDS, MAX_WORDS, is_held_out,
                                        words)

LISTENING = "a person listens, calm"
# The first line whose pattern is found decides.
FEELINGS = (
    ("surprised", r"\b(wow|surpris\w+|amazing\w*|astonish\w+|imagine|incredib\w+|believe it)\b"),
    ("sad", r"\b(sorry|sad\w*|unfortunately|alas|lost|loses|dies?|died|broken?|cannot|can't|"
            r"worse|worst|fails?|failed|regret\w*|miss(ed)?|lonely|hurt)\b"),
    ("angry", r"\b(never|nonsense|angry|furious|outrag\w+|unacceptable|terrible|wrong|steal\w*|"
              r"abus\w+|must not|hate\w*|stop it)\b"),
    ("happy", r"\b(hello|hi|welcome|thanks?|thank you|glad|happy|great|good|nice|love\w*|enjoy\w*|"
              r"fun|well done|pleasure|congratulations|best|faster)\b|!"),
)
MOTIONS = (
    ("tilts the head", r"\b(hello|hi|welcome|goodbye|bye|farewell)\b"),
    ("nods", r"^(yes|right|exactly|indeed|of course|sure|correct)\b"),
    ("shakes the head", r"^(no|not)\b|\b(never|cannot|can't|must not|nothing|nobody)\b"),
    ("tilts the head", r"\?|\b(perhaps|maybe|wonder|unsure|imagine|think)\b"),
    ("sways", r"\b(first|second|then|because|so that|whole|between|large\w*|"
                                 r"than|every|all)\b"),
    ("nods slightly", r""),
)
ADJECTIVES = {"neutral": "calm", "happy": "smiling", "sad": "sad", "angry": "annoyed",
              "surprised": "surprised"}
INSTEAD = ("nods slightly", "sways", "blinks often")   # where a pair is held out


def feel(text):
    """The emotion of a sentence, one of EMOTIONS, by its words."""
    return next((name for name, pattern in FEELINGS if re.search(pattern, text.lower())),
                "neutral")


def move(text):
    """The motion of a sentence, by its words."""
    return next(name for name, pattern in MOTIONS if re.search(pattern, text.lower()))


def perform(text, emotion=None):
    """The prompt of a sentence. emotion: one of EMOTIONS, or None to read it off the words."""
    emotion = emotion if emotion in EMOTIONS else feel(text)
    for motion in (move(text), *INSTEAD):
        prompt = f"a person {motion} while speaking, {ADJECTIVES[emotion]}"
        if not is_held_out(prompt):         # a pair that no training clip ever showed
            return prompt
    return prompt


def with_emotion(prompt, emotion):
    """The same prompt with another emotion; None changes nothing. A prompt in free words, of an
    avatar that reads such, gets it appended."""
    if emotion is None:
        return prompt
    try:
        said = words(prompt)
    except UserError:
        return f"{prompt}, {emotion}"
    kept = []
    for word in said:
        if word not in EXPRESSION_WORDS:
            kept.append(word)
        elif kept and kept[-1] in DEGREES and kept[-1] not in AFTER:
            kept.pop()                      # "very sad" goes as a whole
    return " ".join([*kept[:MAX_WORDS - 1], emotion])
