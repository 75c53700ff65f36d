"""The page in a real browser: typed and spoken questions, pictures, sound, prompts, errors."""

import re
import time

import pytest
import soundfile
import torch
from browser import PATIENCE, chromium, opened, require
from recital import LISTEN, RECITED, maker, serving, small

from livetalk_ref.errors import UserError
from livetalk_ref.world.prompts import list_words
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
    with serving(maker(small()), FACE) as made:
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

    with serving(make, FACE) as served, opened(browser, served.url) as page:
        begin(page)
        until(page, f"{LIVE}.drawn.length > 4")
        page.get_by_text("Words it knows").click()
        listed = page.locator(".lt-known").inner_text().splitlines()
        assert listed == list_words().split("; ")
        prompt = page.get_by_role("textbox", name="Prompt")
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
    with serving(fail_once, FACE) as served:
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


# --- sound, faster than real time: an exact clock, clean samples

PLAY = """async ({minutes, sizes, cut}) => {
  const {addWorklets, RATE} = await import("/page.js");
  const count = minutes * 60 * RATE, value = i => (i * 7919 % 10007) / 10007 - 0.5;
  const context = new OfflineAudioContext(1, count + RATE, RATE);
  await addWorklets(context);
  const player = new AudioWorkletNode(context, "livetalk-player",
                                      {numberOfInputs: 0, outputChannelCount: [1]});
  const marks = [];
  player.port.postMessage({hold: 2 * count});
  player.port.onmessage = ({data}) => marks.push(data);
  player.connect(context.destination);
  for (let first = 0, k = 0; first < count; k++) {
    const size = Math.min(sizes[k % sizes.length], count - first), at = first;
    const samples = Float32Array.from({length: size}, (_, i) => value(at + i) + (cut ? 2 : 0));
    player.port.postMessage({first, samples});
    first += size;
  }
  if (cut) {
    player.port.postMessage({cut});
    const samples = Float32Array.from({length: count - cut}, (_, i) => value(cut + i));
    player.port.postMessage({first: cut, samples});
  }
  player.port.postMessage({hold: count});             // begin when all has arrived, and leave
  for (let k = 1; k <= 40; k++)                       // it the time to: rendering is quick
    context.suspend(k * 256 / RATE).then(() => setTimeout(() => context.resume(), 50));
  const out = (await context.startRendering()).getChannelData(0);
  await new Promise(resolve => setTimeout(resolve, 500));
  const start = Math.round(marks.find(m => m.playing).at * RATE);
  let wrong = 0;
  for (let i = 0; i < count; i++)
    wrong += Math.abs(out[start + i] - value(i) - (i < cut ? 2 : 0)) > 1e-6;
  return {wrong, start, marks, end: count};
}"""
HEAR = """async ({rate, tones}) => {
  const {addWorklets, microphone} = await import("/page.js");
  const context = new OfflineAudioContext(1, rate, rate), heard = [];
  await addWorklets(context);
  const node = microphone(context, samples => heard.push(...samples));
  for (const frequency of tones) {
    const tone = new OscillatorNode(context, {frequency});
    tone.connect(new GainNode(context, {gain: 0.4})).connect(node);
    tone.start();
  }
  await context.startRendering();
  await new Promise(resolve => setTimeout(resolve, 300));
  return heard;
}"""


@pytest.fixture(scope="module")
def page(served, browser):
    with opened(browser, served.url) as made:
        yield made


def test_after_ten_minutes_every_sample_is_in_its_place(page):
    """The i-th sample given is the i-th one heard, whatever the pieces: nothing can drift; and a
    cut replaces what was not heard."""
    found = page.evaluate(PLAY, {"minutes": 10, "sizes": [9_000, 12_000, 1, 500], "cut": 0})
    playing = [mark for mark in found["marks"] if mark["playing"]]
    assert found["wrong"] == 0 and len(playing) == 1 and playing[0]["sample"] == 0
    last = found["marks"][-1]
    assert not last["playing"] and last["sample"] == found["end"]
    assert abs((last["at"] - playing[0]["at"]) * 16_000 - found["end"]) < 1e-3
    cut = page.evaluate(PLAY, {"minutes": 0.1, "sizes": [9_000, 12_000], "cut": 33_333})
    assert cut["wrong"] == 0


@pytest.mark.parametrize("rate", (48_000, 44_100, 16_000))
def test_the_microphone_comes_at_16_khz_without_aliases(page, rate):
    """A tone of 1 kHz stays; one of 11 kHz, which 16 kHz cannot hold, does not fold to 5 kHz."""
    tones = [1_000, 11_000] if rate > 22_000 else [1_000]
    heard = torch.tensor(page.evaluate(HEAR, {"rate": rate, "tones": tones})) / 32_767
    assert 14_000 < len(heard) <= 16_000
    heard = heard[2_000:2_000 + 8_000]
    spectrum = torch.fft.rfft(heard * torch.hann_window(len(heard))).abs() / (len(heard) / 4)
    assert abs(float(spectrum[500]) - 0.4) < 0.02                         # 2 Hz a bin
    spectrum[490:511] = 0
    assert float(spectrum.max()) < 0.004                                  # 40 dB below
