"""The command line on tiny weights: what people hand over; bad input is one sentence, no file."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import av
import pytest
import soundfile
import torch
from PIL import Image
from repo import ROOT
from tiny import write_checkpoints, write_student

from livetalk_ref import __main__ as cli
from livetalk_ref import (curation, distillation, loading, portrait, recipes, stages,
                          train_commands, trajectories, wan)
from livetalk_ref import generate as gen
from livetalk_ref.media import NOTE
from livetalk_ref.train import TrainState

STATE = TrainState(1, 0.5, 1e-3, 1.0, 0.1, 7.0)
EXAMPLE = "A realistic video of a person speaking directly to the camera, with natural expressions."
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


def write_wav(path, samples):
    soundfile.write(path, samples.numpy(), 16_000, subtype="PCM_16")


def run(monkeypatch, capsys, *words):
    """main() with these arguments: exit status, stdout, stderr."""
    monkeypatch.setattr(sys, "argv", ["livetalk_ref", *map(str, words)])
    try:
        status = cli.main() or 0
    except SystemExit as end:
        status = end.code
    return status, *capsys.readouterr()


def process(checkpoints, *words, **env):
    """The command in a process of its own, with these weights."""
    code = ("from pathlib import Path; from livetalk_ref import loading, __main__; "
            f"loading.CHECKPOINTS = Path({str(checkpoints)!r}); __main__.main()")
    return subprocess.Popen([sys.executable, "-c", code, *words], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True,
                            env={**os.environ, "PYTHONPATH": str(ROOT), **env})


def generation(**changes):
    """The words of a short generation, with options replaced or left out (None)."""
    options = {"audio": "speech.wav", "prompt": "a happy person", "out": "o.mp4"} | changes
    words = [w for k, v in options.items() if v is not None for w in (f"--{k}", v)]
    return ["generate", *words, *FAST]


@pytest.fixture
def go(monkeypatch, capsys):
    return lambda *words: run(monkeypatch, capsys, *words)


def test_generate(go, checkpoints, monkeypatch):
    status, out, err = go(*generation(), "--json")
    facts = json.loads(out)
    assert status == 0 and out.count("\n") == 1
    assert (facts["frames"], facts["windows"], facts["evaluations"]) == (5, 1, 1)
    with av.open("o.mp4") as file:
        assert file.metadata["comment"] == NOTE
        assert len(list(file.decode(video=0))) == 5
    assert sorted(os.listdir()) == ["o.mp4", "speech.wav"]
    assert go("portrait", "--identity", 3, "--out", "face.png")[:2] == (0, "face.png\n")
    monkeypatch.setattr(portrait, "DRAWN", -100.0)
    model = checkpoints / "teacher.safetensors"
    status, out, err = go(*generation(image="face.png", model=model, out="new/o.mp4"))
    assert status == 0 and out.startswith("new/o.mp4: 5 frames, 0.3 s") and "warning" not in err


def test_what_is_odd_about_sound_and_picture_is_said(go):
    noise = torch.randint(0, 256, (64, 64, 3), dtype=torch.uint8)
    Image.fromarray(noise.numpy()).save("photo.jpg")
    Image.new("RGB", (96, 96), "white").save("white.png")
    write_wav("silent.wav", torch.zeros(2000))
    write_wav("quiet.wav", 0.002 * torch.sin(torch.arange(4_300) * 0.2))
    for audio, image, said in (
            ("silent.wav", "photo.jpg", ("the sound is silent; the avatar will listen.",
                                         "photo.jpg does not look like a drawn portrait")),
            ("quiet.wav", "white.png", ("the sound is very quiet; it was made 2",
                                        "the picture is nearly white everywhere"))):
        status, _, err = go(*generation(audio=audio, image=image))
        assert status == 0 and all(f"warning: {words}" in err for words in said), err


def test_a_prompt_in_free_words_is_read_as_far_as_it_is_known(go):
    status, out, err = go(*generation(prompt=EXAMPLE), "--json")
    assert status == 0 and '"prompt": "a of a person speaking to the camera with"' in out
    (warning,) = [line for line in err.splitlines() if "warning" in line]
    assert "without 'realistic', 'video', 'directly'" in warning and "'generate -h'" in warning
    assert "expressions: neutral, serious" in " ".join(go("generate", "-h")[1].split())


@pytest.mark.parametrize("name", ["take:1.mp4", "UPPER.MP4", "vid\u00e9o.mp4"])
def test_any_name_of_a_video(go, name):
    shutil.copy("speech.wav", "10:30:12.WAV")
    status, _, err = go(*generation(audio="10:30:12.WAV", out=name))
    assert status == 0 and os.path.getsize(name) > 1000, err


def test_a_terminal_of_ascii(place, checkpoints):
    """The video is made, and its name is told as far as the terminal can show it."""
    name = os.fsencode(place) + b"/vid\xe9o.mp4"
    child = process(checkpoints, *generation(out=None), "--out", name, PYTHONIOENCODING="ascii",
                    LC_ALL="POSIX", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0")
    out, err = child.communicate(timeout=120)
    assert child.returncode == 0 and ".mp4: 5 frames" in out, err
    assert os.path.getsize(name) > 1000


def refused(result, words):
    """Status 2, nothing on stdout, one sentence on stderr, no new file."""
    status, out, err = result
    assert (status, out) == (2, "") and err.count("\n") == 1
    assert err.startswith("error: ") and words in err
    assert not [name for name in os.listdir() if "o.mp4" in name]


def test_bad_options(go, place):
    pointer = place / "student.safetensors"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 31102\n")
    for options, words in (({"model": "nobody"}, "There is no model 'nobody'"),
                           ({"model": "codec"}, "The codec makes no videos"),
                           ({"model": pointer}, "fetch the file itself"),
                           ({"device": "tpu"}, "PyTorch cannot use the device 'tpu' here"),
                           ({"out": "o.avi"}, "must end in .mp4"),
                           ({"out": "speech.wav/o.mp4"}, "Could not write speech.wav/o.mp4"),
                           ({"audio": "missing.wav"}, "There is no sound file 'missing.wav'."),
                           ({"audio": None}, "--audio"), ({"identity": "-1"}, "'-1' is not a"),
                           ({"image": "a.png", "identity": "1"}, "not allowed with")):
        refused(go(*generation(**options)), words)
    refused(go(*generation(), "--steps", "0"), "'0' is not a number from 1 to 1000")
    refused(go("live", "--port", "70000"), "'70000' is not a number")
    refused(go("train", "ear", "--device", "cuda:99"), "PyTorch cannot use the device 'cuda:99'")
    refused(go("dance"), "invalid choice: 'dance'")
    refused(go(), "COMMAND")


def test_a_kill_in_a_process_of_its_own(place, checkpoints):
    """A signal in mid-generation: one line, status 130, nothing left."""
    write_wav("long.wav", 0.1 * torch.sin(torch.arange(400_000) * 0.2))
    child = process(checkpoints, "generate", "--audio", "long.wav", "--prompt", "", "--out",
                    place / "o.mp4")
    while child.poll() is None and not list(place.glob(".o.mp4.*.tmp")):
        time.sleep(0.05)
    child.send_signal(signal.SIGTERM)
    err = child.communicate(timeout=60)[1]
    assert child.returncode == 130 and err.endswith("Stopped.\n"), err
    assert "Traceback" not in err and not list(place.glob("*o.mp4*"))


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


def test_weights_trains_and_exports_every_stage_in_order(go, monkeypatch):
    asked, exported = [], []

    def run_stage(name, out=None, steps=None, resume=False, **options):
        asked.append((name, str(out), steps, resume, *options.values()))
        out.mkdir(parents=True, exist_ok=True)
        (out / "metrics.jsonl").write_text('{"seconds": 1800}\n' * 3)
        yield STATE

    monkeypatch.setattr(stages, "run_stage", run_stage)
    monkeypatch.setattr(stages, "export", lambda *words: exported.append(words))
    for name in ("LIVETALK_SIZE", "LIVETALK_WEIGHTS"):
        monkeypatch.setenv(name, "")                                   # put back afterwards
    status, out, _ = go("weights", "--quick")
    names = [name for name, *_ in asked]
    assert status == 0 and names == [name for name, _ in exported] == list(train_commands.QUICK)
    assert set(names) == set(stages.STAGES)
    assert train_commands.SIZES == tuple(wan.SIZES)         # written twice, so that help is quick
    assert asked[0] == ("ear", "runs/quick/ear", train_commands.QUICK["ear"], True, None, 128)
    *hours, hint = out.splitlines()
    assert [line.split() for line in hours] == [[name, "1.50", "h", "of", "updates"]
                                                for name in names]
    assert hint == "To see it: LIVETALK_SIZE=64 LIVETALK_WEIGHTS=runs/quick/checkpoints make demo"
    asked.clear()
    monkeypatch.setattr(train_commands, "updates_within",
                        lambda seconds, *_, **__: round(10 * seconds))
    for minutes in ("5", "50"):         # what the first call planned holds for those after it
        assert go("weights", "--quick", "--minutes", minutes)[0] == 0
    assert [steps for _, _, steps, *_ in asked] == 2 * [30 * train_commands.SHARES[name]
                                                        for name in names]


def test_updates_that_fit_into_a_budget(monkeypatch):
    def run_stage(name, out, steps, device=None):
        yield from (replace(STATE, seconds=9.0 if i < 3 else 0.5) for i in range(steps))

    monkeypatch.setattr(stages, "run_stage", run_stage)
    assert train_commands.updates_within(100, "ear") in (198, 199)   # the trial takes no time
    assert train_commands.updates_within(1, "ear") == train_commands.TRIED


def test_options_reach_their_stage_and_no_other(go, monkeypatch):
    asked = []

    def run_stage(*words, **options):
        asked.append((*words, options))
        yield STATE

    monkeypatch.setattr(stages, "run_stage", run_stage)
    for words, want in (
            (("codec", "--steps", "9", "--out", "here", "--resume"),
             ("codec", "here", 9, True, None, 1.0, False, None, {})),
            (("ode", "--recipe", "short", "--pairs", "250", "--seed", "2"),
             ("ode", None, None, False, None, 1.0, False, None,
              {"recipe": "short", "count": 250, "seed": 2})),
            (("teacher", "--shard", "--accumulate", "2", "--size", "tiny"),
             ("teacher", None, None, False, None, 1.0, False, None,
              {"size": "tiny", "scale": {"shard": True, "accumulate": 2}}))):
        assert go("train", *words)[0] == 0 and asked.pop() == want
    for words in (("teacher", "--recipe", "short"), ("codec", "--seed", "1"),
                  ("dmd", "--rate", "2")):
        refused(go("train", *words), f"{words[1]} is no option of the stage {words[0]}")


def test_a_distillation_follows_its_recipe_and_trajectories_are_of_the_asked_clips(go, monkeypatch):
    asked = []

    def run(recipe, batch, out, resume, start, probe, compiled, paths, device, real):
        asked.append((recipe, str(out), resume, start, compiled, device, real))
        yield STATE

    def from_shipped(count, watch):
        asked.append(count)
        watch(None)
        yield "a path"

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
    monkeypatch.setattr(trajectories, "from_shipped", from_shipped)
    monkeypatch.setattr(trajectories, "write_sample", lambda watch: "sample")
    assert go("trajectories", "--count", "40")[:2] == (0, "a path\n")
    assert asked[-1] == 40
    assert go("trajectories", "--sample")[1] == "sample\n"


def test_generate_with_a_student(go):
    words = generation(model="student_ode")[:-len(FAST)]
    facts = json.loads(go(*words, "--json")[1])
    assert (facts["frames"], facts["windows"], facts["steps"]) == (5, 1, 4)
    assert facts["evaluations"] == 4 and facts["text_weight"] == 1
    os.remove("o.mp4")
    for option in ("--steps", "--audio-weight"):
        refused(go(*words, option, "2"), "student_ode is a student: it always makes 4 steps")


def test_demo_shows_the_student_beside_the_teacher(go, checkpoints, monkeypatch):
    monkeypatch.setattr(gen, "TEACHER_STEPS", 1)
    write_student(checkpoints, "student")
    shutil.copy(ROOT / "data/checkpoints/faces.safetensors", checkpoints)
    status, out, err = go("demo", "--json")
    facts = json.loads(out)
    assert status == 0 and [row["steps"] for row in facts["videos"]] == [4, 1]
    assert all(0 <= row["whole_faces"] <= 1 for row in facts["videos"])
    with Image.open(facts["strip"]) as strip:
        assert strip.width > 4 * strip.height
    assert os.path.exists("outputs/demo.mp4") and os.path.exists("outputs/demo_teacher.mp4")
    assert "whole faces" in cli.demo_text(facts["videos"])
