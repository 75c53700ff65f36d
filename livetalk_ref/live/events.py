"""What goes through a conversation: turns in, sentences between, events out.

Samples are numbered on the avatar's own clock, 16 kHz; times are `time.monotonic()`.
"""

from dataclasses import dataclass, field

import torch


@dataclass(frozen=True)
class Onset:
    """Somebody has begun to speak; `listen` yields it at once, for it interrupts the avatar."""


@dataclass(frozen=True)
class Turn:
    """What the user said: typed or recognised text ("" where nothing was understood), and the
    sound (n,) of a spoken one. voiced: when it was heard last; ended: when that was noticed."""
    text: str
    voiced: float
    ended: float
    samples: torch.Tensor | None = None


@dataclass(frozen=True)
class Dialogue:
    """The latest lines that were said, oldest first: ("user" | "avatar", text) each.

    What an interruption kept from being heard is not in it. `turn` is the user's last one.
    """
    said: tuple
    turn: Turn


@dataclass(frozen=True)
class Sentence:
    """One sentence of an answer, the prompt to perform it with, and who wrote it."""
    text: str
    prompt: str
    source: str


# What comes out.

@dataclass(frozen=True)
class State:
    """listening, thinking or speaking, from this sample on."""
    name: str
    first_sample: int = 0


@dataclass(frozen=True)
class Said:
    """A line of the transcript, from when its sound begins. role: "user" or "avatar"; source:
    "typed", "voice", or a `Sentence`'s."""
    role: str
    text: str
    source: str
    first_sample: int = 0


@dataclass(frozen=True)
class Sound:
    """Samples (n,) float32 in [-1, 1], in order and without gaps but for a `Cut`."""
    first_sample: int
    samples: torch.Tensor


@dataclass(frozen=True)
class Picture:
    """One frame, uint8 RGB on the CPU; it is due when `first_sample` is heard."""
    number: int
    pixels: torch.Tensor                    # (3, H, W)
    first_sample: int


@dataclass(frozen=True)
class Cut:
    """Forget sound, pictures, lines and states from this sample on: what replaces them follows."""
    first_sample: int


@dataclass(frozen=True)
class Meter:
    """How the machine keeps up, once a block. A block must be made in `deadline_ms`.

    buffer_ms: made and not yet played; tokens_per_s: of the thinker, if it has taken a step;
    first_frame: of the latest answer, seconds from the end of the question to its first picture
    with sound, by part.
    """
    frames_per_s: float
    block_ms: float
    deadline_ms: float
    buffer_ms: float
    tokens_per_s: float | None = None
    first_frame: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Error:
    """One clear sentence. fatal: nothing else will come, and the conversation is closed."""
    sentence: str
    fatal: bool = True


@dataclass(frozen=True)
class Span:
    """One stretch of work or waiting. lane: "user", "think", "speak", "perform" or "play"."""
    lane: str
    what: str
    start: float
    end: float
