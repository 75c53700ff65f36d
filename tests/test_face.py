"""The renderer: complete (every number shows), alike at all sizes, and where the mouth is."""

import pytest
import torch
import torch.nn.functional as F

from livetalk_ref.errors import UserError
from livetalk_ref.world.draw import mouth_box, render, render_clip
from livetalk_ref.world.identity import CATEGORICAL, CONTINUOUS, sample_identities
from livetalk_ref.world.snippets import box_mask
from livetalk_ref.world.state import COL, COLUMNS, STATE, S

HAIR = list(CATEGORICAL).index("hair")


def someone(seed=0, count=1, shifted=False):
    return sample_identities(count, torch.Generator().manual_seed(seed), shifted)


def times(who, count):
    """One face so many times."""
    return who[torch.zeros(count, dtype=torch.long)]


def long_haired():
    who = someone(4)
    who.categorical[:, HAIR] = CATEGORICAL["hair"].index("long")
    return who


def lively():
    """A frame in which every part is visible: key light on, mouth open."""
    state = torch.zeros(1, S)
    for name, value in {"mouth_open": 0.5, "key_strength": 0.5, "key_x": 0.4,
                        "key_y": -0.4}.items():
        state[:, COL[name]] = value
    return state


def with_column(state, name, value):
    changed = state.clone()
    changed[:, COL[name]] = value
    return changed


def test_clip_is_the_same_face_frame_by_frame():
    who, state = someone(3), torch.rand(18, S, generator=torch.Generator().manual_seed(1))
    clip = render_clip(who, state, 48)
    assert clip.shape == (18, 3, 48, 48) and clip.abs().max() <= 1
    assert torch.allclose(clip, render(times(who, 18), state, 48), atol=1e-4)
    assert torch.allclose(clip[17:], render(who, state[17:], 48), atol=1e-4)


def test_a_picture_of_twice_the_size_averaged_down_is_the_small_one():
    who, state = someone(5, 3), lively().expand(3, S)
    for size in (64, 96):
        fine = F.avg_pool2d(render(who, state, 2 * size), 2)
        error = (fine - render(who, state, size)).abs().mean()
        assert error < 0.022         # of a range of 2; edges are softened in pixels


def test_every_state_column_changes_pixels():
    who, state = long_haired(), lively()
    other = [with_column(state, name, low if state[0, COL[name]] > (low + high) / 2 else high)
             for name, (low, high, _) in COLUMNS.items()]
    change = (render_clip(who, torch.cat(other)) - render_clip(who, state)).abs().amax(1)
    pixels = (change > 0.1).sum((1, 2))                                   # (S,)
    assert not [(name, int(n)) for name, n in zip(STATE, pixels, strict=True) if n < 12]


def test_every_identity_factor_changes_pixels():
    who, count = someone(6), len(CONTINUOUS)
    others = times(who, count)
    for i, (low, high) in enumerate(CONTINUOUS.values()):
        others.continuous[i, i] = low if who.continuous[0, i] > (low + high) / 2 else high
    state = lively()
    before = render_clip(who, state)
    change = (render(others, state.expand(count, S)) - before).abs().amax((1, 2, 3))
    assert not [name for name, c in zip(CONTINUOUS, change, strict=True) if c < 0.04]


@pytest.mark.parametrize("name", list(CATEGORICAL))
def test_every_option_looks_different(name):
    options, column = CATEGORICAL[name], list(CATEGORICAL).index(name)
    who = times(someone(6), len(options))
    who.categorical[:, column] = torch.arange(len(options))
    pictures = render(who, lively().expand(len(options), S), 48)
    distance = (pictures[:, None] - pictures[None]).abs().amax((2, 3, 4))  # (options, options)
    assert (distance + torch.eye(len(options)) > 0.1).all()


@pytest.mark.parametrize("pose", [{}, {"turn": 1.0, "tilt": -1.0}, {"sway_x": -1.0, "nod": 1.0}])
def test_mouth_box_holds_what_the_mouth_changes(pose):
    """Lips stay inside; only the chin, which follows an opening mouth, moves outside."""
    who, state = someone(9), torch.zeros(1, S)
    for name, value in pose.items():
        state[:, COL[name]] = value
    inside = box_mask(mouth_box(who, state), 96)[0, 0]
    for name, value in (("mouth_width", 1.0), ("mouth_round", 1.0), ("mouth_open", 1.0)):
        after = render_clip(who, with_column(state, name, value))
        change = (after - render_clip(who, state)).abs().amax((0, 1))
        share = (change * inside).sum() / change.sum()
        assert share > (0.7 if name == "mouth_open" else 0.999), (name, float(share))


def test_shifted_distribution_is_disjoint():
    normal, shifted = someone(0, 256), someone(1, 256, shifted=True)
    names = list(CONTINUOUS)
    for name in ("hair_hue", "back_hue", "face_width", "jaw"):
        low, high = CONTINUOUS[name]
        column = normal.continuous[:, names.index(name)]
        assert ((column >= low) & (column <= high)).all()
        column = shifted.continuous[:, names.index(name)]
        assert ((column < low) | (column > high)).all(), name
    unseen = CATEGORICAL["hair"].index("twin_buns")
    assert not (normal.categorical[:, HAIR] == unseen).any()
    assert (shifted.categorical[:, HAIR] == unseen).any()
    assert torch.equal(someone(0, 256).continuous, normal.continuous)


def test_wrong_shapes_are_explained():
    with pytest.raises(UserError, match="shape"):
        render(someone(), torch.zeros(1, S - 1))
    with pytest.raises(UserError, match="identities"):
        render(someone(0, 2), torch.zeros(3, S))
    with pytest.raises(UserError, match="one identity"):
        render_clip(someone(0, 2), torch.zeros(2, S))
