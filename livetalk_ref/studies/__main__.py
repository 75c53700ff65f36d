"""`python -m livetalk_ref.studies NAME`: make files of data/results, continuing what was begun.

Without a name the studies are listed. Each keeps what is done in runs/studies/NAME.
"""

from importlib import import_module

from livetalk_ref.errors import run_program
from livetalk_ref.options import Parser, number
from livetalk_ref.studies.work import Study

STUDIES = {
    "teacher": "the codec, steps, guidance: codec, parts, teacher*, guidance, gate, scoreboard",
    "judges": "the judges, tried where answers are known: judges",
    "ode": "how a student of the teacher's paths converges: straightness, ode_*",
    "ablation": "every recipe of Self Forcing, trained and judged: ablation, student",
    "streams": "ten minutes under every cache policy; six faces: policies, stream_faces",
    "dialogues": "thirty dialogues by three systems: multiturn",
    "turns": "a turn's wait in a live conversation: turn_latency",
    "released": "the released layout with random weights: real_speed, on a GPU real_gpu"}


def run_study(words=None):
    """Do what the command line asks for."""
    parser = Parser("livetalk_ref.studies", description=__doc__)
    parser.add_argument("name", nargs="?", choices=STUDIES, metavar="NAME", help="see the list")
    parser.add_argument("--minutes", type=number(0, 10 ** 6, float), metavar="M",
                        help="stop after so long; call it again to continue")
    parser.add_argument("--only", nargs="+", default=("",), metavar="JOB", help="those jobs alone "
                        "whose names begin so: one call a core, or several on a GPU, share a study")
    parser.add_argument("--quick", action="store_true", help="the smallest size: a test, with "
                        "results beside the run and not in data/results")
    parser.add_argument("--compile", action="store_true",
                        help="train through torch.compile; needs a C++ compiler")
    options = parser.parse_args(words)
    if options.name is None:
        print(*(f"{name:10} {text}" for name, text in STUDIES.items()), sep="\n")
        return
    module = import_module(f"livetalk_ref.studies.{options.name}").__name__
    study, = (one for one in Study.__subclasses__() if one.__module__ == module)
    for line in study(options.quick, options.compile).run(options.minutes, options.only):
        print(line, flush=True)


if __name__ == "__main__":
    run_program(run_study)
