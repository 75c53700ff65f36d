"""What the commands' options are made of: a parser whose errors are one sentence, number types."""

import argparse

from livetalk_ref.errors import UserError
from livetalk_ref.real.commands import add_weights


class Parser(argparse.ArgumentParser):
    """Reports a wrong command line like any other bad input."""

    def error(self, message):
        raise UserError(f"{message[0].upper()}{message[1:]}; see '{self.prog} -h'.")

    def format_help(self):
        """The help; an epilog that takes long to import is a function, called now."""
        if callable(self.epilog):
            self.epilog = self.epilog()
        return super().format_help()


def number(low, high, kind=int):
    """An argparse type: a number from low to high."""
    def parse(word):
        try:
            value = kind(word)
        except ValueError:
            value = None
        if value is None or not low <= value <= high:
            raise argparse.ArgumentTypeError(f"'{word}' is not a number from {low} to {high}")
        return value
    return parse


SETS = ("studio", "wild", "celeb", "held_out")
SEED = number(0, 2 ** 63 - 1)
PROMPT = "a happy person smiles and nods while speaking"


def add_device(parser, usual):
    """`--device`, checked where it is used; usual: what is taken without it, in words."""
    parser.add_argument("--device", metavar="D", help=f"cpu, cuda, mps .. ({usual})")


def add_json(parser):
    """`--json`, the same for every command that has it."""
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")


def prompt_words():
    """What `generate -h` tells about prompts."""
    from livetalk_ref.world.prompts import list_words

    return f"What the miniature reads in a prompt; other words are left out: {list_words()}."


def add_generate(c):
    """Options of `generate`."""
    c.epilog = prompt_words
    who = c.add_mutually_exclusive_group()
    who.add_argument("--image", metavar="I", help="a portrait of the drawn world, PNG or "
                     "JPEG; with released weights a photograph")
    who.add_argument("--identity", type=SEED, metavar="SEED", default=7,
                     help="the drawn portrait of a seed (7)")
    c.add_argument("--audio", required=True, metavar="A", help="speech: wav, mp3, flac ..")
    c.add_argument("--prompt", required=True, metavar="P", help=f"such as '{PROMPT}'")
    c.add_argument("--out", required=True, metavar="O.mp4", help="the video to write")
    c.add_argument("--model", default="teacher", metavar="M", help="teacher, student, "
                   "student_ode, student_ode_short, the path of a checkpoint, livetalk-1.3b or "
                   "omniavatar-1.3b (teacher)")
    add_weights(c)
    c.add_argument("--seed", type=SEED, default=0, help="of all that is random (0)")
    c.add_argument("--steps", type=number(1, 1000), help="Euler steps of a teacher (48)")
    weight = number(0, 20, float)
    c.add_argument("--text-weight", type=weight, help="text guidance, 1 is off")
    c.add_argument("--audio-weight", type=weight, help="audio guidance, 1 is off")
    c.add_argument("--scale", type=number(1, 16), metavar="K",
                   help="how much larger the picture is shown (4; 1 with released weights)")
    add_device(c, "cpu; with released weights cuda where there is one")
    add_json(c)


def add_bench(c):
    """Options of `bench`."""
    c.add_argument("--model", default="teacher", help="a shipped model, or a checkpoint's path")
    c.add_argument("--seconds", type=number(1, 36000, float), default=600.0, metavar="S",
                   help="of a student's stream (600)")
    c.add_argument("--keep", metavar="NAME", help="write data/results/NAME.json as well")
    add_json(c)


def add_evaluate(c):
    """Options of `evaluate`."""
    what = c.add_mutually_exclusive_group()
    what.add_argument("--model", default="teacher", metavar="M", help="teacher or another shipped "
                      "model, a checkpoint's path, or truth, codec (truth through it), rule "
                      "(loudness opens the mouth)")
    what.add_argument("--videos", metavar="DIR",
                      help="judge the videos there, SET-000.mp4 .. SET-099.mp4, instead")
    what.add_argument("--export", metavar="DIR", help="only write the set's pictures, sounds and "
                      "prompts there, from which another program can make such videos")
    c.add_argument("--set", choices=SETS, required=True, help="the benchmark")
    c.add_argument("--steps", type=number(1, 1000), help="Euler steps (48)")
    weight = number(0, 20, float)
    c.add_argument("--text-guidance", type=weight, metavar="W", help="1 is off (2)")
    c.add_argument("--audio-guidance", type=weight, metavar="W", help="1 is off (2)")
    c.add_argument("--clips", type=number(2, 100), default=100, metavar="N",
                   help="only the first N clips (100)")
    c.add_argument("--seed", type=number(0, 10 ** 9), default=0, help="of the noise (0)")
    c.add_argument("--inception", metavar="FILE", help="a TorchScript Inception of yours: adds FID")
    c.add_argument("--i3d", metavar="FILE", help="a TorchScript I3D of yours: adds FVD")
    c.add_argument("--out", metavar="FILE", help="write the JSON object there as well")
    add_json(c)


def add_train(c, stages):
    """Options of `train`."""
    c.add_argument("stage", choices=stages)
    c.add_argument("--steps", "--updates", type=number(1, 10 ** 9),
                   help="updates, instead of the stage's own")
    c.add_argument("--out", metavar="DIR", help="where checkpoints go (runs/STAGE; dmd: "
                   "runs/dmd/RECIPE-seedSEED)")
    c.add_argument("--start", metavar="M", help="begin with these weights instead of chance: a "
                   "shipped model's name or a checkpoint's path")
    c.add_argument("--rate", type=number(0.001, 10, float), default=1.0, metavar="X",
                   help="multiplies the learning rates (1)")
    c.add_argument("--compile", action="store_true", help="a third faster for transformers, after "
                   "two minutes; needs a C++ compiler")
    c.add_argument("--resume", action="store_true", help="continue what is in that folder")
    add_device(c, "cuda where there is one")
    c = c.add_argument_group("of the stages ode and dmd")
    c.add_argument("--recipe", metavar="R", help="ode: short or converged, that is how long "
                   "(converged); dmd: baseline, curated, converged, aggressive, final or another "
                   "row of recipes.py, or student, which ships (student)")
    c.add_argument("--variant", choices=("self_forcing", "livetalk", "teacher_forced"),
                   help="what a block is fed and reads, see ode.py (self_forcing)")
    c.add_argument("--pairs", dest="count", type=number(1, 10 ** 6), metavar="N",
                   help="ode: trajectories (2000); dmd: clips whose conditions are used (2048)")
    c.add_argument("--teacher", choices=("bidirectional", "causal"),
                   help="whose trajectories (bidirectional)")
    c.add_argument("--seed", type=number(0, 10 ** 9), help="of the draws (0)")


def add_trajectories(c):
    """Options of `trajectories`."""
    c.add_argument("--count", type=number(1, 10 ** 6), default=2000, metavar="N",
                   help="clips, rounded up to shards (2000)")
    c.add_argument("--split", choices=("train", "held_out", "check"), default="train",
                   help="of the world's clips (train)")
    c.add_argument("--teacher", choices=("bidirectional", "causal"), default="bidirectional",
                   help="whole clips at once, or block after block (needs 'train teacher_causal')")
    c.add_argument("--sample", action="store_true", help="only write the few that ship, "
                   "data/trajectories/sample.safetensors")
