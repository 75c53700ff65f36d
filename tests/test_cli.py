"""The command line on tiny weights: bad input is one sentence, status 2 and no file."""

import json
import os
import signal
import subprocess
import sys
import time
import wave
from pathlib import Path
from types import SimpleNamespace

import av
import pytest
import torch
from PIL import Image
from repo import ROOT
from tiny import write_checkpoints, write_huge_image, write_student

from livetalk_ref import __main__ as cli
from livetalk_ref import (curation, distillation, files, loading, portrait, recipes,
                          stages, train_commands, trajectories, wan)
from livetalk_ref.media import NOTE
from livetalk_ref.train import TrainState

STATE = TrainState(1, 0.5, 1e-3, 1.0, 0.1, 7.0)
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
    monkeypatch.setattr(loading, "CHECKPOINTS", checkpoints)
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
    with av.open("o.mp4") as file:
        assert file.metadata["comment"] == NOTE
        assert len(list(file.decode(video=0))) == 5
    assert sorted(os.listdir()) == ["o.mp4", "speech.wav"]
    status, out, err = go(*generation(out="new/o.mp4"))
    assert status == 0 and out.startswith("new/o.mp4: 5 frames, 0.3 s") and "warning" not in err


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
    """Status 2, nothing on stdout, one sentence on stderr, no new file."""
    status, out, err = result
    assert (status, out) == (2, "") and err.count("\n") == 1
    assert err.startswith("error: ") and words in err
    assert not [name for name in os.listdir() if "o.mp4" in name]


def test_bad_options(go):
    refused(go("live", "--port", "70000"), "'70000' is not a number")
    write_huge_image(Path("huge.png"))
    refused(go(*generation(image="huge.png")), "'huge.png' is too large")
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


def test_a_kill_in_a_process_of_its_own(place, checkpoints):
    """A signal in mid-generation: one line, status 130, nothing left."""
    write_wav("long.wav", 0.1 * torch.sin(torch.arange(400_000) * 0.2))
    code = ("from pathlib import Path; from livetalk_ref import loading, __main__; "
            f"loading.CHECKPOINTS = Path({str(checkpoints)!r}); __main__.main()")
    words = ["generate", "--audio", "long.wav", "--prompt", "", "--out", str(place / "o.mp4")]
    child = subprocess.Popen([sys.executable, "-c", code, *words], stderr=subprocess.PIPE,
                             text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    while child.poll() is None and not list(place.glob(".o.mp4.*.tmp")):
        time.sleep(0.05)
    child.send_signal(signal.SIGTERM)
    err = child.communicate(timeout=60)[1]
    assert child.returncode == 130 and err.endswith("Stopped.\n"), err
    assert "Traceback" not in err and not list(place.glob("*o.mp4*"))


def test_the_module_from_a_shell():
    """A real process, status and all: help is quick and errors are one sentence."""
    def shell(*words):
        return subprocess.run([sys.executable, "-m", "livetalk_ref", *words], text=True,
                              capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)})

    done = shell("generate", "--audio", "missing.wav", "--prompt", "", "--out", "o.mp4")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: There is no sound file 'missing.wav'.\n"
    assert shell("-h").returncode == 0


def test_weights_trains_and_exports_every_stage_in_order(go, monkeypatch):
    asked, exported = [], []

    def run_stage(name, out=None, steps=None, resume=False, **options):
        asked.append((name, str(out), steps, resume, *options.values()))
        os.makedirs(out, exist_ok=True)
        with open(os.path.join(out, "metrics.jsonl"), "w") as file:
            file.write('{"seconds": 1800}\n' * 3)
        yield STATE

    monkeypatch.setattr(stages, "run_stage", run_stage)
    monkeypatch.setattr(stages, "export", lambda *words: exported.append(words))
    for name in ("LIVETALK_SIZE", "LIVETALK_WEIGHTS"):
        monkeypatch.setenv(name, "")                                   # put back afterwards
    status, out, _ = go("weights", "--quick")
    names = [name for name, *_ in asked]
    assert status == 0 and names == [name for name, _ in exported] == list(train_commands.QUICK)
    assert {*names, *train_commands.SIDE} == set(stages.STAGES)
    assert train_commands.SIZES == tuple(wan.SIZES)         # written twice, so that help is quick
    assert asked[0] == ("ear", "runs/quick/ear", train_commands.QUICK["ear"], True, 128)
    *hours, hint = out.splitlines()
    assert [line.split() for line in hours] == [[name, "1.50", "h", "of", "updates"]
                                                for name in names]
    assert hint == "To see it: LIVETALK_SIZE=64 LIVETALK_WEIGHTS=runs/quick/checkpoints make demo"


