"""Sound in: samples to rows of log-mel frames at the video's rate.

Row i describes the sound from 125 ms before video frame i to 62.5 ms after it: log-mel
frames, loudness-normalised, stacked. `MelRows` does constant work for every 1000 samples and
never looks back; a whole file goes through the same fixed-size step as a stream, so both give
the same bits. What the models see of a row is made by ear.py.
"""

from functools import cache

import numpy as np
import torch
from torchaudio.functional import melscale_fbanks

from livetalk_ref.world.state import SAMPLE_RATE, SAMPLES_PER_FRAME

HOP, WINDOW, MELS = 250, 512, 32            # samples, samples, bands
STEPS = SAMPLES_PER_FRAME // HOP            # mel frames a video frame
BEHIND, AHEAD = 2, 1                        # video frames of context before and after
ROW = MELS * STEPS * (BEHIND + AHEAD)
FLOOR = 1e-2                                # mel power below which everything is silence
MEAN, SCALE = -1.2, 3.0                     # of log-mel over the training voices
TARGET, GATE = 0.1, 0.003                   # RMS that speech is brought to; RMS that is speech
LOUDEST_GAIN = 32.0


def augment(samples, generator):
    """What a room and a microphone do to (N,) clean samples; half the time nothing.

    Reverberation (every other time), noise of 5 to 35 dB signal-to-noise, and a gain of +-12 dB.
    The sound keeps its length and its timing.
    """
    untouched, reverberant, seconds, snr, colour, gain = torch.rand(6, generator=generator).tolist()
    if untouched < 0.5 or len(samples) == 0:
        return samples
    if reverberant < 0.5:
        samples = reverberate(samples, 0.1 + 0.4 * seconds, generator)
    loudness = max(samples.square().mean().sqrt().item(), 0.01)     # silence gets noise too
    hiss = coloured_noise(len(samples), colour, generator)
    samples = samples + loudness * 10 ** (-(5 + 30 * snr) / 20) * hiss
    return (samples * 10 ** ((gain - 0.5) * 24 / 20)).clamp(-1, 1)


def reverberate(samples, seconds, generator):
    """Convolve with exponentially decaying noise that falls by 60 dB in `seconds`."""
    count = int(seconds * SAMPLE_RATE)
    decay = torch.exp(-6.9 * torch.arange(count) / count)
    room = torch.randn(count, generator=generator) * decay
    room = 0.5 * room / room.norm()
    room[0] = 1.0                                           # the direct sound, not delayed
    size = fft_size(len(samples) + count)
    wet = torch.fft.irfft(torch.fft.rfft(samples, size) * torch.fft.rfft(room, size), size)
    return wet[:len(samples)]


def coloured_noise(count, colour, generator):
    """(N,) noise of RMS 1 whose power falls as 1 / f^(2 colour): 0 white, 0.5 pink, 1 brown."""
    spectrum = torch.fft.rfft(torch.randn(fft_size(count), generator=generator))
    spectrum = spectrum / (1 + torch.arange(len(spectrum))) ** colour
    noise = torch.fft.irfft(spectrum)[:count]
    return noise / noise.square().mean().sqrt().clamp(min=1e-9)


def fft_size(count):
    """The next power of two: an FFT of a prime length is slow."""
    return 1 << (count - 1).bit_length()


@cache
def bank():
    """The mel bands of a spectrum, (257, MELS)."""
    return melscale_fbanks(WINDOW // 2 + 1, 60.0, SAMPLE_RATE / 2, MELS, SAMPLE_RATE)


def scaled_log(power):
    return ((np.log(power + FLOOR) - MEAN) / SCALE).astype(np.float32)


class MelRows:
    """Streaming log-mel rows at the video's rate: push samples, get the rows that are complete.

    `ahead` (at least 1) is the look-ahead in video frames.
    The work is numpy's: on arrays this small torch's threads would cost more than the transform.
    """

    def __init__(self, ahead=AHEAD):
        self.ahead = ahead
        self.window = torch.hann_window(WINDOW).numpy()
        self.bank = bank().numpy()
        self.reset()
        self.none = self.row(torch.from_numpy(self.mels.reshape(1, -1)))[:0]        # (0, A)

    def reset(self):
        """Forget everything heard: as if silence had gone before."""
        self.waiting = np.zeros(0, np.float32)              # samples of an unfinished step
        self.tail = np.zeros(WINDOW - HOP, np.float32)      # samples the next windows overlap
        silence = scaled_log(np.zeros((STEPS, MELS), np.float32))
        self.mels = np.tile(silence.reshape(-1), (BEHIND + self.ahead, 1))  # (frames, 4 MELS)
        self.level, self.voiced = TARGET, 0                 # running RMS of speech, steps of it
        self.samples = self.steps = 0

    def push(self, samples):
        """(N,) samples of any count -> (n, A) rows now complete, possibly none."""
        self.samples += len(samples)
        waiting = np.concatenate([self.waiting, samples.numpy()])
        whole = len(waiting) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME
        self.waiting = waiting[whole:].copy()
        early = max(0, self.ahead - 1 - self.steps)         # steps whose row lies before frame 0
        rows = []
        for block in waiting[:whole].reshape(-1, SAMPLES_PER_FRAME):
            self.step(block)
            rows.append(self.row(torch.from_numpy(self.mels.reshape(1, -1).copy())))
        return torch.cat([self.none, *rows[early:]])                                # (n, A)

    def row(self, mels):
        """What a row shows of the mel frames in reach, (1, ROW) -> (1, A): here all of them."""
        return mels

    def finish(self):
        """The rows still owed, as if silence followed: in all, one per begun 1000 samples."""
        frames = -(-self.samples // SAMPLES_PER_FRAME)
        missing = (frames + self.ahead - 1) * SAMPLES_PER_FRAME - self.samples
        return self.push(torch.zeros(missing if frames else 0))

    def rows(self, samples, frames=None):
        """(N,) -> (T, A): one row per begun 1000 samples, or exactly `frames` rows."""
        self.reset()
        if frames is None:
            frames = -(-len(samples) // SAMPLES_PER_FRAME)
        needed = (frames + self.ahead - 1) * SAMPLES_PER_FRAME if frames else 0
        samples = samples[:needed]
        return self.push(torch.nn.functional.pad(samples, (0, needed - len(samples))))

    def step(self, block):
        """The one fixed-size step: 1000 samples in, the stack of mel frames moves on by four."""
        sound = np.concatenate([self.tail, block])                                  # (1262,)
        self.tail = sound[SAMPLES_PER_FRAME:]
        windows = np.stack([sound[i * HOP:i * HOP + WINDOW] for i in range(STEPS)])  # (4, 512)
        power = np.abs(np.fft.rfft(windows * self.window)) ** 2 @ self.bank         # (4, MELS)
        mel = scaled_log(power * self.gain(block) ** 2)
        self.mels = np.concatenate([self.mels[1:], mel.reshape(1, -1)])
        self.steps += 1

    def gain(self, block):
        """Towards one loudness from the past alone: fast up, slow down, silence left alone."""
        rms = float(np.sqrt(np.mean(np.square(block))))
        if rms > GATE:
            self.voiced += 1
            pace = max(1 / self.voiced, 0.3 if rms > self.level else 0.03)
            self.level += pace * (rms - self.level)
        return min(TARGET / self.level, LOUDEST_GAIN)
