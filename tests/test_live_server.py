"""The live page's server: who may come in, how much, and what a broken message does (nothing)."""

import asyncio
import json
import struct
import time

import pytest
import torch
from recital import maker, small
from served import Served
from tornado import httpclient, websocket

from livetalk_ref.live import page as wire
from livetalk_ref.live import systems
from livetalk_ref.live.events import Picture, Sound
from livetalk_ref.live.page import Session

IDENTITY = 3
MAKE = maker(small())
START = {"type": "start", "identity": str(IDENTITY), "prompt": ""}
PATIENCE = 120                  # seconds until something that should come is missed


class Guarded(Served):
    """A server and its visitors, who look like browsers or do not."""

    async def get(self, path="/", **headers):
        client = httpclient.AsyncHTTPClient()
        return await client.fetch(f"http://127.0.0.1:{self.port}{path}", headers=headers,
                                  raise_error=False)

    async def connect(self, **headers):
        headers.setdefault("Origin", f"http://127.0.0.1:{self.port}")
        named = {k: v for k, v in headers.items() if v}
        request = httpclient.HTTPRequest(f"ws://127.0.0.1:{self.port}/stream", headers=named)
        return Page(await websocket.websocket_connect(request))


class Page:
    """A socket that speaks as page.js does."""

    def __init__(self, socket):
        self.socket = socket

    async def send(self, message, data=b""):
        await self.socket.write_message(wire.pack(message, data), binary=True)

    async def receive(self):
        """The next message and its bytes, or None when the socket is closed."""
        block = await asyncio.wait_for(self.socket.read_message(), PATIENCE)
        if block is None:
            return None
        (length,) = struct.unpack_from("<I", block)
        return json.loads(block[4:4 + length]), block[4 + length:]

    async def until(self, kind, **fields):
        """Go on, with a clock some way behind the newest picture, until such a message comes.

        How many come before it depends on how busy the machine is, so time is what is bounded.
        """
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            message, data = await self.receive()
            if message["type"] == "picture":
                await self.send({"type": "heard", "sample": max(0, message["sample"] - 12_000)})
            if message["type"] == kind and fields.items() <= message.items():
                return message, data
        raise AssertionError(f"no {kind} with {fields} has come")


@pytest.fixture(scope="module")
def served():
    with Guarded(MAKE, IDENTITY) as made:
        yield made


def test_it_listens_on_this_machine_alone(served):
    assert served.sock.getsockname()[0] == "127.0.0.1"


def test_page_style_and_module_come_with_strict_headers(served):
    async def script():
        for path, word in (("/", "livetalk-page"), ("/page.css", ".livetalk"),
                           ("/page.js", "class Live")):
            answer = await served.get(path, Host=f"localhost:{served.port}")
            assert answer.code == 200 and word in answer.body.decode()
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy and "unsafe" not in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
    asyncio.run(script())


@pytest.mark.parametrize("host", ("evil.example", "evil.example:{port}", "127.0.0.1:1",
                                  "127.0.0.1.evil.example:{port}", "localhost"))
def test_another_host_is_refused(served, host):
    """A foreign name that was pointed at this machine."""
    async def script():
        host_ = host.format(port=served.port)
        assert (await served.get("/", Host=host_)).code == 403
        with pytest.raises(httpclient.HTTPClientError, match="403"):
            await served.connect(Host=host_)
    asyncio.run(script())


@pytest.mark.parametrize("origin", ("", "null", "http://evil.example", "https://127.0.0.1:{port}",
                                    "http://127.0.0.1", "http://127.0.0.1:{port}.evil.example"))
def test_another_origin_is_refused(served, origin):
    async def script():
        with pytest.raises(httpclient.HTTPClientError, match="403"):
            await served.connect(Origin=origin.format(port=served.port))
    asyncio.run(script())


def test_nothing_of_a_request_is_repeated(served):
    async def script():
        answer = await served.get("/<script>alert(1)</script>")
        assert answer.code == 404 and b"script" not in answer.body
        assert answer.headers["Content-Type"].startswith("text/plain")
        assert (await served.get("/page.css/../../../pyproject.toml")).code == 404
    asyncio.run(script())


