"""The text encoder of the tiny world: a frozen table of word vectors with positions.

It plays the part of frozen umT5: it stands outside the DiT and is never trained. As a trained
encoder does, it places words of one meaning ("happy", "smiles") near each other. A word's vector
depends on the word alone, so the vocabulary may grow without changing old prompts. Vectors are
uniform, not normal: uniform numbers are exact on every platform.
"""

import zlib
from functools import cache

import torch

from livetalk_ref.world.prompts import COLOURS, DEGREES, EFFECTS, MAX_WORDS, THINGS, words

TEXT_DIM = 64
TEXT_ROWS = MAX_WORDS + 1       # row 0 is the start token, so that '' is an embedding too
MEANING_SHARE, WORD_SHARE, POSITION_SHARE = 0.5, 0.3, 0.2     # of the variance


@cache
def _vector(name):
    """A unit-variance vector (TEXT_DIM,) that the name alone decides."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    return (torch.rand(TEXT_DIM, generator=generator) * 2 - 1) * 3 ** 0.5


def meaning(word):
    """What a word shares with its neighbours in the vocabulary; its own self if with none."""
    if word in EFFECTS:
        group, name, amount = EFFECTS[word]
        return name if group != "energy" else "lively" if amount > 0.5 else "calm"
    if word in DEGREES:
        return "more" if DEGREES[word] > 1 else "less"
    return "colour" if word in COLOURS else "thing" if word in THINGS else word


def encode(prompts):
    """Embeds prompts -> (B, 16, 64): start token, one row a word, then zeros. Entries of the used
    rows have unit variance. UserError for a word outside the vocabulary."""
    embedding = torch.zeros(len(prompts), TEXT_ROWS, TEXT_DIM)
    for row, prompt in zip(embedding, prompts):
        for place, word in enumerate(["<start>", *words(prompt)]):
            row[place] = MEANING_SHARE ** 0.5 * _vector(f"<meaning {meaning(word)}>") \
                + WORD_SHARE ** 0.5 * _vector(word) \
                + POSITION_SHARE ** 0.5 * _vector(f"<position {place}>")
    return embedding                                                    # (B, 16, 64)
