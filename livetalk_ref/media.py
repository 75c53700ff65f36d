"""Media files: sound read, and mp4 written piece by piece with its sound in step.

N samples, C channels, T frames of H x W.
"""

import io
import os
import re
import warnings
from contextlib import contextmanager, suppress
from fractions import Fraction
from itertools import chain, groupby
from pathlib import Path

import av
import numpy as np
import torch
import torch.nn.functional as F

from livetalk_ref.errors import UserError
from livetalk_ref.files import blame, placed, readable
from livetalk_ref.world.state import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME, SIZE

NOTE = "Synthetic media made with livetalk_ref"
SCALE = 4               # how much larger than generated a picture is shown
QUALITY = "18"          # x264's constant rate factor: visually lossless
MAX_SECONDS = 3600
CANCELLED = 0.1         # share of the loudest channel's power that the mean of all keeps at least
QUIET, SILENT = 1e-2, 1e-4      # RMS of the loudest video frame: the model hardly hears it, nothing


def address(path):
    """What FFmpeg opens as this file and nothing else: a colon in a name is no protocol."""
    return f"file:{os.fspath(path)}"


def load_audio(path, warn=warnings.warn):
    """All that a player plays of a sound file, or of a video's sound -> (N,) float32, 16 kHz mono.

    Whatever PyAV opens, of any rate and any channels, also where they change on the way. `warn`
    hears a sentence where the loudness had to be mended. UserError for a file that is missing,
    empty, broken, without sound, or over an hour long.
    """
    path = readable(path, "sound")
    if os.path.getsize(path) == 0:
        raise UserError(f"The sound file '{path}' is empty.")
    runs = [mono(run) for run in resampled(decoded(path))]
    samples = torch.from_numpy(np.concatenate([np.zeros(0, np.float32), *runs]))
    if len(samples) == 0:
        raise UserError(f"The file '{path}' is broken or holds no sound; give one that plays.")
    if not samples.isfinite().any():
        raise UserError(f"The sound file '{path}' is broken: it holds no valid sample.")
    return audible(samples.nan_to_num(0.0, 0.0, 0.0), warn)


def decoded(path):
    """Yield the frames of a file's sound; what is damaged is left out, as players do."""
    seconds = 0
    for frame in chain.from_iterable(map(frames_of, links(path))):
        seconds += frame.samples / frame.sample_rate
        if seconds > MAX_SECONDS:
            raise UserError(f"The sound file '{path}' is longer than an hour; cut it into parts.")
        yield frame


def links(path):
    """What FFmpeg opens one after the other: the file, or every link of a chained Ogg file, for
    FFmpeg refuses a rate that changes from link to link."""
    with open(path, "rb") as file:
        if file.read(4) != b"OggS":
            return [address(path)]
        data = b"OggS" + file.read()
    pages = [(m.start(), m[1][0] & 2) for m in re.finditer(rb"OggS\0(.)", data, re.S)]
    starts = [at for (at, begins), (_, began) in zip(pages, [(0, 0), *pages])
              if begins and not began]                      # several streams may begin a link
    return [io.BytesIO(data[a:b]) for a, b in zip([0, *starts[1:]], [*starts[1:], None])]


def frames_of(link):
    with suppress(av.FFmpegError), av.open(link) as file:   # what stands before the end of a
        stream = file.streams.best("audio")                 # file that is cut off is played
        for packet in file.demux(stream) if stream else ():
            with suppress(av.FFmpegError):
                yield from packet.decode()


def resampled(frames):
    """Yield (C, n) float32 at 16 kHz for every run of frames of one rate and kind of channels."""
    for (layout, *_), run in groupby(frames, lambda f: (f.layout.name, f.format.name,
                                                        f.sample_rate)):
        resampler = av.AudioResampler("fltp", layout, SAMPLE_RATE)
        pieces = [piece.to_ndarray() for frame in chain(run, [None])
                  for piece in resampler.resample(frame)]
        if pieces:
            yield np.concatenate(pieces, axis=1)


def mono(channels):
    """(C, n) -> (n,): the mean, or the loudest channel where the mean cancels them."""
    mean = channels.mean(0)
    power = np.square(np.nan_to_num(channels, nan=0.0)).mean(1)
    kept = np.square(np.nan_to_num(mean, nan=0.0)).mean()
    return channels[power.argmax()] if kept < CANCELLED * power.max() else mean


