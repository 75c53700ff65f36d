"""The command `live` says where the page is, serves it and ends; bad options are a sentence."""

import re
import signal
import socket
import subprocess
import sys
import urllib.request

from repo import ROOT
from tiny import write_checkpoints, write_student

from livetalk_ref.live.systems import best_student
from livetalk_ref.world import ear


def run(*words, program=("-m", "livetalk_ref")):
    return subprocess.Popen([sys.executable, *program, "live", *words], cwd=ROOT,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_it_serves_until_it_is_stopped():
    running = run("--port", "0", "--thinker", "retrieval", program=[ROOT / "tests" / "recite.py"])
    try:
        line = running.stdout.readline()
        address = re.search(r"http://127\.0\.0\.1:\d+/", line)
        assert address, line + running.stderr.read()
        with urllib.request.urlopen(address[0]) as answer:
            assert b"livetalk-page" in answer.read()
    finally:
        running.send_signal(signal.SIGTERM)
        _, err = running.communicate(timeout=120)
    assert running.returncode == 130 and err.endswith("Stopped.\n"), err


def test_a_taken_port_is_one_sentence():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        running = run("--port", str(port))
        out, err = running.communicate(timeout=120)
    assert running.returncode == 2 and not out and len(err.splitlines()) == 1
    assert err.startswith(f"error: Port {port} cannot be used")


def test_the_best_student_that_ships_performs(tmp_path, monkeypatch):
    monkeypatch.setattr(ear, "CHECKPOINTS", tmp_path)
    write_checkpoints(tmp_path)
    assert best_student() == "teacher"
    write_student(tmp_path)
    assert best_student() == "student_ode"
