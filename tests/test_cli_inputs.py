"""What people really hand over, through the command line: odd names, natural prompts, blank
pictures; a terminal of ASCII; a signal to all processes; the package installed from a wheel."""

import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image
from repo import ROOT, tracked_files
from test_cli import FAST, checkpoints, generation, go, place, refused, write_wav  # noqa: F401

from livetalk_ref.errors import UserError
from livetalk_ref.loading import load

EXAMPLE = "A realistic video of a person speaking directly to the camera, with natural expressions."


def test_a_prompt_in_free_words_is_read_as_far_as_it_is_known(go):  # noqa: F811
    status, out, err = go(*generation(prompt=EXAMPLE), "--json")
    assert status == 0 and '"prompt": "a of a person speaking to the camera with"' in out
    (warning,) = [line for line in err.splitlines() if "warning" in line]
    assert "without 'realistic', 'video', 'directly'" in warning and "'generate -h'" in warning
    status, _, err = go(*generation(prompt="a hapy person"))
    assert status == 0 and "without 'hapy' (did you mean happy" in err
    status, _, err = go(*generation(prompt="A happy person, nods!"))
    assert status == 0 and "warning" not in err


def test_help_lists_the_words_of_prompts(go):  # noqa: F811
    status, out, _ = go("generate", "-h")
    assert status == 0 and "expressions: neutral, serious" in " ".join(out.split())


def test_what_is_odd_about_sound_and_picture_is_said(go):  # noqa: F811
    write_wav("quiet.wav", 0.002 * torch.sin(torch.arange(4_300) * 0.2))
    Image.new("RGB", (96, 96), "white").save("white.png")
    status, _, err = go(*generation(audio="quiet.wav", image="white.png"))
    assert status == 0 and "warning: the sound is very quiet; it was made 25" in err
    assert "warning: the picture is nearly white everywhere" in err


@pytest.mark.parametrize("name", ["take:1.mp4", "UPPER.MP4", "vid\u00e9o.mp4"])
def test_any_name_of_a_video(go, name):  # noqa: F811
    shutil.copy("speech.wav", "10:30:12.WAV")
    status, _, err = go(*generation(audio="10:30:12.WAV", out=name))
    assert status == 0 and os.path.getsize(name) > 1000, err


def test_a_terminal_of_ascii(place, checkpoints):  # noqa: F811
    """The video is made, and its name is told as far as the terminal can show it."""
    code = ("from pathlib import Path; from livetalk_ref import loading, __main__; "
            f"loading.CHECKPOINTS = Path({str(checkpoints)!r}); __main__.main()")
    names = [os.fsencode(place / "vid\u00e9o.mp4"), os.fsencode(place) + b"/vid\xe9o.mp4"]
    for name in names:
        done = subprocess.run([sys.executable, "-c", code, *generation(out=None), "--out", name],
                              env={**os.environ, "PYTHONPATH": str(ROOT),
                                   "PYTHONIOENCODING": "ascii"}, capture_output=True)
        assert done.returncode == 0 and b".mp4: 5 frames" in done.stdout, done.stderr
        assert os.path.getsize(name) > 1000


def test_a_pointer_of_git_lfs_is_called_so(go, tmp_path):  # noqa: F811
    path = tmp_path / "student.safetensors"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 31102946\n")
    with pytest.raises(UserError, match="only the pointer .*fetch the file itself"):
        load(path)
    refused(go(*generation(model=path)), "fetch the file itself")


def test_a_signal_to_all_processes_ends_them_quietly(tmp_path):
    """While worker processes make clips."""
    (tmp_path / "main.py").write_text(
        "import itertools, pathlib\n"
        "from livetalk_ref.errors import run_program\n"
        "from livetalk_ref.world import shards\n"
        "def work():\n"
        "    files = (pathlib.Path(f'{i}.made') for i in itertools.count())\n"
        "    for _ in shards.run(pathlib.Path.touch, files, 2): pass\n"
        "if __name__ == '__main__': run_program(work)\n")
    child = subprocess.Popen([sys.executable, "main.py"], cwd=tmp_path, stderr=subprocess.PIPE,
                             text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
                             start_new_session=True)
    while child.poll() is None and not list(tmp_path.glob("*.made")):
        time.sleep(0.05)
    os.killpg(child.pid, signal.SIGTERM)
    err = child.communicate(timeout=60)[1]
    assert (child.returncode, err) == (130, "Stopped.\n")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with what a wheel installs, built from a copy of the repository."""
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("wheel")
    for path in tracked_files():
        target = copy / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    done = subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", ".",
                           "--wheel-dir", str(out)], cwd=copy, capture_output=True, text=True)
    if "No matching distribution found for setuptools" in done.stderr:
        pytest.skip("the build backend cannot be fetched here")
    assert done.returncode == 0, done.stderr
    (wheel,) = out.glob("*.whl")
    assert wheel.stat().st_size <= 30 * 2 ** 20
    zipfile.ZipFile(wheel).extractall(out / "site")
    return out / "site"


def test_a_wheel_holds_all_that_ships(installed, tmp_path):
    shipped = {path.relative_to(ROOT) for path in tracked_files()}
    wanted = {path for path in shipped if path.parts[0] in ("data", "livetalk_ref")}
    for path in wanted:
        path = Path("livetalk_ref", path) if path.parts[0] == "data" else path
        assert (installed / path).is_file(), f"the wheel lacks {path}"
    code = ("import livetalk_ref as l; assert l.DATA.parent == l.HOME\n"
            "l.load_spoken(0), l.load('teacher'), l.load('student')")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True,
                          text=True, env={**os.environ, "PYTHONPATH": str(installed)})
    assert done.returncode == 0, done.stderr
