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


def add_released(parser):
    """`--weights`, `--decoder` and `--int8`, of the released layout."""
    parser.add_argument("--weights", metavar="DIR", help="for livetalk-1.3b: the folder of its "
                        "weights, see README and notebook 10; or 'random', for small ones of the "
                        "same layout")
    parser.add_argument("--decoder", metavar="FILE", help="a light decoder's file for "
                        "livetalk-1.3b, taew2_1.safetensors: faster and less sharp")
    parser.add_argument("--int8", action="store_true", help="livetalk-1.3b with weights in 8 bits, "
                        "for small cards: 1.3 GiB less and a little less exact")


def add_json(parser):
    """`--json`, the same for every command that has it."""
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")


def add_bench(c):
    c.add_argument("--model", default="teacher", help="a shipped model, a checkpoint's path, or "
                   "livetalk-1.3b, of which a stream is measured, on a GPU where there is one")
    c.add_argument("--seconds", type=number(1, 36000, float), default=600.0, metavar="S",
                   help="of a student's stream (600)")
    c.add_argument("--data", metavar="SHARDS", help="instead, how fast training reads: shards of "
                   "'prepare --clips', or 'world', its clips made and cached")
    add_released(c)             # shards of released size need its weights as well
    c.add_argument("--keep", metavar="NAME", help="write data/results/NAME.json as well")
    add_json(c)


def add_evaluate(c):
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
