"""The rule-based baseline: it knows loudness alone, and earns something by it."""

from types import SimpleNamespace

import pytest
import torch

from livetalk_ref.judge import metrics, rule
from livetalk_ref.judge.follow import loudness
from tiny import act
from livetalk_ref.world.clips import Clip
from livetalk_ref.world.face import render_clip
from livetalk_ref.world.identity import sample_identities
from livetalk_ref.world.speech import load_spoken
from livetalk_ref.world.state import COL
from livetalk_ref.world.still import MOUTH


@pytest.fixture(scope="module")
def spoken():
    """Clips of shipped sentences, made without espeak."""
    made = []
    for which in (12, 15, 19, 21):
        said, g = load_spoken(which), torch.Generator().manual_seed(which)
        state = act(said, "a person speaks", g)
        sound = torch.nn.functional.pad(said.samples, (0, 1000))[:1000 * len(state)]
        made.append(Clip(sound, sound, said.phones, state, [(0, "a person speaks")],
                         sample_identities(1, g), None))
    return made


def test_the_rule_holds_the_reference_and_opens_with_loudness(spoken):
    clip = spoken[0]
    state = rule.act(clip)
    assert torch.equal(state[0], clip.state[0])
    others = [i for name, i in COL.items() if name not in MOUTH]
    assert torch.equal(state[1:, others], clip.state[:1, others].expand(len(state) - 1, -1))
    mouth = state[:, COL["mouth_open"]]
    assert metrics.correlation(mouth[1:], loudness(clip.heard, len(state))[1:]) > 0.999
    assert 0 <= mouth.min() and mouth.max() <= 1
    silent = SimpleNamespace(state=clip.state, heard=0 * clip.heard)
    assert (rule.act(silent)[1:, COL["mouth_open"]] == 0).all()


def test_the_rule_earns_some_correlation_and_truth_much_more(spoken):
    earned = [metrics.mouth_correlation(rule.act(clip)[:, COL["mouth_open"]],
                                        clip.state[:, COL["mouth_open"]]) for clip in spoken]
    assert 0.2 < sum(earned) / len(earned) < 0.8


def test_the_rule_is_drawn_like_any_clip(spoken):
    clip = spoken[1]
    frames = rule.film(clip, 48)
    assert frames.shape == (len(clip.state), 3, 48, 48)
    assert torch.equal(frames[0], render_clip(clip.identity, clip.state[:1], 48)[0])
    assert frames[1:].diff(dim=0).abs().amax() > 0.2
