"""Parts of the commands' options: a parser whose errors are one sentence, number types."""

import argparse

from livetalk_ref.errors import UserError


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


def add_bench(c):
    """Options of `bench`."""
    c.add_argument("--model", default="teacher", help="a shipped model, or a checkpoint's path")
    c.add_argument("--seconds", type=number(1, 36000, float), default=600.0, metavar="S",
                   help="of a student's stream (600)")
    c.add_argument("--data", metavar="SHARDS", help="instead, how fast training reads: shards of "
                   "'prepare --clips', or 'world', its clips made and cached")
    c.add_argument("--weights", metavar="DIR", help="for shards of released size, as of 'train'")
    c.add_argument("--keep", metavar="NAME", help="write data/results/NAME.json as well")
    add_json(c)


def add_evaluate(c):
    """Options of `evaluate`."""
    c.add_argument("--model", default="teacher", metavar="M", help="teacher or another shipped "
                   "model, a checkpoint's path, or truth, codec (truth through it), rule "
                   "(loudness opens the mouth)")
    c.add_argument("--set", choices=SETS, required=True, help="the benchmark")
    c.add_argument("--steps", type=number(1, 1000), help="Euler steps (48)")
    weight = number(0, 20, float)
    c.add_argument("--text-guidance", type=weight, metavar="W", help="1 is off (2)")
    c.add_argument("--audio-guidance", type=weight, metavar="W", help="1 is off (2)")
    c.add_argument("--clips", type=number(2, 100), default=100, metavar="N",
                   help="only the first N clips (100)")
    c.add_argument("--seed", type=number(0, 10 ** 9), default=0, help="of the noise (0)")
    add_json(c)
