"""The picture of the live page in the README: the real page, in Chromium, in mid-answer.

    python tools/live_picture.py        needs playwright and Debian's chromium
"""

import shutil
import sys
from pathlib import Path
from queue import Queue
from threading import Thread

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from livetalk_ref import DATA  # noqa: E402
from livetalk_ref.errors import UserError, run_program  # noqa: E402
from livetalk_ref.live.server import bind, run  # noqa: E402
from livetalk_ref.live.systems import Maker, best_student  # noqa: E402
from livetalk_ref.files import blame, placed  # noqa: E402

PICTURE = DATA / "pictures" / "live.jpg"
QUESTIONS = "What is a block?", "Tell me a joke"
IDENTITY, WIDTH, HEIGHT = 2, 1180, 760
PATIENCE = 120_000              # ms until a state must have come
IN_ANSWER = 2_000               # ms of the last answer before the picture is taken


def served():
    """The address of a page served by a thread that ends with the program."""
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


def main():
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
        take(browser.new_page(viewport=size, color_scheme="dark"), served(), PICTURE)
        browser.close()


if __name__ == "__main__":
    run_program(main)
