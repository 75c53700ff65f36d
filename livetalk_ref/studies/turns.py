"""How long a turn's answer takes in a live conversation, part by part, on this machine.

The clock starts at the last voiced sample, or when a typed question comes, and stops when the
first picture with sound is due: "its place" is the wait for the block on show to end. Sound and
pictures go at the pace of the wall, as in a browser. Typed and spoken questions are answered by
retrieval; the last kind is typed, and answered by the language model. The paper's figure is
1.16 s a turn.
"""

import statistics
import threading
import time
from functools import cached_property, partial
from itertools import groupby

import torch
import torch.nn.functional as F

from livetalk_ref import loading
from livetalk_ref.live import language
from livetalk_ref.live.conversation import hold
from livetalk_ref.live.systems import Maker, best_student
from livetalk_ref.live.think import shipped
from livetalk_ref.studies.work import Job, Study
from livetalk_ref.world.speech import say
from livetalk_ref.world.state import SAMPLE_RATE

CHUNK = 512
AFTER = 1.2                 # seconds of quiet behind a spoken question
TYPED, SPOKEN, MODEL = "typed", "spoken", "typed, to the language model"
ASKED = ("block", "cache", "critic", "sinks", "turn", "teacher", "smol", "privacy", "topics",
         "latent")          # passages whose first question is asked
OFF_TOPIC = ("What is the capital of France?", "Why is the sky blue?", "Who wrote Hamlet?",
             "What do bees make?", "Where do penguins live?", "What is a good breakfast?",
             "How many legs has a spider?", "Which planet is the largest?")


class Turns(Study):
    """A job for each kind of question."""

    sizes = {"count": (8, 2)}

    def key(self):
        return loading.checkpoints_key("", best_student())

    def jobs(self):
        sources = (TYPED, SPOKEN, MODEL) if language.is_installed() else (TYPED, SPOKEN)
        return [Job(source.replace(",", "").replace(" ", "-"), "turn_latency",
                    partial(self.ask, source)) for source in sources]

    @cached_property
    def maker(self):
        return Maker(best_student())

    def ask(self, source):
        """Hold a conversation of questions of one kind: how many were answered, and the parts of
        every answer's time."""
        played = hold(self.maker.talk(7), questions(source, self.count), realtime=True)
        found = [parts for parts, _ in groupby(meter.first_frame for meter in played.meters)
                 if parts]                      # the latency of every answer, by part
        return [{"input": source, "questions": self.count, "answers": len(found), "parts": found,
                 "stalled": round(played.stalled, 3)}]

    def combine(self, result, rows):
        """All is timing, and so in cost; rows say how many answers came."""
        cost = []
        for row in rows:
            found, about = row.pop("parts"), {"input": row["input"]}
            for part in found[0] if found else ():
                took = sorted(round(one[part], 3) for one in found)
                cost.append(about | {"part": part, "turns": len(found), "largest": took[-1],
                                     "median": round(statistics.median(took), 3)})
            cost.append(about | {"part": "stalled", "largest": row.pop("stalled")})
        return rows, {"model": best_student(), "seconds": cost}


def questions(source, count):
    """The first so many questions, over and over; spoken ones as turns for `hold`."""
    passages = {p.id: p for p in shipped().passages}
    texts = OFF_TOPIC if source == MODEL else [passages[name].ask[0] for name in ASKED]
    chosen = [texts[n % len(texts)] for n in range(count)]
    return [speaker(text) for text in chosen] if source == SPOKEN else chosen


def speaker(text, voice="us-f2"):
    """A turn for `hold`: somebody speaks a question into the microphone, in real time."""
    samples = F.pad(say(text, voice).samples, (0, int(AFTER * SAMPLE_RATE)))
    noise = torch.randn(len(samples), generator=torch.Generator().manual_seed(0))

    def run(talk):
        start = time.monotonic()
        for number, chunk in enumerate((samples + 1e-3 * noise).split(CHUNK)):
            time.sleep(max(0.0, start + number * CHUNK / SAMPLE_RATE - time.monotonic()))
            talk.hear(chunk)

    return lambda talk: threading.Thread(target=run, args=(talk,), daemon=True).start()
