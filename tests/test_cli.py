"""The command line on tiny weights: bad input is one sentence, status 2 and no file."""

import io
import json
import os
import signal
import struct
import subprocess
import sys
import time
import wave
from pathlib import Path

import av
import pytest
import torch
from PIL import Image
from repo import ROOT
from tiny import write_checkpoints, write_huge_image, write_student

from livetalk_ref import __main__ as cli
from livetalk_ref import files, generate, load, media, portrait, stages
from livetalk_ref.errors import UserError
from livetalk_ref.media import NOTE
from livetalk_ref.train import TrainState

FAST = ["--steps", "1", "--text-weight", "1", "--audio-weight", "1", "--scale", "1"]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    write_checkpoints(folder)
    write_student(folder)
    return folder


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch, checkpoints):
    """A folder of its own with tiny weights, a short sound and no output yet."""
    monkeypatch.setattr(load, "CHECKPOINTS", checkpoints)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    write_wav("speech.wav", 0.1 * torch.sin(torch.arange(4_300) * 0.2))
    return tmp_path


def write_wav(path, samples, rate=16_000):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32_767).short().numpy().tobytes())


def run(monkeypatch, capsys, *words):
    """main() with these arguments: exit status, stdout, stderr."""
    monkeypatch.setattr(sys, "argv", ["livetalk_ref", *map(str, words)])
    try:
        cli.main()
        status = 0
    except SystemExit as end:
        status = end.code
    out, err = capsys.readouterr()
    return status, out, err


def generation(**changes):
    """The words of a short generation, with options replaced or left out (None)."""
    options = {"audio": "speech.wav", "prompt": "a happy person", "out": "o.mp4"} | changes
    words = [w for k, v in options.items() if v is not None for w in (f"--{k}", v)]
    return ["generate", *words, *FAST]


@pytest.fixture
def go(monkeypatch, capsys):
    return lambda *words: run(monkeypatch, capsys, *words)


def test_generate(go, place):
    status, out, err = go(*generation(), "--json")
    facts = json.loads(out)
    assert status == 0 and out.count("\n") == 1
    assert (facts["frames"], facts["windows"], facts["evaluations"]) == (5, 1, 1)
    assert "denoising step 1/1" in err
    with av.open("o.mp4") as file:
        assert file.metadata["comment"] == NOTE
        assert len(list(file.decode(video=0))) == 5
    assert sorted(os.listdir()) == ["o.mp4", "speech.wav"]


def test_text_output_and_new_folder(go):
    status, out, err = go(*generation(out="new/o.mp4"))
    assert status == 0 and out.startswith("new/o.mp4: 5 frames, 0.3 s")
    assert "warning" not in err


def test_an_image_and_a_checkpoint_file(go, checkpoints, monkeypatch):
    assert go("portrait", "--identity", 3, "--out", "face.png")[:2] == (0, "face.png\n")
    monkeypatch.setattr(portrait, "DRAWN", -100.0)
    model = checkpoints / "teacher.safetensors"
    status, out, err = go(*generation(image="face.png", model=model), "--json")
    assert status == 0 and json.loads(out)["model"] == str(model)
    assert "warning" not in err


def test_a_photograph_gets_a_warning(go):
    noise = torch.randint(0, 256, (64, 64, 3), dtype=torch.uint8)
    Image.fromarray(noise.numpy()).save("photo.jpg")
    status, _, err = go(*generation(image="photo.jpg"))
    assert status == 0
    assert "warning: photo.jpg does not look like a drawn portrait" in err
    assert "--identity SEED" in err


def test_silence_gets_a_warning(go):
    write_wav("silent.wav", torch.zeros(2000))
    status, _, err = go(*generation(audio="silent.wav"))
    assert status == 0 and "warning: the sound is silent; the avatar will listen." in err


def refused(result, words):
    """Status 2, nothing on stdout, one sentence on stderr (after progress), no new file."""
    status, out, err = result
    assert (status, out) == (2, "")
    *progress, last = err.splitlines()
    assert last.startswith("error: ") and words in last
    assert all(line.startswith("denoising step") for line in progress)
    assert not [name for name in os.listdir() if "o.mp4" in name]


def sounds():
    """Files of bad sound, and what is said about them."""
    open("empty.wav", "w").close()
    yield "empty.wav", "is empty"
    write_wav("nothing.wav", torch.zeros(0))
    yield "nothing.wav", "holds no sound"
    open("words.wav", "w").write("hello " * 100)
    yield "words.wav", "is broken or holds no sound"
    Image.new("RGB", (64, 64)).save("picture.wav", "png")
    yield "picture.wav", "holds no sound"
    yield "missing.wav", "There is no sound file"
    with open("long.wav", "wb") as file:              # an hour and a second of 8-bit silence
        size = 3601 * 16_000
        file.write(struct.pack("<4sI8sIHHIIHH4sI", b"RIFF", size + 36, b"WAVEfmt ", 16, 1, 1,
                               16_000, 16_000, 1, 8, b"data", size))
        file.truncate(44 + size)
    yield "long.wav", "longer than an hour"


def test_bad_sound(go):
    for name, words in sounds():
        refused(go(*generation(audio=name)), words)


def test_bad_images(go):
    Image.new("RGB", (1, 1)).save("dot.png")
    refused(go(*generation(image="dot.png")), "dot.png' has 1x1 pixels")
    write_huge_image(Path("huge.png"))
    refused(go(*generation(image="huge.png")), "'huge.png' is too large")
    open("words.png", "w").write("hello")
    refused(go(*generation(image="words.png")), "is broken or is not an image")
    refused(go(*generation(image="missing.png")), "There is no image file")


