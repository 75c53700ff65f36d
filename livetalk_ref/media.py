"""Video files: mp4 written piece by piece with its sound in step, and read back as pictures.

A file is written under a temporary name beside its place and moved there when it is complete,
so no half-written one is ever seen. T frames of H x W.
"""

import os
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path

import av
import torch
import torch.nn.functional as F

from livetalk_ref.errors import UserError
from livetalk_ref.world.state import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME, SIZE

NOTE = "Synthetic media made with livetalk_ref"
SCALE = 4               # how much larger than generated a picture is shown
QUALITY = "18"          # x264's constant rate factor: visually lossless


def temporary_name(path):
    """Where a file is while it is being written."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


@contextmanager
def blame(path):
    """Turn the system's and FFmpeg's trouble with a file into one sentence."""
    try:
        yield
    except (OSError, av.FFmpegError) as error:
        raise UserError(f"Could not write {path}: {error.strerror or error}; choose another "
                        f"place or make room.") from error


@contextmanager
def placed(path):
    """A temporary path to write to: moved to `path` at the end, removed after any exception."""
    path = Path(path)
    temporary = temporary_name(path)
    try:
        with blame(path):
            if path.is_dir():
                raise UserError(f"{path} is a folder; give the name of a file.")
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.open("ab").close()        # says now whether it can be written
        yield temporary
        with blame(path):
            os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_text(path, words):
    """Write a text file, complete or not at all; returns its path."""
    with placed(path) as temporary, blame(path):
        temporary.write_text(words, encoding="utf-8")
    return path


@contextmanager
def movie(path, samples, size=SIZE, scale=SCALE):
    """Write an mp4 piece by piece: `with movie(path, samples) as m: m.add(frames)`.

    samples (N,) is the whole 16 kHz sound; frame i goes with samples 1000 i .. 1000 i + 999.
    Pictures of `size` are shown `scale` times as large. Any exception, Ctrl-C too, leaves
    nothing behind. UserError for what cannot be written.
    """
    if Path(path).suffix != ".mp4":
        raise UserError(f"The video's name must end in .mp4, and {path} does not.")
    with placed(path) as temporary:
        made = Movie(path, temporary, samples, size * scale)
        try:
            yield made
            made.finish()
        finally:
            with suppress(OSError, av.FFmpegError):     # the first error is on its way already
                made.file.close()


class Movie:
    """An open mp4 that takes pictures; `movie` makes one."""

    def __init__(self, path, temporary, samples, side):
        self.path, self.samples, self.side, self.count = path, samples, side, 0
        with blame(path):
            self.file = av.open(temporary, "w", format="mp4", options={"movflags": "+faststart"})
        self.file.metadata["comment"] = NOTE
        self.video = self.file.add_stream("libx264", FPS, options={"crf": QUALITY})
        self.video.width = self.video.height = side
        self.video.pix_fmt = "yuv420p"
        self.audio = self.file.add_stream("aac", SAMPLE_RATE, layout="mono")

    def add(self, frames):
        """Append pictures (T, 3, H, W) in [-1, 1] and the sound that goes with them."""
        with blame(self.path):
            for picture in frames:
                self.encode(self.video, video_frame(picture, self.side), self.count, FPS)
                start = self.count * SAMPLES_PER_FRAME
                block = self.samples[start:start + SAMPLES_PER_FRAME]
                self.encode(self.audio, audio_frame(block), start, SAMPLE_RATE)
                self.count += 1

    def encode(self, stream, frame, position, rate):
        frame.pts, frame.time_base = position, Fraction(1, rate)
        self.file.mux(stream.encode(frame))

    def finish(self):
        """Write what the encoders still hold, and the index."""
        with blame(self.path):
            for stream in (self.video, self.audio):
                self.file.mux(stream.encode(None))
            self.file.close()


def to_bytes(pictures):
    """Pictures in [-1, 1], of any shape, as uint8."""
    return ((pictures + 1) * 127.5).round().clamp(0, 255).byte()


def video_frame(picture, side):
    """A picture (3, H, W) in [-1, 1], enlarged, as a frame for FFmpeg."""
    if side != picture.shape[-1]:
        picture = F.interpolate(picture[None], (side, side), mode="bicubic")[0]
    pixels = to_bytes(picture)                                           # (3, side, side)
    return av.VideoFrame.from_ndarray(pixels.permute(1, 2, 0).contiguous().numpy(), "rgb24")


def audio_frame(block):
    """A video frame's worth of samples, silence where there are none any more."""
    block = F.pad(block, (0, SAMPLES_PER_FRAME - len(block))).clamp(-1, 1)
    frame = av.AudioFrame.from_ndarray(block[None].numpy(), "fltp", "mono")
    frame.sample_rate = SAMPLE_RATE
    return frame


def read_video(path, size=SIZE):
    """A video file -> (T, 3, size, size) in [-1, 1], 16 frames/s, cut to its central square.

    UserError for a file that is missing, broken, without pictures or of another frame rate.
    """
    if not os.path.isfile(path):
        raise UserError(f"There is no video file {path}.")
    try:
        with av.open(path) as file:
            if not file.streams.video:
                raise UserError(f"{path} holds no pictures.")
            rate = file.streams.video[0].average_rate
            if rate != FPS:
                raise UserError(f"{path} has {rate} frames a second; convert it to {FPS}.")
            frames = [fit(torch.from_numpy(f.to_ndarray(format="rgb24")), size)
                      for f in file.decode(video=0)]
    except av.FFmpegError as error:
        raise UserError(f"{path} is broken or is not a video file.") from error
    if not frames:
        raise UserError(f"{path} holds no pictures.")
    return torch.stack(frames)


def fit(pixels, size):
    """Bytes (H, W, 3) -> (3, size, size) in [-1, 1]: the largest central square, resized."""
    side = min(pixels.shape[:2])
    top, left = ((n - side) // 2 for n in pixels.shape[:2])
    square = pixels[top:top + side, left:left + side].permute(2, 0, 1).float()
    if side != size:
        square = F.interpolate(square[None], (size, size), mode="bicubic", antialias=True)[0]
    return (square / 127.5 - 1).clamp(-1, 1)
