"""The command line: `python -m livetalk_ref COMMAND`; every command names its options with -h.

Results go to stdout, warnings and progress to stderr. Bad input ends with exit status 2 and one
sentence, Ctrl-C with 130. Commands import what they need when they run, so that help is quick.
"""

import json
import shlex
import sys
from pathlib import Path

from livetalk_ref.errors import Progress, UserError, run_program, warn
from livetalk_ref.live import add_live, live
from livetalk_ref.options import (PROMPT, SEED, Parser, add_bench, add_device, add_evaluate,
                                  add_json, add_released, number)
from livetalk_ref.real import REAL
from livetalk_ref.train_commands import (add_train, add_trajectories, add_weights, train,
                                         trajectories, weights)

MANY = 80           # blocks (a minute) whose speed on a GPU makes up for compiling
DEMO = {"student": "outputs/demo.mp4", "teacher": "outputs/demo_teacher.mp4"}
STRIP = "outputs/demo.png"


def arguments():
    """The parser of all commands."""
    parser = Parser("livetalk_ref", description="A talking face from text, image and audio.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(run, text):
        made = commands.add_parser(run.__name__, help=text, description=text)
        made.set_defaults(run=run)
        return made

    add_generate(command(generate, "a video from a picture, a sound file and a prompt"))
    add_prepare(command(prepare, "your own clips as training data; or prompts' embeddings"))
    add_json(command(demo, "student and teacher talk, from shipped weights: outputs/demo.mp4"))
    add_live(command(live, "talk with the avatar in a browser: a page on this machine alone"))
    c = command(portrait, "the drawn portrait of a seed, as a PNG")
    c.add_argument("--identity", type=SEED, required=True, metavar="SEED", help="who")
    c.add_argument("--out", required=True, metavar="O.png", help="the file to write")
    add_bench(command(bench, "latency, throughput and memory of the generator"))
    add_evaluate(command(evaluate, "judge clips on a benchmark: numbers, intervals and cost"))
    add_train(command(train, "train one stage in runs/STAGE"))
    add_trajectories(command(trajectories, "the teacher's denoising paths, which students learn"))
    add_weights(command(weights, "train all that is shipped; call it again to continue"))
    return parser


def prompt_words():
    """The words of prompts, for `generate -h`."""
    from livetalk_ref.world.prompts import list_words

    return f"What the miniature reads in a prompt; other words are left out: {list_words()}."


def add_generate(c):
    c.epilog = prompt_words         # called for the help alone
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
    add_released(c)
    c.add_argument("--seed", type=SEED, default=0, help="of all that is random (0)")
    c.add_argument("--steps", type=number(1, 1000), help="Euler steps of a teacher (48)")
    weight = number(0, 20, float)
    c.add_argument("--text-weight", type=weight, help="text guidance, 1 is off")
    c.add_argument("--audio-weight", type=weight, help="audio guidance, 1 is off")
    c.add_argument("--scale", type=number(1, 16), metavar="K",
                   help="how much larger the picture is shown (4; 1 with released weights)")
    add_device(c, "cpu; with released weights cuda where there is one")
    add_json(c)


def generate(options):
    """A video from a picture, a sound file and a prompt."""
    from livetalk_ref import generate as g
    from livetalk_ref.device import best_device, check_device
    from livetalk_ref.loading import load
    from livetalk_ref.media import is_silent, load_audio
    from livetalk_ref.portrait import blank

    real = options.model in REAL
    prompt = options.prompt if real else known_prompt(options.prompt)
    samples = load_audio(options.audio, warn)
    if is_silent(samples):
        warn("the sound is silent; the avatar will listen.")
    device = check_device(options.device or (best_device() if real else "cpu"))
    how = streamed(g.count_blocks(g.count_frames(samples))) if real else {}
    avatar = load(options.model, device, options.weights, decoder=options.decoder,
                  int8=options.int8, **how)
    picture = reference(options, avatar)
    if words := blank(picture):
        warn(words)
    steps, guidance = g.settle(avatar, options.steps,
                               guidance_of(options.text_weight, options.audio_weight,
                                           avatar.guidance))
    scale = options.scale or (1 if real else g.SCALE)
    frames = g.count_frames(samples)
    ticks = g.count_blocks(frames) if avatar.is_student else g.count_windows(frames) * steps
    with Progress("block" if avatar.is_student else "denoising step", ticks) as progress:
        facts = g.make_video(avatar, picture, samples, prompt, options.out, options.seed,
                             steps, guidance, scale, progress)
    tell(options, facts, f"{facts['out']}: {facts['frames']} frames, "
         f"{facts['video_seconds']:.1f} s, made in {facts['seconds']:.1f} s")


def streamed(blocks):
    """The cache's policy, and whether to compile, for so many blocks of released weights."""
    from livetalk_ref.cache import BLOCK, TABLE_END

    return {"policy": "released" if BLOCK * blocks <= TABLE_END else "ahis",
            "compiled": blocks >= MANY}


def known_prompt(prompt):
    """A prompt without words that the miniature cannot read, with a warning about them."""
    from livetalk_ref.world.prompts import alike, keep_known_words

    kept, unknown = keep_known_words(prompt)
    if kept != prompt:
        left_out = ", ".join(f"'{word}'{alike(word)}" for word in unknown)
        warn(f"the prompt is read as '{kept}', without {left_out or 'the words that are too many'};"
             f" 'generate -h' lists the words that count.")
    return kept


def reference(options, avatar):
    """The reference picture that the options name: of released weights a photograph; of the
    miniature a drawn portrait, with a warning for a photograph."""
    from livetalk_ref import portrait as p
    from livetalk_ref.real.avatar import load_photo, require_photo

    real = avatar.name in REAL
    if options.image is None and (not real or options.weights == "random"):
        return p.portrait_of(options.identity, avatar.size)
    if real:
        require_photo(avatar.name, options.image)
        return load_photo(options.image, avatar.size)
    picture = p.load_portrait(options.image)
    if not p.is_drawn(picture, avatar.codec):
        warn(f"{options.image} does not look like a drawn portrait. The tiny model knows only "
             f"the drawn world and will not keep this face: use --identity SEED, or a picture "
             f"made by the 'portrait' command.")
    return picture


def add_prepare(parser):
    clips = parser.add_argument_group("clips: talking-head videos to shards for `train teacher`")
    clips.add_argument("--clips", metavar="DIR", help="the folder of videos; VIDEO.txt beside one "
                       "is its prompt")
    clips.add_argument("--out", metavar="SHARDS", help="the folder of tar shards and index.json")
    clips.add_argument("--whole", action="store_true",
                       help="take each picture's central square, and seek no face")
    clips.add_argument("--model", metavar="M", default="teacher", help="whose codec and audio "
                       "encoder; livetalk-1.3b with --weights (teacher)")
    parser.add_argument("--weights", metavar="DIR",
                        help="the released weights; for prompts with text_encoder/ and tokenizer/ "
                        "of umT5-xxl")
    parser.add_argument("--prompt", metavar="P", action="append", default=[],
                        help="a prompt to be embedded; may be given several times")
    parser.add_argument("--negative", metavar="N", default="",
                        help="the prompt that stands for none under a teacher's guidance")
    parser.add_argument("--device", default="cpu", help="where umT5 runs: cpu, cuda ..")


def prepare(options):
    """Make shards of videos, or write prompts' embeddings to DIR/text.safetensors."""
    if options.clips:
        if not options.out or options.prompt:
            raise UserError("--clips goes with --out SHARDS, and without --prompt.")
        from livetalk_ref.own_clips import prepare_clips

        for path in prepare_clips(options.clips, options.out, options.model, options.weights,
                                  options.whole):
            print(path)
        return
    if not (options.weights and options.prompt):
        raise UserError("Give --clips DIR with --out SHARDS, or --weights DIR with --prompt P.")
    import torch

    from livetalk_ref.device import check_device
    from livetalk_ref.real.text import load_text, save_text

    folder = Path(options.weights)
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}.")
    check_device(options.device)            # now, for umT5 takes minutes to load
    save_text(path := folder / "text.safetensors",
              load_text(folder, options.device, torch.bfloat16), options.prompt, options.negative)
    print(path)


