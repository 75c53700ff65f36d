"""The page's other end: messages, the session behind a page, its widget for notebooks, its server.

A message is a small JSON object and, with sound or a picture, bytes. The same ones travel over a
WebSocket and over a notebook's channel. The server listens on 127.0.0.1, for one person, and
answers only requests whose Host is its own address: a foreign page whose name was pointed here gets
nothing, and a socket needs the page's own Origin as well.
"""

import asyncio
import io
import json
import re
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tornado import httpserver, ioloop, netutil, web, websocket

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


# The stand-alone page.

ADDRESS = "127.0.0.1"
LARGEST = 65_536                # bytes of one message from a page
UNREAD = 1_000                  # messages that may wait for it
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self' blob:; style-src 'self'; "
                               "img-src 'self' blob: data:; connect-src 'self' ws://{host}; "
                               "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store", "Server": "livetalk_ref"}
FILES = {"/": ("html", (HERE / "page.html").read_text),
         "/page.css": ("css", (HERE / "page.css").read_text),
         "/page.js": ("javascript", module)}


class Guarded(web.RequestHandler):
    """One of the page's files, for requests to its own address only."""

    def prepare(self):
        if self.request.host not in self.settings["hosts"]:
            raise web.HTTPError(403, reason="Open this page by the address that was printed.")

    def get(self):
        if self.request.path not in FILES:
            raise web.HTTPError(404)
        kind, text = FILES[self.request.path]
        self.set_header("Content-Type", f"text/{kind}; charset=utf-8")
        self.finish(text())

    def set_default_headers(self):
        host = self.request.host if self.request.host in self.settings["hosts"] else ADDRESS
        for name, value in HEADERS.items():
            self.set_header(name, value.format(host=host))

    def write_error(self, status, **_):
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(f"{status}: {self._reason}\n")


class Stream(websocket.WebSocketHandler, Guarded):
    """A page's socket, and the session behind it."""

    def prepare(self):
        super().prepare()
        allowed = {f"http://{host}" for host in self.settings["hosts"]}
        if self.request.headers.get("Origin") not in allowed:   # every browser sends one
            raise web.HTTPError(403, reason="This socket is for the page alone.")

    def check_origin(self, origin):
        return True             # `prepare` has looked at it

    def open(self):
        self.set_nodelay(True)
        self.unread = 0
        self.settings["open"].add(self)
        loop = ioloop.IOLoop.current()
        self.session = Session(
            self.settings["make"], lambda *message: loop.add_callback(self.emit, *message),
            self.settings["offer"])

    def on_message(self, block):
        self.session.take(*unpack(block))

    def on_close(self):
        self.settings["open"].discard(self)
        self.session.stop()

    async def emit(self, message, data):
        self.unread += 1
        if self.unread > UNREAD:                            # nobody reads: memory must not grow
            self.close()
        with suppress(websocket.WebSocketClosedError):      # the page has left
            await self.write_message(pack(message, data), binary=True)
        self.unread -= 1


def bind(port):
    """A listening socket on this machine's own address; port 0 is any free one. UserError."""
    try:
        (sock,) = netutil.bind_sockets(port, ADDRESS, family=socket.AF_INET)
    except OSError as error:
        raise UserError(f"Port {port} cannot be used ({error.strerror}); choose another one "
                        f"with --port.") from error
    return sock


async def serve(make, offer, sock, ready):
    """Serve until cancelled. make(identity, show) -> a new `Conversation`; offer: an `Offer`;
    `ready` hears the page's address once it answers."""
    port = sock.getsockname()[1]
    app = web.Application(
        [("/stream", Stream)], default_handler_class=Guarded, make=make, offer=offer,
        hosts={f"{name}:{port}" for name in (ADDRESS, "localhost")}, open=set(),
        websocket_max_message_size=LARGEST, log_function=lambda handler: None)
    server = httpserver.HTTPServer(app, max_body_size=LARGEST)
    server.add_socket(sock)
    ready(f"http://{ADDRESS}:{port}/")
    try:
        await asyncio.Event().wait()
    finally:
        server.stop()
        for stream in list(app.settings["open"]):
            stream.session.stop()
            stream.close()
