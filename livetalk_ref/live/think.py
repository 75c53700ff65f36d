"""The embedded thinker: retrieval where a passage answers, else a small language model.

    think = Thinker()               # or Thinker(model=None): retrieval alone
    for sentence in think(dialogue): ...

Every sentence says where it comes from. What the language model writes is bounded, and comes
sentence by sentence while it is being written.
"""

import re

import torch

from livetalk_ref.live import smol, topic
from livetalk_ref.live.events import LANGUAGE_MODEL, RETRIEVAL, Sentence
from livetalk_ref.live.mood import perform

NOTICE = "notice"           # the source of a sentence about the system itself
UNHEARD = "I heard you, but I could not make out the words. Please type your question."
LATER = "For that I need my language model, and it is still being loaded. Ask me again in a minute."
UNKNOWN = "I know no passage about that. Please ask me about avatars, diffusion or this course."
SYSTEM = ("You are a helpful AI assistant. You are a talking avatar. Answer in one or two short "
          "sentences.")
TOKENS, SENTENCES, LINES = 60, 2, 4         # of an answer at most; lines of dialogue it sees
END = re.compile(r"(?<=[.!?])[\"')]*\s+(?=[A-Z\"'(])")


def sentences(text):
    """Whole sentences of a text."""
    return [part.strip() for part in END.split(text.strip()) if re.search(r"\w", part)]


def stream(texts):
    """Growing texts in; yields each sentence when the next has begun or all is said, and for a
    text that completes none None, or "" where it is still empty. A sentence that was cut off is
    not said, but for the first, which gets a full stop."""
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


def performed(texts, source):
    """`stream`, its sentences as `Sentence`s of a source."""
    for text in stream(texts):
        yield Sentence(text, perform(text), source) if text else text


class Thinker:
    """A `think` function. model: () -> (model, tokenizer), called when no passage answers a
    question; None for retrieval alone. ready() -> can it be called without waiting?"""

    def __init__(self, model=smol.load, known=None, seed=0, ready=lambda: True):
        self.model, self.topic, self.ready = model, known or topic.shipped(), ready
        self.generator, self.read = torch.Generator().manual_seed(seed), None

    def __call__(self, dialogue):
        question = dialogue.turn.text
        if not question:
            yield Sentence(UNHEARD, perform(UNHEARD, "sad"), NOTICE)
            return
        hit = self.topic.find(question, self.before(dialogue))
        if hit.is_answer:
            for text in sentences(hit.passage.answer):
                yield Sentence(text, perform(text, hit.passage.emotion), RETRIEVAL)
        elif self.model is None:
            yield Sentence(UNKNOWN, perform(UNKNOWN, "sad"), NOTICE)
        elif not self.ready():
            yield from (Sentence(text, perform(text), NOTICE) for text in sentences(LATER))
        else:
            yield from self.write(dialogue)

    def before(self, dialogue):
        """The passage that answered last, looked up by its own words, or None."""
        heard = [text for role, text in dialogue.said if role == "avatar"][-1:]
        return next((p for p in self.topic.passages for text in heard if text in p.answer), None)

    def write(self, dialogue):
        """The language model's sentences; None after a token, "" after a piece of the prompt."""
        model, tokenizer = self.model()
        self.read = self.read or smol.beginning(model, tokenizer, SYSTEM)
        tokens = smol.chat(tokenizer, SYSTEM, joined(dialogue.said)[-LINES:])
        steps = smol.generate(model, tokenizer, tokens, self.generator, TOKENS, read=self.read)
        count = 0
        for sentence in performed(steps, LANGUAGE_MODEL):
            yield sentence
            count += bool(sentence)
            if count == SENTENCES:
                return


def joined(said):
    """A dialogue in which each side's lines in a row are one turn; it begins with the user's."""
    turns = []
    for role, text in said:
        if turns and turns[-1][0] == role:
            turns[-1] = role, f"{turns[-1][1]} {text}"
        elif turns or role == "user":
            turns.append((role, text))
    return turns
