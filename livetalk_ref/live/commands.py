"""The command `live`: options, and a server until Ctrl-C."""

import webbrowser

from livetalk_ref.errors import warn
from livetalk_ref.options import SEED, add_device, number

STUDENTS = ("student", "student_ode")       # the best that ships comes first


def add_live(c):
    """Options of `live`."""
    c.add_argument("--port", type=number(0, 65_535), default=8765, metavar="N",
                   help="of this machine alone, 0 for any free one (8765)")
    c.add_argument("--model", metavar="M", help="the performer: a shipped model or a "
                   "checkpoint's path (the best student that ships, else the teacher's weights)")
    c.add_argument("--identity", type=SEED, default=2, metavar="SEED", help="the first face (2)")
    c.add_argument("--thinker", default="embedded", metavar="T", help="embedded, retrieval, the "
                   "http address of a chat endpoint, or omni:FOLDER (embedded)")
    c.add_argument("--chat-model", metavar="NAME", help="the model's name at that endpoint")
    c.add_argument("--voice", default="us", metavar="V", help="of the talker (us)")
    add_device(c, "cpu")
    c.add_argument("--open", action="store_true", help="open the page in the default browser")


def live(options):
    """Talk with the avatar in a browser: a page on this machine alone."""
    from livetalk_ref.device import check_device
    from livetalk_ref.live.server import bind, run
    from livetalk_ref.live.systems import Maker
    from livetalk_ref.loading import sampler

    device = check_device(options.device or "cpu")
    sock = bind(options.port)               # says at once if it is taken
    model = options.model or best_student()
    if sampler(model) != "rollout":
        warn(f"{model} was not trained to make block after block: the face will be poor. Train a "
             f"student with 'train ode', and name it with --model.")
    maker = Maker(model, options.thinker, options.voice, options.chat_model, device)

    def ready(address):
        print(f"Open {address} in a browser; Ctrl-C ends.", flush=True)
        if options.open:
            webbrowser.open(address)

    run(maker.talk, options.identity, sock, ready)


def best_student():
    """The name of the best student that ships, or the teacher where there is none."""
    from livetalk_ref.world.ear import CHECKPOINTS

    shipped = [name for name in STUDENTS if (CHECKPOINTS / f"{name}.safetensors").is_file()]
    return (*shipped, "teacher")[0]
