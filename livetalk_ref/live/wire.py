"""What a page and a conversation send each other: a small JSON object and, with sound or a
picture, bytes. The same messages travel over a WebSocket and over a notebook's channel.

Nothing that comes from a page is trusted: every field is checked here, by `obey`.
"""

import io
import json
import re
import struct
from dataclasses import asdict
from pathlib import Path

import torch
from PIL import Image

from livetalk_ref.errors import UserError
from livetalk_ref.live import events as e

PARTS = ("sound.js", "view.js", "link.js", "page.js")      # of the one module, in this order
LARGEST = 65_536        # bytes of one message from a page
LONGEST = 500           # characters of a typed turn
CHUNK = 8_000           # samples of one message of the microphone: half a second
QUALITY = 92            # of JPEG pictures: 3 to 4 kB for 96x96


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
    """A page's message, if it is an object with a type. UserError otherwise."""
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise UserError("A message must be an object with a type.")
    return message
