"""Turns: where they begin and end, and what was asked."""

from importlib.util import find_spec

import pytest
import torch

from livetalk_ref.live import turns
from livetalk_ref.live.events import Onset, Turn
from livetalk_ref.live.turns import CHUNK, Listener
from livetalk_ref.world.speech import load_spoken, say

pytestmark = pytest.mark.skipif(find_spec("silero_vad") is None, reason="needs silero-vad")


def noise(seconds, seed=0):
    g = torch.Generator().manual_seed(seed)
    return 1e-3 * torch.randn(int(16_000 * seconds), generator=g)


@pytest.mark.parametrize("size", [100, 512, 5_000])
def test_a_turn_begins_and_ends_where_the_voice_does(size):
    sound = torch.cat([noise(1), load_spoken(4).samples[:64_000], noise(1.5, 1)])
    heard = list(Listener()(sound.split(size)))
    assert [type(h) for h in heard] == [Onset, Turn]
    seconds = len(heard[1].samples) / 16_000
    assert 4.0 < seconds < 5.0 and heard[1].text == ""
    waited = heard[1].ended - heard[1].voiced
    assert 0.4 < waited < 1.5


def test_quiet_and_a_click_are_no_turn_and_endless_speech_is_cut(monkeypatch):
    sound = noise(4)
    sound[20_000:20_020] = 0.9
    assert not list(Listener()(sound.split(CHUNK)))
    monkeypatch.setattr(turns, "LONGEST", 1.5)
    sound = torch.cat([load_spoken(n).samples for n in (4, 9)])
    found = [h for h in Listener()(sound.split(CHUNK)) if isinstance(h, Turn)]
    assert len(found) >= 3 and max(len(turn.samples) for turn in found) <= 1.6 * 16_000


@pytest.mark.speech
def test_known_questions_are_recognised_and_end_their_turn_sooner():
    """Other speech is not, and waits for the whole silence."""
    deaf, listen = Listener(), Listener(turns.Recogniser())

    def turn(listen, text, voice):
        sound = torch.cat([noise(0.6), say(text, voice).samples, noise(1)])
        (found,) = [h for h in listen(sound.split(CHUNK)) if isinstance(h, Turn)]
        return found

    for text, voice, known in (("What is the cache?", "us", True),
                               ("The farmer drove his tractor through the mud.", "us", False),
                               ("Can I interrupt you?", "us-f2", True)):
        found = turn(listen, text, voice)
        saved = len(turn(deaf, text, voice).samples) - len(found.samples)
        assert found.text == (text if known else "")
        assert saved >= 4 * CHUNK if known else saved == 0
    assert listen.recogniser.so_far() == ""             # nothing is left of a turn
