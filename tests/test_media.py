"""Videos: what is written comes back, sound in step; a failure leaves nothing. Pictures, good and
bad; the portrait of a seed; what is not of the drawn world."""

import errno
import os

import av
import numpy as np
import pytest
import torch
from PIL import Image
from tiny import dice, write_huge_image

from livetalk_ref import loading
from livetalk_ref.errors import UserError
from livetalk_ref.media import NOTE, fit, load_audio, movie
from livetalk_ref.portrait import (DRAWN, blank, is_drawn, load_portrait, portrait_of, read_image,
                                   restored, save_portrait)


def smooth(frames):
    """A picture that moves slowly: (T, 3, 96, 96)."""
    t, colour = torch.arange(frames).view(-1, 1, 1, 1) / 16, torch.arange(3).view(3, 1, 1)
    x = torch.linspace(-1, 1, 96)
    return 0.8 * torch.sin(2 * x + 1.5 * x[:, None] + colour + t)


def write(path, frames, samples, scale=4):
    with movie(path, samples, frames.shape[-1], scale) as made:
        for part in frames.split(7):
            made.add(part)


def test_round_trip(tmp_path):
    path, frames = tmp_path / "a.mp4", smooth(37)
    write(path, frames, 0.1 * torch.sin(torch.arange(36_200) * 0.1))
    with av.open(path) as file:
        video, audio = file.streams.video[0], file.streams.audio[0]
        assert (video.average_rate, video.width, video.height) == (16, 384, 384)
        assert (video.codec_context.name, video.pix_fmt) == ("h264", "yuv420p")
        assert (audio.codec_context.name, audio.rate) == ("aac", 16_000)
        assert file.metadata["comment"] == NOTE
        times = [frame.time for frame in file.decode(video=0)]
    assert times == pytest.approx([i / 16 for i in range(37)], abs=1e-4)
    assert abs(len(read_sound(path)) / 16_000 - 37 / 16) <= 1 / 16
    back = read_video(path)
    assert back.shape == frames.shape and (back - frames).abs().mean() < 0.02
    assert os.listdir(tmp_path) == ["a.mp4"]


def read_video(path):
    """The pictures of a video, (T, 3, 96, 96)."""
    with av.open(path) as file:
        pictures = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    return torch.stack([fit(torch.from_numpy(pixels), 96) for pixels in pictures])


def read_sound(path):
    """The sound of a video as a player hears it, from time 0: (N,)."""
    with av.open(path) as file:
        pieces = [(f.time, torch.from_numpy(f.to_ndarray()[0])) for f in file.decode(audio=0)]
    assert abs(pieces[0][0]) < 0.001
    return torch.cat([samples for _, samples in pieces])


@pytest.mark.parametrize("frame", [5, 55])
def test_sound_and_picture_are_in_step(tmp_path, frame):
    """A flash and a beep at the same time."""
    frames, samples = torch.full((64, 3, 96, 96), -1.0), torch.zeros(64_000)
    frames[frame:frame + 2] = 1
    samples[frame * 1000:(frame + 2) * 1000] = 0.5 * torch.sin(torch.arange(2000) * 0.4)
    write(tmp_path / "a.mp4", frames, samples, scale=1)
    sound = read_sound(tmp_path / "a.mp4")
    heard = (sound.abs() > 0.1).nonzero()[0].item() / 16_000
    seen = (read_video(tmp_path / "a.mp4").mean((1, 2, 3)) > 0).nonzero()[0].item() / 16
    assert seen == frame / 16 and abs(heard - seen) < 0.01


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no full device here")
@pytest.mark.parametrize("frames", [3, 300])
def test_a_full_disk_is_one_sentence(tmp_path, frames):
    """The temporary file leads to a device that is always full."""
    path = tmp_path / "a.mp4"
    (tmp_path / f".a.mp4.{os.getpid()}.tmp").symlink_to("/dev/full")
    noise = torch.rand(frames, 3, 32, 32, generator=dice()) * 2 - 1
    with pytest.raises(UserError, match=os.strerror(errno.ENOSPC)):
        write(path, noise, torch.zeros(frames * 1000), scale=2)
    assert os.listdir(tmp_path) == []


