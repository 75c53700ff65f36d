"""Motion: what the prompt decides, and what chance does. More of it is asserted in notebook 01."""

import pytest
import torch

from livetalk_ref.errors import UserError
from livetalk_ref.world.motion import motion, reference_state
from livetalk_ref.world.state import COL, S

T = 97
VISEMES = torch.rand(T, 3, generator=torch.Generator().manual_seed(9))
SPEAKING = torch.ones(T, dtype=torch.bool)


def clip(prompt="", seed=0, speaking=SPEAKING, **more):
    said = prompt if isinstance(prompt, list) else [(0, prompt)]
    return motion(VISEMES, speaking, said, torch.Generator().manual_seed(seed), **more)


def clips(prompt, count=24, **more):
    return torch.stack([clip(prompt, seed, **more) for seed in range(count)])    # (N, T, S)


def energy(states, name):
    return states[..., COL[name]].diff(dim=-1).abs().mean()


def test_expression_is_reached_in_twelve_frames_and_kept():
    said = [(0, "happy"), (40, "slightly sad"), (70, "neutral")]
    for seed in range(20):
        state = clip(said, seed)[:, COL["happy"]:COL["surprised"] + 1]
        for start, end, asked in ((0, 40, (0.75, 0, 0, 0)), (40, 70, (0, 0.45, 0, 0)),
                                  (70, T, (0, 0, 0, 0.0))):
            reached = state[start + 12:end]
            assert torch.allclose(reached, torch.tensor(asked).expand_as(reached), atol=1e-6)
        assert state.diff(dim=0).abs().max() < 0.25         # smooth, from the reference on


def test_a_given_reference_is_frame_zero_and_the_pose_goes_on_from_it():
    reference = reference_state(torch.Generator().manual_seed(7))
    states = clips("lively, nods", 30, reference=reference)
    assert torch.allclose(states[:, 0], reference.expand(30, S), atol=1e-6)
    for name in ("turn", "tilt", "nod", "sway_x", "breath", "happy", "angry"):
        moved = states[:, 1, COL[name]] - reference[COL[name]]
        assert moved.abs().median() < 0.05, name


@pytest.mark.parametrize("prompt, column", [
    ("nods", "nod"), ("shakes the head", "turn"), ("sways", "sway_x"), ("blinks often", "blink"),
    ("energetic", "turn"), ("energetic", "gaze_x"),
])
def test_asked_motion_is_seen(prompt, column):
    assert energy(clips(prompt), column) > 1.5 * energy(clips(""), column)


@pytest.mark.parametrize("prompt, column, sign", [
    ("turns left", "turn", -1), ("tilts right", "tilt", 1),
    ("looking right", "gaze_x", 1), ("looking up", "gaze_y", -1),
])
def test_sides_are_kept(prompt, column, sign):
    assert (clips(prompt)[:, 16:, COL[column]] * sign).mean() > 0.4


def test_stillness_and_listening():
    free, still, quiet = clips(""), clips("still"), clips("", speaking=~SPEAKING)
    for name in ("turn", "tilt", "nod", "sway_x"):
        assert energy(still, name) < 0.5 * energy(free, name)
    for name in ("gaze_x", "turn"):
        assert energy(quiet, name) < 0.9 * energy(free, name)
    looks_away = [(s[:, 10:, COL["gaze_x"]].abs() > 0.3).float().mean() for s in (quiet, free)]
    assert looks_away[0] < 0.5 * looks_away[1]
    assert energy(quiet, "nod") > 1.2 * energy(free, "nod")


def test_a_prompt_may_change_in_mid_clip():
    states = clips([(0, "still"), (48, "nods often, looking left")])
    assert energy(states[:, 54:], "nod") > 5 * energy(states[:, 12:48], "nod")
    assert states[:, 60:, COL["gaze_x"]].mean() < -0.5
    assert states[:, 12:48, COL["gaze_x"]].mean().abs() < 0.2


def test_heads_hold_a_pose_and_then_move():
    """Most frames stand still; moves come at random and take four to six frames."""
    turn = clips("", 40)[:, :, COL["turn"]].diff(dim=1).abs()
    assert (turn < 1e-6).float().mean() > 0.5
    assert 0.1 < turn.amax(1).median() < 0.5


def test_a_first_prompt_that_starts_late_is_refused():
    with pytest.raises(UserError, match="frame 0"):
        clip([(5, "nods")])
