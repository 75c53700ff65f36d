"""Minutes of everything that may happen to a session: twice, and the pictures are the same."""

import hashlib

import pytest
import torch

from livetalk_ref.judge.cost import peak_memory, reset_peak_memory
from livetalk_ref.loading import load
from livetalk_ref.pipeline import Pipeline
from livetalk_ref.portrait import portrait_of
from livetalk_ref.stream import FRAMES, MISSING, AvatarSession, frames_of
from livetalk_ref.world.speech import load_spoken

UNDO, EVENTS = 6, 120
EVERYTHING = ("push", "push", "quiet", "spoilt", "loud", "idle", "flush", "change_prompt",
              "interrupt")
PROMPTS = ("a happy person smiles and nods", "a sad person looks down", "a person listens")


def live_through(live, blocks=None):
    """(checksum of all that is shown, blocks after every event) of a session, or of a pipeline,
    which takes the session's `blocks` so as to know how much to wait for."""
    g, digest, shown, furthest, made = torch.Generator().manual_seed(1), hashlib.sha256(), 0, 0, []
    sound = torch.cat([load_spoken(n).samples for n in range(8)])
    for number in range(EVENTS):
        event = EVERYTHING[int(torch.randint(len(EVERYTHING), (), generator=g))]
        part, at = torch.rand(2, generator=g).tolist()
        samples = sound[int(at * len(sound) / 2):][:int(10 ** (4.6 * part))]    # 1 .. 40 000
        fresh = None
        if event == "change_prompt":
            live.change_prompt(PROMPTS[number % 3], part < 0.5)
        elif event == "interrupt":      # never farther back than the session remembers
            least = frames_of(max(0, -(-(furthest + MISSING) // FRAMES) - UNDO))
            shown = live.interrupt(max(least, shown - round(part * (3 * FRAMES - 1)), 0))
        elif event in ("idle", "flush"):
            fresh = getattr(live, event)()
        else:
            change = {"quiet": 0.0, "loud": 50.0, "spoilt": torch.nan}.get(event, 1.0)
            fresh = live.push(samples * change)
        found = [fresh] if fresh is not None and blocks is None else []
        while blocks and frames_of(blocks[number]) > (
                found[-1].first + len(found[-1]) if found else shown):
            found.append(next(live))
        for frames in found:
            assert frames.first == shown and frames.pictures.isfinite().all()
            digest.update(frames.pictures.numpy().tobytes())
            shown, furthest = shown + len(frames), max(furthest, shown + len(frames))
        made.append(live.state.blocks if blocks is None else blocks[number])
        assert frames_of(made[-1]) == shown
    return digest.hexdigest(), made


@pytest.mark.slow
def test_a_session_lives_through_everything():
    avatar = load("student")
    plain, again = (AvatarSession(avatar, portrait_of(0), PROMPTS[0],
                                  torch.Generator().manual_seed(0), avatar.policy, UNDO)
                    for _ in range(2))
    early, reset = peak_memory(), reset_peak_memory()
    told, blocks = live_through(plain)
    with Pipeline(again) as live:
        assert live_through(live, blocks)[0] == told
    assert not early or reset is False or peak_memory() < early + 300      # MiB
