"""The thinker: retrieval where a passage answers, else a small language model.

Every sentence says where it comes from. Retrieval gives back a passage of data/topic.json, word
for word, found by BM25 of its questions (Robertson and Zaragoza 2009). What the language model
writes comes sentence by sentence, while it is being written.
"""

import json
import math
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from itertools import dropwhile, groupby

import torch

from livetalk_ref import DATA
from livetalk_ref.live.events import Sentence
from livetalk_ref.world.prompts import is_held_out
from livetalk_ref.world.state import EXPRESSIONS

# How a sentence is performed.

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
    ("nods", r"\b(hello|hi|welcome|goodbye|bye|farewell)\b|^(yes|right|exactly|indeed|of course|"
             r"sure|correct)\b"),
    ("shakes the head", r"^(no|not)\b|\b(never|cannot|can't|must not|nothing|nobody)\b"),
    ("tilts the head", r"\?|\b(perhaps|maybe|wonder|unsure|imagine|think)\b"),
    ("sways gently", r"\b(first|second|then|because|so that|whole|between|large\w*|than|every|"
                     r"all)\b"),
    ("nods slightly", r""),
)
ADJECTIVES = {"neutral": "calm", "happy": "smiling", "sad": "sad", "angry": "annoyed",
              "surprised": "surprised"}
INSTEAD = ("nods slightly", "sways", "tilts the head", "blinks often")   # where a pair is held out


def first_match(text, table):
    """The first name of a table whose pattern is found in a text, or "neutral"."""
    return next((name for name, pattern in table if re.search(pattern, text.lower())), "neutral")


def perform(text, emotion=None):
    """The prompt of a sentence. emotion: of EXPRESSIONS, or None to read it off the words."""
    mood = ADJECTIVES[emotion if emotion in EXPRESSIONS else first_match(text, FEELINGS)]
    prompts = [f"a person {motion} while speaking, {mood}"
               for motion in (first_match(text, MOTIONS), *INSTEAD)]
    # Pairs that no training clip ever showed are left out.
    return next(prompt for prompt in prompts if not is_held_out(prompt))


# Retrieval.

K1, B = 1.2, 0.3            # BM25's: how fast a repeated word stops to count, the length's weight
ANSWER = 0.3                # of a word that is in the answer and in no question
ENOUGH = 0.5                # of a question's weight that a passage must cover to be an answer
STOP = set("a an the of to in on at for and or so it its is are was be been do does did can could "
           "i me my we us our you your he she they them this that these there what which who how "
           "why when where will would should must may have has had with from by as not no if "
           "please tell about one any some just really then than but explain describe "
           "made make know mean let".split())
TAIL = re.compile(r"(?<=\w{3})(ations?|ings?|ies|ied|ers?|ed|es|s|e|y)$")


@dataclass(frozen=True)
class Passage:
    """ask: the questions it answers; answer: whole sentences; emotion: of EXPRESSIONS, or None."""
    id: str
    ask: tuple
    answer: str
    emotion: str | None = None


@dataclass(frozen=True)
class Hit:
    """A passage, its BM25 score, and the share of the question's weight that it covers."""
    passage: Passage
    score: float
    share: float

    @property
    def is_answer(self):
        return self.share >= ENOUGH


def stem(word):
    """A word without its ending, so that "frames" finds "frame"; at least 3 letters stay."""
    return TAIL.sub("", word)


def every_word(text):
    return re.findall(r"[a-zé0-9]+", text.lower().replace("'s", ""))


def terms(text):
    """The stems that count; all of them where only stop words are there, as in "who are you"."""
    words = every_word(text)
    return {stem(w) for w in words if w not in STOP} or set(words)


