"""The grammar of prompts: English words for an expression and a style of motion.

A prompt is at most 15 words of `VOCABULARY`, in any order, case and punctuation:

    prompt     = { subject | expression | motion | energy | degree | direction | looks | filler }
    expression   "happy", "smiles", "furious" ..  the last one named wins; none = neutral
    motion       "nods", "turning", "sways" ..    each adds its motion
    energy       "still", "calm", "lively" ..     how often and how far everything moves
    degree       "slightly", "very" ..            scales the next expression, motion or energy
                 word; before "and", "while" or the end, and for "often", "rarely" and
                 "repeatedly", the one before
    direction    "left", "right", "up", "down"    of the motion before it (gaze, turn, tilt),
                 of the gaze if that has no sides; "viewer" and "camera" pin the gaze
    looks        "blue", "shirt" ..               no effect: a vague prompt names only these

Left and right are the picture's. The empty prompt is neutral; it is also what "dropped text"
means. Prompts in which an expression word meets a motion word (or a colour meets a thing) in
a combination chosen by `is_held_out` are kept from training.
"""

import difflib
import re
import zlib
from dataclasses import dataclass
from itertools import product

import torch

from livetalk_ref.errors import UserError

MAX_WORDS = 15

EXPRESSION_WORDS = {     # word: (expression, intensity)
    "neutral": ("neutral", 0.0), "serious": ("neutral", 0.0), "seriously": ("neutral", 0.0),
    "happy": ("happy", 0.75), "happily": ("happy", 0.75), "cheerful": ("happy", 0.75),
    "smiles": ("happy", 0.65), "smiling": ("happy", 0.65), "grins": ("happy", 0.9),
    "joyful": ("happy", 1.0),
    "sad": ("sad", 0.75), "sadly": ("sad", 0.75), "unhappy": ("sad", 0.65),
    "pouts": ("sad", 0.75), "gloomy": ("sad", 0.75), "heartbroken": ("sad", 1.0),
    "angry": ("angry", 0.75), "angrily": ("angry", 0.75), "annoyed": ("angry", 0.6),
    "frowns": ("angry", 0.65), "frowning": ("angry", 0.65), "scowls": ("angry", 0.9),
    "furious": ("angry", 1.0),
    "surprised": ("surprised", 0.75), "amazed": ("surprised", 0.85),
    "gasps": ("surprised", 0.85), "startled": ("surprised", 0.75),
    "astonished": ("surprised", 1.0),
}
MOTION_WORDS = {         # word: (motion, amount)
    "nods": ("nod", 0.8), "nodding": ("nod", 0.8),
    "shakes": ("shake", 0.8), "shaking": ("shake", 0.8),
    "tilts": ("tilt", 0.8), "tilting": ("tilt", 0.8),
    "turns": ("turn", 0.8), "turning": ("turn", 0.8),
    "sways": ("sway", 0.8), "swaying": ("sway", 0.8),
    "blinks": ("blink", 0.7), "blinking": ("blink", 0.7),
    "listens": ("listen", 0.8), "listening": ("listen", 0.8), "waits": ("listen", 0.4),
    "looks": ("gaze", 1.0), "looking": ("gaze", 1.0), "glances": ("gaze", 0.8),
}
ENERGY_WORDS = {
    "still": 0.0, "motionless": 0.0, "calm": 0.2, "calmly": 0.2, "quietly": 0.25,
    "lively": 0.8, "animated": 0.8, "energetic": 1.0, "energetically": 1.0,
}
DEGREES = {"slightly": 0.6, "little": 0.6, "mildly": 0.75, "gently": 0.75, "very": 1.35,
           "strongly": 1.35, "extremely": 1.6, "rarely": 0.4, "often": 1.35, "repeatedly": 1.35}
AFTER = {"rarely", "often", "repeatedly"}     # degrees that always scale the word before
CLOSERS = {"and", "while"}
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1),
              "viewer": (0, 0), "camera": (0, 0)}
COLOURS = ("blue", "red", "green", "yellow", "dark", "light")
THINGS = ("shirt", "hair", "glasses", "background", "earrings", "jacket")
FILLERS = ("a", "the", "an", "and", "while", "with", "in", "is", "at", "to", "from",
           "person", "man", "woman", "someone", "speaker", "head", "eyes", "speaks", "speaking",
           "talks", "talking", "face", "portrait", "of")
KINDS = {"expressions": EXPRESSION_WORDS, "motions": MOTION_WORDS, "energy": ENERGY_WORDS,
         "degrees": DEGREES, "directions": DIRECTIONS, "looks": COLOURS + THINGS,
         "without effect": FILLERS}
