"""The pictures in data/pictures.

    python tools/pictures.py contact      24 clips of the world on one sheet
    python tools/pictures.py banner       a spoken sentence as a filmstrip over its sound
    python tools/pictures.py talk         six faces by the shipped student, moving
    python tools/pictures.py compare      24 unseen clips: truth, codec, teacher, student
    python tools/pictures.py live         the real page in mid-answer: needs playwright and chromium
"""

import asyncio
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
from livetalk_ref.generate import settle, stream  # noqa: E402
from livetalk_ref.judge.evaluate import Ground, find_maker  # noqa: E402
from livetalk_ref.loading import load  # noqa: E402
from livetalk_ref.portrait import portrait_of  # noqa: E402
from livetalk_ref.world.clips import speaking  # noqa: E402
from livetalk_ref.world.speech import list_spoken  # noqa: E402

PICTURES = DATA / "pictures"
CONTACT_SEED, COLUMNS, LARGE, SMALL = 13, 6, 152, 4     # SMALL pictures under each large one
BANNER = {"which": "05-us-f2", "seed": 3, "prompt": "a person smiles and nods while speaking"}
QUESTIONS = "What is a block?", "Tell me a joke"
TALKERS = {"seeds": range(1, 7), "spoken": "05-us-f2", "side": 160, "prompts": (
    "a happy person smiles and nods while speaking", "a surprised person speaks",
    "a calm person tilts the head while speaking", "a sad person looks down while speaking",
    "a happy person turns the head while speaking", "an angry person shakes the head, speaking")}
COMPARED = "truth", "codec", "teacher", "student"
MOMENT = 49                     # the picture of a clip on the sheet: 3 s after the reference
IDENTITY, WIDTH, HEIGHT = 7, 1180, 760
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


def talk(seeds, spoken, side, prompts):
    """Pictures of six faces in a grid, each saying one sentence in a mood of its own."""
    avatar, samples = load("student"), load_spoken(spoken).samples
    films = [torch.cat([window.frames for window in stream(avatar, portrait_of(seed), samples,
                                                           prompt, seed, *settle(avatar))])
             for seed, prompt in zip(seeds, prompts)]
    pictures = []
    for faces in zip(*films):
        pictures.append(Image.new("RGB", (3 * side, len(faces) // 3 * side), viz.PAPER))
        for i, face in enumerate(faces):
            pictures[-1].paste(viz.picture(face, side), (i % 3 * side, i // 3 * side))
    return pictures


def compare(columns=6, side=96):
    """24 held-out clips at one moment: truth and codec above, teacher and student below."""
    ground = Ground.make("held_out", 24)
    films = [find_maker(name).films(ground.given, 8) for name in COMPARED]
    cell, top = 2 * side + 10, 40
    image = Image.new("RGB", (columns * cell + 10, 24 // columns * cell + top), viz.PAPER)
    ImageDraw.Draw(image).text((14, 20), "each four: truth, through the codec; teacher, student",
                               viz.INK, viz.font(17, True), "lm")
    for i, clips in enumerate(zip(*films)):
        for k, frames in enumerate(clips):
            x, y = 10 + i % columns * cell, top + i // columns * cell
            image.paste(viz.picture(frames[MOMENT], side), (x + k % 2 * side, y + k // 2 * side))
    return image


def served():
    """The address of a page served by a thread that ends with the program."""
    from livetalk_ref.live.page import bind, serve
    from livetalk_ref.live.systems import Maker, best_student

    maker, address = Maker(best_student()), Queue()
    serving = serve(maker.talk, maker.offer(IDENTITY), bind(0), address.put)
    Thread(target=asyncio.run, args=(serving,), daemon=True).start()
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


def write(name, image, **how):
    """Save a PIL image as a file of data/pictures, whole or not at all."""
    path = PICTURES / name
    with placed(path) as temporary, blame(path):
        image.save(temporary, **how)


def main(words):
    name, = words if len(words) == 1 else [None]
    if name in ("contact", "compare"):
        sheet = contact() if name == "contact" else compare()
        write(f"{name}_sheet.jpg", sheet.convert("RGB"), format="JPEG", quality=86, subsampling=0)
    elif name == "talk":
        first, *others = talk(**TALKERS)
        write("talk.webp", first, format="WEBP", save_all=True, append_images=others,
              duration=62, loop=0, quality=80, method=4)
    elif name == "banner":
        banner(**BANNER).savefig(buffer := io.BytesIO(), dpi=96)
        write("banner.png", Image.open(buffer).convert("RGB").quantize(256), format="PNG",
              optimize=True)                                # 256 colours: a quarter of the bytes
    elif name == "live":
        live(PICTURES / "live.jpg")
    else:
        raise UserError("Say which picture: contact, banner, talk, compare or live.")


if __name__ == "__main__":
    run_program(main, sys.argv[1:])
