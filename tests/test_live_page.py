"""The page in a real browser: typed and spoken questions, pictures, sound, prompts, errors."""

import re
import time

import pytest
import soundfile
import torch
from browser import PATIENCE, chromium, opened, require
from recital import LISTEN, RECITED, maker, small
from served import Served

from livetalk_ref.errors import UserError
from livetalk_ref.world.prompts import list_words, parse
from livetalk_ref.world.speech import load_spoken

require()
LIVE = "document.getElementById('livetalk-page').livetalk"
STATE = "#livetalk-page[data-state={}]"
FACE = 7
NAMED = (("textbox", "Your message"), ("button", "Microphone"), ("button", "Stop answering"),
         ("button", "Send"), ("log", "Conversation"), ("textbox", "Prompt"), ("group", "Face"),
         ("img", "The avatar, a generated face"))


@pytest.fixture(scope="module")
def served():
    with Served(maker(small()), FACE) as made:
        yield made


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Its microphone says one sentence between silences."""
    path = tmp_path_factory.mktemp("microphone") / "voice.wav"
    spoken, quiet = load_spoken("21-rp-m3").samples, torch.zeros(16_000)
    soundfile.write(path, torch.cat([quiet, spoken, quiet, quiet, quiet]).numpy(), 16_000)
    with chromium(path) as made:
        yield made


def until(page, expression):
    """Wait until it is true. (Playwright's own way is code that the page's policy forbids.)"""
    end = time.monotonic() + PATIENCE / 1_000
    while time.monotonic() < end:
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"still not: {expression}")


def begin(page):
    page.get_by_role("button", name="Start talking").click()
    page.wait_for_selector(STATE.format("listening"))


def ask(page, text):
    page.get_by_role("textbox", name="Your message").fill(text)
    page.keyboard.press("Enter")


def test_a_typed_question_is_answered_in_step(served, browser):
    """Transcript, moving pictures, sound, and figures; picture and sound stay together."""
    with opened(browser, served.url) as page:
        begin(page)
        ask(page, "What is a <b>block</b>?")
        page.wait_for_selector(STATE.format("speaking"))
        assert page.get_by_role("status").inner_text() == "Speaking"
        until(page, f"{LIVE}.speaker.level() > 0.05")                     # sound is played
        assert page.locator(".lt-caption").inner_text() == load_spoken(RECITED[0][0]).text
        page.wait_for_selector(STATE.format("listening"))
        assert page.locator(".lt-words").all_inner_texts() == [
            "What is a <b>block</b>?", *(load_spoken(file).text for file, *_ in RECITED)]
        assert page.locator(".lt-source").all_inner_texts() == [
            "typed", "retrieved", "language model"]
        drawn = page.evaluate(f"{LIVE}.drawn")
        measured = page.locator(".lt-tile b").all_inner_texts()
    numbers = [d["number"] for d in drawn]
    assert len(numbers) > 30 and numbers == sorted(set(numbers))
    behind = torch.tensor([(d["heard"] - d["sample"]) / 16 for d in drawn])   # ms of media
    assert behind.min() >= 0 and behind.median() < 40
    third = len(behind) // 3
    assert (behind[-third:].median() - behind[:third].median()).abs() < 40    # it does not drift
    assert all(re.fullmatch(r"[\d.]+", text) for text in measured)


@pytest.mark.skipif(LISTEN is None, reason="needs the package silero-vad")
def test_a_spoken_question_and_an_interruption(served, browser):
    with opened(browser, served.url, permissions=["microphone"]) as page:
        begin(page)
        page.wait_for_selector(".lt-mic[aria-pressed=true]")
        page.wait_for_selector(STATE.format("speaking"))                  # it heard a voice
        assert page.locator("[data-role=user] .lt-source").inner_text() == "spoken"
        until(page, f"{LIVE}.speaker.level() > 0.02")
        page.keyboard.press("Escape")
        page.wait_for_selector(STATE.format("listening"))
        until(page, f"{LIVE}.cuts > 0")
        before = page.evaluate(f"{LIVE}.drawn.at(-1).number")
        until(page, f"{LIVE}.drawn.at(-1).number > {before} + 24")     # and it lives on
        assert page.evaluate(f"{LIVE}.speaker.level()") < 0.02
        page.get_by_role("button", name="End", exact=True).click()
        page.wait_for_selector(STATE.format("ready"))


def test_another_face_is_another_conversation_under_the_same_prompt(browser):
    """The words that a prompt may hold are listed; others cost a sentence."""
    made = []

    def make(identity, show):
        made.append(maker(small())(identity, show))
        return made[-1]

    with Served(make, FACE) as served, opened(browser, served.url) as page:
        begin(page)
        until(page, f"{LIVE}.drawn.length > 4")
        page.get_by_text("Words it knows").click()
        listed = page.locator(".lt-known").inner_text().splitlines()
        assert listed == list_words().split("; ")
        known = {word for kind in listed for word in kind.split(": ")[1].split(", ")}
        prompt = page.get_by_role("textbox", name="Prompt")
        assert all(parse(word) for word in known)
        prompt.fill("a very happy person nods")
        prompt.press("Tab")
        page.get_by_role("radio", name="Face 5").check(force=True)
        until(page, f"{LIVE}.begin > 1 && {LIVE}.running && {LIVE}.drawn.length > 4")
        assert page.get_by_role("radio", name="Face 5").is_checked() and len(made) == 2
        assert made[1].performer.wish == "a very happy person nods" and made[0].performer.closed
        prompt.fill("a joyous person nods")
        prompt.press("Tab")
        page.wait_for_selector(".lt-alert:not([hidden])")
        assert "goes on with 'a person nods'" in page.get_by_role("alert").inner_text()


def test_errors_are_shown_and_said(browser):
    """A microphone that is not allowed, a broken start, a vanished server; never any markup."""
    make, asked = maker(small()), []

    def fail_once(identity, show):
        asked.append(identity)
        if len(asked) == 1:
            raise UserError("There is no <b>voice</b> here; install one.")
        return make(identity, show)

    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    with Served(fail_once, FACE) as served:
        page.goto(served.url)
        alert = page.get_by_role("alert")
        page.get_by_role("button", name="Start talking").click()
        page.wait_for_selector(STATE.format("error"))
        assert alert.inner_text() == "There is no <b>voice</b> here; install one."
        begin(page)                                                       # a second try
        assert not alert.is_visible()
        page.get_by_role("button", name="Microphone").click()
        alert.wait_for()
        assert "type instead" in alert.inner_text()
    page.wait_for_selector(STATE.format("error"))
    assert "Reload the page" in alert.inner_text()
    page.close()


@pytest.mark.parametrize("width, height", ((390, 844), (1280, 800)))
def test_it_fits_works_by_keyboard_and_has_names(served, browser, width, height):
    with opened(browser, served.url, viewport={"width": width, "height": height}) as page:
        page.wait_for_selector(".lt-start:enabled")
        assert page.evaluate("document.documentElement.scrollWidth") == width
        box = page.locator(".lt-composer").bounding_box()
        assert box["y"] + box["height"] <= height                         # without scrolling
        assert page.locator(".lt-stage").bounding_box()["width"] >= 0.6 * min(width, 460)
        for role, name in NAMED:
            assert page.get_by_role(role, name=name).count() == 1, name
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "lt-start"
        page.keyboard.press("Tab")
        page.keyboard.press("ArrowRight")
        assert page.evaluate(f"{LIVE}.face") != str(FACE)
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Enter")
        page.wait_for_selector(STATE.format("listening"))
        assert page.evaluate("document.activeElement.ariaLabel") == "Your message"
