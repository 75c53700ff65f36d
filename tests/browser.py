"""A real browser for tests: Chromium without a window, with a microphone that plays a file.

Tests are skipped where there is none, unless REQUIRE_BROWSER=1 says that there must be.
"""

import os
import shutil
from contextlib import contextmanager
from importlib.util import find_spec

import pytest

ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync", "--use-fake-device-for-media-stream",
             "--autoplay-policy=no-user-gesture-required")
PATIENCE = 90_000       # ms; on a busy machine everything comes, but late
PROGRAM = os.environ.get("CHROMIUM") or next(filter(None, map(
    shutil.which, ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"))), None)


def require():
    """Skip this module where there is no browser."""
    if not (PROGRAM and find_spec("playwright")):
        why = "needs playwright, and Debian's chromium or a browser named in CHROMIUM"
        if os.environ.get("REQUIRE_BROWSER") == "1":
            pytest.fail(why, pytrace=False)
        pytest.skip(why, allow_module_level=True)


@contextmanager
def chromium(microphone=None):
    """A browser whose microphone plays a wav file once. It has a fresh profile of its own."""
    from playwright.sync_api import sync_playwright

    heard = [f"--use-file-for-fake-audio-capture={microphone}%noloop"] if microphone else []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=PROGRAM, args=[*ARGUMENTS, *heard])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser, url=None, **options):
    """A page of its own context; at its end it must have complained of nothing."""
    context = browser.new_context(**options)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    trouble = []
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("console", lambda line: trouble.append(line.text) if line.type == "error" else None)
    try:
        if url:
            page.goto(url)
        yield page
        assert trouble == []
    finally:
        context.close()
