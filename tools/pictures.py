"""The pictures in data/pictures.

    python tools/pictures.py contact      24 clips of the world on one sheet
    python tools/pictures.py banner       a spoken sentence as a filmstrip over its sound
    python tools/pictures.py live         the real page in mid-answer: needs playwright and chromium
"""

import io
import shutil
import sys
from pathlib import Path
from queue import Queue
from threading import Thread

import torch
from PIL import Image, ImageDraw

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from livetalk_ref import (DATA, load_spoken, motion, render_clip,  # noqa: E402
                          sample_identities, visemes, viz)
from livetalk_ref.errors import UserError, run_program  # noqa: E402
from livetalk_ref.files import blame, placed  # noqa: E402
from livetalk_ref.world.clips import speaking  # noqa: E402
from livetalk_ref.world.speech import list_spoken  # noqa: E402

PICTURES = DATA / "pictures"
CONTACT_SEED, COLUMNS, LARGE, SMALL = 13, 6, 152, 4     # SMALL pictures under each large one
BANNER = {"which": "05-us-f2", "seed": 3, "prompt": "a person smiles and nods while speaking"}
QUESTIONS = "What is a block?", "Tell me a joke"
IDENTITY, WIDTH, HEIGHT = 2, 1180, 760
PATIENCE = 120_000              # ms until a state must have come
IN_ANSWER = 2_000               # ms of the last answer before the picture is taken
PROMPTS = ("smiles and nods, speaking", "very surprised, looking up", "speaks calmly",
           "frowns and shakes the head", "joyful, nodding", "sad, looking down",
           "tilts the head, happy", "glances left while talking", "energetic, swaying",
           "gloomy, motionless", "astonished, turning", "happy, turning right")


def act(spoken, prompt, generator, frames=None):
    """How a face says a sentence: the state (T, S) of all or the first `frames` frames."""
    frames = frames or int(spoken.seconds * 16) + 1
    return motion(visemes(spoken.phones, frames), speaking(spoken.phones, frames),
                  [(0, prompt)], generator)                              # (T, S)


def contact():
    """24 faces, each with a large moment and five small ones, and what it was asked to do."""
    g = torch.Generator().manual_seed(CONTACT_SEED)
    identities, clips = sample_identities(24, g), len(list_spoken())
    strip = (LARGE - (SMALL - 1) * 2) // SMALL
    cell_w, cell_h, top = LARGE + 14, LARGE + strip + 36, 74
    image = Image.new("RGB", (COLUMNS * cell_w + 22, 24 // COLUMNS * cell_h + top + 8), viz.PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((18, 18), "24 people who do not exist", viz.INK, viz.font(25, True))
    draw.text((image.width - 18, 34), "drawn, moved and voiced by livetalk_ref.world", viz.SOFT,
              viz.font(13), "rm")
    for i in range(24):
        x, y = 18 + i % COLUMNS * cell_w, top + i // COLUMNS * cell_h
        prompt, who = PROMPTS[i * 7 % 12 if i < 12 else i * 5 % 12], identities[i:i + 1]
        state = act(load_spoken(i % clips), prompt, g, frames=49)
        at = torch.linspace(16, 46, SMALL).round().int().tolist()
        image.paste(viz.picture(render_clip(who, state[24:25], LARGE)[0], LARGE), (x, y))
        for k, frame in enumerate(render_clip(who, state[at], 2 * strip)):
            image.paste(viz.picture(frame, strip), (x + k * (strip + 2), y + LARGE + 2))
        draw.text((x, y + LARGE + strip + 6), prompt, viz.SOFT,
                  viz.font(11))
    return image


def banner(which, seed, prompt):
    """A figure: nine moments of a clip above its sound, its phones and the mouth they ask for."""
    spoken, g = load_spoken(which), torch.Generator().manual_seed(seed)
    who = sample_identities(1, g)
    state = act(spoken, prompt, g)
    mouth = visemes(spoken.phones, len(state))                           # (T, 3)
    title = f"\u201c{spoken.text}\u201d   {prompt}"
    return viz.speech(spoken.samples, spoken.phones, mouth, render_clip(who, state, 192),
                      title=title, width=12.5)


def served():
    """The address of a page served by a thread that ends with the program."""
    from livetalk_ref.live.server import bind, run
    from livetalk_ref.live.systems import Maker, best_student

    make, address = Maker(best_student()).talk, Queue()
    Thread(target=run, args=(make, IDENTITY, bind(0), address.put), daemon=True).start()
    return address.get()


def take(page, address, path):
    """Ask every question, and take the picture while the last one is answered."""
    page.goto(address)
    page.get_by_role("button", name="Start talking").click()
    for question in QUESTIONS:
        page.wait_for_selector("#livetalk-page[data-state=listening]", timeout=PATIENCE)
        page.get_by_role("textbox", name="Your message").fill(question)
        page.keyboard.press("Enter")
        page.wait_for_selector("#livetalk-page[data-state=speaking]", timeout=PATIENCE)
    page.wait_for_timeout(IN_ANSWER)
    with placed(path) as temporary, blame(path):
        page.screenshot(path=temporary, type="jpeg", quality=85)


def live(path):
    """Write the picture of the live page."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise UserError("A picture of the page needs playwright: pip install playwright") from None
    if not program:
        raise UserError("A picture of the page needs a browser: install Debian's chromium.")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        size = {"width": WIDTH, "height": HEIGHT}
        take(browser.new_page(viewport=size, color_scheme="dark"), served(), path)
        browser.close()


def main(words):
    if words == ["contact"]:
        path, sheet = PICTURES / "contact_sheet.jpg", contact().convert("RGB")
        with placed(path) as temporary, blame(path):
            sheet.save(temporary, "JPEG", quality=86, subsampling=0)
    elif words == ["banner"]:
        path, buffer = PICTURES / "banner.png", io.BytesIO()
        banner(**BANNER).savefig(buffer, dpi=96)
        with placed(path) as temporary, blame(path):        # 256 colours: a quarter of the bytes
            Image.open(buffer).convert("RGB").quantize(256).save(temporary, "PNG", optimize=True)
    elif words == ["live"]:
        live(PICTURES / "live.jpg")
    else:
        raise UserError("Say which picture: contact, banner or live.")


if __name__ == "__main__":
    run_program(main, sys.argv[1:])
