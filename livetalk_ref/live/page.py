"""The page's other end: messages, the session behind a page, and the page as a notebook's widget.

A message is a small JSON object and, with sound or a picture, bytes. The same ones travel over a
WebSocket and over a notebook's channel.
"""

import io
import json
import re
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from livetalk_ref.errors import UserError
from livetalk_ref.live.conversation import told
from livetalk_ref.live.events import Error, Picture, Sound
from livetalk_ref.media import to_bytes
from livetalk_ref.portrait import portrait_of
from livetalk_ref.world.prompts import list_words

HERE = Path(__file__).parent
PARTS = ("sound.js", "view.js", "page.js")                 # of the one module, in this order
LONGEST = 500                   # characters of a question or a prompt
SHOWN = 192                     # pixels of a portrait to choose from
OTHERS = (1, 2, 3, 4, 5, 6)     # seeds of faces to choose from, the first there are


def module():
    """The one JavaScript module that page and notebook share, joined from its files."""
    text = "\n".join((HERE / name).read_text("utf-8") for name in PARTS)
    return re.sub(r'^import .* from "\./\w+\.js";\n', "", text, flags=re.M)


def jpeg(pixels):
    """A picture, uint8 (3, H, W), as a JPEG file's bytes."""
    file = io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).save(
        file, "jpeg", quality=92, subsampling=0)        # 3 to 4 kB for 96x96
    return file.getvalue()


def message_of(event):
    """An event of a conversation -> (message, bytes)."""
    message = {"type": type(event).__name__.lower()} | vars(event)
    if "first_sample" in message:
        message["sample"] = message.pop("first_sample")
    if isinstance(event, Sound):
        return message, (message.pop("samples") * 32_767).round().short().numpy().tobytes()
    if isinstance(event, Picture):
        return message, jpeg(message.pop("pixels"))
    return message, b""


def samples_of(data):
    """16-bit sound of a page -> (n,) float32."""
    return torch.from_numpy(np.frombuffer(data, "<i2") / np.float32(32_768))


# What a page may say: the fields of every type of message.
FIELDS = {"hello": {}, "start": {"identity": str, "prompt": str}, "stop": {}, "sound": {},
          "heard": {"sample": int}, "ask": {"text": str}, "prompt": {"text": str}, "interrupt": {}}
# What it may ask of a conversation.
ACTS = {
    "sound": lambda talk, message, data: talk.hear(samples_of(data)),
    "heard": lambda talk, message, data: talk.played(message["sample"]),
    "ask": lambda talk, message, data: talk.ask(message["text"]),
    "prompt": lambda talk, message, data: talk.set_prompt(message["text"]),
    "interrupt": lambda talk, message, data: talk.interrupt()}


def pack(message, data=b""):
    """A message and its bytes as one block of bytes, as page.js reads it."""
    text = json.dumps(message).encode()
    return struct.pack("<I", len(text)) + text + data


def unpack(block):
    """The reverse of `pack`, for what a page sent; (None, b"") where it is no such block."""
    try:
        (length,) = struct.unpack_from("<I", block)
        return json.loads(block[4:4 + length]), block[4 + length:]
    except (struct.error, TypeError, ValueError, RecursionError):
        return None, b""


def check(message, data):
    """UserError for what no page sends."""
    fields = FIELDS.get(str(message.get("type"))) if isinstance(message, dict) else None
    if fields is None or len(data) % 2 or not all(
            isinstance(message.get(name), kind) and len(str(message[name])) <= LONGEST
            for name, kind in fields.items()):
        raise UserError(f"That cannot be understood, or has more than {LONGEST} characters: be "
                        f"brief, or reload the page.")


@dataclass(frozen=True)
class Offer:
    """What a page shows before a conversation."""
    # {seed: a JPEG file's bytes}; seeds as text, for JavaScript's numbers are too short.
    faces: dict
    words: str                  # what a prompt may hold
    note: str = ""              # what is to be known before


def drawn_faces(identity, words=list_words, note=""):
    """The `Offer` of the drawn world: a seed's face first, then some that are kept well."""
    seeds = list(dict.fromkeys((identity, *OTHERS)))[:6]
    faces = {str(seed): jpeg(to_bytes(portrait_of(seed, SHOWN))) for seed in seeds}
    return Offer(faces, words(), note)


class Session:
    """One page and its conversation: messages in, events out.

    make(identity, show) -> a new `Conversation`; send(message, bytes) is called from any thread
    and must not wait; offer: an `Offer`.
    """

    def __init__(self, make, send, offer):
        self.make, self.send, self.offer, self.talk = make, send, offer, None

    def take(self, message, data=b""):
        """Do what a page's message asks for. What is wrong with it is told to the page alone."""
        try:
            check(message, data)
            kind = message["type"]
            if kind == "hello":
                self.greet()
            elif kind == "start":
                self.start(message["identity"], message["prompt"])
            elif kind == "stop":
                self.stop()
            elif self.talk:                     # what comes too early or too late is nothing
                ACTS[kind](self.talk, message, data)
        except Exception as error:              # a notebook would not tell of it
            self.send(*message_of(Error(told(error), fatal=self.talk is None)))

    def greet(self):
        """Send the words of prompts, what is to be known, and the faces to choose from."""
        self.send({"type": "hello", "words": self.offer.words, "note": self.offer.note}, b"")
        for seed, picture in self.offer.faces.items():
            self.send({"type": "offer", "seed": seed}, picture)

    def start(self, identity, prompt):
        """Begin a conversation in place of the one before."""
        if identity not in self.offer.faces:
            raise UserError("Choose one of the faces that are shown.")
        self.stop()
        self.send({"type": "started"}, b"")     # what comes before it belongs to the old one
        self.talk = self.make(int(identity), lambda event: self.send(*message_of(event)))
        self.talk.set_prompt(prompt)

    def stop(self):
        talk, self.talk = self.talk, None
        if talk:
            talk.close(wait=False)


def live_avatar(make, identity=7):
    """The page in a notebook: an anywidget around the same JavaScript, with no port to open.

    make(identity, show) -> a new `Conversation`; identity: the first face. `widget.close()` ends
    the conversation, as the page's End does. UserError where anywidget is not installed.
    """
    try:
        import anywidget
    except ImportError:
        raise UserError("The widget needs the package anywidget: pip install anywidget.") from None

    class LiveAvatar(anywidget.AnyWidget):
        _esm, _css = module(), (HERE / "page.css").read_text()

        def close(self):
            self.session.stop()
            super().close()

    widget = LiveAvatar()
    widget.session = Session(
        make, lambda message, data: widget.send(message, [data] if data else None),
        drawn_faces(identity))
    widget.on_msg(lambda _, message, buffers:
                  widget.session.take(message, bytes(buffers[0]) if buffers else b""))
    return widget