def audible(samples, warn):
    """Sound (N,) in [-1, 1] that the model hears, unless it is silent."""
    peak = samples.abs().max().item()
    if peak > 2:            # no sound in [-1, 1] goes so far, not even by its decoder's fault
        warn(f"the sound goes up to {peak:,.0f} instead of 1; it was scaled to [-1, 1].")
        samples = samples / peak
    loudest, offset = loudest_frame(samples), samples.mean()
    if offset.abs() > loudest:
        samples = samples - offset
    if SILENT <= loudest < QUIET:
        gain = max(1.0, 0.5 / samples.abs().max().item())
        warn(f"the sound is very quiet; it was made {gain:,.0f} times as loud.")
        samples = samples * gain
    return samples


def loudest_frame(samples):
    """The largest RMS of a video frame of (N,) samples around its mean. The ends, where an offset
    rings after resampling, count only where there is little else."""
    blocks = samples.split(SAMPLES_PER_FRAME)
    return max((block.std(correction=0).item() for block in blocks[1:-1] or blocks if len(block)),
               default=0.0)


def is_silent(samples):
    """True if no video frame of (N,) samples can be heard: legal, but worth a warning."""
    return loudest_frame(samples) < SILENT


@contextmanager
def movie(path, samples, size=SIZE, scale=SCALE, quality=QUALITY):
    """Write an mp4 piece by piece: `with movie(path, samples) as m: m.add(frames)`.

    samples (N,) is the whole 16 kHz sound; frame i goes with samples 1000 i .. 1000 i + 999.
    Pictures of `size` are shown `scale` times as large; quality is x264's. Any exception, Ctrl-C
    too, leaves nothing behind. UserError for what cannot be written.
    """
    if Path(path).suffix.lower() != ".mp4":
        raise UserError(f"The video's name must end in .mp4, and {path} does not.")
    with placed(path) as temporary:
        made = Movie(path, temporary, samples, size * scale, quality)
        try:
            yield made
            made.finish()
        finally:
            with suppress(OSError, av.FFmpegError):     # the first error is on its way already
                made.file.close()


class Movie:
    """An open mp4 that takes pictures; `movie` makes one."""

    def __init__(self, path, temporary, samples, side, quality):
        self.path, self.samples, self.side, self.count = path, samples, side, 0
        with blame(path, av.FFmpegError):
            self.file = av.open(address(temporary), "w", format="mp4",
                                options={"movflags": "+faststart"})
        self.file.metadata["comment"] = NOTE
        self.video = self.file.add_stream("libx264", FPS, options={"crf": quality})
        self.video.width = self.video.height = side
        self.video.pix_fmt = "yuv420p"
        self.audio = self.file.add_stream("aac", SAMPLE_RATE, layout="mono")

    def add(self, frames):
        """Append pictures (T, 3, H, W) in [-1, 1] and the sound that goes with them."""
        with blame(self.path, av.FFmpegError):
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
        with blame(self.path, av.FFmpegError):
            for stream in (self.video, self.audio):
                self.file.mux(stream.encode(None))
            self.file.close()


def to_bytes(pictures):
    """Pictures in [-1, 1], of any shape, as uint8 in the host's memory."""
    x = ((pictures.float() + 1) * 127.5).round().clamp(0, 255).byte()
    # A GPU makes the bytes, a fourth of what floats are, and writes them into pinned memory.
    return torch.empty_like(x, device="cpu", pin_memory=x.is_cuda).copy_(x)


def floats_of(pictures):
    """8-bit pictures, of any shape, in [-1, 1]: the way back from `to_bytes`."""
    return pictures.float() / 127.5 - 1


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


def central_square(pixels):
    """The largest central square of a picture (H, W, ..): its top, left and side, in pixels."""
    side = min(pixels.shape[:2])
    return [*((n - side) // 2 for n in pixels.shape[:2]), side]


def fit(pixels, size):
    """Bytes (H, W, 3) -> (3, size, size) in [-1, 1]: the largest central square, resized."""
    top, left, side = central_square(pixels)
    square = pixels[top:top + side, left:left + side].permute(2, 0, 1).float()
    if side != size:
        square = F.interpolate(square[None], (size, size), mode="bicubic", antialias=True)[0]
    return (square / 127.5 - 1).clamp(-1, 1)
