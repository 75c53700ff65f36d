"""The commands that measure the performer: `bench`, `policies` and `soak`.

They import what they need when they run, so that help is quick.
"""

import json
import shlex
import sys
from pathlib import Path

from livetalk_ref.errors import UserError
from livetalk_ref.options import add_json, number
from livetalk_ref.progress import Progress

FPS = 16
STUDENT = "student"         # the shipped one that is the best


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
    from livetalk_ref.judge.bench import measure, table
    from livetalk_ref.judge.pace import count_blocks
    from livetalk_ref.judge.results import write_result

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


def add_policies(c):
    """Options of `policies`."""
    c.add_argument("--model", default=STUDENT, metavar="M", help="a student: a shipped one, or a "
                   "checkpoint's path (student)")
    length = c.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=number(0.1, 600, float), default=10.0, metavar="M",
                        help="of a stream (10); splits of the budget take 3 in 10 of it")
    length.add_argument("--seconds", type=number(6, 36000, float), metavar="S",
                        help="the same in seconds; results of less than 10 minutes stay beside "
                        "the streams")
    c.add_argument("--identities", type=number(1, 100), default=3, metavar="N", help="people (3)")
    c.add_argument("--folder", default="runs/policies", metavar="DIR",
                   help="where streams that are done lie; call the command again to continue")
    add_json(c)


def policies(options):
    """Long streams under every cache policy, judged over time."""
    from livetalk_ref.judge import policies as p

    study = p.Study(options.model, options.seconds or 60 * options.minutes, options.identities,
                    Path(options.folder))
    with Progress("block", study.ticks()) as progress:
        rows, strips = study.run(progress)
    path = p.keep(study, rows, strips, typed())
    tell(options, {"out": str(path), "rows": rows}, f"{p.table(rows)}\n{path}")


def add_soak(c):
    """Options of `soak`."""
    c.add_argument("--model", default=STUDENT, metavar="M", help="a student: a shipped one, or a "
                   "checkpoint's path (student)")
    c.add_argument("--seconds", type=number(1, 10 ** 6, float), default=3600.0, metavar="S",
                   help="of video (3600); results of less than an hour are only printed")
    c.add_argument("--seed", type=number(0, 10 ** 9), default=0, help="of all that happens (0)")
    add_json(c)


def soak(options):
    """An hour of a session's life: chunks of any size, silence, prompts, interruptions, faults."""
    from livetalk_ref.judge import soak as s

    with Progress("soak:") as progress:
        def watch(run, frames):
            progress.say(f"{run}, {frames / FPS:.0f} of {options.seconds:.0f} s")

        rows, cost = s.run(options.model, options.seconds, options.seed, watch)
    path = s.keep(rows, cost, options.seconds, options.seed, typed())
    tell(options, {"out": path and str(path), "rows": rows, "cost": cost}, s.table(rows, cost))
    if not rows[-1]["held"]:
        raise UserError("The session did not hold: see what is wrong above.")
