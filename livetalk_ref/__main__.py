"""The command line: `python -m livetalk_ref COMMAND`; every command names its options with -h.

Results go to stdout, warnings and progress to stderr. Bad input ends with exit status 2 and one
sentence, Ctrl-C with 130. Commands import what they need when they run, so that help is quick.
"""

import json
import os
import shlex
import sys
from contextlib import nullcontext
from pathlib import Path

from livetalk_ref.errors import Progress, UserError, run_program, warn
from livetalk_ref.live.commands import add_live, live
from livetalk_ref.options import (
    PROMPT,
    SEED,
    Parser,
    add_bench,
    add_evaluate,
    add_generate,
    add_json,
    add_train,
    add_trajectories,
)
from livetalk_ref.real.commands import add_prepare, is_real, photo, prepare, real_avatar

STAGES = ("ear", "codec", "decoder", "judges", "sync", "restorer", "teacher", "ode",
          "dmd")                                    # in this order
SIDE = ("teacher_causal",)                          # nothing that ships needs these
QUICK_CLIPS = 128                                   # of `weights --quick`
QUICK = {"ear": 400, "codec": 300, "decoder": 100, "judges": 200, "sync": 200, "restorer": 100,
         "teacher": 500, "ode": 100, "dmd": 10}                                # its updates
OWN = {"ode": ("recipe", "variant", "count", "teacher", "seed"),
       "dmd": ("recipe", "count", "seed")}          # options of `train` that these stages take


