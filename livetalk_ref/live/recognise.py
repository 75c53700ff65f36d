"""Speech recognition as far as it goes offline: which of the known questions was asked?

pocketsphinx (its model comes in the package; BSD) cannot write down free speech well enough, but
it can choose among the 200 questions of data/topic.json. What it chooses counts if it explains
the sound nearly as well as any string of phones does; else the answer is that nothing was
understood. It decodes while the user still speaks.
"""

from importlib.util import find_spec

import torch
import torch.nn.functional as F

from livetalk_ref.errors import UserError
from livetalk_ref.live import topic
from livetalk_ref.live.topic import every_word

QUIET, RATE = 4_000, 16_000         # samples of faint noise in front: no voice is there at once
HMMS = 1_500                        # alive in a frame: bounds the time that strange sound takes
WORSE = 1e-4                        # log score for each sample of 10 ms, against free phones
FRAME = 160


def is_installed():
    return bool(find_spec("pocketsphinx"))


class Recogniser:
    """Chunks of one turn in with `hear`, its text out with `text`: a known question, or ""."""

    def __init__(self, known=None):
        if not is_installed():
            raise UserError("Recognising questions needs pocketsphinx: install it with `pip "
                            "install pocketsphinx==5.1.1`, or type.")
        from pocketsphinx import Decoder, get_model_path

        options = {"samprate": RATE, "loglevel": "FATAL", "lm": None, "maxhmmpf": HMMS}
        self.words, self.phones = Decoder(**options), Decoder(
            **options, allphone=get_model_path("en-us/en-us-phone.lm.bin"))
        written = {q: q for p in (known or topic.shipped()).passages for q in p.ask}
        spelt = {" ".join(every_word(q)): q for q in written}
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
