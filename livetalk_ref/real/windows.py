"""What a stream's windows cost in accuracy: `python -m livetalk_ref.real.windows [--weights DIR]`.

Relative difference of wav2vec's rows to those of the whole clip, by look-ahead, on shipped spoken
sentences. Without a folder of released weights the model is random, of the real size, and the
figures only show that the measurement works. Writes data/results/real_audio.json.
"""

import argparse
from pathlib import Path

import torch

from livetalk_ref.errors import run_program
from livetalk_ref.judge.results import write_result
from livetalk_ref.real.standin import random_speech
from livetalk_ref.real.wav2vec import Speech, difference, load_speech
from livetalk_ref.world.speech import load_spoken
from livetalk_ref.world.state import SAMPLE_RATE

LOOKS = (1, 4, 16)              # video frames
SENTENCES = (0, 12)             # one of a training voice, one held out
SECONDS = 8


def sound():
    """Two sentences one behind the other, repeated to fill the time: (N,)."""
    samples = torch.cat([load_spoken(number).samples for number in SENTENCES])
    needed = SECONDS * SAMPLE_RATE
    return samples.repeat(-(-needed // len(samples)))[:needed]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", metavar="DIR", help="a folder with wav2vec2/ in it")
    options = parser.parse_args()
    speech = load_speech(Path(options.weights) / "wav2vec2") if options.weights else \
        Speech(random_speech())
    samples = sound()
    rows = [{"weights": "released" if options.weights else "random", "look-ahead frames": ahead,
             "milliseconds": 62.5 * ahead, "difference": round(difference(speech, samples, ahead),
                                                               4)} for ahead in LOOKS]
    command = "python -m livetalk_ref.real.windows" + (" --weights DIR" if options.weights else "")
    print(write_result("real_audio", command, rows, seeds=[0]))


if __name__ == "__main__":
    run_program(main)
