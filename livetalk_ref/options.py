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


SEED = number(0, 2 ** 63 - 1)


def add_json(parser):
    """`--json`, the same for every command that has it."""
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")


def add_train(c, stages):
    """Options of `train`."""
    c.add_argument("stage", choices=stages)
    c.add_argument("--steps", type=number(1, 10 ** 9), help="updates, instead of the stage's own")
    c.add_argument("--out", metavar="DIR", help="where checkpoints go (runs/STAGE)")
    c.add_argument("--resume", action="store_true", help="continue what is in that folder")
    c = c.add_argument_group("of the stage ode")
    c.add_argument("--recipe", choices=("short", "converged"), help="how long (converged)")
    c.add_argument("--variant", choices=("livetalk", "self_forcing", "teacher_forced"),
                   help="what a block is fed and reads, see ode.py (livetalk)")
    c.add_argument("--pairs", dest="count", type=number(1, 10 ** 6), metavar="N",
                   help="trajectories (2000)")
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


def add_study(c):
    """Options of `study`."""
    c.add_argument("--minutes", type=number(0, 10 ** 6, float), metavar="M",
                   help="stop after so long; call it again to continue")
    c.add_argument("--quick", action="store_true", help="the smallest size that runs through "
                   "everything: a test, with results beside the run and not in data/results")
    c.add_argument("--list", action="store_true", help="only say what is done and what is not")
