"""What the commands' options are made of: a parser whose errors are one sentence, number types."""

import argparse

from livetalk_ref.errors import UserError


class Parser(argparse.ArgumentParser):
    """Reports a wrong command line like any other bad input."""

    def error(self, message):
        raise UserError(f"{message[0].upper()}{message[1:]}; see '{self.prog} -h'.")


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


SETS = ("studio", "wild", "celeb")
SEED = number(0, 2 ** 63 - 1)


def add_device(parser, usual):
    """`--device`, checked where it is used; usual: what is taken without it, in words."""
    parser.add_argument("--device", metavar="D", help=f"cpu, cuda, mps .. ({usual})")


def add_json(parser):
    """`--json`, the same for every command that has it."""
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")


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
