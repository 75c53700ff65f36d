"""The commands that train: `train`, `trajectories` and `weights`, with their options."""

import json
import os
import statistics
import tempfile
import time
from pathlib import Path

from livetalk_ref.errors import Progress, UserError, followed
from livetalk_ref.options import add_device, number

QUICK = {"ear": 400, "codec": 300, "decoder": 100, "judges": 200, "faces": 100, "sync": 200,
         "restorer": 100, "teacher": 500, "ode": 100, "dmd": 10}    # updates of `weights --quick`
STAGES = tuple(QUICK)                                               # in this order
SHARES = {"ear": 1, "codec": 26, "decoder": 4, "judges": 4, "faces": 4, "sync": 4, "restorer": 3,
          "teacher": 36, "ode": 12, "dmd": 6}       # parts of 100 of `weights --minutes`
TRIED = 8               # updates that tell how long one takes
SIZES = ("tiny", "livetalk-1.3b", "omniavatar-14b")
OWN = {"teacher": ("data", "size", "weights"),          # options that these stages take
       "ode": ("data", "weights", "real", "recipe", "count", "seed"),
       "dmd": ("data", "weights", "recipe", "count", "seed", "real")}


def add_train(c):
    c.add_argument("stage", choices=STAGES)
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
    c.add_argument("--data", metavar="SHARDS", help="teacher, ode, dmd: clips of your own that "
                   "'prepare --clips' made, instead of the world's")
    c.add_argument("--size", choices=SIZES, help="teacher: of the model (tiny)")
    c.add_argument("--weights", metavar="DIR", help="with --data of released size: the folder "
                   "with text.safetensors, the prompts' embeddings, see 'prepare --prompt'")
    large = c.add_argument_group("of the stages teacher, ode and dmd: larger than one card")
    large.add_argument("--shard", action="store_true", help="under torchrun each process keeps a "
                       "piece of every weight (FSDP2), for models that one card does not hold")
    large.add_argument("--checkpoint-blocks", action="store_true", help="keep what goes into a "
                       "block and compute the rest again for the gradient: less memory, a third "
                       "more time")
    large.add_argument("--accumulate", type=number(1, 10 ** 6), metavar="N", help="take each batch "
                       "in N parts, one after the other (1)")
    c = c.add_argument_group("of the stages ode and dmd")
    c.add_argument("--recipe", metavar="R", help="ode: short or converged, that is how long "
                   "(converged); dmd: baseline, curated, converged, aggressive, final or another "
                   "row of recipes.py, or student, which ships (student)")
    c.add_argument("--pairs", dest="count", type=number(1, 10 ** 6), metavar="N",
                   help="ode: trajectories (1024); dmd: clips whose conditions are used (2048)")
    c.add_argument("--seed", type=number(0, 10 ** 9), help="of the draws (0)")
    c.add_argument("--real", metavar="M", help="the teacher, of any size that reads what the "
                   "student reads: dmd's frozen real score; with --data of ode, whose trajectories "
                   "are made, and where the student begins (teacher)")


def train(options):
    """Train one stage."""
    from livetalk_ref import stages

    names = dict.fromkeys(name for own in OWN.values() for name in own)
    named = {name: vars(options)[name] for name in names if vars(options)[name] is not None}
    wrong = named.keys() - OWN.get(options.stage, ())
    if wrong or options.stage == "dmd" and options.rate != 1 and not options.data:
        name = "rate" if not wrong else min(wrong).replace("count", "pairs")
        raise UserError(f"--{name} is no option of the stage {options.stage}; leave it out.")
    if options.data:
        from livetalk_ref.own_clips import read_clips

        named["data"] = read_clips(options.data, named.pop("weights", None))
    elif options.weights or options.stage == "ode" and options.real:
        raise UserError("--weights, and --real of ode, go with --data, shards that 'prepare "
                        "--clips' made with the same weights.")
    if scale := {name: value for name in ("shard", "checkpoint_blocks", "accumulate")
                 if (value := vars(options)[name])}:
        named["scale"] = scale
    states = stages.run_stage(options.stage, options.out, options.steps, options.resume,
                              options.start, options.rate, options.compile, options.device, **named)
    for _ in followed(f"{options.stage} update", states):
        pass


def add_trajectories(c):
    c.add_argument("--count", type=number(1, 10 ** 6), default=1024, metavar="N",
                   help="clips, rounded up to shards (1024)")
    c.add_argument("--sample", action="store_true", help="only write the few that ship, "
                   "data/trajectories/sample.safetensors")


def trajectories(options):
    """Generate trajectories of the shipped teacher, continuing what an earlier call began."""
    from livetalk_ref import trajectories as t
    from livetalk_ref.flow import TEACHER_STEPS as steps

    shards = 1 if options.sample else t.count_shards(options.count)
    with Progress("trajectories: step", shards * steps) as progress:
        if options.sample:
            print(t.write_sample(watch=progress))
            return
        for done, path in enumerate(t.from_shipped(options.count, watch=progress), 1):
            progress.update(done * steps - progress.n)      # a shard that was there, too
            print(path)


def add_weights(c):
    c.add_argument("--quick", action="store_true",
                   help="the whole chain at 64x64 in minutes, much worse")
    c.add_argument("--minutes", type=number(1, 10 ** 6, float), metavar="M",
                   help="as many updates of every stage as fit, all stages together (the stages' "
                   "own numbers, hours on a GPU and weeks on a CPU)")
    add_device(c, "cuda where there is one")


def weights(options):
    """Train and export every stage in order, continuing what an earlier call began."""
    folder = Path("runs/quick" if options.quick else "runs")
    world = {"LIVETALK_SIZE": "64", "LIVETALK_WEIGHTS": str(folder / "checkpoints")}
    if options.quick:       # a smaller world, read from here by the modules that are imported now
        os.environ.update(world)
    from livetalk_ref import stages
    from livetalk_ref.files import read_metrics

    hours = {}
    few = {"device": options.device} | ({"count": 128} if options.quick else {})     # clips
    for name in STAGES:
        steps = QUICK[name] if options.quick else None
        if options.minutes:
            steps = planned(name, folder, 0.6 * SHARES[name] * options.minutes, **few)
        states = stages.run_stage(name, folder / name, steps, resume=True, **few)
        for _ in followed(f"{name} update", states):
            pass
        stages.export(name, folder / name)
        hours[name] = sum(line["seconds"] for line in read_metrics(folder / name)) / 3600
    for name, value in hours.items():
        print(f"{name:8} {value:6.2f} h of updates")
    if options.quick:
        print("To see it:", *(f"{k}={v}" for k, v in world.items()), "make demo")


def planned(name, folder, seconds, **options):
    """Updates of a stage that fit into so many seconds, as the first call found and wrote down."""
    from livetalk_ref.files import write_json

    path = folder / "updates.json"
    plan = json.loads(path.read_text()) if path.is_file() else {}
    if name not in plan:
        plan[name] = updates_within(seconds, name, **options)
        write_json(path, plan)
    return plan[name]


def updates_within(seconds, name, **options):
    """How many updates of a stage fit into so many seconds, its data made among them: at least
    TRIED, of which the later half are timed in a folder that is thrown away."""
    from livetalk_ref import stages

    began, took = time.monotonic(), []
    with tempfile.TemporaryDirectory() as folder:
        for state in stages.run_stage(name, folder, TRIED, **options):
            took.append(state.seconds)
    left = seconds - (time.monotonic() - began)
    return max(TRIED, int(left / statistics.median(took[TRIED // 2:])))