class Topic:
    """Passages, and the counts behind their ranking."""

    def __init__(self, passages):
        self.passages = passages
        self.exact = {" ".join(every_word(q)): p for p in passages for q in p.ask}
        self.counts = [Counter(term for q in p.ask for term in terms(q)) for p in passages]
        for passage, counts in zip(passages, self.counts):
            counts |= dict.fromkeys(terms(passage.answer) - set(counts), ANSWER)
        self.mean = sum(c.total() for c in self.counts) / len(passages)
        self.found_in = Counter(term for c in self.counts for term in c)

    def rarity(self, term):
        n = self.found_in[term]
        return math.log(1 + (len(self.passages) - n + 0.5) / (n + 0.5))

    def find(self, question):
        """The best `Hit` for a question."""
        if same := self.exact.get(" ".join(every_word(question))):
            return Hit(same, math.inf, 1.0)
        weights = {term: self.rarity(term) for term in terms(question)}
        return max((self.rate(passage, counts, weights)
                    for passage, counts in zip(self.passages, self.counts)),
                   key=lambda hit: (hit.score, hit.share))

    def rate(self, passage, counts, weights):
        """BM25: how often the question's terms are in a passage, by their weights."""
        scale = K1 * (1 - B + B * counts.total() / self.mean)
        score = sum(weight * counts[term] * (K1 + 1) / (counts[term] + scale)
                    for term, weight in weights.items())
        covered = sum(weight * min(counts[term], 1) for term, weight in weights.items())
        return Hit(passage, score, covered / (sum(weights.values()) or 1.0))


@cache
def shipped():
    """The topic of data/topic.json."""
    entries = json.loads((DATA / "topic.json").read_text(encoding="utf-8"))["passages"]
    return Topic([Passage(**entry) for entry in entries])


# The thinker.

RETRIEVAL, LANGUAGE_MODEL = "retrieval", "language model"       # sources of sentences, and that
NOTICE = "notice"                                               # of one about the system itself
UNHEARD = "I heard you, but I could not make out the words. Please type your question."
UNKNOWN = "I know no passage about that. Please ask me about avatars, diffusion or this course."
SYSTEM = ("You are a helpful AI assistant. You are a talking avatar. Answer in one or two short "
          "sentences.")
TOKENS, LINES = 50, 4       # of an answer at most; lines of dialogue that it sees
END = re.compile(r"(?<=[.!?])[\"')]*\s+(?=[A-Z\"'(])")


def sentences(text):
    return [part.strip() for part in END.split(text.strip()) if re.search(r"\w", part)]


def stream(texts):
    """Yield the sentences of growing texts, each when the next has begun or all is said.

    A text that completes none gives None, or "" while nothing is written. A sentence that was cut
    off is left out, but for the first, which gets a full stop.
    """
    said, text = 0, ""
    for text in texts:
        done = sentences(text)[:-1]
        yield from done[said:] or [None if text else ""]
        said = max(said, len(done))
    for part in sentences(text)[said:]:
        whole = re.search(r"[.!?][\"')]*$", part)
        if whole or said == 0:
            yield part if whole else part.rstrip(" ,;:-") + "."
        said += 1


def notice(text):
    """A `Sentence` about the system itself."""
    return Sentence(text, perform(text, "sad"), NOTICE)


class Thinker:
    """A `think` function. model: writes where no passage answers; None for retrieval alone."""

    def __init__(self, model=None):
        self.model, self.topic = model, shipped()
        self.generator = torch.Generator().manual_seed(0)

    def __call__(self, dialogue):
        question = dialogue.turn.text
        if not question:
            yield notice(UNHEARD)
            return
        hit = self.topic.find(question)
        if hit.is_answer:
            for text in sentences(hit.passage.answer):
                yield Sentence(text, perform(text, hit.passage.emotion), RETRIEVAL)
        elif self.model is None:
            yield notice(UNKNOWN)
        else:
            said = joined(dialogue.said)[-LINES:]
            for text in stream(self.model.write(SYSTEM, said, self.generator, TOKENS)):
                yield Sentence(text, perform(text), LANGUAGE_MODEL) if text else text


def joined(said):
    """A dialogue as chat models want it, [("user" | "assistant", text)]: each side's lines in a
    row are one turn, and the user's is the first."""
    begun = dropwhile(lambda line: line[0] != "user", said)
    return [("user" if role == "user" else "assistant", " ".join(text for _, text in lines))
            for role, lines in groupby(begun, key=lambda line: line[0])]