def test_bad_places(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.mp4").mkdir()
    for name, words in (("file/a.mp4", "Could not write"), ("folder.mp4", "is a folder"),
                        ("a" * 300 + ".mp4", "File name too long"), ("a.avi", "end in .mp4")):
        with pytest.raises(UserError, match=words):
            write(tmp_path / name, smooth(1), torch.zeros(1000))
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.mp4"]


def test_fit_takes_the_central_square():
    pixels = torch.zeros(64, 200, 3, dtype=torch.uint8)
    pixels[:, 68:132] = 255
    assert torch.equal(fit(pixels, 64), torch.ones(3, 64, 64))
    assert torch.equal(fit(pixels.transpose(0, 1), 64), torch.ones(3, 64, 64))
    assert fit(pixels, 96).shape == (3, 96, 96)


# --- pictures in

def test_a_seed_is_one_person_and_saved_and_loaded_it_is_the_same(tmp_path):
    face, path = portrait_of(7), tmp_path / "new" / "face.png"
    assert torch.equal(face, portrait_of(7)) and (face - portrait_of(8)).abs().mean() > 0.1
    save_portrait(face, path)
    assert (load_portrait(path) - face).abs().max() <= 1 / 255 + 1e-6
    assert os.listdir(path.parent) == ["face.png"]
    save_portrait(portrait_of(7, 384), path)
    assert (load_portrait(path) - face).abs().mean() < 0.02


def test_a_camera_turned_by_a_quarter(tmp_path):
    image, exif = Image.new("RGB", (128, 128), "white"), Image.Exif()
    image.paste("black", (0, 0, 128, 64))                      # dark above
    exif[0x0112] = 6                                           # shown turned clockwise
    image.save(tmp_path / "a.jpg", exif=exif)
    x = load_portrait(tmp_path / "a.jpg")
    assert x[:, :, 60:].mean() < -0.9 and x[:, :, :36].mean() > 0.9      # dark on the right


@pytest.mark.parametrize("kind, scale, black", [
    (np.uint16, 257, 0), (np.int32, 1, 0), (np.int32, 257, 0), (np.uint32, 0x01010101, 0),
    (np.float32, 1 / 255, 0), (np.float32, 1, 0), (np.float32, 257, 0), (np.float32, 2 / 255, -1)])
def test_grey_of_any_depth_is_the_picture(tmp_path, kind, scale, black):
    """As the same picture in 8 bits; the file does not say which value is white."""
    grey = np.arange(256).repeat(16).reshape(64, 64)
    Image.fromarray(grey.astype(np.uint8)).save(tmp_path / "a.png")
    deep = (grey * scale + black).astype(kind)
    if kind is np.float32:                                  # what resizing makes of black and white
        deep[0, 0], deep[-1, -1] = black - 9 * scale, deep.max() + 9 * scale
    Image.fromarray(deep.view(np.int32) if kind is np.uint32 else deep).save(tmp_path / "a.tif")
    assert torch.equal(read_image(tmp_path / "a.tif"), read_image(tmp_path / "a.png"))
    if kind is np.uint16:
        Image.fromarray(deep).save(tmp_path / "b.png")
        assert torch.equal(read_image(tmp_path / "b.png"), read_image(tmp_path / "a.png"))


def test_a_picture_of_nothing_is_noticed():
    """Twelve bits in sixteen are nearly black, too."""
    assert [blank(torch.full((3, 32, 32), tone))[22:27] for tone in (-0.94, 0.0, 0.98)] == \
        ["black", "", "white"]
    assert not any(blank(portrait_of(seed)) for seed in range(8))


def test_too_small_and_too_large(tmp_path, monkeypatch):
    """A huge one is refused before it is decoded."""
    for size in ((1, 1), (31, 200), (20_000, 40), (40, 10_001)):
        Image.new("RGB", size).save(tmp_path / "a.png")
        with pytest.raises(UserError, match=f"has {size[0]}x{size[1]} pixels"):
            load_portrait(tmp_path / "a.png")
    write_huge_image(tmp_path / "a.bmp")
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(UserError, match="too large|20000x20000"):
        load_portrait(tmp_path / "a.bmp")


def test_what_is_no_image(tmp_path, monkeypatch):
    save_portrait(portrait_of(7), tmp_path / "whole.png")
    data = (tmp_path / "whole.png").read_bytes()
    contents = {"empty.png": b"", "text.png": b"hello" * 50, "cut.png": data[:len(data) // 2],
                "spoiled.png": data[:60] + bytes(40) + data[100:]}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match="broken or is not an image"):
            load_portrait(tmp_path / name)
    (tmp_path / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(400))
    with pytest.raises(UserError, match="is a HEIC picture.* use a PNG or JPEG"):
        load_portrait(tmp_path / "phone.heic")
    for name in ("missing.png", "."):
        with pytest.raises(UserError, match="There is no image file"):
            load_portrait(tmp_path / name)
    monkeypatch.setattr(os, "access", lambda *_: False)         # of another user
    for kind, load in (("image", load_portrait), ("sound", load_audio)):
        with pytest.raises(UserError, match=f"{kind} file '.*whole.png' may not be read"):
            load(tmp_path / "whole.png")


def test_the_codec_tells_drawn_portraits_from_others():
    codec, g = loading.load_module("codec"), dice()
    others = [torch.nn.functional.interpolate(torch.rand(1, 3, cells, cells, generator=g) * 2 - 1,
                                              (96, 96), mode="bicubic")[0].clamp(-1, 1)
              for cells in (10, 16, 24, 96)]
    others.append(torch.sin(torch.arange(96) * 1.1).expand(3, 96, 96).contiguous())
    assert min(restored(portrait_of(seed), codec) for seed in range(20)) > DRAWN + 0.8
    assert max(restored(picture, codec) for picture in others) < DRAWN - 0.8
    assert is_drawn(portrait_of(7), codec)
