"""From phones to the mouth: what opening, width and rounding a viewer sees at each video frame.

Each IPA letter has a target shape. Neighbours blend by dominance (Cohen and Massaro 1993): every
letter pulls the mouth to its own shape with a strength that falls off as a Gaussian outside the
letter's core, and the mouth is the weighted mean. Lips that must meet (p b m) do meet: the frame
nearest to the closure is shut, however short the sound and however coarse 16 frames a second.
Values depend on the phones alone, so the mouth is as predictable from the sound as it can be.
"""

import unicodedata

import torch

from livetalk_ref.errors import UserError
from livetalk_ref.world.state import FPS

SPREAD = 0.045              # seconds: how far outside its core a letter is still felt
EDGE = 0.2, 0.02            # what is not core at each end: this share, at most these seconds
CLOSED_FOR = 0.5 / FPS      # half a frame: some frame falls within this of any closure's middle
REOPEN = 0.045              # seconds from shut lips to free lips

# letters: (open 0..1, width -1..1, round 0..1), strength on opening, on width and rounding
SHAPES = {
    "p b m": ((0.00, -0.05, 0.00), 2.0, 0.4),
    "f v": ((0.05, 0.15, 0.00), 2.0, 0.7),
    "w ʍ": ((0.10, -0.75, 1.00), 1.2, 1.6),
    "ʃ ʒ": ((0.18, -0.40, 0.75), 1.2, 1.3),
    "s z": ((0.10, 0.50, 0.00), 1.2, 0.8),
    "t d n ɾ": ((0.16, 0.20, 0.00), 0.8, 0.4),
    "θ ð": ((0.22, 0.20, 0.00), 1.0, 0.5),
    "ɹ r ɻ": ((0.22, -0.25, 0.50), 0.7, 0.8),
    "l ɫ": ((0.38, 0.10, 0.00), 0.6, 0.4),
    "k ɡ g ŋ x": ((0.32, 0.05, 0.00), 0.5, 0.2),
    "h ʔ": ((0.45, 0.00, 0.00), 0.2, 0.1),      # takes the shape of its vowel
    "j": ((0.20, 0.65, 0.00), 0.8, 0.9),
    "i": ((0.28, 0.95, 0.00), 1.3, 1.0),
    "ɪ ᵻ": ((0.45, 0.60, 0.00), 1.2, 0.8),
    "e": ((0.62, 0.70, 0.00), 1.3, 1.0),
    "ɛ": ((0.78, 0.50, 0.00), 1.3, 1.0),
    "æ": ((0.95, 0.55, 0.00), 1.5, 1.0),
    "a": ((1.00, 0.25, 0.00), 1.5, 1.0),
    "ɑ": ((1.00, 0.00, 0.05), 1.5, 1.0),
    "ʌ ɐ": ((0.82, 0.10, 0.00), 1.3, 0.8),
    "ɒ": ((0.94, -0.35, 0.45), 1.5, 1.0),
    "ɔ": ((0.85, -0.50, 0.70), 1.4, 1.1),
    "o": ((0.62, -0.70, 0.90), 1.3, 1.2),
    "ʊ": ((0.38, -0.60, 0.80), 1.2, 1.0),
    "u ʉ": ((0.24, -0.90, 1.00), 1.3, 1.3),
    "ə": ((0.50, 0.05, 0.05), 0.9, 0.4),
    "ɜ ɚ ɝ": ((0.55, -0.20, 0.40), 1.2, 0.8),
}
LETTERS = {letter: shape for group, shape in SHAPES.items() for letter in group.split()}
PAUSE = ((0.0, 0.0, 0.0), 1.0, 0.6)


def visemes(phones, frames):
    """(T, 3) opening 0..1, width -1..1, rounding 0..1 at the times i / 16 s, i < frames.

    phones: [(IPA symbol, start s, end s)], "" being a pause; outside them the mouth rests.
    UserError for a letter that is in no English voice.
    """
    units = [unit for phone in phones for unit in split_phone(*phone)]
    if not units:
        return torch.zeros(frames, 3)
    time = torch.arange(frames) / FPS                                               # (T,)
    units = [("", units[0][1] - 10, units[0][1])] + units + [("", units[-1][2], units[-1][2] + 10)]
    start, end = torch.tensor([unit[1:] for unit in units], dtype=torch.float32).T  # (P,) each
    shapes = [LETTERS[letter] if letter else PAUSE for letter, _, _ in units]
    target = torch.tensor([shape for shape, _, _ in shapes])                        # (P, 3)
    strength = torch.tensor([(a, b, b) for _, a, b in shapes])                      # (P, 3)
    pull = dominance(time, start, end)[..., None] * strength                        # (T, P, 3)
    mouth = (pull * target).sum(1) / (pull.sum(1) + 1e-6)                           # (T, 3)
    mouth[:, 0] *= 1 - lips_shut(time, units)
    return mouth


def split_phone(symbol, start, end):
    """A diphthong or affricate moves: [(letter, start, end)] with equal shares."""
    # length, stress and the other signs that do not move the lips are no letters to Unicode
    letters = [letter for letter in symbol if unicodedata.category(letter) in ("Ll", "Lo")]
    unknown = [letter for letter in letters if letter not in LETTERS]
    if unknown:
        raise UserError(f"No mouth shape for the phone '{symbol}': unknown sign '{unknown[0]}'.")
    if not letters:
        return [("", start, end)]
    step = (end - start) / len(letters)
    return [(letter, start + i * step, start + (i + 1) * step) for i, letter in enumerate(letters)]


def dominance(time, start, end):
    """(T, P) how strongly each letter is felt at each time: 1 in its core, Gaussian outside."""
    edge = (EDGE[0] * (end - start)).clamp(max=EDGE[1])
    ahead, behind = start + edge - time[:, None], time[:, None] - (end - edge)      # (T, P)
    outside = torch.maximum(ahead, behind).clamp(min=0)
    return torch.exp(-((outside / SPREAD) ** 2))


def lips_shut(time, units):
    """(T,) 1 at frames where p, b or m must be seen closed, falling to 0 around them."""
    closures = [((a + b) / 2, (b - a) / 2) for letter, a, b in units if letter and letter in "pbm"]
    if not closures:
        return torch.zeros_like(time)
    middle, half = torch.tensor(closures).T                                         # (P,) each
    outside = (time[:, None] - middle).abs() - half.clamp(min=CLOSED_FOR)           # (T, P)
    return (1 - outside / REOPEN).clamp(0, 1).amax(1)
