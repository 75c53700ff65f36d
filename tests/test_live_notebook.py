"""The widget in JupyterLab, in a real browser: the same page, through the kernel's own channel."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress

import nbformat
import pytest
from browser import PATIENCE, chromium, require
from repo import ROOT

LIVE = "document.querySelector('.livetalk').livetalk"
CELL = """from recital import maker, small
from livetalk_ref.live.page import live_avatar
talk = live_avatar(maker(small()), identity=3)
talk"""


@pytest.fixture
def lab(tmp_path):
    """A JupyterLab with settings of its own and one notebook; its address."""
    require()
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, tmp_path / "talk.ipynb")
    own = {name: str(tmp_path / name.lower()) for name in
           ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "HOME", "IPYTHONDIR")}
    paths = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}",
         "--ServerApp.port_retries=0", "--ip=127.0.0.1", "--IdentityProvider.token=tests",
         f"--ServerApp.root_dir={tmp_path}", "--LabApp.news_url=None", "--LabApp."
         "check_for_updates_class=jupyterlab.NeverCheckForUpdate"],
        env={**os.environ, **own, "PYTHONPATH": paths})
    try:
        for _ in range(600):
            assert server.poll() is None, "JupyterLab has ended"
            with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/api"):
                break
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/lab/tree/talk.ipynb?token=tests"
    finally:
        server.terminate()
        server.wait()


def test_a_conversation_in_a_notebook(lab):
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(PATIENCE)
        page.goto(lab)
        page.locator(".jp-CodeCell .cm-content").first.click()
        page.locator("[data-status=idle]").first.wait_for()
        page.keyboard.press("Shift+Enter")
        page.wait_for_selector(".livetalk .lt-start:enabled")
        page.get_by_role("button", name="Start talking").click()
        page.wait_for_selector(".livetalk[data-state=listening]")
        page.get_by_role("textbox", name="Your message").fill("What is a block?")
        page.keyboard.press("Enter")
        page.wait_for_selector(".livetalk[data-state=speaking]")
        page.locator("[data-role=avatar]").first.wait_for()
        page.get_by_role("button", name="Stop answering").click()
        page.wait_for_selector(".livetalk[data-state=listening]")
        page.wait_for_function(f"{LIVE}.drawn.length > 20")
        assert all(d["heard"] >= d["sample"] for d in page.evaluate(f"{LIVE}.drawn"))
