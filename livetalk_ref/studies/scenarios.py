"""100 scripted dialogues in data/scenarios.json: the same words for every system that is compared.

Three kinds: follow-ups that need the answer before, changes of emotion, and interruptions. The
replies were written once, each sentence with its prompt.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from livetalk_ref import DATA
from livetalk_ref.errors import UserError

FILE = DATA / "scenarios.json"
VERSION = 1
# The paper's five dimensions of content. They judge words, which all systems here share.
CONTENT = ("semantic relevance", "information completeness", "logical consistency",
           "context understanding", "overall experience")


@dataclass(frozen=True)
class Line:
    """One sentence of a reply, the prompt to perform it with, and the emotion asked for."""

    text: str
    prompt: str
    emotion: str


@dataclass(frozen=True)
class Exchange:
    """What the user says, for how many seconds, the reply, and, if they break into it, after how
    many seconds of it."""

    user: str
    seconds: float
    reply: tuple
    cut: float | None = None


@dataclass(frozen=True)
class Scenario:
    """A dialogue of a face (a seed) and a voice."""

    id: str
    kind: str
    identity: int
    voice: str
    turns: tuple


def read(path=FILE):
    """Read the scenarios of a file. UserError where it is missing or is not of this version."""
    try:
        kept = json.loads(Path(path).read_text(encoding="utf-8"))
        if kept["version"] != VERSION:
            raise ValueError(f"its version is {kept['version']}, not {VERSION}")
        return [Scenario(**row | {"turns": tuple(
            Exchange(**turn | {"reply": tuple(Line(**line) for line in turn["reply"])})
            for turn in row["turns"])}) for row in kept["scenarios"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{Path(path).name} holds no scenarios: {error}.") from error