def test_bad_options(go):
    refused(go("live", "--port", "70000"), "'70000' is not a number")
    refused(go(*generation(model="nobody")), "There is no model 'nobody'")
    refused(go(*generation(model="codec")), "The codec makes no videos")
    refused(go(*generation(device="tpu")), "PyTorch cannot use the device 'tpu' here")
    refused(go("train", "ear", "--device", "tpu"), "PyTorch cannot use the device 'tpu' here")
    refused(go(*generation(out="o.avi")), "must end in .mp4")
    refused(go(*generation(out="speech.wav/o.mp4")), "Could not write speech.wav/o.mp4")
    refused(go(*generation(audio=None)), "--audio")
    refused(go(*generation(identity="-1")), "'-1' is not a number")
    refused(go(*generation(image="a.png", identity="1")), "not allowed with")
    refused(go(*generation(), "--steps", "0"), "'0' is not a number from 1 to 1000")
    refused(go("dance"), "invalid choice: 'dance'")
    refused(go(), "COMMAND")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no full device here")
def test_a_full_disk_in_the_middle(go, place):
    files.temporary_name(place / "o.mp4").symlink_to("/dev/full")
    refused(go(*generation(out=place / "o.mp4")), "No space left on device")


def test_a_write_that_fails(go, monkeypatch):
    def fail(self, *_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(media.Movie, "encode", fail)
    refused(go(*generation()), "Could not write o.mp4: No space left on device")


def test_ctrl_c_while_generating(go, monkeypatch):
    def interrupted(*_, **__):
        assert [name for name in os.listdir() if name.endswith(".tmp")]
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(generate, "stream", interrupted)
    status, out, err = go(*generation())
    assert (status, out, err) == (130, "", "Stopped.\n")
    assert os.listdir() == ["speech.wav"]


def test_a_kill_in_a_process_of_its_own(place, checkpoints):
    """A signal in mid-generation: one line, status 130, nothing left."""
    write_wav("long.wav", 0.1 * torch.sin(torch.arange(400_000) * 0.2))
    code = ("from pathlib import Path; from livetalk_ref import load, __main__; "
            f"load.CHECKPOINTS = Path({str(checkpoints)!r}); __main__.main()")
    words = ["generate", "--audio", "long.wav", "--prompt", "", "--out", str(place / "o.mp4")]
    child = subprocess.Popen([sys.executable, "-c", code, *words], stderr=subprocess.PIPE,
                             text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    while child.poll() is None and not list(place.glob(".o.mp4.*.tmp")):
        time.sleep(0.05)
    child.send_signal(signal.SIGTERM)
    err = child.communicate(timeout=60)[1]
    assert child.returncode == 130 and err.endswith("Stopped.\n"), err
    assert "Traceback" not in err and not list(place.glob("*o.mp4*"))


def test_a_module_with_its_own_command_ends_with_one_sentence():
    done = subprocess.run([sys.executable, "-m", "livetalk_ref.posters", "landscape"], text=True,
                          cwd=ROOT, capture_output=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: Say which picture: contact or banner.\n"


def test_the_module_from_a_shell():
    """A real process, status and all: help is quick and errors are one sentence."""
    def shell(*words):
        return subprocess.run([sys.executable, "-m", "livetalk_ref", *words], text=True,
                              capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)})

    done = shell("generate", "--audio", "missing.wav", "--prompt", "", "--out", "o.mp4")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: There is no sound file 'missing.wav'.\n"
    assert shell("-h").returncode == 0


def test_train_follows_a_stage(go, monkeypatch):
    asked = []

    def run_stage(name, out=None, steps=None, resume=False, *more, **options):
        asked.append((name, str(out), steps, resume, *more, *options.values()))
        os.makedirs(out, exist_ok=True)
        with open(os.path.join(out, "metrics.jsonl"), "w") as file:
            file.write('{"seconds": 1800}\n' * 3)
        yield TrainState(1, 0.5, 1e-3, 1.0, 0.1, 7.0)

    exported = []
    monkeypatch.setattr(stages, "run_stage", run_stage)
    monkeypatch.setattr(stages, "export", lambda *words: exported.append(words), raising=False)
    status, _, err = go("train", "codec", "--steps", "9", "--out", "here", "--resume")
    assert status == 0 and asked == [("codec", "here", 9, True, None, 1.0, False, None)]
    assert "codec step 1, loss 0.5000, 7 s left" in err
    asked.clear()
    for name in ("LIVETALK_SIZE", "LIVETALK_WEIGHTS"):
        monkeypatch.setenv(name, "")                                   # put back afterwards
    status, out, _ = go("weights", "--quick")
    assert status == 0 and [a[0] for a in asked] == list(cli.STAGES) == [e[0] for e in exported]
    assert asked[0] == ("ear", "runs/quick/ear", cli.QUICK["ear"], True, cli.QUICK_CLIPS)
    *hours, hint = out.splitlines()
    assert [line.split() for line in hours] == [[name, "1.50", "h", "of", "updates"]
                                                for name in cli.STAGES]
    assert hint == "To see it: LIVETALK_SIZE=64 LIVETALK_WEIGHTS=runs/quick/checkpoints make demo"
    refused(go("train", "nothing"), "invalid choice: 'nothing'")


def test_stages_are_those_of_training():
    assert {*cli.STAGES, *cli.SIDE} == set(stages.STAGES)
    assert set(cli.QUICK) == set(cli.STAGES)


def test_progress_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    with cli.Progress("step", 2) as progress:
        progress()
        progress()
    text = sys.stderr.getvalue()
    assert "\rstep:   0%" in text and "2/2" in text and text.endswith("\n")


def test_a_user_error_is_an_ordinary_exception_for_notebooks(go):
    with pytest.raises(UserError):
        portrait.load_portrait("missing.png")
