"""Turns: the voice network against its own package, and where turns begin and end."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from livetalk_ref.live import turns
from livetalk_ref.live.events import Onset, Turn
from livetalk_ref.live.turns import CHUNK, Listener, Voice, chunked
from livetalk_ref.world.speech import load_spoken, say

silero = find_spec("silero_vad")
pytestmark = pytest.mark.skipif(silero is None, reason="needs the package silero-vad")


def noise(seconds, seed=0):
    g = torch.Generator().manual_seed(seed)
    return 1e-3 * torch.randn(int(16_000 * seconds), generator=g)


def clip():
    """1 s of quiet, 4 s of a natural voice, 1.5 s of quiet."""
    return torch.cat([noise(1), load_spoken(4).samples[:64_000], noise(1.5, 1)])


def test_the_network_is_that_of_the_package():
    """With the weights of its own compiled model, ours says the same, chunk by chunk."""
    theirs = torch.jit.load(Path(silero.origin).parent / "data" / "silero_vad.jit")
    theirs.reset_states()
    inside = dict(theirs._model.named_parameters())
    tensors = {"stft_conv.weight": theirs._model.stft.forward_basis_buffer}
    for n in range(4):
        for kind in ("weight", "bias"):
            tensors[f"conv{n + 1}.{kind}"] = inside[f"encoder.{n}.reparam_conv.{kind}"]
    for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        tensors[f"lstm_cell.{kind}"] = inside[f"decoder.rnn.{kind}"]
    for kind in ("weight", "bias"):
        tensors[f"final_conv.{kind}"] = inside[f"decoder.decoder.2.{kind}"]
    ours, chunks = Voice(tensors), list(chunked([clip()]))
    with torch.no_grad():
        want = [theirs(chunk[None], 16_000).item() for chunk in chunks]
    have = [ours(chunk) for chunk in chunks]
    assert max(want) > 0.9 and min(want) < 0.1
    assert max(abs(a - b) for a, b in zip(have, want)) < 1e-4


@pytest.mark.parametrize("size", [100, 512, 5_000])
def test_a_turn_begins_and_ends_where_the_voice_does(size):
    heard = list(Listener()(clip().split(size)))
    assert [type(h) for h in heard] == [Onset, Turn]
    seconds = len(heard[1].samples) / 16_000
    assert 4.0 < seconds < 5.0 and heard[1].text == ""
    waited = heard[1].ended - heard[1].voiced
    assert 0.4 < waited < 1.5


def test_quiet_and_a_click_are_no_turn():
    sound = noise(4)
    sound[20_000:20_020] = 0.9
    assert not list(Listener()(sound.split(CHUNK)))


def test_endless_speech_is_cut(monkeypatch):
    monkeypatch.setattr(turns, "LONGEST", 1.5)
    sound = torch.cat([load_spoken(n).samples for n in (4, 9)])
    found = [h for h in Listener()(sound.split(CHUNK)) if isinstance(h, Turn)]
    assert len(found) >= 3 and max(len(turn.samples) for turn in found) <= 1.6 * 16_000


@pytest.mark.speech
def test_a_known_question_is_recognised_and_other_speech_is_not():
    listen = Listener(turns.Recogniser())

    def understood(text, voice):
        sound = torch.cat([noise(0.6), say(text, voice).samples, noise(1)])
        return [h.text for h in listen(sound.split(CHUNK)) if isinstance(h, Turn)]

    assert understood("What is the cache?", "us") == ["What is the cache?"]
    assert understood("The farmer drove his tractor through the mud.", "us") == [""]
    assert understood("Can I interrupt you?", "us-f2") == ["Can I interrupt you?"]


@pytest.mark.speech
def test_a_whole_question_ends_its_turn_sooner():
    recogniser = turns.Recogniser()

    def turn(listen, text):
        sound = torch.cat([noise(0.6), say(text, "us").samples, noise(1)])
        return next(h for h in listen(sound.split(CHUNK)) if isinstance(h, Turn))

    def waits_less(text):
        return len(turn(Listener(), text).samples) - len(turn(Listener(recogniser), text).samples)

    assert waits_less("What is the cache?") >= 4 * CHUNK
    assert waits_less("The farmer drove his tractor through the mud.") == 0
    assert recogniser.so_far() == ""                    # nothing is left of a turn
