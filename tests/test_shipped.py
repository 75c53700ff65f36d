"""The shipped weights do their work on faces, voices and sentences they never saw.

Floors are a little under the figures in data/results, which need more clips than a test has.
"""

import pytest
import torch
from tiny import act, dice

from livetalk_ref import loading
from livetalk_ref.codec import psnr
from livetalk_ref.generate import stream
from livetalk_ref.judge import metrics
from livetalk_ref.portrait import portrait_of
from livetalk_ref.world.draw import render_clip
from livetalk_ref.world.identity import sample_identities
from livetalk_ref.world.speech import load_spoken
from livetalk_ref.world.state import COL
from livetalk_ref.world.visemes import visemes

PROMPT = "a person smiles and nods while speaking"


@pytest.fixture(scope="module")
def avatar():
    return loading.load("teacher")


@pytest.fixture(scope="module")
def reader():
    return loading.load_module("reader")


@pytest.fixture(scope="module")
def truth():
    """A clip of a new face, without espeak: a shipped sentence acted out."""
    g = dice(123)
    state = act(load_spoken("12-us-f5"), PROMPT, g, 33)
    return state, render_clip(sample_identities(1, g), state)


@torch.inference_mode()
def test_codec_restores_a_new_face(avatar, truth):
    x = truth[1][None]
    z = avatar.codec.encode(x)
    assert z.shape == (1, 9, 40, 6, 6) and 0.7 < z.std() < 1.3
    assert psnr(avatar.codec.decode(z), x) > 23


def test_reader_reads_a_new_face(reader, truth):
    state, frames = truth
    reading = reader.read(frames)
    for name, floor in (("mouth_open", 0.9), ("mouth_width", 0.75), ("turn", 0.9)):
        assert metrics.correlation(reading.column(name), state[:, COL[name]]) > floor, name
    same = (reading.identity[1:] @ reading.identity[0]).mean()
    others = reader.read(render_clip(sample_identities(1, dice(9)), state))
    assert same > (others.identity @ reading.identity[0]).mean() + 0.2


def test_the_teachers_mouth_follows_speech_it_never_heard(avatar, reader):
    spoken = load_spoken("21-rp-m3")
    *_, window = stream(avatar, portrait_of(7), spoken.samples, PROMPT, steps=16)
    frames = window.frames
    said = visemes(spoken.phones, len(frames))[:, 0]
    follows = metrics.mouth_correlation(reader.read(frames).column("mouth_open"), said)
    later = metrics.mouth_correlation(reader.read(frames).column("mouth_open")[8:], said[:-8])
    assert follows > 0.4 and follows > later + 0.1
