"""Turns: when somebody speaks, when they have come to an end, and what they asked.

silero-vad's network (MIT) says for every 32 ms how likely they hold a voice. Pocketsphinx (BSD)
cannot write down free speech well enough offline, but it can choose among the questions of
data/topic.json: what it chooses counts if it explains the sound nearly as well as any string of
phones does.
"""

import time
from collections import deque
from importlib.util import find_spec
from pathlib import Path
from threading import Lock

import torch
import torch.nn.functional as F

from livetalk_ref.errors import UserError
from livetalk_ref.live.events import Onset, Turn
from livetalk_ref.live.think import every_word, shipped

RATE, CHUNK = 16_000, 512                   # samples a second, a chunk
BEGIN, GO_ON = 0.5, 0.35                    # chances of voice that begin a turn, and prolong it
VOICED = 3                                  # chunks in a row that begin one
SILENCE, SURE = 0.45, 0.3                   # seconds without voice that end one; a whole question
BEFORE = 10                                 # chunks kept of what was in front of it
LONGEST = 20.0                              # seconds of a turn
QUIET = 4_000                               # samples of faint noise in front of what is recognised
HMMS = 1_500                                # alive in a frame: bounds the time of strange sound
WORSE, FRAME = 1e-4, 160                    # log score a frame of 10 ms, against free phones


def voice_network():
    """The network of one stream, as it ships: (chunk (1, 512), RATE) -> its chance of voice.
    UserError where the package is missing."""
    found = find_spec("silero_vad")         # importing it would set torch's number of threads
    if not found:
        raise UserError("Hearing turns needs silero-vad: install it with `pip install --no-deps "
                        "silero-vad==6.2.1`, or type.")
    return torch.jit.load(Path(found.origin).parent / "data" / "silero_vad.jit")


def chunked(sounds):
    """Any chunks -> chunks of 512 samples."""
    rest = torch.zeros(0)
    for part in sounds:
        rest = torch.cat([rest, part])
        count = len(rest) // CHUNK * CHUNK
        whole, rest = rest[:count], rest[count:]
        yield from whole.split(CHUNK) if count else ()


class Listener:
    """A `listen` function: three voiced chunks in a row are an `Onset`, and silence behind them
    ends the `Turn`, sooner where what was heard is a whole question. recogniser: a `Recogniser`,
    or None for turns without text; it hears one conversation, and then the next."""

    def __init__(self, recogniser=None):
        self.recogniser, self.lock = recogniser, Lock()
        voice_network()                     # says at once if it is missing

    def __call__(self, sounds):
        with self.lock:
            yield from self.find_turns(sounds)

    @torch.no_grad()
    def find_turns(self, sounds):
        """The rules, for one conversation."""
        voice, recent, heard, quiet, run = voice_network(), deque(maxlen=BEFORE), [], 0, 0
        if self.recogniser:
            self.recogniser.text()          # of a conversation that ended in the middle of a turn
        for chunk in chunked(sounds):
            chance = voice(chunk[None], RATE).item()
            if not heard:                   # nobody speaks yet
                recent.append(chunk)
                run = run + 1 if chance >= BEGIN else 0
                if run == VOICED:
                    heard, quiet, chunk = list(recent), 0, torch.cat(list(recent))
                    yield Onset()
            else:
                heard.append(chunk)
                quiet = 0 if chance >= GO_ON else quiet + CHUNK / RATE
            if heard and self.recogniser:
                self.recogniser.hear(chunk)
            known = quiet >= SURE and self.recogniser and self.recogniser.so_far()
            if heard and (known or quiet >= SILENCE or len(heard) * CHUNK >= LONGEST * RATE):
                # The silence is counted in samples: exact, however the chunks came.
                now, text = time.monotonic(), self.recogniser.text() if self.recogniser else ""
                yield Turn(text, now - quiet, now, torch.cat(heard))
                recent.clear()
                heard, run = [], 0


class Recogniser:
    """Chunks of one turn in with `hear`, its text out with `text`: a known question, or ""."""

    def __init__(self):
        from pocketsphinx import Decoder, get_model_path

        options = {"samprate": RATE, "loglevel": "FATAL", "lm": None, "maxhmmpf": HMMS}
        self.words, self.phones = Decoder(**options), Decoder(
            **options, allphone=get_model_path("en-us/en-us-phone.lm.bin"))
        spelt = {" ".join(every_word(q)): q for p in shipped().passages for q in p.ask}
        self.questions = {said: q for said, q in spelt.items()
                          if all(self.words.lookup_word(w) for w in said.split())}
        self.words.add_jsgf_string("questions", "#JSGF V1.0; grammar g; public <q> = "
                                   + " | ".join(sorted(self.questions)) + ";")
        self.words.activate_search("questions")
        self.heard, self.noise = 0, torch.Generator().manual_seed(0)

    def hear(self, samples):
        """(n,) floats, as they come."""
        if not self.heard:
            samples = F.pad(samples, (QUIET, 0))
            for decoder in (self.words, self.phones):
                decoder.start_utt()
        self.heard += len(samples)
        samples = samples + 1e-3 * torch.randn(len(samples), generator=self.noise)
        sound = (samples.clamp(-1, 1) * 32_767).short().numpy().tobytes()
        for decoder in (self.words, self.phones):
            decoder.process_raw(sound)

    def so_far(self):
        """The question that the sound heard until now is, as it is written, or ""."""
        found, free = (self.words.hyp(), self.phones.hyp()) if self.heard else (None, None)
        if not (found and free and found.hypstr in self.questions):
            return ""
        fits = (found.score - free.score) / (self.heard / FRAME)
        return self.questions[found.hypstr] if fits >= WORSE else ""

    def text(self):
        """The question heard since the last call, or ""."""
        if self.heard:
            for decoder in (self.words, self.phones):
                decoder.end_utt()
        text, self.heard = self.so_far(), 0
        return text


def make_listener():
    """Turns of a microphone, with the known questions recognised where pocketsphinx is installed;
    None where silero-vad is missing."""
    if find_spec("silero_vad"):
        return Listener(Recogniser() if find_spec("pocketsphinx") else None)
    return None
