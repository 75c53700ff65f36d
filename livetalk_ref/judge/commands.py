"""The command that measures the performer: `bench`.

It imports what it needs when it runs, so that help is quick.
"""

import json
import shlex
import sys

from livetalk_ref.errors import Progress
from livetalk_ref.options import add_json, number


def tell(options, facts, text):
    """Print facts as one JSON object, or as text."""
    print(json.dumps(facts) if options.json else text)


def typed():
    """The command line as it was typed."""
    return shlex.join(["python", "-m", "livetalk_ref", *sys.argv[1:]])


def add_bench(c):
    """Options of `bench`."""
    c.add_argument("--model", default="teacher", help="a shipped model, or a checkpoint's path")
    c.add_argument("--steps", type=number(1, 1000), help="Euler steps of a teacher (48)")
    c.add_argument("--runs", type=number(1, 1000),
                   help="warm runs of the latency (20, or fewer where a run takes many seconds)")
    c.add_argument("--seconds", type=number(1, 36000, float), default=600.0, metavar="S",
                   help="of a student's stream (600)")
    c.add_argument("--compile", action="store_true",
                   help="passes through torch.compile: minutes first, needs a C++ compiler")
    c.add_argument("--cuda-graph", action="store_true", help="passes as CUDA graphs, on a GPU")
    c.add_argument("--keep", metavar="NAME", help="write data/results/NAME.json as well")
    add_json(c)


def bench(options):
    """Latency, throughput and memory of a generator on this machine."""
    from livetalk_ref.files import write_result
    from livetalk_ref.judge.bench import measure, table
    from livetalk_ref.judge.pace import count_blocks

    with Progress("stream: block", count_blocks(options.seconds)) as progress:
        facts = measure(options.model, options.steps, options.runs, options.seconds,
                        options.compile, options.cuda_graph, progress)
    if options.keep:
        write_result(options.keep, typed(), counted(facts), [0], facts,
                     device="cuda" if options.cuda_graph else "cpu")
    tell(options, facts, table(facts))


def counted(facts):
    """What of `bench`'s figures no machine changes, as rows: the model's, and its teacher's."""
    names = "model", "steps", "algorithmic", "flops", "times_counted"
    return [{name: one[name] for name in names if name in one}
            for one in (facts, facts.get("teacher")) if one]