def demo(options):
    """The main job on shipped weights: the student's video, and the teacher's beside it."""
    import torch

    from livetalk_ref import generate as g
    from livetalk_ref import viz
    from livetalk_ref.loading import load, load_module
    from livetalk_ref.nets.whole_faces import whole_share
    from livetalk_ref.portrait import portrait_of
    from livetalk_ref.world.speech import list_spoken, load_spoken

    clips = list_spoken()           # the first that no model was trained on
    spoken = load_spoken(next(i for i, clip in enumerate(clips) if clip["split"] == "held_out"))
    judge, rows, films = load_module("faces"), [], {}
    for name, out in DEMO.items():
        avatar, shown = load(name), []
        facts = g.make_video(avatar, portrait_of(7), spoken.samples, PROMPT, out, shown=shown)
        films[name] = torch.cat(shown)                                   # (T, 3, 96, 96)
        whole, _ = whole_share(judge.broken(films[name]))
        rows.append(facts | {"whole_faces": whole})
    viz.filmstrip(films, 10).save(STRIP)
    tell(options, {"strip": STRIP, "videos": rows}, demo_text(rows))


def demo_text(rows):
    """What `demo` tells of its videos."""
    text = {"video": "{out}", "steps": "{steps}", "frames": "{frames}",
            "frames a second": "{frames_per_second:.1f}",
            "first picture, s": "{first_frame_seconds:.3f}",
            "times real time": "{speed:.1f}", "whole faces": "{whole_faces:.0%}"}
    lines = [f"{name:18}" + "".join(
        f"{form.format(**row, speed=1 / row['real_time_factor']):26}" for row in rows)
        for name, form in text.items()]
    return "\n".join([*lines, f"side by side      {STRIP}"])


