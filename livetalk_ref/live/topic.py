"""Retrieval: find the passage of data/topic.json that answers a question, by BM25 of its words.

Nothing is written here, only found: the answer is the passage's, word for word. A passage is
found by its questions; a follow-up ("why?", "how long is it?") also counts the words of the
passage before, at less weight. BM25: Robertson and Zaragoza 2009.
"""

import json
import math
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache

from livetalk_ref import DATA
from livetalk_ref.errors import UserError

TOPIC = DATA / "topic.json"
K1, B = 1.2, 0.3            # BM25's: how fast a repeated word stops to count, the length's weight
ANSWER = 0.3                # of a word that is in the answer and in no question
BEFORE = 0.15               # of the words of the passage before, in a follow-up
ENOUGH = 0.5               # of a question's weight that a passage must cover to be an answer
STOP = set("a an the of to in on at for and or so it its is are was be been do does did can could "
           "i me my we us our you your he she they them this that these there what which who how "
           "why when where will would should must may have has had with from by as not no if "
           "please tell about one any some just really then than but explain describe "
           "made make know mean let".split())
FOLLOW_UP = set("it its that this they them he she there why and but then those".split())
TAILS = ("ations", "ation", "ings", "ing", "ies", "ied", "ers", "er", "ed", "es", "s", "e", "y")


@dataclass(frozen=True)
class Passage:
    """ask: questions it answers; answer: whole sentences; emotion: one of EMOTIONS or None."""

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
    for tail in TAILS:
        if word.endswith(tail) and len(word) - len(tail) >= 3:
            return word[:-len(tail)]
    return word


def every_word(text):
    return re.findall(r"[a-zé0-9]+", text.lower().replace("'s", ""))


def terms(text):
    """The stems that count; all of them where only stop words are there, as in "who are you"."""
    words = every_word(text)
    return [stem(w) for w in words if w not in STOP] or words


class Topic:
    """Passages and the counts behind their ranking."""

    def __init__(self, passages):
        self.passages = passages
        self.counts = [self.count(p) for p in passages]
        self.exact = {" ".join(every_word(q)): p for p in passages for q in p.ask}
        self.lengths = [sum(c.values()) for c in self.counts]
        self.mean = sum(self.lengths) / len(passages)
        self.found_in = Counter(term for c in self.counts for term in c)

    @staticmethod
    def count(passage):
        """Weighted counts of a passage's terms."""
        counts = Counter()
        for question in passage.ask:
            counts.update(set(terms(question)))
        for term in set(terms(passage.answer)) - set(counts):
            counts[term] = ANSWER
        return counts

    def rarity(self, term):
        n = self.found_in[term]
        return math.log(1 + (len(self.passages) - n + 0.5) / (n + 0.5))

    def find(self, question, before=None):
        """The best `Hit` for a question; before: the `Passage` of the answer before, or None."""
        same = self.exact.get(" ".join(every_word(question)))
        if same:
            return Hit(same, math.inf, 1.0)
        asked = Counter(dict.fromkeys(terms(question), 1.0))
        if before and self.follows(question):
            for term in {t for q in before.ask for t in terms(q)} - set(asked):
                asked[term] = BEFORE
        return max((self.rate(i, asked) for i in range(len(self.passages))),
                   key=lambda hit: (hit.score, hit.share))

    @staticmethod
    def follows(question):
        """Does a question lean on the one before: by a pronoun, or for it is so short?"""
        words = every_word(question)
        return len(words) <= 2 or bool(FOLLOW_UP & set(words))

    def rate(self, index, asked):
        counts, score, covered = self.counts[index], 0.0, 0.0
        scale = K1 * (1 - B + B * self.lengths[index] / self.mean)
        for term, weight in asked.items():
            n, rarity = counts[term], self.rarity(term)
            score += weight * rarity * n * (K1 + 1) / (n + scale) if n else 0
            covered += weight * rarity * min(n, 1)
        whole = sum(weight * self.rarity(term) for term, weight in asked.items())
        return Hit(self.passages[index], score, covered / whole if whole else 0.0)


@cache
def shipped():
    """The topic of data/topic.json. UserError where it is missing or is not one."""
    try:
        entries = json.loads(TOPIC.read_text(encoding="utf-8"))["passages"]
        return Topic([Passage(**e | {"ask": tuple(e["ask"])}) for e in entries])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{TOPIC.name} is not a topic: {error}.") from error
