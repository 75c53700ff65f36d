"""The stand-alone page: a small server on this machine alone, for one person at a time.

It listens on 127.0.0.1 and answers only requests whose Host is its own address: a foreign page
whose name was pointed here gets nothing, and a socket needs the page's own Origin as well.
"""

import asyncio
import concurrent.futures
import socket
import threading
from pathlib import Path

from tornado import httpserver, ioloop, netutil, web, websocket

from livetalk_ref.errors import UserError
from livetalk_ref.live import page
from livetalk_ref.live.page import Gone, Session

ADDRESS = "127.0.0.1"
SLOW = 20                       # seconds that a page may take nothing
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self' blob:; style-src 'self'; "
                               "img-src 'self' blob: data:; connect-src 'self' ws://{host}; "
                               "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store", "Server": "livetalk_ref"}


class Guarded:
    """A handler that answers to its own address only."""

    def prepare(self):
        if self.request.host not in self.settings["hosts"]:
            raise web.HTTPError(403, reason="Open this page by the address that was printed.")

    def set_default_headers(self):
        host = self.request.host if self.request.host in self.settings["hosts"] else "127.0.0.1"
        for name, value in HEADERS.items():
            self.set_header(name, value.format(host=host))

    def write_error(self, status, **_):
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(f"{status}: {self._reason}\n")


class Text(Guarded, web.RequestHandler):
    """One of the page's files."""

    def initialize(self, kind, make):
        self.kind, self.make = kind, make

    def get(self):
        self.set_header("Content-Type", f"{self.kind}; charset=utf-8")
        self.finish(self.make())


class Missing(Guarded, web.RequestHandler):
    """Everything else."""

    def prepare(self):
        super().prepare()
        raise web.HTTPError(404)


class Stream(Guarded, websocket.WebSocketHandler):
    """A page's socket, and the session behind it."""

    session = None

    def prepare(self):
        super().prepare()
        allowed = {f"http://{host}" for host in self.settings["hosts"]}
        if self.request.headers.get("Origin") not in allowed:   # every browser sends one
            raise web.HTTPError(403, reason="This socket is for the page alone.")

    def check_origin(self, origin):
        return True             # `prepare` has looked at it

    def open(self):
        self.loop = ioloop.IOLoop.current().asyncio_loop
        self.set_nodelay(True)
        self.settings["open"].add(self)
        self.session = Session(self.settings["make"], self.post, self.send,
                               self.settings["identity"], self.settings["alone"])

    def on_message(self, block):
        try:
            self.session.take(*page.unpack(block))
        except UserError as error:
            self.session.complain(error)

    def on_close(self):
        self.settings["open"].discard(self)
        if self.session:
            self.session.stop()

    async def emit(self, message, data):
        try:
            await self.write_message(page.pack(message, data), binary=True)
        except websocket.WebSocketClosedError:
            raise Gone from None

    def post(self, message, data):
        task = asyncio.run_coroutine_threadsafe(self.emit(message, data), self.loop)
        task.add_done_callback(lambda done: done.exception())       # that it is gone is no news

    def send(self, message, data):
        """As `post`, but waits until the page has room. For the session's thread only."""
        task = asyncio.run_coroutine_threadsafe(self.emit(message, data), self.loop)
        try:
            task.result(SLOW)
        except concurrent.futures.TimeoutError:
            self.loop.call_soon_threadsafe(self.close, 1008, "too slow")
            raise Gone from None
        except (concurrent.futures.CancelledError, RuntimeError):
            raise Gone from None


def application(make, identity, port):
    """The web application. make(identity) -> a new `Conversation`, one at a time."""
    html = (Path(__file__).parent / "page.html").read_text()
    files = [("/", "text/html", lambda: html), ("/page.css", "text/css", page.style),
             ("/page.js", "text/javascript", page.module)]
    routes = [(path, Text, {"kind": kind, "make": text}) for path, kind, text in files]
    return web.Application(
        [*routes, ("/stream", Stream)], default_handler_class=Missing, make=make,
        identity=identity, alone=threading.Lock(), open=set(),
        hosts={f"{name}:{port}" for name in ("127.0.0.1", "localhost")},
        websocket_max_message_size=page.LARGEST, websocket_ping_interval=20,
        websocket_ping_timeout=20, log_function=lambda handler: None)


def bind(port):
    """A listening socket on this machine's own address; port 0 is any free one. UserError."""
    try:
        (sock,) = netutil.bind_sockets(port, ADDRESS, family=socket.AF_INET)
    except OSError as error:
        raise UserError(f"Port {port} cannot be used ({error.strerror}); choose another one "
                        f"with --port.") from error
    return sock


async def serve(make, identity, sock, ready=lambda address: None):
    """Serve until cancelled; `ready` hears the page's address once it answers."""
    port = sock.getsockname()[1]
    app = application(make, identity, port)
    server = httpserver.HTTPServer(app, max_body_size=0, max_header_size=16_384,
                                   idle_connection_timeout=60, body_timeout=5)
    server.add_socket(sock)
    ready(f"http://{ADDRESS}:{port}/")
    try:
        await asyncio.Event().wait()
    finally:
        for stream in list(app.settings["open"]):
            stream.session.stop()
            stream.close()
        server.stop()


def run(make, identity, sock, ready):
    """`serve` in this thread, until Ctrl-C."""
    asyncio.run(serve(make, identity, sock, ready))