def test_options_reach_their_stage_and_no_other(go, monkeypatch):
    asked = []

    def run_stage(*words, **options):
        asked.append((*words, options))
        yield STATE

    monkeypatch.setattr(stages, "run_stage", run_stage)
    assert go("train", "codec", "--steps", "9", "--out", "here", "--resume")[0] == 0
    assert asked.pop() == ("codec", "here", 9, True, None, 1.0, False, None, {})
    assert go("train", "ode", "--recipe", "short", "--pairs", "250", "--seed", "2")[0] == 0
    assert asked.pop()[-1] == {"recipe": "short", "count": 250, "seed": 2}
    assert go("train", "teacher", "--shard", "--accumulate", "2", "--size", "tiny")[0] == 0
    assert asked.pop()[-1] == {"size": "tiny", "scale": {"shard": True, "accumulate": 2}}
    for words in (("teacher", "--recipe", "short"), ("dmd", "--variant", "livetalk"),
                  ("dmd", "--rate", "2")):
        refused(go("train", *words), f"{words[1]} is no option of the stage {words[0]}")
    refused(go("train", "ode", "--variant", "odd"), "invalid choice: 'odd'")
    refused(go("train", "nothing"), "invalid choice: 'nothing'")


def test_a_distillation_follows_its_recipe(go, monkeypatch):
    asked = []

    def run(recipe, batch, out, resume, start, probe, compiled, paths, device, real):
        asked.append((recipe, str(out), resume, start, compiled, device, real))
        yield STATE

    made = SimpleNamespace(batch=lambda *words: None, probe=lambda *words: None)
    monkeypatch.setattr(distillation, "run", run)
    monkeypatch.setattr(curation, "conditions", lambda kind, count: made)
    monkeypatch.setattr(distillation, "paths_of", lambda *_: None)
    assert go("train", "dmd", "--recipe", "baseline", "--seed", "3", "--updates", "7",
              "--resume", "--compile", "--device", "cpu", "--real", "big.safetensors")[0] == 0
    want = recipes.recipe("baseline", seed=3, updates=7)
    assert asked == [(want, "runs/dmd/baseline-seed3", True, None, True, "cpu", "big.safetensors")]
    assert go("train", "dmd")[0] == 0 and asked[1][0] == recipes.SHIPPED
    refused(go("train", "dmd", "--recipe", "odd"), "There is no recipe 'odd'; choose one of")
    refused(go("train", "ode", "--recipe", "final"), "There is no ODE recipe 'final'; choose")


def test_trajectories(go, monkeypatch):
    asked = []

    def from_shipped(count, split, teacher, watch):
        asked.append((count, split, teacher))
        for path in ("a", "b"):
            watch(None)
            yield path

    monkeypatch.setattr(trajectories, "from_shipped", from_shipped)
    monkeypatch.setattr(trajectories, "write_sample", lambda watch: "sample")
    assert go("trajectories", "--count", "40", "--split", "held_out")[:2] == (0, "a\nb\n")
    assert asked == [(40, "held_out", "bidirectional")]
    assert go("trajectories", "--sample")[1] == "sample\n"


def test_generate_with_a_student(go):
    """Block after block, and what only a teacher takes is refused."""
    words = generation(model="student_ode")[:-len(FAST)]
    facts = json.loads(go(*words, "--json")[1])
    assert (facts["frames"], facts["windows"], facts["steps"]) == (5, 1, 4)
    assert facts["evaluations"] == 4 and facts["text_weight"] == 1
    os.remove("o.mp4")
    for option in ("--steps", "--audio-weight"):
        refused(go(*words, option, "2"), "student_ode is a student: it always makes 4 steps")
