"""The live avatar: you speak or type, it thinks, it answers with voice and face.

Three generator functions make a system, and anybody can write others:

    listen(sounds)   sound chunks (n,) float32, 16 kHz  ->  yields `Onset`s and `Turn`s
    think(dialogue)  a `Dialogue`  ->  yields `Sentence`s, None after a token of its own, and ""
                     after other work: at both the performer may go first
    speak(sentence)  a `Sentence`  ->  yields sound chunks (n,) float32, 16 kHz

`Conversation` joins them with the `Performer`. Picture number i belongs to the samples 1000 i ..
1000 i + 999 of the sound, silence counts, and that is the one clock.
"""

import asyncio
from contextlib import closing

from livetalk_ref.errors import warn
from livetalk_ref.options import SEED, add_device, add_released, number


def add_live(c):
    """Add the options of the command `live`."""
    c.add_argument("--port", type=number(0, 65_535), default=8765, metavar="N",
                   help="of this machine alone, 0 for any free one (8765)")
    c.add_argument("--model", metavar="M", help="the performer: a shipped model or a "
                   "checkpoint's path, or livetalk-1.3b (the best student that ships, else the "
                   "teacher's weights)")
    add_released(c)
    c.add_argument("--image", metavar="I", help="the photograph that livetalk-1.3b animates")
    c.add_argument("--identity", type=SEED, default=7, metavar="SEED", help="the first face (7)")
    c.add_argument("--thinker", default="embedded", choices=("embedded", "retrieval"),
                   help="with the language model, or retrieval alone (embedded)")
    add_device(c, "cpu; with released weights cuda where there is one")


def live(options):
    """Talk with the avatar in a browser: a page on this machine alone, until Ctrl-C."""
    from livetalk_ref.device import best_device, check_device
    from livetalk_ref.live.page import bind, serve
    from livetalk_ref.live.systems import Maker, best_student
    from livetalk_ref.loading import sampler
    from livetalk_ref.real import REAL

    model = options.model or best_student()
    device = check_device(options.device or (best_device() if model in REAL else "cpu"))
    sock = bind(options.port)               # says at once if it is taken
    if sampler(model) != "rollout":
        warn(f"{model} was not trained to make block after block: the face will be poor. Train a "
             f"student with 'train ode', and name it with --model.")
    maker = Maker(model, options.thinker, device, options.weights, options.image,
                  options.decoder, options.int8)
    if model in REAL:
        print(maker.rehearse(options.identity), flush=True)
    with closing(maker):
        asyncio.run(serve(
            maker.talk, maker.offer(options.identity), sock,
            lambda address: print(f"Open {address} in a browser; Ctrl-C ends.", flush=True)))
