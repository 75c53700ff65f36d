"""100 scripted dialogues in data/scenarios.json: the same words for every system that is compared.

Three kinds: follow-ups that need the answer before, changes of emotion, and interruptions. The
replies were written once, here and in data/topic.json, with the prompt of every sentence.
`python -m livetalk_ref.live.scenarios` makes the file anew.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from livetalk_ref import DATA
from livetalk_ref.errors import UserError, run_program
from livetalk_ref.live.mood import perform
from livetalk_ref.live.think import sentences
from livetalk_ref.live.topic import shipped
from livetalk_ref.media import placed

FILE = DATA / "scenarios.json"
VERSION = 1
FACES = 9_000           # seeds of held-out faces start here
VOICES = ("us-f5", "rp-m3", "midlands-m6", "british-m2")       # of the held-out split
PAUSES = (1.5, 2.25, 3.0)           # seconds that the user speaks
CUTS = (1.2, 1.8, 2.4)              # seconds after which they break in

# (passage, what the user asks next, and the answer that the passage before is needed for)
FOLLOW_UPS = (
    ("block", "And how many of them make one minute?",
     "Eighty of these blocks make a minute, for each lasts three quarters of a second."),
    ("teacher", "Why is it too slow?",
     "Because the teacher takes forty eight steps, and sees the whole clip before it begins."),
    ("student", "How many does it need for two blocks?",
     "Eight steps, then: the student takes four for each block."),
    ("sinks", "Are they ever thrown away?", "No, the first blocks stay for the whole dialogue."),
    ("window", "And what about the rest?", "The rest is forgotten, all but those first blocks."),
    ("critic", "What if it lags behind?", "Then its score is wrong, and the student breaks down."),
    ("guidance", "Can there be too much of it?",
     "Yes, too much guidance makes colours harsh and mouths overdrawn."),
    ("latent", "How many pictures are in three of them?",
     "Twelve pictures: each of the three latent frames holds four."),
    ("cache", "Does it grow for ever?", "No, the cache keeps the first blocks and the latest two."),
    ("lookahead", "Is that noticed?",
     "Hardly, for one sixteenth of a second is shorter than a blink."),
    ("thinker", "And if nothing fits?", "Then my language model writes, and its words are marked."),
    ("turn", "Why not sooner?", "Because people pause within a sentence, and I would cut you off."),
    ("size", "How much larger is the real one?",
     "The real one is some four hundred times larger, and has the same layers."),
    ("world", "So is that face yours alone?", "Yes, this face was drawn from one number."),
    ("realtime", "And if one comes too late?", "Then the picture stands still until it is there."),
    ("pipeline", "So how long does it take?", "As long as its slower part, the decoding."),
    ("drift", "Can it be held back?", "Yes, with blocks that are never forgotten."),
    ("dmd", "Where do they come from?", "One is the frozen teacher's, the other the critic's."),
    ("audio", "And in silence?", "In silence the rows say so, and my mouth stays closed."),
    ("one-cache", "And with a fresh clip?", "Then my head would jump to the portrait's place."),
)
FEELINGS = {            # what is said in each mood: (asked, answered)
    "happy": (("I passed my exam today!", "Congratulations, that is wonderful! Well done."),
              ("I have brought you flowers.", "How lovely! Thank you so much for these."),
              ("The training has converged.", "Great news! Now the fun can begin.")),
    "sad": (("I lost all my notes.", "I am so sorry. That must have been hard."),
            ("The old model was deleted.", "What a sad day. I liked it very much."),
            ("Nobody came to my talk.", "Oh no, I am sorry. They missed a lot.")),
    "angry": (("They copied your face.", "That is wrong! Nobody may do such a thing."),
              ("I skipped all the tests.", "Never do that! It is what breaks our work."),
              ("He read my letters.", "That is terrible! I would never allow it.")),
    "surprised": (("The model fits on a disk.", "Really? I can hardly believe it."),
                  ("I have trained for a year.", "A whole year? That is astonishing."),
                  ("A cat has written this.", "Wow, a cat? Now that is a surprise.")),
    "neutral": (("What is next?", "Next we look at the numbers. There are four of them."),
                ("Where is the table?", "The table is in the results. It has three rows."),
                ("Tell me the plan.", "First we train, then we measure. It takes a day.")),
}
MOODS = tuple(FEELINGS)
LONG = ("diffusion", "how-works", "self-forcing", "recipe", "latency-parts", "evaluation",
        "deepfake", "one-cache", "interrupt", "teacher")
SHORT = ("sigma", "thanks", "topics", "bye", "identity", "gpu")


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


def lines(text, emotion=None):
    """A reply's sentences with the prompts that the thinker would choose."""
    from livetalk_ref.world.prompts import parse

    prompts = [perform(part, emotion) for part in sentences(text)]
    return tuple(Line(part, prompt, parse(prompt).expression)
                 for part, prompt in zip(sentences(text), prompts))


