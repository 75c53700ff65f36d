"""media.py: what is written comes back, sound in step; a failure leaves nothing."""

import errno
import math
import os

import av
import pytest
import torch

from livetalk_ref.errors import UserError
from livetalk_ref.files import temporary_name
from livetalk_ref.media import NOTE, fit, movie


def smooth(frames, size=96):
    """A picture that moves slowly: (T, 3, size, size)."""
    t = torch.arange(frames).view(-1, 1, 1, 1) / 16
    x = torch.linspace(-1, 1, size).view(1, 1, 1, -1)
    y = torch.linspace(-1, 1, size).view(1, 1, -1, 1)
    phase = torch.arange(3).view(1, 3, 1, 1)
    return 0.8 * torch.sin(2 * x + 1.5 * y + phase + t)


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
    assert back.shape == frames.shape
    assert (back - frames).abs().mean() < 0.02
    assert os.listdir(tmp_path) == ["a.mp4"]


def read_video(path):
    """The pictures of a video, (T, 3, 96, 96)."""
    with av.open(path) as file:
        return torch.stack([fit(torch.from_numpy(f.to_ndarray(format="rgb24")), 96)
                            for f in file.decode(video=0)])


def read_sound(path):
    """The sound of a video as a player hears it, from time 0: (N,)."""
    with av.open(path) as file:
        pieces = [(f.time, torch.from_numpy(f.to_ndarray()[0])) for f in file.decode(audio=0)]
    assert abs(pieces[0][0]) < 0.001
    return torch.cat([samples for _, samples in pieces])


@pytest.mark.parametrize("frame", [5, 30, 55])
def test_sound_and_picture_are_in_step(tmp_path, frame):
    """A flash and a beep at the same time."""
    frames, samples = torch.full((64, 3, 96, 96), -1.0), torch.zeros(64_000)
    frames[frame:frame + 2] = 1
    samples[frame * 1000:(frame + 2) * 1000] = 0.5 * torch.sin(torch.arange(2000) * 0.4)
    write(tmp_path / "a.mp4", frames, samples, scale=1)
    sound = read_sound(tmp_path / "a.mp4")
    heard = (sound.abs() > 0.1).nonzero()[0].item() / 16_000
    seen = (read_video(tmp_path / "a.mp4").mean((1, 2, 3)) > 0).nonzero()[0].item() / 16
    assert seen == frame / 16
    assert abs(heard - seen) < 0.01


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interruption_leaves_nothing(tmp_path, error):
    path = tmp_path / "a.mp4"
    with pytest.raises(error):
        with movie(path, torch.zeros(9000)) as made:
            made.add(smooth(5))
            assert temporary_name(path).exists()
            raise error
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no full device here")
@pytest.mark.parametrize("frames", [3, 300])
def test_a_full_disk_is_one_sentence(tmp_path, frames):
    """The temporary file leads to a device that is always full."""
    path = tmp_path / "a.mp4"
    temporary_name(path).symlink_to("/dev/full")
    noise = torch.rand(frames, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with pytest.raises(UserError, match=os.strerror(errno.ENOSPC)):
        write(path, noise, torch.zeros(frames * 1000), scale=2)
    assert os.listdir(tmp_path) == []


def test_bad_places(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.mp4").mkdir()
    for name, words in (("file/a.mp4", "Could not write"), ("folder.mp4", "is a folder"),
                        ("a" * 300 + ".mp4", "File name too long"),
                        ("a.avi", "end in .mp4")):
        with pytest.raises(UserError, match=words):
            write(tmp_path / name, smooth(1), torch.zeros(1000))
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.mp4"]


def test_fit_takes_the_central_square():
    pixels = torch.zeros(64, 200, 3, dtype=torch.uint8)
    pixels[:, 68:132] = 255
    assert torch.equal(fit(pixels, 64), torch.ones(3, 64, 64))
    assert fit(pixels, 96).shape == fit(pixels.transpose(0, 1), 96).shape == (3, 96, 96)
    ramp = torch.arange(256).repeat(256, 1)[..., None].repeat(1, 1, 3).byte()
    slope = fit(ramp, 32)[0, 16].diff()
    assert math.isclose(slope[8:24].mean().item(), 8 / 127.5, rel_tol=0.01)
