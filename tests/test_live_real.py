"""The released layout in the live page: its whole road in a browser, and what it is told."""

import re
import signal
from types import SimpleNamespace

import pytest
import torch
from browser import chromium, opened, require
from recital import small
from repo import ROOT
from test_live_commands import run

from livetalk_ref.errors import UserError
from livetalk_ref.judge.cost import counted_passes
from livetalk_ref.live import page as wire
from livetalk_ref.live import systems
from livetalk_ref.portrait import portrait_of, save_portrait
from livetalk_ref.real.avatar import load_photo
from livetalk_ref.real.standin import PROMPTS, SMALL_SIZE
from livetalk_ref.stream import Frames, samples_for


def test_the_released_layout_talks_in_a_browser():
    """The command itself, on small random weights: pictures of its size, sound, its prompts."""
    require()
    from test_live_page import LIVE, STATE, ask, begin, until
    running = run("--port", "0", "--thinker", "retrieval", "--model", "livetalk-1.3b", "--weights",
                  "random", "--device", "cpu", program=[ROOT / "tests" / "recite.py"])
    try:
        lines = running.stdout.readline(), running.stdout.readline()
        told = re.match(r"livetalk-1.3b on cpu: a block of 12 pictures takes [\d.]+ s of the "
                        r"0.75 s that it may; peak memory [\d.]+ GiB \(weights", lines[0])
        address = re.search(r"http://127\.0\.0\.1:\d+/", lines[1])
        assert told and address, (lines, running.stderr.read())
        with chromium() as browser, opened(browser, address[0]) as page:
            begin(page)
            ask(page, "What is a block?")
            page.wait_for_selector(STATE.format("speaking"))
            until(page, f"{LIVE}.pictures.some(p => p.bitmap.width === {SMALL_SIZE})")
            until(page, f"{LIVE}.speaker.level() > 0.02")
            assert page.locator(".lt-words").nth(1).inner_text().startswith("A block is")
            until(page, f"{LIVE}.drawn.length > 24")
            assert f"goes on with '{PROMPTS[0]}'" in page.get_by_role("alert").inner_text()
            assert page.locator(".lt-known").text_content().splitlines() == list(PROMPTS)
            page.get_by_role("button", name="End", exact=True).click()
            page.wait_for_selector(STATE.format("ready"))
    finally:
        running.send_signal(signal.SIGTERM)
        running.communicate(timeout=120)
    assert running.returncode == 130


def test_a_photograph_is_the_only_face(tmp_path, monkeypatch, capsys):
    """And where it is nearly white, that is said."""
    monkeypatch.setattr(systems, "talker", lambda: None)
    monkeypatch.setattr(systems, "load", lambda *_, **__: small())
    save_portrait(portrait_of(5, 120), tmp_path / "me.png")
    maker = systems.Maker("livetalk-1.3b", "retrieval", weights="x", image=tmp_path / "me.png")
    assert "warning" not in capsys.readouterr().err
    photo, told = load_photo(tmp_path / "me.png", maker.avatar.size), []
    session = wire.Session(maker.talk, lambda *message: told.append(message), maker.offer(3))
    session.take({"type": "hello"})
    assert told[1:] == [({"type": "offer", "seed": "3"}, wire.jpeg(wire.to_bytes(photo)))]
    performed = maker.talk(3)
    with torch.inference_mode():
        assert torch.equal(performed.performer.session.ref,
                           maker.avatar.codec.encode(photo[None, None])[:, 0])
    performed.close()
    save_portrait(torch.ones(3, 120, 120), tmp_path / "me.png")
    systems.Maker("livetalk-1.3b", "retrieval", weights="x", image=tmp_path / "me.png")
    assert "the picture is nearly white everywhere" in capsys.readouterr().err


@pytest.mark.parametrize("options, sentence", (
    ({"model": "student", "weights": "x"}, "--model livetalk-1.3b or omniavatar-1.3b alone"),
    ({"model": "student", "int8": True}, "--int8 go with --model livetalk-1.3b or omni"),
    ({"model": "student", "image": "me.png"}, "--identity chooses a drawn face"),
    ({"weights": "x"}, "give one with --image"),
    ({"image": ROOT / "README.md"}, "is broken or is not an image"),
    ({"image": True}, "give the folder that holds"),
    ({"image": True, "weights": "."}, "lacks model.safetensors, vae, wav2vec2, text.safetensors")))
def test_bad_input_is_one_sentence(options, sentence, tmp_path, monkeypatch):
    monkeypatch.setattr(systems, "talker", lambda: None)
    monkeypatch.chdir(tmp_path)
    save_portrait(portrait_of(5, 120), tmp_path / "me.png")
    if options.get("image") is True:
        options = options | {"image": "me.png"}
    with pytest.raises(UserError, match=re.escape(sentence)):
        systems.Maker(**{"model": "livetalk-1.3b", "thinker": "retrieval"} | options)


@pytest.mark.parametrize("a_pass, steps", [(0.1, 4), (0.2, 2), (0.3, 1), (0.5, None)])
def test_a_machine_too_slow_for_four_steps_makes_fewer_or_says_no(a_pass, steps, monkeypatch):
    """On a clock that counts the model's passes; sound keeps its pictures, and the page is told."""
    monkeypatch.setattr(systems, "talker", lambda: None)
    maker = systems.Maker("livetalk-1.3b", "retrieval", weights="random")
    with counted_passes(maker.avatar.model) as passes:
        monkeypatch.setattr(systems, "wall_clock", lambda _: a_pass * len(passes))
        told = maker.rehearse(3)
        assert f"takes {a_pass * (1 + (steps or 4)):.2f} s of the 0.75 s that it may" in told
        before, session = len(passes), systems.AvatarSession(maker.avatar, maker.picture(3), "")
        assert len(session.push(torch.zeros(samples_for(1, session.ahead)))) == 9
        assert len(passes) == before + 1 + (steps or 4)
        maker.strict = True                         # as with real weights
        if not steps:
            with pytest.raises(UserError, match="takes 2.50 s of .*, and fewer steps do not help"):
                maker.rehearse(3)
    sent = []
    wire.Session(maker.talk, lambda *message: sent.append(message), maker.offer(3)).greet()
    note = {4: "", None: "Speech will stop again and again to wait for its pictures."}.get(
        steps, f"The avatar makes {steps} steps a block, for 4 are too slow here: pictures are "
        "less exact, and stay in step with the sound.")
    assert sent[0][0]["note"] == note and told.endswith(note)


def test_a_rehearsal_without_pictures_or_memory_is_one_sentence(monkeypatch):
    def rehearsed(idle):
        monkeypatch.setattr(systems, "AvatarSession", lambda *_, **__: SimpleNamespace(
            device=torch.device("cpu"), idle=lambda: Frames(0, torch.tensor([idle()]))))
        systems.rehearse(small(), None, True)

    def full():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB.")

    with pytest.raises(UserError, match="in torch.float32 on cpu makes pictures that are no num"):
        rehearsed(lambda: float("nan"))
    with pytest.raises(UserError, match="not enough free memory for small .weights .* caches"):
        rehearsed(full)
