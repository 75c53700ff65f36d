"""Videos of one's own become training clips; what cannot be used is named with its reason."""

import json
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from safetensors.torch import save as to_safetensors
from tiny import script_clips, scripted

from livetalk_ref import distillation, ode, own_clips, recipes, stages, trajectories
from livetalk_ref.__main__ import main
from livetalk_ref.errors import UserError
from livetalk_ref.loading import load, load_start
from livetalk_ref.media import movie, to_bytes
from livetalk_ref.portrait import portrait_of
from livetalk_ref.real import avatar as real_avatar
from livetalk_ref.real.standin import PROMPTS, RANDOM, SMALL, random_text, write_random
from livetalk_ref.real.text import save_text
from livetalk_ref.runs import read
from livetalk_ref.world import clips, latents
from livetalk_ref.world.clips import LONG_FRAMES
from livetalk_ref.world.speech import load_spoken

SECONDS = 7
ENCODINGS = {                   # name: container's ending, video codec, frames a second, size
    "h264 at 25": ("mp4", "libx264", 25, (256, 256)), "slow": ("mkv", "libx264", 12, (192, 192)),
    "wide": ("mov", "mpeg4", 30, (426, 240)), "upright": ("mp4", "libx264", 24, (180, 320)),
    "vp9": ("webm", "libvpx-vp9", 25, (192, 192)), "mjpeg": ("avi", "mjpeg", 16, (192, 192))}


def spoken(seconds):
    return torch.cat([load_spoken(i).samples for i in range(5)])[:16_000 * seconds]