def follow_up(n, passages):
    """Ask, ask on, and say thanks: the middle needs the beginning."""
    name, question, answer = FOLLOW_UPS[n % len(FOLLOW_UPS)]
    first = passages[name]
    thanks = passages["thanks" if n % 2 else "bye"]
    return ((first.ask[n // len(FOLLOW_UPS) % len(first.ask)], lines(first.answer), None),
            (question, lines(answer), None), (thanks.ask[0], lines(thanks.answer, "happy"), None))


def change(n, passages):
    """Three moods in a row, each another."""
    moods = [MOODS[(n + step * (1 + n // 5 % 4)) % 5] for step in range(3)]
    spoken = [FEELINGS[mood][(n // 5 + step) % 3] for step, mood in enumerate(moods)]
    return tuple((asked, lines(said, mood), None) for mood, (asked, said) in zip(moods, spoken))


def interruption(n, passages):
    """A long answer is broken into; the next one is short, and a third follows."""
    first, second = passages[LONG[n % len(LONG)]], passages[SHORT[n % len(SHORT)]]
    third = passages[SHORT[(n + 1 + n // 6) % len(SHORT)]]
    return ((first.ask[n % len(first.ask)], lines(first.answer), CUTS[n % 3]),
            (second.ask[0], lines(second.answer), None),
            (third.ask[-1], lines(third.answer), None))


def make():
    """All scenarios, the kinds mixed, so that the first few hold some of each."""
    passages = {p.id: p for p in shipped().passages}
    kinds = {"follow-up": (follow_up, 40), "emotions": (change, 30),
             "interruption": (interruption, 30)}
    made = [(n / count, kind, n, build(n, passages)) for kind, (build, count) in kinds.items()
            for n in range(count)]
    return [Scenario(f"{kind}-{n:02d}", kind, FACES + number, VOICES[number % 4],
                     tuple(Exchange(user, PAUSES[(number + k) % 3], reply, cut)
                           for k, (user, reply, cut) in enumerate(turns)))
            for number, (_, kind, n, turns) in enumerate(sorted(made, key=lambda m: m[:3]))]


def write(path=FILE):
    body = [asdict(scenario) for scenario in make()]
    with placed(path) as temporary:
        rows = ",\n".join(json.dumps(row, ensure_ascii=False) for row in body)
        temporary.write_text(f'{{"version": {VERSION}, "made_by": "python -m livetalk_ref.live.'
                             f'scenarios", "scenarios": [\n{rows}\n]}}\n', encoding="utf-8")


def read(path=FILE):
    """The scenarios of the file. UserError where it is missing or is not of this version."""
    try:
        kept = json.loads(Path(path).read_text(encoding="utf-8"))
        if kept["version"] != VERSION:
            raise ValueError(f"its version is {kept['version']}, not {VERSION}")
        return [Scenario(**row | {"turns": tuple(
            Exchange(**turn | {"reply": tuple(Line(**line) for line in turn["reply"])})
            for turn in row["turns"])}) for row in kept["scenarios"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{Path(path).name} holds no scenarios: {error}.") from error


if __name__ == "__main__":
    run_program(write)
