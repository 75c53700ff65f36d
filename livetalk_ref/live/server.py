"""The stand-alone page: a small server on this machine alone, for one person.

It listens on 127.0.0.1 and answers only requests whose Host is its own address: a foreign page
whose name was pointed here gets nothing, and a socket needs the page's own Origin as well.
"""

import asyncio
import socket
from contextlib import suppress

from tornado import httpserver, ioloop, netutil, web, websocket

from livetalk_ref.errors import UserError
from livetalk_ref.live import page

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
FILES = {"/": ("html", (page.HERE / "page.html").read_text),
         "/page.css": ("css", (page.HERE / "page.css").read_text),
         "/page.js": ("javascript", page.module)}


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
        self.session = page.Session(
            self.settings["make"], lambda *message: loop.add_callback(self.emit, *message),
            self.settings["offer"])

    def on_message(self, block):
        self.session.take(*page.unpack(block))

    def on_close(self):
        self.settings["open"].discard(self)
        self.session.stop()

    async def emit(self, message, data):
        self.unread += 1
        if self.unread > UNREAD:                            # nobody reads: memory must not grow
            self.close()
        with suppress(websocket.WebSocketClosedError):      # the page has left
            await self.write_message(page.pack(message, data), binary=True)
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
    """Serve until cancelled. make(identity, show) -> a new `Conversation`; offer: a `page.Offer`;
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
