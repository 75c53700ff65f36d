"""The page's other end: messages, the session behind a page, and the page as a notebook's widget.

A message is a small JSON object and, with sound or a picture, bytes. The same ones travel over a
WebSocket and over a notebook's channel. Nothing that comes from a page is trusted: every field is
checked here, by `obey`.
"""

import io
import json
import re
import struct
import sys
import threading
import traceback
from dataclasses import asdict
from functools import cache
from pathlib import Path

import torch
from PIL import Image

from livetalk_ref.errors import UserError
from livetalk_ref.live import events as e
from livetalk_ref.media import to_bytes
from livetalk_ref.portrait import portrait_of
from livetalk_ref.world.prompts import list_words

PARTS = ("sound.js", "view.js", "link.js", "page.js")      # of the one module, in this order
LARGEST = 65_536                # bytes of one message from a page
LONGEST = 500                   # characters of a typed turn
CHUNK = 8_000                   # samples of one message of the microphone: half a second
QUALITY = 92                    # of JPEG pictures: 3 to 4 kB for 96x96
SHOWN = 192                     # pixels of a portrait to choose from
OTHERS = (2, 3, 5, 8, 18, 21)   # seeds of faces to choose from: the student keeps them well
PATIENCE = 10                   # seconds that a start waits for the conversation before it to end
BUSY = "Another conversation is running here: end it, then start this one."
BROKEN = "The conversation broke down; why is written where this program was started."


def module():
    """The one JavaScript module that page and notebook share, joined from its files."""
    texts = [(Path(__file__).parent / name).read_text() for name in PARTS]
    return "\n".join(re.sub(r'^import .* from "\./\w+\.js";\n', "", t, flags=re.M) for t in texts)


def style():
    """The style sheet of both."""
    return (Path(__file__).parent / "page.css").read_text()


def jpeg(pixels):
    """A picture, uint8 (3, H, W), as a JPEG file's bytes."""
    file = io.BytesIO()
    image = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
    image.save(file, "jpeg", quality=QUALITY, subsampling=0)
    return file.getvalue()


def message_of(event):
    """An event of a conversation -> (message, bytes)."""
    kind = {"type": type(event).__name__.lower()}
    if isinstance(event, e.Sound):
        data = (event.samples * 32_767).round().clamp(-32_768, 32_767).short().numpy().tobytes()
        return kind | {"sample": event.first_sample}, data
    if isinstance(event, e.Picture):
        return kind | {"sample": event.first_sample, "number": event.number}, jpeg(event.pixels)
    fields = asdict(event)
    if "first_sample" in fields:
        fields["sample"] = fields.pop("first_sample")
    return kind | fields, b""


def obey(talk, message, data):
    """Do to a conversation what a page's message asks for. UserError for anything odd."""
    kind = message["type"]
    if kind == "sound":
        talk.hear(samples_of(data))
    elif kind == "heard":
        talk.played(number_in(message, "sample", 2 ** 48))
    elif kind == "ask":
        talk.ask(text_in(message, "text", LONGEST))
    elif kind == "interrupt":
        talk.interrupt()
    elif kind == "emotion":
        talk.set_emotion(emotion_in(message, "name"))
    elif kind == "identity":
        talk.set_identity(number_in(message, "seed", 2 ** 63))
    else:
        raise UserError(f"There is no message of the type '{kind[:20]}'.")


def samples_of(data):
    """16-bit sound of a page -> (n,) float32."""
    if not data or len(data) % 2 or len(data) > 2 * CHUNK:
        raise UserError(f"Sound must come as 1 to {CHUNK} samples of 16 bits in one message.")
    return torch.frombuffer(bytearray(data), dtype=torch.int16).float() / 32_768


def text_in(message, name, longest):
    value = message.get(name)
    if not isinstance(value, str) or not value.strip():
        raise UserError("The message has no text.")
    if len(value) > longest:
        raise UserError(f"The text has {len(value)} characters; use at most {longest}.")
    return " ".join(value.split())


def number_in(message, name, end):
    """A whole number from 0, also written as digits: 63 bits are too many for JavaScript."""
    value = message.get(name)
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,19}", value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < end:
        raise UserError(f"The message needs '{name}', a whole number from 0.")
    return value


def emotion_in(message, name):
    """One of EMOTIONS, or None for "", where the thinker chooses."""
    value = message.get(name, "")
    if value not in ("", *e.EMOTIONS):
        raise UserError(f"The emotion must be one of {', '.join(e.EMOTIONS)}, or empty.")
    return value or None


def pack(message, data=b""):
    """A message and its bytes as one block of bytes, as link.js reads it."""
    text = json.dumps(message).encode()
    return struct.pack("<I", len(text)) + text + data


