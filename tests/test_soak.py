"""Half a minute, or LONGER=120 times as much, of everything that may happen: twice the same."""

import hashlib
import os

import pytest
import torch

from livetalk_ref.judge.cost import peak_memory, reset_peak_memory
from livetalk_ref.loading import load
from livetalk_ref.portrait import portrait_of
from livetalk_ref.stream import FRAMES, MISSING, AvatarSession, frames_of
from livetalk_ref.world.speech import load_spoken

UNDO, EVENTS = 6, 120 * int(os.environ.get("LONGER", 1))
EVERYTHING = ("push", "push", "quiet", "spoilt", "loud", "idle", "flush", "change_prompt",
              "interrupt")
PROMPTS = ("a happy person smiles and nods", "a sad person looks down", "a person listens")


def live_through(session):
    """The checksum of all pictures that a session shows while everything happens to it."""
    g, digest, shown, furthest = torch.Generator().manual_seed(1), hashlib.sha256(), 0, 0
    sound = torch.cat([load_spoken(n).samples for n in range(8)])
    for number in range(EVENTS):
        event = EVERYTHING[int(torch.randint(len(EVERYTHING), (), generator=g))]
        part, at = torch.rand(2, generator=g).tolist()
        samples = sound[int(at * len(sound) / 2):][:int(10 ** (4.6 * part))]    # 1 .. 40 000
        frames = None
        if event == "change_prompt":
            session.change_prompt(PROMPTS[number % 3], part < 0.5)
        elif event == "interrupt":      # never farther back than the session remembers
            least = frames_of(max(0, -(-(furthest + MISSING) // FRAMES) - UNDO))
            shown = session.interrupt(max(least, shown - round(part * (3 * FRAMES - 1)), 0))
        elif event in ("idle", "flush"):
            frames = getattr(session, event)()
        else:
            change = {"quiet": 0.0, "loud": 50.0, "spoilt": torch.nan}.get(event, 1.0)
            frames = session.push(samples * change)
        if frames is not None:
            assert frames.first == shown and frames.pictures.isfinite().all()
            digest.update(frames.pictures.numpy().tobytes())
            shown, furthest = shown + len(frames), max(furthest, shown + len(frames))
        assert frames_of(session.state.blocks) == shown
    return digest.hexdigest()


@pytest.mark.slow
def test_a_session_lives_through_everything():
    avatar = load("student")
    plain, again = (AvatarSession(avatar, portrait_of(0), PROMPTS[0], None, avatar.policy, UNDO)
                    for _ in range(2))
    reset_peak_memory()
    early = peak_memory()
    assert live_through(plain) == live_through(again)
    assert not early or peak_memory() < early + 300      # MiB
