"""The page in a real browser: typed and spoken questions, pictures, sound, mouths, errors.

Where a mouth is read, the performer is the teacher's weights used as a causal student: poor
pictures, but real ones. Elsewhere it is a quick one that shows no faces.
"""

import base64
import re
import time

import pytest
import soundfile
import torch
from browser import PATIENCE, chromium, opened, require
from PIL import Image
from recital import RECITED, maker, performer, small
from served import Served

from livetalk_ref.errors import UserError
from livetalk_ref.judge.metrics import correlation
from livetalk_ref.loading import load_module
from livetalk_ref.world.speech import load_spoken
from livetalk_ref.world.visemes import visemes

require()
LIVE = "document.getElementById('livetalk-page').livetalk"
STATE = "#livetalk-page[data-state={}]"
FACE = 7
NAMED = (("textbox", "Your message"), ("button", "Microphone"), ("button", "Stop answering"),
         ("button", "Send"), ("log", "Conversation"), ("group", "Mood"), ("group", "Face"),
         ("img", "The avatar, a drawn face"))
WATCH = f"""() => {{                      // keep what is on the canvas, and when each line is due
  const live = {LIVE}, small = new OffscreenCanvas(96, 96).getContext("2d");
  small.imageSmoothingQuality = "high";
  live.kept = []; live.lines = []; live.loud = 0;
  const draw = live.view.draw.bind(live.view), take = live.take.bind(live);
  live.view.draw = picture => {{
    draw(picture);
    if (!live.drawn.length) return;
    small.drawImage(live.view.canvas, 0, 0, 96, 96);
    const pixels = small.getImageData(0, 0, 96, 96).data;
    live.kept.push({{sample: live.drawn.at(-1).sample, pixels}});
    live.loud = Math.max(live.loud, live.speaker.level());
  }};
  live.take = (message, bytes) => {{
    if (message.type === "said") live.lines.push(message);
    take(message, bytes);
  }};
}}"""
KEPT = f"""() => {LIVE}.kept.map(({{sample, pixels}}) => [sample,
  btoa(Array.from(pixels, value => String.fromCharCode(value)).join(""))])"""


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


def frames(kept):
    """[(its first sample, (3, 96, 96))] of all that a watched canvas showed."""
    found = []
    for sample, data in kept:
        image = Image.frombytes("RGBA", (96, 96), base64.b64decode(data)).convert("RGB")
        pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
        found.append((sample, pixels.view(96, 96, 3).permute(2, 0, 1) / 127.5 - 1))
    return found


def test_a_typed_question_is_answered_in_step(browser):
    """Transcript, moving pictures, sound, and a mouth that follows it, read off the canvas."""
    with Served(maker(performer()), FACE) as served, opened(browser, served.url) as page:
        page.evaluate(WATCH)
        begin(page)
        ask(page, "What is a <b>block</b>?")
        page.wait_for_selector(STATE.format("thinking"))
        page.wait_for_selector(STATE.format("speaking"))
        assert page.get_by_role("status").inner_text() == "Speaking"
        lines = page.locator(".lt-log li")
        until(page, f"{LIVE}.lines.length == 3")
        page.wait_for_selector(STATE.format("listening"))
        assert lines.locator(".lt-words").all_inner_texts() == [
            "What is a <b>block</b>?", *(load_spoken(file).text for file, *_ in RECITED)]
        assert lines.locator(".lt-source").all_inner_texts() == [
            "typed", "retrieved", "language model"]
        said, drawn = page.evaluate(f"{LIVE}.lines"), page.evaluate(f"{LIVE}.drawn")
        assert page.evaluate(f"{LIVE}.loud") > 0.05                       # sound was played
        shown = frames(page.evaluate(KEPT))
        measured = page.locator(".lt-tile b").all_inner_texts()
    numbers = [d["number"] for d in drawn]
    assert len(numbers) > 30 and numbers == sorted(set(numbers))
    behind = torch.tensor([(d["heard"] - d["sample"]) / 16 for d in drawn])   # ms of media
    assert behind.min() >= 0 and behind.median() < 40
    third = len(behind) // 3
    assert (behind[-third:].median() - behind[:third].median()).abs() < 40    # it does not drift
    assert all(re.fullmatch(r"[\d.]+|–", text) for text in measured) and measured[0] != "–"
    follows(shown, next(line["sample"] for line in said if line["role"] == "avatar"))