def arguments():
    """The parser of all commands."""
    parser = Parser("livetalk_ref", description="A talking face from text, image and audio.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(run, text):
        made = commands.add_parser(run.__name__, help=text, description=text)
        made.set_defaults(run=run)
        return made

    add_generate(command(generate, "a video from a picture, a sound file and a prompt"))
    add_prepare(command(prepare, "save prompts' embeddings beside released weights"))
    add_json(command(demo, "outputs/demo.mp4 from shipped weights, and how fast it was made"))
    add_live(command(live, "talk with the avatar in a browser: a page on this machine alone"))
    c = command(portrait, "the drawn portrait of a seed, as a PNG")
    c.add_argument("--identity", type=SEED, required=True, metavar="SEED", help="who")
    c.add_argument("--out", required=True, metavar="O.png", help="the file to write")
    add_bench(command(bench, "latency, throughput and memory of the generator"))
    add_evaluate(command(evaluate, "judge clips on a benchmark: numbers, intervals and cost"))
    add_train(command(train, "train one stage in runs/STAGE"), STAGES + SIDE)
    add_trajectories(command(trajectories, "the teacher's denoising paths, which students learn"))
    c = command(weights, "train all that is shipped, from nothing; call it again to continue")
    c.add_argument("--quick", action="store_true",
                   help="the whole chain at 64x64 in minutes, much worse")
    return parser


def generate(options):
    """A video from a picture, a sound file and a prompt."""
    from livetalk_ref import generate as g
    from livetalk_ref.device import check_device
    from livetalk_ref.load import load
    from livetalk_ref.media import is_silent, load_audio
    from livetalk_ref.portrait import blank

    real = is_real(options)
    prompt = options.prompt if real else known_prompt(options.prompt)
    samples = load_audio(options.audio, warn)
    if is_silent(samples):
        warn("the sound is silent; the avatar will listen.")
    avatar = real_avatar(options, samples) if real else \
        load(options.model, check_device(options.device or "cpu"))
    picture = photo(options, avatar) if real else reference(options, avatar.codec)
    if tone := blank(picture):
        warn(f"the picture is nearly {tone} everywhere; look whether it is the right one.")
    steps, guidance = g.settle(avatar, options.steps,
                               guidance_of(options.text_weight, options.audio_weight,
                                           avatar.guidance))
    scale = options.scale or (1 if real else g.SCALE)
    ticks = g.count_ticks(avatar, g.count_frames(samples), steps)
    with Progress("block" if avatar.is_student else "denoising step", ticks) as progress:
        facts = g.make_video(avatar, picture, samples, prompt, options.out, options.seed,
                             steps, guidance, scale, progress)
    tell(options, facts, f"{facts['out']}: {facts['frames']} frames, "
         f"{facts['video_seconds']:.1f} s, made in {facts['seconds']:.1f} s")


def known_prompt(prompt):
    """A prompt without words that the miniature cannot read, with a warning about them."""
    from livetalk_ref.world.prompts import alike, keep_known_words

    kept, unknown = keep_known_words(prompt)
    if kept != prompt:
        left_out = ", ".join(f"'{word}'{alike(word)}" for word in unknown)
        warn(f"the prompt is read as '{kept}', without {left_out or 'the words that are too many'};"
             f" 'generate -h' lists the words that count.")
    return kept


def reference(options, codec):
    """The reference picture that the options name, with a warning for a photograph."""
    from livetalk_ref import portrait as p

    if options.image is None:
        return p.portrait_of(options.identity)
    picture = p.load_portrait(options.image)
    if not p.is_drawn(picture, codec):
        warn(f"{options.image} does not look like a drawn portrait. The tiny model knows only "
             f"the drawn world and will not keep this face: use --identity SEED, or a picture "
             f"made by the 'portrait' command.")
    return picture


def demo(options):
    """The main job on shipped weights: outputs/demo.mp4 and a table of its speed."""
    from livetalk_ref.demo import run, table

    facts = run(PROMPT, Progress)
    tell(options, facts, table(facts))


def portrait(options):
    """Save the drawn portrait of a seed, four times as large as the model sees it."""
    from livetalk_ref.portrait import portrait_of, save_portrait

    save_portrait(portrait_of(options.identity, 384), options.out)
    print(options.out)


def bench(options):
    """Latency, throughput and memory of a generator on this machine."""
    from livetalk_ref.files import write_result
    from livetalk_ref.judge import bench as b

    with Progress("stream: block", b.blocks_in(options.seconds)) as progress:
        facts = b.bench_model(options.model, options.seconds, progress)
    if options.keep:                # as rows what no machine changes: the model's, its teacher's
        names = "model", "steps", "algorithmic", "flops", "times_counted"
        rows = [{name: one[name] for name in names if name in one}
                for one in (facts, facts.get("teacher")) if one]
        write_result(options.keep, typed(), rows, [0], facts)
    tell(options, facts, b.figures_text(facts))


def evaluate(options):
    """Judge a model, or videos, on a benchmark, or write the benchmark's conditions."""
    from livetalk_ref.files import blame, placed
    from livetalk_ref.judge import distances as d
    from livetalk_ref.judge import evaluate as e
    from livetalk_ref.judge.benchmarks import export_conditions

    if options.export:
        with Progress(f"writing {options.set}: clip", options.clips) as progress:
            print(export_conditions(options.set, options.export, options.clips, options.seed,
                                    progress))
        return
    settings = options.steps, guidance_of(options.text_guidance, options.audio_guidance)
    with placed(options.out) if options.out else nullcontext() as temporary:
        made = e.find_video_maker(options.videos, options.set, options.clips, *settings) \
            if options.videos else e.find_maker(options.model, *settings, options.seed)
        files = {"FID": options.inception, "FVD": options.i3d}
        detectors = {kind: d.load_detector(path) for kind, path in files.items() if path}
        ground = e.Ground.make(options.set, options.clips)
        facts, judged = e.evaluate_maker(made, ground, options.seed, typed(),
                                         lambda frames, *_: d.look_at_clip(detectors, frames))
        facts["rows"][0] |= d.detector_distances(detectors, judged.notes, ground.bench)
        if temporary:
            with blame(options.out):
                temporary.write_text(json.dumps(facts, indent=1) + "\n")
    tell(options, facts, d.evaluation_text(facts))


def tell(options, facts, text):
    """Print facts as one JSON object, or as text."""
    print(json.dumps(facts) if options.json else text)


def typed():
    """The command line as it was typed."""
    return shlex.join(["python", "-m", "livetalk_ref", *sys.argv[1:]])


def guidance_of(text, audio, usual=None):
    """The guidance of two options: the usual weight where only one is given, None for neither."""
    from livetalk_ref import generate as g
    from livetalk_ref.flow import Guidance

    if text is None and audio is None:
        return None
    usual = usual or g.GUIDANCE
    return Guidance(usual.text if text is None else text, usual.audio if audio is None else audio)


def train(options):
    """Train one stage."""
    from livetalk_ref import stages

    named = {name: vars(options)[name] for name in OWN["ode"] if vars(options)[name] is not None}
    wrong = named.keys() - OWN.get(options.stage, ())
    if wrong or options.stage == "dmd" and options.rate != 1:
        name = "rate" if not wrong else min(wrong).replace("count", "pairs")
        raise UserError(f"--{name} is no option of the stage {options.stage}; leave it out.")
    follow(options.stage, stages.run_stage(options.stage, options.out, options.steps,
                                           options.resume, options.start, options.rate,
                                           options.compile, options.device, **named))


def trajectories(options):
    """Generate trajectories of a shipped teacher, continuing what an earlier call began."""
    from livetalk_ref import trajectories as t

    with Progress("trajectories: step") as progress:
        shards = t.count_shards(options.count)
        steps, place = t.STEPS[options.teacher], [1, 0]     # shard and step under way

        def watch(step):
            place[1] += 1
            progress.set_postfix_str(f"shard {place[0]} of {shards}, step {place[1]} of {steps}",
                                     refresh=False)
            progress()

        if options.sample:
            print(t.write_sample(watch=watch))
            return
        for path in t.from_shipped(options.count, options.split, options.teacher, watch):
            print(path)
            place[:] = place[0] + 1, 0


def weights(options):
    """Train and export every stage in order, continuing what an earlier call began."""
    folder = Path("runs/quick" if options.quick else "runs")
    world = {"LIVETALK_SIZE": "64", "LIVETALK_WEIGHTS": str(folder / "checkpoints")}
    if options.quick:       # a smaller world, read from here by the modules that are imported now
        os.environ.update(world)
    from livetalk_ref import stages
    from livetalk_ref.files import read_metrics

    hours = {}
    for name in STAGES:
        few = {"steps": QUICK[name], "count": QUICK_CLIPS} if options.quick else {}
        follow(name, stages.run_stage(name, folder / name, resume=True, **few))
        stages.export(name, folder / name)
        hours[name] = sum(line["seconds"] for line in read_metrics(folder / name)) / 3600
    for name, value in hours.items():
        print(f"{name:8} {value:6.2f} h of updates")
    if options.quick:
        print("To see it:", *(f"{k}={v}" for k, v in world.items()), "make demo")


def follow(name, states):
    """Run a training loop to its end, showing loss and time left."""
    with Progress(f"{name} update") as progress:
        for state in states:
            progress.set_postfix_str(f"loss {state.loss:.4f}, {state.seconds_left / 60:.0f} min "
                                     f"left", refresh=False)
            progress.update(state.step - progress.n)


def obey():
    """Do what the command line asks for."""
    options = arguments().parse_args()
    options.run(options)


def main():
    """The entry point of `python -m livetalk_ref` and of the `livetalk` script."""
    run_program(obey)


if __name__ == "__main__":
    main()