def write(path, codec, rate, size, seconds=SECONDS, sound=True, picture=None):
    """A face that stands in the middle of a video, and speech."""
    face = to_bytes(portrait_of(3) if picture is None else picture).permute(1, 2, 0).numpy()
    (width, height), side = size, min(size)
    still = Image.new("RGB", size, (90, 90, 90))
    still.paste(Image.fromarray(face).resize((side, side)), ((width - side) // 2,
                                                             (height - side) // 2))
    still.save(path.with_suffix(".png"))
    soundfile.write(path.with_suffix(".wav"), spoken(seconds).numpy(), 16_000)
    heard = ["-i", path.with_suffix(".wav"), "-ar", "48000"] if sound else []
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-loop", "1", "-framerate",
                    str(rate), "-i", path.with_suffix(".png"), *heard, "-t", str(seconds), "-c:v",
                    codec, "-pix_fmt", "yuvj420p" if codec == "mjpeg" else "yuv420p", path],
                   check=True)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """A folder of six encodings that work and six files that do not."""
    folder = tmp_path_factory.mktemp("videos")
    for name, (ending, *rest) in ENCODINGS.items():
        write(folder / f"{name}.{ending}", *rest)
    (folder / "slow.txt").write_text("a happy person speaks\n", encoding="utf-8-sig")
    (folder / "empty.mp4").touch()
    (folder / "words.mp4").write_text("this is no video")
    whole = (folder / "h264 at 25.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(whole[:len(whole) // 3])
    write(folder / "mute; 1.mp4", "libx264", 25, (192, 192), sound=False)
    write(folder / "short.mp4", "libx264", 25, (192, 192), seconds=3)
    soundfile.write(folder / "blind.mp4", spoken(SECONDS).numpy(), 16_000, format="WAV")
    return folder


@pytest.fixture(scope="module")
def made(videos, tmp_path_factory):
    out = tmp_path_factory.mktemp("shards")
    *_, index = own_clips.prepare_clips(videos, out, whole=True, workers=1)
    return out, json.loads(index.read_text())


def test_every_file_is_used_or_named_with_its_reason(made):
    _, index = made
    used = {row["video"] for row in index["segments"]}
    assert used == {f"{name}.{ending}" for name, (ending, *_) in ENCODINGS.items()}
    words = {"empty": "empty", "words": "broken", "cut": "broken", "mute; 1": "no sound; give",
             "short": "shorter than 6.6 s", "blind": "no pictures"}
    assert index["videos"] == 12 and set(index["broken"]) == {f"{name}.mp4" for name in words}
    for name, word in words.items():
        assert word in index["broken"][f"{name}.mp4"], index["broken"]


def test_segments_are_what_a_model_of_the_world_would_read(made):
    out, index = made
    clips = own_clips.read_clips(out)
    codec = load("teacher").codec
    with torch.inference_mode():
        still = codec.encode(portrait_of(3)[None, None])[0, 0]
        shown = codec.decode(clips.latents[:, :3].float())
    assert clips.latents.shape[:2] == (6, 27) and clips.audio.shape[1] == 105
    near = (clips.latents[:, 0].float() - still).square().mean((1, 2, 3)).sqrt() / still.std()
    order = [row["video"] for row in index["segments"]]
    square = [i for i, name in enumerate(order) if name.split(".")[0] in ("h264 at 25", "slow")]
    assert near[square].max() < 0.35, near              # as far as an encoder's losses go
    assert shown.diff(dim=1).abs().mean() < 0.02        # it stands still
    assert clips.prompts[order.index("slow.mkv")] == ["a happy person speaks"]
    assert clips.prompts[order.index("vp9.webm")] == ["a person speaks calmly"]
    x0, cond = latents.Batches(clips).draw(9, torch.Generator().manual_seed(0))
    assert len(x0) == 8 and x0.shape[1] in latents.WINDOWS and cond.text.isfinite().all()
    true = load("teacher").audio().rows(spoken(SECONDS)[:105_000], 105)
    for row in clips.audio.float():     # codecs add some milliseconds; a frame is 62.5
        same, late = ((row[3:90] - true[3 + k:90 + k]).square().mean() for k in (0, 2))
        assert same < late


def test_videos_of_one_name_stay_apart_and_shards_are_made_once_for_a_cut(tmp_path, monkeypatch):
    names, calls, out = ["a/1.mp4", "b/1.mp4", "c d.mp4", "c_d.mp4"], [], tmp_path / "out"
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.setattr(own_clips, "avatar_of", lambda *_: None)
    monkeypatch.setattr(own_clips, "segments_of",
                        lambda *call: calls.append(call) or [("same", {"x": torch.ones(1)}, {})])
    for whole in (True, True, False):
        *_, index = own_clips.prepare_clips(tmp_path, out, whole=whole, workers=1)
    assert [row["video"] for row in json.loads(index.read_text())["segments"]] == names
    with tarfile.open(out / "clips-00000.tar") as tar:
        assert len(set(tar.getnames())) == len(calls) == 2 * len(names)


def test_a_folder_without_videos_or_shards_or_words(tmp_path):
    with pytest.raises(UserError, match="holds no videos"):
        list(own_clips.prepare_clips(tmp_path, tmp_path / "out"))
    with pytest.raises(UserError, match="holds no shards"):
        own_clips.read_clips(tmp_path)
    (tmp_path / "a.txt").write_bytes(b"a person at a caf\xe9")
    with pytest.raises(UserError, match="Its text a.txt is not UTF-8"):
        own_clips.prompt_of(tmp_path / "a.mp4", None)


def test_the_square_follows_a_real_face_and_two_are_refused(tmp_path):
    data = pytest.importorskip("skimage.data")
    person = torch.from_numpy(data.astronaut())              # 512 x 512, a face at (70, 175) of 93
    write(tmp_path / "person.mp4", "libx264", 8, (512, 512),
          picture=person.permute(2, 0, 1) / 127.5 - 1)
    (_, tensors, row), = own_clips.segments_of(tmp_path / "person.mp4", load("teacher"))
    top, left, side = row["box"]
    assert len(tensors["latents"]) == 27 and row["prompt"] == "a person speaks calmly"
    assert 150 < side < 260 and top < 70 and left < 175 and left + side > 268
    with pytest.raises(UserError, match="more than one face"):
        own_clips.face_square([np.concatenate([person.numpy()] * 2, 1)] * 9)
    with pytest.raises(UserError, match="No face"):
        own_clips.face_square([np.zeros((256, 256, 3), np.uint8)] * 9)


def test_pictures_follow_their_time_stamps(tmp_path):
    """The n-th picture of a second is the one on show at n / 16 s, at any rate."""
    frames = torch.linspace(-1, 1, 112)[:, None, None, None].expand(-1, 3, 96, 96)
    with movie(tmp_path / "ramp.mp4", spoken(SECONDS)) as film:
        film.add(frames)
    pictures = next(own_clips.read_pictures(tmp_path / "ramp.mp4"))
    seen = torch.tensor([float(p.mean()) for p in pictures]) / 127.5 - 1
    assert len(pictures) == 105 and (seen - frames[:105, 0, 0, 0]).abs().max() < 0.05


def test_reading_is_timed_of_shards_and_of_the_world(made, tmp_path, monkeypatch, capsys):
    script_clips(monkeypatch)
    monkeypatch.setattr(clips, "script", lambda split, number, **_: scripted(number, LONG_FRAMES))
    monkeypatch.setattr(own_clips, "MADE", 1)
    monkeypatch.chdir(tmp_path)
    for source, count in ((made[0], 6), ("world", 2)):
        monkeypatch.setattr("sys.argv", ["livetalk", "bench", "--data", str(source), "--json"])
        main()
        facts = json.loads(capsys.readouterr().out)
        each = facts["latent_frames_per_second"] / facts["clips_per_second"]
        assert facts["clips"] == count and 9 <= each <= 21
    assert facts["clips_made_per_second"] > 0 and facts["seconds_to_open"] > 0


def test_a_video_becomes_a_clip_of_the_released_layout(tmp_path):
    write(tmp_path / "1.mp4", "libx264", 16, (96, 96))
    big = load("livetalk-1.3b", path=RANDOM)
    (_, tensors, _), = own_clips.segments_of(tmp_path / "1.mp4", big, whole=True)
    side = big.size // 8
    assert tensors["latents"].shape == (27, 16, side, side)
    assert tensors["audio"].shape == (105, SMALL.audio_dim) and tensors["audio"].any(1).all()


@pytest.fixture
def released(tmp_path, monkeypatch):
    """A folder with shards, prompts and a teacher of the released layout, small and random."""
    monkeypatch.chdir(tmp_path)
    g = torch.Generator().manual_seed(0)
    write_random(tmp_path / "big.safetensors", SMALL, torch.float32)
    save_text(tmp_path / "text.safetensors", random_text(SMALL.text_dim), PROMPTS)
    with tarfile.open(tmp_path / "clips-00000.tar", "w") as tar:
        for key in range(6):
            tensors = {"latents": torch.randn(27, 16, 4, 4, generator=g).half(),
                       "audio": torch.randn(105, SMALL.audio_dim, generator=g).half()}
            own_clips.add(tar, f"{key}.safetensors", to_safetensors(tensors))
            own_clips.add(tar, f"{key}.json", json.dumps({"prompt": PROMPTS[key % 2]}).encode())
    return tmp_path


def test_the_released_layout_learns_its_teachers_paths_and_by_self_forcing(released, monkeypatch):
    """On clips of one's own: no model, condition or path of the miniature's has a part in it."""
    monkeypatch.setattr(ode, "TEACHER_STEPS", 4)
    monkeypatch.setattr(trajectories, "best_precision", lambda device: "fp32")
    data, big = own_clips.read_clips(released, released), str(released / "big.safetensors")
    *_, last = stages.run_stage("ode", "ode", 2, data=data, real=big)
    found = trajectories.from_clips(data, big)          # read again
    assert last.step == 2 and len(found) == 6 and len(list(Path("runs").rglob("*.saf*"))) == 2
    assert torch.equal(found.states[:, -1, 0], data.latents[:, 0])
    alone = trajectories.make(load_start(big), data.select([5]), 5, real_avatar.GUIDANCE)
    assert (found.states[5] - alone.states[0]).abs().max() < 0.02
    small = replace(recipes.SHIPPED, updates=2, ratio=1, warmup=1, batch=2)
    monkeypatch.setattr(recipes, "SHIPPED", small)      # with an anchor, on the same paths
    *_, last = stages.run_stage("dmd", "dmd", start="ode/ema.safetensors", data=data, real=big)
    weights, facts = read(Path("dmd/ema.safetensors"))
    assert last.step == 2 and facts["config"]["dim"] == SMALL.dim and facts["real"] == big
    known = read(distillation.probed("dmd", 0))[0]["x"][:, 0]
    assert torch.equal(known, data.latents[:, 0]) and len(list(Path("runs").rglob("*.saf*"))) == 2
    with pytest.raises(UserError, match="does not fit the data: it reads 40 latent channels where"):
        trajectories.from_clips(data)
