"""Other programs' videos: what they are given, what is asked of them, what compression loses."""

import json
from dataclasses import replace

import pytest
import torch
from test_benchmark import PROMPTS, made, scripted
from tiny import shake

from livetalk_ref import generate
from livetalk_ref.errors import UserError
from livetalk_ref.flow import Guidance
from livetalk_ref.judge import benchmark, panel, sets, videos
from livetalk_ref.judge.evaluate import batches
from livetalk_ref.generate import Avatar
from livetalk_ref.loading import load, load_module
from livetalk_ref.media import load_audio, movie
from livetalk_ref.portrait import load_portrait
from livetalk_ref.wan import TINY, WanDiT
from livetalk_ref.world.clips import film

# what 384x384 video at x264's usual good quality may change in a clip, in each number's own unit
LOSS = {"open correlation": 0.02, "width correlation": 0.03, "identity cosine": 0.02,
        "sharpness": 0.3, "motion": 0.3, "black frames": 0.0, "exposure collapse": 0.02,
        "freeze rate": 0.05, "colour drift": 0.2, "colour jump": 0.2, "unrest": 0.1}


@pytest.fixture(scope="module")
def bench():
    return made(range(3))


@pytest.fixture
def exported(tmp_path, monkeypatch):
    monkeypatch.setattr(sets, "script", lambda name, number: scripted(number))
    index = videos.export("studio", tmp_path / "given", 2, seed=3)
    return index, json.loads(index.read_text())


def test_conditions_come_back_as_they_are(exported):
    index, facts = exported
    folder = index.parent
    assert index.name == "studio.json" and facts["frames"] == 81 and len(facts["clips"]) == 2
    assert sorted(p.name for p in folder.iterdir()) == ["studio-000.png", "studio-000.txt",
        "studio-000.wav", "studio-001.png", "studio-001.txt", "studio-001.wav", "studio.json"]
    for number, row in enumerate(facts["clips"]):
        clip = scripted(number)
        assert torch.equal(load_audio(folder / row["audio"]), clip.heard)
        picture = load_portrait(folder / row["image"])
        assert (picture - film(clip)[0]).abs().max() <= 1.01 / 255
        assert (folder / f"studio-{number:03d}.txt").read_text() == PROMPTS[number] + "\n"
        assert row["prompt"] == PROMPTS[number] and row["video"] == f"studio-{number:03d}.mp4"


def test_generate_makes_what_evaluate_judges(exported, bench):
    """Two roads: from the exported files one by one, and from the cache in a batch."""
    index, facts = exported
    folder = index.parent
    avatar = Avatar(shake(WanDiT(TINY), 1), bench.codec, "tiny")
    latents = next(batches(avatar.model, bench, 2, Guidance(2, 2), seed=3))
    for number, row in enumerate(facts["clips"]):
        window, = generate.stream(avatar, load_portrait(folder / row["image"]),
                                  load_audio(folder / row["audio"]), row["prompt"], row["seed"], 2,
                                  Guidance(2, 2))
        new = latents[number, 1:]                           # the reference is given
        gap = (window.latents[0, 1:] - new).abs().max()
        assert gap < 0.02 * new.abs().max()                 # 8-bit pictures, 16-bit latents
    other = next(batches(avatar.model, bench, 2, Guidance(2, 2), seed=4))[1, 1:]
    assert (other - new).abs().max() > 0.5 * new.abs().max()


def write(frames, samples, path):
    with movie(path, samples) as made:
        made.add(frames)


def test_videos_of_the_truth_are_judged_as_the_truth(bench, tmp_path):
    """Two roads to the shipped judges: frames in memory, and an mp4 file four times as large."""
    judges = panel.Judges.load()
    truth = panel.measure(judges, bench, made(range(3, 6)))
    ground = benchmark.Ground(bench, judges, truth, "1")
    for number, frames in enumerate(bench.film()):
        write(frames, bench.samples[number], tmp_path / f"studio-{number:03d}.mp4")
    maker = benchmark.video_maker(tmp_path, "studio", len(bench))
    facts, judged = benchmark.evaluate(maker, ground)
    assert facts["cost"]["evaluations_per_clip"] == 0
    for row, true in zip(judged.rows, truth.rendered.rows):
        for key, most in LOSS.items():
            assert (row[key] is None) == (true[key] is None), key
            assert true[key] is None or row[key] == pytest.approx(true[key], abs=most), key
    row, floor = facts["rows"]
    for key in ("frechet", "clip frechet"):
        assert row[key] < 0.02 * floor[key]


def test_files_that_generate_wrote_lose_little(bench, monkeypatch, tmp_path):
    """The shipped teacher and codec in one step, along both roads."""
    judges, codec = panel.Judges.load(), load_module("codec")
    with torch.inference_mode():
        coded = torch.cat([codec.encode(frames[None]) for frames in bench.film()]).half()
    bench = replace(bench, codec=codec, data=replace(bench.data, latents=coded))
    ground = benchmark.Ground(bench, judges, panel.measure(judges, bench, made(range(3, 6))), "1")
    monkeypatch.setattr(benchmark.Ground, "make", lambda name, count: ground)
    monkeypatch.setattr(sets, "script", lambda name, number: scripted(number))
    avatar = load("teacher")
    for clip in json.loads(videos.export("studio", tmp_path, len(bench)).read_text())["clips"]:
        generate.make_video(avatar, load_portrait(tmp_path / clip["image"]),
                            load_audio(tmp_path / clip["audio"]), clip["prompt"],
                            tmp_path / clip["video"], clip["seed"], 1)
    memory, files = (benchmark.evaluate(made, ground)[0]["rows"][0] for made in (
        benchmark.maker("teacher", 1), benchmark.video_maker(tmp_path, "studio", len(bench))))
    for key in ("open correlation", "width correlation", "identity cosine"):
        assert files[key] == pytest.approx(memory[key], abs=LOSS[key]), key


def test_unfit_videos_are_refused_in_a_sentence(tmp_path):
    sound = torch.zeros(90_000)
    with pytest.raises(UserError, match="lacks 2 of 2 videos, such as wild-000.mp4"):
        videos.find(tmp_path, "wild", 2)
    for number in range(2):
        write(torch.zeros(81 - number, 3, 96, 96), sound, tmp_path / f"wild-{number:03d}.mp4")
    assert len(videos.find(tmp_path, "wild", 1)) == 1
    with pytest.raises(UserError, match="wild-001.mp4 has 80 frames; a clip needs 81"):
        videos.find(tmp_path, "wild", 2)
    (tmp_path / "wild-001.mp4").write_text("no video")
    with pytest.raises(UserError, match="wild-001.mp4 is broken or is not a video"):
        videos.find(tmp_path, "wild", 2)


def test_longer_videos_are_cut(tmp_path):
    frames = torch.linspace(-1, 1, 90)[:, None, None, None].expand(-1, 3, 96, 96)
    write(frames, torch.zeros(90_000), tmp_path / "wild-000.mp4")
    clip, = videos.read(videos.find(tmp_path, "wild", 1))
    assert clip.shape == (81, 3, 96, 96)
    assert (clip.mean((1, 2, 3)) - frames[:81, 0, 0, 0]).abs().max() < 0.03