def portrait(options):
    """Save the drawn portrait of a seed, four times as large as the model sees it."""
    from livetalk_ref.portrait import portrait_of, save_portrait

    save_portrait(portrait_of(options.identity, 384), options.out)
    print(options.out)


def bench(options):
    """Latency, throughput and memory of a generator on this machine."""
    from livetalk_ref.files import write_result
    from livetalk_ref.judge import bench as b

    if options.data:
        from livetalk_ref.own_clips import time_reading

        facts = time_reading(options.data, options.weights)
        tell(options, facts, b.figures_text(facts))
        return
    with Progress("stream: block", b.blocks_in(options.seconds)) as progress:
        facts = b.bench_model(options.model, options.seconds, progress, path=options.weights,
                              decoder=options.decoder, int8=options.int8)
    if options.keep:                # as rows what no machine changes: the model's, its teacher's
        names = "model", "steps", "algorithmic", "flops", "times_counted"
        rows = [{name: one[name] for name in names if name in one}
                for one in (facts, facts.get("teacher")) if one]
        write_result(options.keep, typed(), rows, [0], facts)
    tell(options, facts, b.figures_text(facts))


def evaluate(options):
    """Judge a model on a benchmark."""
    from livetalk_ref.judge import evaluate as e
    from livetalk_ref.judge.distances import evaluation_text

    settings = options.steps, guidance_of(options.text_guidance, options.audio_guidance)
    made = e.find_maker(options.model, *settings, options.seed)
    facts, _ = e.evaluate_maker(made, e.Ground.make(options.set, options.clips), typed())
    tell(options, facts, evaluation_text(facts))


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


def obey():
    """Do what the command line asks for."""
    options = arguments().parse_args()
    options.run(options)


def main():
    """The entry point of `python -m livetalk_ref` and of the `livetalk` script."""
    run_program(obey)


if __name__ == "__main__":
    main()