VOCABULARY = tuple(sorted(set().union(*KINDS.values())))
EFFECTS = {word: ("expression", *effect) for word, effect in EXPRESSION_WORDS.items()} \
    | {word: ("motion", *effect) for word, effect in MOTION_WORDS.items()} \
    | {word: ("energy", "energy", amount) for word, amount in ENERGY_WORDS.items()}
SIDED = ("turn", "tilt")


@dataclass(frozen=True)
class Behaviour:
    """What a prompt asks for: an expression, amounts of motion in 0..1, sides in -1..1."""
    expression: str = "neutral"
    intensity: float = 0.0
    energy: float = 0.5         # 0 still .. 1 energetic
    nod: float = 0.0
    shake: float = 0.0
    tilt: float = 0.0
    turn: float = 0.0
    sway: float = 0.0
    blink: float = 0.0
    listen: float = 0.0
    gaze: tuple | None = None   # (x, y) direction, (0, 0) at the viewer, None free
    turn_side: int = 0
    tilt_side: int = 0


def words(prompt):
    """The words of a prompt in lower case; UserError for an unknown word or too many."""
    found = split(prompt)
    for word in found:
        if word not in VOCABULARY:
            raise UserError(f"The prompt has the unknown word '{word}'{alike(word)}; the words "
                            f"that it may have are listed by 'generate -h'.")
    if len(found) > MAX_WORDS:
        raise UserError(f"The prompt has {len(found)} words; use at most {MAX_WORDS}.")
    return found


def split(prompt):
    """All words of a prompt in lower case, known or not."""
    return re.findall(r"\w[\w'-]*", prompt.lower())


def alike(word):
    """" (did you mean happy, happily?)": known words of one kind that are spelt like this one."""
    close = difflib.get_close_matches(word, VOCABULARY, n=5, cutoff=0.75)
    kind = next((words for words in KINDS.values() if close and close[0] in words), ())
    same = [other for other in close if other in kind][:3]
    return f" (did you mean {', '.join(same)}?)" if same else ""


def keep_known_words(prompt):
    """A prompt in free words -> (what of it a model of this world can read, the unknown words).

    Words without effect go as well where too many are left.
    """
    said = split(prompt)
    known = [word for word in said if word in VOCABULARY]
    if len(known) > MAX_WORDS:
        known = [word for word in known if word not in FILLERS or word in CLOSERS]
    unknown = dict.fromkeys(word for word in said if word not in VOCABULARY)
    return (" ".join(known[:MAX_WORDS]) if unknown or len(said) > MAX_WORDS else prompt,
            list(unknown))


def list_words():
    """All words of prompts by their kinds, as text."""
    return "; ".join(f"{kind}: {', '.join(words)}" for kind, words in KINDS.items())


def parse(prompt):
    """Reads a prompt -> Behaviour. UserError names an unknown word and its close matches."""
    said = []                               # [group, name, amount, degree], the words with effect
    sides = {}
    degree = 1.0
    for word in words(prompt):
        if word in EFFECTS:
            said.append([*EFFECTS[word], degree])
            degree = 1.0
        elif word in DIRECTIONS:
            moved = said[-1][1] if said else "gaze"
            horizontal = DIRECTIONS[word][0]
            sides[moved if horizontal and moved in SIDED else "gaze"] = DIRECTIONS[word]
        elif word in DEGREES and word not in AFTER:
            degree *= DEGREES[word]
        elif said and (word in AFTER or word in CLOSERS):
            said[-1][3] *= DEGREES.get(word, degree)
            degree = 1.0 if word in CLOSERS else degree
    if said:
        said[-1][3] *= degree
    return _behaviour(said, sides)


def _behaviour(said, sides):
    asked = {}
    for group, name, amount, degree in said:
        if group == "expression":
            intensity = min(max(amount * degree, 0.35), 1.0) if amount else 0.0
            asked.update(expression=name, intensity=intensity)
        elif group == "energy":
            asked["energy"] = min(max(0.5 + (amount - 0.5) * degree, 0.0), 1.0)
        elif name != "gaze":                    # gaze alone asks for nothing; its side does
            asked[name] = min(max(asked.get(name, 0.0), amount * degree), 1.0)
    for name in SIDED:
        asked[f"{name}_side"] = sides.get(name, (0, 0))[0]
    return Behaviour(**asked, gaze=sides.get("gaze"))


def is_held_out(prompt):
    """True if the prompt combines words in a way that training prompts never do."""
    said = words(prompt)
    pairs = (*product([w for w in said if w in EXPRESSION_WORDS],
                      [w for w in said if w in MOTION_WORDS]),
             *product([w for w in said if w in COLOURS], [w for w in said if w in THINGS]))
    return any(zlib.crc32(" ".join(pair).encode()) % 6 == 0 for pair in pairs)