def unpack(block):
    """The reverse, for what a page sent. UserError for anything else."""
    try:
        (length,) = struct.unpack_from("<I", block)
        return check(json.loads(block[4:4 + length])), bytes(block[4 + length:])
    except (struct.error, ValueError, TypeError, RecursionError):
        raise UserError("The message is not in the form that this server reads.") from None


def check(message):
    """A page's message, which must be an object with a type. UserError otherwise."""
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise UserError("A message must be an object with a type.")
    return message


class Gone(Exception):
    """The page has left."""


def sentence_of(error):
    """What a page is told of an exception; what is not the user's doing is printed as well."""
    if isinstance(error, UserError):
        return str(error)
    traceback.print_exception(error, file=sys.stderr)
    return BROKEN


@cache
def portrait(seed):
    """A face to choose from, as a JPEG file's bytes."""
    return jpeg(to_bytes(portrait_of(seed, SHOWN)))


class Session:
    """One page and its conversation: messages in, events out, in a thread of its own.

    make(identity) -> a new `Conversation`, which may take seconds. post(message, bytes) sends at
    once and never waits; send(message, bytes) waits until the page has room, and raises `Gone`
    when it has left. identity: whose face is shown first; alone: a lock that a conversation holds.
    """

    def __init__(self, make, post, send, identity, alone):
        self.make, self.post, self.send = make, post, send
        self.identity, self.alone = identity, alone
        self.talk, self.stopped, self.thread = None, threading.Event(), None

    def take(self, message, data=b""):
        """Do what a page's message asks for. What is wrong with it is told to the page alone."""
        try:
            kind = check(message)["type"]
            if kind == "hello":
                self.greet()
            elif kind == "start":
                self.start(number_in(message, "identity", 2 ** 63),
                           emotion_in(message, "emotion"))
            elif kind == "stop":
                self.stop()
            elif talk := self.talk:             # what comes too early or too late is nothing
                obey(talk, message, data)
        except Exception as error:              # a notebook would not tell of it
            self.complain(error)

    def complain(self, error, fatal=False):
        """Tell the page what is wrong, in a sentence."""
        self.post(*message_of(e.Error(sentence_of(error), fatal)))

    def greet(self):
        """The faces to choose from; seeds are written out, JavaScript's numbers are too short."""
        others = [seed for seed in OTHERS if seed != self.identity]
        faces = [self.identity, *others][:6]
        self.post({"type": "hello", "faces": len(faces), "identity": str(self.identity),
                   "words": list_words()}, b"")
        for seed in faces:
            self.post({"type": "face", "seed": str(seed)}, portrait(seed))

    def start(self, identity, emotion):
        """Begin a conversation in place of the one before."""
        self.stop()
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True,
                                       args=(identity, emotion, self.stopped))
        self.thread.start()

    def stop(self):
        """End the conversation, if there is one: its thread comes to the end of its events."""
        self.stopped.set()
        talk, self.talk = self.talk, None
        if talk:
            talk.outbox.close()

    def run(self, identity, emotion, stopped):
        try:
            self.send(*message_of(e.State("loading")))
            if not self.alone.acquire(timeout=PATIENCE):
                raise UserError(BUSY)
            try:
                self.converse(identity, emotion, stopped)
            finally:
                self.alone.release()
        except Gone:
            pass
        except Exception as error:
            if not stopped.is_set():
                self.complain(error, fatal=True)

    def converse(self, identity, emotion, stopped):
        if stopped.is_set():                    # while it waited for its turn
            return
        with self.make(identity) as talk:
            try:
                talk.set_emotion(emotion)
                self.talk = talk
                for event in talk.events():
                    if stopped.is_set():
                        return
                    self.send(*message_of(event))
            finally:
                if self.talk is talk:
                    self.talk = None


def live_avatar(make, identity=7):
    """The page in a notebook: an anywidget around the same JavaScript, with no port to open.

    make(identity) -> a new `Conversation`; identity: the first face. `widget.session.stop()` and
    `widget.close()` end the conversation, as the page's End does. UserError where anywidget is
    not installed.
    """
    try:
        import anywidget
    except ImportError:
        raise UserError("The widget needs the package anywidget: pip install anywidget.") from None

    class LiveAvatar(anywidget.AnyWidget):
        """The page, and the session behind it."""

        _esm, _css = module(), style()

        def close(self):
            self.session.stop()
            super().close()

    widget = LiveAvatar()

    def post(message, data):
        widget.send(message, [data] if data else None)

    widget.session = Session(make, post, post, identity, threading.Lock())
    widget.on_msg(lambda _, message, buffers:
                  widget.session.take(message, bytes(buffers[0]) if buffers else b""))
    return widget