def follows(shown, start):
    """The mouth on the canvas fits the first sentence's phonemes, and best without any shift.

    That each picture was shown with its sample, `behind` tells."""
    spoken = load_spoken(RECITED[0][0])
    count = len(spoken.samples) // 1_000
    asked = visemes(spoken.phones, count)[:, 0]
    at = torch.tensor([(sample - start) // 1_000 for sample, _ in shown])
    mouth = load_module("reader").read(torch.stack([x for _, x in shown])).column("mouth_open")
    fits = {}
    for shift in (-4, -3, -2, -1, 0, 1, 2, 3, 4):
        inside = (at - shift >= 0) & (at - shift < count)
        fits[shift] = float(correlation(mouth[inside], asked[at[inside] - shift]))
    assert max(fits, key=fits.get) == 0 and fits[0] > 0.4, fits


def test_a_spoken_question_and_an_interruption(served, browser):
    with opened(browser, served.url, permissions=["microphone"]) as page:
        page.evaluate(WATCH)
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
        lines = page.evaluate(f"{LIVE}.lines")
        assert lines[0]["role"] == "user" and lines[0]["source"] == "voice"
        assert page.evaluate(f"{LIVE}.speaker.level()") < 0.02
        page.get_by_role("button", name="End", exact=True).click()
        page.wait_for_selector(STATE.format("ready"))


def test_a_reload_in_mid_sentence(served, browser):
    with opened(browser, served.url) as page:
        begin(page)
        ask(page, "Go on")
        page.wait_for_selector(STATE.format("speaking"))
        page.reload()
        begin(page)
        until(page, f"{LIVE}.drawn.length > 12")


def test_another_face_and_mood_go_on_with_the_clock(served, browser):
    with opened(browser, served.url) as page:
        begin(page)
        until(page, f"{LIVE}.drawn.length > 4")
        page.get_by_role("radio", name="Happy").check(force=True)
        page.get_by_role("radio", name="Face 5").check(force=True)
        until(page, f"{LIVE}.cuts > 0")
        before = page.evaluate(f"{LIVE}.drawn.at(-1).number")
        until(page, f"{LIVE}.drawn.at(-1).number > {before} + 12")
        assert page.get_by_role("radio", name="Face 5").is_checked()
        numbers = torch.tensor(page.evaluate(f"{LIVE}.drawn.map(d => d.number)"))
    assert numbers.diff().min() > -12           # where the page was ahead of what it had told


def test_errors_are_shown_and_said(browser):
    """A microphone that is not allowed, a wrong message, a broken start, a vanished server."""
    make, asked = maker(small()), []

    def fail_once(identity):
        asked.append(identity)
        if len(asked) == 1:
            raise UserError("There is no voice here; install one.")
        return make(identity)

    with Served(fail_once, FACE) as served:
        context = browser.new_context()
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(served.url)
        alert = page.get_by_role("alert")
        page.get_by_role("button", name="Start talking").click()
        page.wait_for_selector(STATE.format("error"))
        assert alert.inner_text() == "There is no voice here; install one."
        begin(page)                                                       # a second try
        assert not alert.is_visible()
        page.get_by_role("button", name="Microphone").click()
        alert.wait_for()
        assert "type instead" in alert.inner_text()
        page.evaluate(f"{LIVE}.tell('emotion', {{name: '<img src=x onerror=alert(1)>'}})")
        until(page, f"{LIVE}.view.alert.textContent.includes('must be one of')")
        assert page.locator("img[src=x]").count() == 0
    page.wait_for_selector(STATE.format("error"))
    assert "Reload the page" in alert.inner_text()
    context.close()


def contrast(page, selector):
    """The contrast of a text and what is behind it, as WCAG defines it."""
    return page.evaluate("""selector => {
      const paper = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
      const light = colours => {
        paper.clearRect(0, 0, 1, 1);
        for (const c of colours) { paper.fillStyle = c; paper.fillRect(0, 0, 1, 1); }
        const [r, g, b] = [...paper.getImageData(0, 0, 1, 1).data].slice(0, 3).map(v => v / 255)
          .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const element = document.querySelector(selector), behind = [];
      for (let e = element; e; e = e.parentElement)
        behind.unshift(getComputedStyle(e).backgroundColor);
      const [a, b] = [light([...behind, getComputedStyle(element).color]), light(behind)];
      return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    }""", selector)


@pytest.mark.parametrize("scheme", ("light", "dark"))
@pytest.mark.parametrize("width, height", ((390, 844), (1280, 800)))
def test_it_fits_and_can_be_read(served, browser, width, height, scheme):
    with opened(browser, served.url, viewport={"width": width, "height": height},
                color_scheme=scheme) as page:
        page.wait_for_selector(".lt-start:enabled")
        assert page.evaluate("document.documentElement.scrollWidth") == width
        for selector in (".lt-start", ".lt-pill", ".lt-name", ".lt-hint", ".lt-mood span",
                         ".lt-mood :checked + span", ".lt-dash summary"):
            assert contrast(page, selector) >= 4.5, selector
        box = page.locator(".lt-composer").bounding_box()
        assert box["y"] + box["height"] <= height                         # without scrolling
        assert page.locator(".lt-stage").bounding_box()["width"] >= 0.6 * min(width, 460)


def test_it_works_by_keyboard_and_has_names(served, browser):
    with opened(browser, served.url) as page:
        page.wait_for_selector(".lt-start:enabled")
        for role, name in NAMED:
            assert page.get_by_role(role, name=name).count() == 1, name
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "lt-start"
        page.keyboard.press("Tab")
        page.keyboard.press("ArrowRight")
        assert page.evaluate(f"{LIVE}.face") != str(FACE)
        page.keyboard.press("Tab")
        page.keyboard.press("ArrowRight")
        assert page.evaluate(f"{LIVE}.mood") == "neutral"
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Enter")
        page.wait_for_selector(STATE.format("listening"))
        assert page.evaluate("document.activeElement.ariaLabel") == "Your message"


def test_a_hidden_page_is_heard_to_the_end_and_forgets_an_old_complaint(served, browser):
    """Nothing is painted any more, as in a tab behind another one."""
    with opened(browser, served.url) as page:
        begin(page)
        page.evaluate("""() => {
          Object.defineProperty(document, "hidden", {value: true});
          window.requestAnimationFrame = () => 0;
        }""")
        page.evaluate(f"{LIVE}.link.send({{type: 'dance'}})")
        page.wait_for_selector(".lt-alert:not([hidden])")
        ask(page, "What is a block?")
        page.wait_for_selector(STATE.format("speaking"))
        assert not page.locator(".lt-alert").is_visible()
        page.wait_for_selector(STATE.format("listening"))
        assert page.locator(".lt-log li").count() == 3