def rephrase(prompt, generator):
    """Another prompt that asks for the very same: words give way to others of their meaning.

    It stays on its side of `is_held_out`. A model that never reads one clip's prompt twice has to
    learn what words mean instead of which clip they belong to.
    """
    said = [pick(SAME[word], generator) if word in SAME else word for word in words(prompt)]
    other = " ".join(said)
    return other if is_held_out(other) == is_held_out(prompt) else prompt


# Words that may stand for each other: {word: all words of its meaning}.
SAME = {word: [other for other in EFFECTS if EFFECTS[other] == EFFECTS[word]] for word in EFFECTS}
for group in (COLOURS, THINGS, ("person", "man", "woman", "speaker")):
    SAME |= dict.fromkeys(group, group)
SUBJECTS = ("a person", "the person", "a man", "a woman", "someone", "the speaker")
VERBS = {"happy": ("smiles", "grins"), "sad": ("pouts",), "angry": ("frowns", "scowls"),
         "surprised": ("gasps",), "neutral": ()}
ADVERBS = {"happy": ("happily",), "sad": ("sadly",), "angry": ("angrily",),
           "neutral": ("seriously", "calmly", "quietly", "energetically"), "surprised": ()}
ADJECTIVES = {
    "neutral": ("neutral", "serious", ""), "happy": ("happy", "cheerful", "joyful", "smiling"),
    "sad": ("sad", "unhappy", "gloomy", "heartbroken"),
    "angry": ("angry", "annoyed", "furious", "frowning"),
    "surprised": ("surprised", "amazed", "startled", "astonished"),
}
MOTIONS = ("nods", "nods often", "nods slightly", "shakes the head", "tilts the head",
           "tilts the head left", "tilts the head right", "turns left", "turns right",
           "turns repeatedly", "nods strongly", "shakes the head slightly", "sways",
           "sways gently", "blinks often", "blinks rarely", "glances left", "glances right",
           "glances up", "looks down", "looks at the camera", "listens", "waits")
MANNERS = ("nodding", "shaking the head", "tilting the head", "turning", "swaying",
           "blinking", "looking left", "looking right", "looking up",
           "looking down", "looking at the viewer", "still",
           "motionless", "calm", "lively", "energetic", "very calm", "very lively", "animated")
WHILE = ("while speaking", "while talking", "and speaks", "while listening", "")
DEGREE_SHARE = ("", "", "", "slightly ", "a little ", "mildly ", "very ", "extremely ")


def sample_prompt(generator, held_out=False, vague=False):
    """A random prompt; held-out ones combine words as no training prompt does.

    vague: names only looks, so it asks for no expression and no motion.
    """
    while True:
        prompt = _vague(generator) if vague else _motion_prompt(generator)
        if len(prompt.split()) <= MAX_WORDS and is_held_out(prompt) == held_out:
            return prompt


def pick(options, generator):
    return options[int(torch.randint(len(options), (), generator=generator))]


def _vague(generator):
    looks = f"{pick(COLOURS, generator)} {pick(THINGS, generator)}"
    more = pick(("", f" and {pick(THINGS, generator)}", " speaking"), generator)
    return f"{pick(SUBJECTS, generator)} {pick(('with', 'with the'), generator)} {looks}{more}"


def _motion_prompt(generator):
    """subject, one or two verbs, "while speaking", expression, manner: each but one optional."""
    expression = pick(tuple(ADJECTIVES), generator)
    motion, manner = pick(MOTIONS, generator), pick(MANNERS, generator)
    verb = pick((*VERBS[expression], None), generator)
    adverb = pick((*ADVERBS[expression], None, None), generator)
    degree = pick(DEGREE_SHARE, generator) if expression != "neutral" else ""
    adjective = degree + pick(ADJECTIVES[expression], generator)
    talk = pick(WHILE, generator)
    talk = talk.replace("and speaks", "while speaking") if verb else talk
    parts = [f"{verb} and {motion}" if verb else motion, talk]
    if adverb and "speak" in talk:
        parts.append(adverb)
    elif adjective and not verb:
        parts.append(f", {adjective}")
    if pick((True, False, False), generator):
        parts.append(f", {manner}")
    if adjective and pick((True, False, False), generator):    # only how, not what
        parts = ["is", adjective, f", {manner}"]
    prompt = " ".join([pick(SUBJECTS, generator), *parts])
    return re.sub(r"\s+", " ", prompt).replace(" ,", ",").strip()
