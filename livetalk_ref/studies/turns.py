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
from functools import partial

import torch
import torch.nn.functional as F

from livetalk_ref import loading
from livetalk_ref.live import language
from livetalk_ref.live.conversation import Conversation
from livetalk_ref.live.headless import hold
from livetalk_ref.live.systems import Maker, best_student
from livetalk_ref.live.think import shipped
from livetalk_ref.portrait import portrait_of
from livetalk_ref.studies.work import Study, once
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
    """One job: all is timing."""

    name, sizes = "turns", {"count": (8, 2)}

    def key(self):
        return loading.checkpoints_key("", best_student())

    def jobs(self):
        return [once("turn_latency", "turn_latency", partial(time_turns, self.count))]


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


def questions(source, count):
    """The first so many questions, over and over; spoken ones as turns for `hold`."""
    passages = {p.id: p for p in shipped().passages}
    texts = OFF_TOPIC if source == MODEL else [passages[name].ask[0] for name in ASKED]
    chosen = [texts[n % len(texts)] for n in range(count)]
    return [speaker(text) for text in chosen] if source == SPOKEN else chosen


def time_turns(count):
    """(rows, cost): all is timing, and so in cost; rows say how many answers came."""
    maker, rows, cost = Maker(best_student()), [], []
    sources = [TYPED, SPOKEN]
    if language.is_installed():
        language.load()                         # its first load is not a turn's
        sources.append(MODEL)
    for source in sources:
        talk = Conversation(maker.avatar, portrait_of(7), maker.listen, maker.think, maker.speak)
        played = hold(talk, questions(source, count), realtime=True)
        found = []                              # the latency of every answer, by part
        for meter in played.meters:
            if meter.first_frame and meter.first_frame not in found:
                found.append(meter.first_frame)
        understood = sum(line.role == "user" and bool(line.text) for line in played.lines)
        rows.append({"input": source, "questions": count, "understood": understood,
                     "answers": len(found)})
        cost += [{"input": source, "part": part, "turns": len(found),
                  "median": round(statistics.median(f[part] for f in found), 3),
                  "largest": round(max(f[part] for f in found), 3)}
                 for part in (found[0] if found else ())]
        cost.append({"input": source, "part": "stalled", "largest": round(played.stalled, 3)})
        speeds = [meter.tokens_per_s for meter in played.meters if meter.tokens_per_s]
        if speeds:
            cost.append({"input": source, "part": "tokens/s",
                         "median": round(statistics.median(speeds), 1)})
    return rows, {"model": maker.avatar.name, "seconds": cost}


STUDY = Turns
