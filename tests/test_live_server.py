"""The live page's server: who may come in, how much, and what a broken message does (nothing)."""

import asyncio
import os
import random
import sys
import threading
import time
from contextlib import suppress

import pytest
import torch
from recital import maker, serving, small
from tornado import httpclient, websocket

from livetalk_ref.errors import UserError
from livetalk_ref.judge.cost import peak_memory, reset_peak_memory
from livetalk_ref.live import page as wire
from livetalk_ref.live import systems
from livetalk_ref.live.events import Sound
from livetalk_ref.live.page import Session

IDENTITY = 3
MAKE = maker(small())
START = {"type": "start", "identity": str(IDENTITY), "prompt": ""}
PATIENCE = 120                  # seconds until something that should come is missed


def get(served, path="/", **headers):
    client = httpclient.HTTPClient()
    return client.fetch(served.url[:-1] + path, headers=headers, raise_error=False)


class Page:
    """A socket that speaks as page.js does."""

    async def connect(self, served, read=None, **headers):
        headers = {"Origin": f"http://127.0.0.1:{served.port}"} | headers
        self.socket = await websocket.websocket_connect(httpclient.HTTPRequest(
            f"ws://127.0.0.1:{served.port}/stream",
            headers={k: v for k, v in headers.items() if v}), on_message_callback=read)
        return self

    async def send(self, message, data=b""):
        await self.socket.write_message(wire.pack(message, data), binary=True)

    async def until(self, kind, **fields):
        """Go on, with a clock some way behind the newest picture, until such a message comes."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            block = await asyncio.wait_for(self.socket.read_message(), PATIENCE)
            message, data = wire.unpack(block)
            if message["type"] == "picture":
                await self.send({"type": "heard", "sample": max(0, message["sample"] - 12_000)})
            if message["type"] == kind and fields.items() <= message.items():
                return message, data
        raise AssertionError(f"no {kind} with {fields} has come")


def ended(count):
    end = time.monotonic() + PATIENCE
    while threading.active_count() > count:
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture(scope="module")
def served():
    with serving(MAKE, IDENTITY) as made:
        yield made


def test_page_style_and_module_come_with_strict_headers(served):
    assert served.sock.getsockname()[0] == "127.0.0.1"      # this machine alone
    for path, word in (("/", "livetalk-page"), ("/page.css", ".livetalk"),
                       ("/page.js", "class Live")):
        answer = get(served, path, Host=f"localhost:{served.port}")
        assert answer.code == 200 and word in answer.body.decode()
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    answer = get(served, "/<script>alert(1)</script>")              # nothing of it is repeated
    assert answer.code == 404 and b"script" not in answer.body
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert get(served, "/page.css/../../../pyproject.toml").code == 404


@pytest.mark.parametrize("name, value", [
    *(("Host", host) for host in ("evil.example", "evil.example:{port}", "127.0.0.1:1",
                                  "127.0.0.1.evil.example:{port}", "localhost")),
    *(("Origin", origin) for origin in ("", "null", "http://evil.example", "http://127.0.0.1",
                                        "https://127.0.0.1:{port}",
                                        "http://127.0.0.1:{port}.evil.example"))])
def test_another_host_or_origin_is_refused(served, name, value):
    """A foreign name that was pointed at this machine; a page from elsewhere."""
    headers = {name: value.format(port=served.port)}
    with pytest.raises(httpclient.HTTPClientError, match="403"):
        asyncio.run(Page().connect(served, **headers))
    assert name == "Origin" or get(served, **headers).code == 403


async def converse(served):
    """Faces, a stream whose sound and pictures have one clock, a question, its answer begun."""
    page = await Page().connect(served)
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


ODD = (({"type": "sound"}, b"\0"), ({"type": "ask"}, b""), ({"type": "ask", "text": " "}, b""),
       ({"type": "ask", "text": {}}, b""), ({"type": "ask", "text": "why " * 200}, b""),
       ({"type": "heard", "sample": "x"}, b""), ({"type": "heard", "sample": float("nan")}, b""),
       ({"type": "prompt", "text": "joyous"}, b""), ({"type": "dance"}, b""), ([], b""),
       ({"type": []}, b""), (START | {"identity": "9" * 400}, b""))


def test_odd_messages_are_answered_and_change_nothing(served, capsys):
    async def script():
        page = await Page().connect(served)
        await page.send({"type": "start", "identity": "7"})
        assert (await page.until("error"))[0]["fatal"]
        await page.send(START)
        await page.until("picture")
        for block in (*(wire.pack(*odd) for odd in ODD), b"", b"abc", b"\xff\0\0\0{}", "text",
                      b"\0\x20\0\0" + b"[" * 8_192):
            await page.socket.write_message(block, binary=isinstance(block, bytes))
            answer, _ = await page.until("error")
            assert answer["sentence"].endswith(".") and not answer["fatal"]
        await page.send({"type": "sound"})
        await page.send({"type": "heard", "sample": 2 ** 47})     # more than there has been
        await page.until("picture")
        page.socket.close()
    asyncio.run(script())
    assert not capsys.readouterr().err


VALUES = ("7", "3", "a happy person", "What is a block?", "why " * 100, "x" * 40_000, "\ud800", 0,
          -5, 9_000, 2 ** 47, 10 ** 400, 1.5, float("nan"), None, [])


def odd(dice):
    """A message that no page sends, or that one sends at another time; or a microphone's sound."""
    message = {name: dice.choice(VALUES) for name in ("identity", "prompt", "sample", "text")}
    kind = dice.choice((*wire.FIELDS, "dance", *4 * ("sound", "heard", "ask")))
    size = int(10 ** (4.9 * dice.random()))                     # some are too large
    sound = dice.choice((dice.randbytes(size), bytes(size), size // 2 * b"\xff\x7f"))
    block = wire.pack({"type": kind} | message, sound if kind == "sound" else b"")
    at, noise = dice.randrange(len(block)), dice.randbytes(9)
    return dice.choice((*4 * [block], block[:at], noise, block[:at] + noise + block[at + 9:]))


async def send_odd(served, dice, seconds):
    """Be page after page that sends such messages and leaves at any time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        page = await Page().connect(served, lambda block: None)
        await page.send(START)
        with suppress(websocket.WebSocketClosedError):          # one was too large
            for _ in range(dice.randrange(300)):
                await page.socket.write_message(odd(dice), binary=True)
                await asyncio.sleep(dice.choice((0, 0, 0.03)))
        page.socket.close()


def test_a_normal_conversation_after_anything_at_random(capsys):
    """In constant memory. LONGER=100 makes it ten minutes."""
    before, dice, longer = threading.active_count(), random.Random(0), os.environ.get("LONGER", 1)
    with serving(MAKE, IDENTITY) as served:
        asyncio.run(send_odd(served, dice, 3))
        reset_peak_memory()
        early = peak_memory()                                   # MiB
        asyncio.run(send_odd(served, dice, 6 * int(longer)))
        assert not early or peak_memory() < early + 100
        asyncio.run(converse(served))
        ended(before + 1)
    assert not capsys.readouterr().err


def test_a_page_that_does_not_read_is_let_go(monkeypatch):
    """Its clock runs, so pictures come and come."""
    monkeypatch.setattr(wire, "UNREAD", 20)
    before = threading.active_count()

    async def stay(served):
        page = await Page().connect(served)     # takes nothing more until it is asked for messages
        await page.send(START)
        with pytest.raises(websocket.WebSocketClosedError):         # it is closed at last
            for _ in range(100 * PATIENCE):
                await page.send({"type": "heard", "sample": 2 ** 40})
                await asyncio.sleep(0.01)

    with serving(MAKE, IDENTITY) as served:
        asyncio.run(stay(served))
        ended(before + 1)


def test_a_second_conversation_ends_the_first(monkeypatch):
    """Of one `Maker`: the first page is told so in a sentence."""
    monkeypatch.setattr(systems, "talker", lambda: None)
    monkeypatch.setattr(systems, "load", lambda *_, **__: small())
    maker, told = systems.Maker(thinker="retrieval"), []
    first = Session(maker.talk, lambda *message: told.append(message[0]), maker.offer(IDENTITY))
    first.take(START)
    second = maker.talk(IDENTITY)
    for thread in first.talk.threads:
        thread.join(PATIENCE)
    assert told[-1] == {"type": "error", "fatal": True,
                        "sentence": "The conversation goes on in another window."}
    assert all(thread.is_alive() for thread in second.threads)
    second.close()


def test_the_module_is_one_file_and_sound_is_as_loud_on_both_ends(monkeypatch):
    monkeypatch.setattr("io.text_encoding", lambda name, *_: name or "ascii")   # of the machine
    assert "import " not in wire.module() and wire.module().count("class Live ") == 1
    samples = torch.linspace(-1, 1, 500)
    _, data = wire.message_of(Sound(7, samples))
    assert torch.allclose(wire.samples_of(data), samples, atol=1e-4)
    monkeypatch.setitem(sys.modules, "anywidget", None)
    with pytest.raises(UserError, match="needs the package anywidget"):
        wire.live_avatar(None)