def test_a_conversation_that_ends_with_its_tab():
    """Faces, a stream whose sound and pictures have one clock, a question and its answer."""
    made = []

    def make(identity, show):
        made.append(MAKE(identity, show))
        return made[-1]

    async def script(served):
        page = await served.connect()
        await page.send({"type": "hello"})
        faces = [await page.until("offer") for _ in range(6)]
        assert faces[0][0]["seed"] == str(IDENTITY)
        assert all(data.startswith(b"\xff\xd8") for _, data in faces)      # JPEG
        await page.send(START | {"prompt": "a happy person"})
        await page.until("started")
        _, data = await page.until("sound", sample=0)
        assert len(data) == 2 * 9_000
        picture, data = await page.until("picture", number=8)
        assert picture["sample"] == 8_000 and data.startswith(b"\xff\xd8")
        await page.send({"type": "ask", "text": "What   is <b>a block</b>?"})
        said, _ = await page.until("said", role="user")
        assert said["text"] == "What is <b>a block</b>?" and said["source"] == "typed"
        await page.until("said", role="avatar")
        page.socket.close()                                         # in mid-sentence

    with Guarded(make, IDENTITY) as served:
        asyncio.run(script(served))
        for thread in made[0].threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()


ODD = (({"type": "sound"}, b"\0"), ({"type": "ask"}, b""), ({"type": "ask", "text": " "}, b""),
       ({"type": "ask", "text": {}}, b""), ({"type": "heard", "sample": "x"}, b""),
       ({"type": "prompt", "text": "joyous"}, b""), ({"type": "dance"}, b""))


def test_odd_messages_are_answered_and_change_nothing(served, capsys):
    async def script():
        page = await served.connect()
        await page.send({"type": "start", "identity": "7"})
        assert (await page.receive())[0]["fatal"]
        await page.send(START)
        await page.until("picture")
        for message, data in ODD:
            await page.send(message, data)
            answer, _ = await page.until("error")
            assert answer["sentence"].endswith(".") and not answer["fatal"]
        await page.send({"type": "heard", "sample": 2 ** 47})     # more than there has been
        await page.until("picture")
        page.socket.close()
    asyncio.run(script())


def test_a_second_conversation_ends_the_first(monkeypatch):
    """Of one `Maker`: the first page is told so in a sentence."""
    monkeypatch.setattr(systems, "talker", lambda: None)
    monkeypatch.setattr(systems, "load", lambda *_: small())
    maker, told = systems.Maker(thinker="retrieval"), []
    first = Session(maker.talk, lambda *message: told.append(message[0]), IDENTITY)
    first.take(START)
    second = maker.talk(IDENTITY)
    for thread in first.talk.threads:
        thread.join(PATIENCE)
    assert told[-1] == {"type": "error", "fatal": True,
                        "sentence": "The conversation goes on in another window."}
    assert all(thread.is_alive() for thread in second.threads)
    second.close()


def test_a_broken_maker_is_one_sentence(capsys):
    def make(identity, show):
        raise RuntimeError("no voice")

    said = []
    Session(make, lambda *message: said.append(message[0]), 3).take(START)
    assert said[-1]["fatal"] and said[-1]["sentence"] == "Something broke: RuntimeError: no voice."
    assert "RuntimeError: no voice" in capsys.readouterr().err


def test_the_module_is_one_file_and_messages_keep_their_fields():
    assert "import " not in wire.module() and wire.module().count("class Live ") == 1
    samples = torch.rand(500, generator=torch.Generator().manual_seed(0)) * 2 - 1
    message, data = wire.message_of(Sound(7, samples))
    assert message == {"type": "sound", "sample": 7}
    assert torch.allclose(wire.samples_of(data), samples, atol=1e-4)
    message, data = wire.message_of(Picture(2, torch.zeros(3, 96, 96).byte(), 2_000))
    assert message == {"type": "picture", "sample": 2_000, "number": 2}
