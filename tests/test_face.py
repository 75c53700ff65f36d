"""The renderer: deterministic, complete (every number shows), differentiable, honest about size."""

import pytest
import torch
import torch.nn.functional as F

from livetalk_ref.errors import UserError
from livetalk_ref.world.draw import mouth_box, render, render_clip
from livetalk_ref.world.identity import CATEGORICAL, CONTINUOUS, Identity, sample_identities
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


def test_range_shape_and_determinism():
    who, state = someone(1, 3), torch.rand(3, S, generator=torch.Generator().manual_seed(2))
    for size in (32, 96):
        frames = render(who, state, size)
        assert frames.shape == (3, 3, size, size) and frames.dtype == torch.float32
        assert frames.min() >= -1 and frames.max() <= 1 and frames.std() > 0.1
        assert torch.equal(frames, render(who, state, size))


def test_clip_is_the_same_face_frame_by_frame():
    who, state = someone(3), torch.rand(18, S, generator=torch.Generator().manual_seed(1))
    clip = render_clip(who, state, 48)
    assert torch.allclose(clip, render(times(who, 18), state, 48), atol=1e-4)
    assert torch.allclose(clip[17:], render(who, state[17:], 48), atol=1e-4)


@pytest.mark.parametrize("size", [64, 96])
def test_sizes_agree(size):
    """A picture drawn at twice the size and averaged down is the picture drawn small."""
    who, state = someone(5, 3), lively().expand(3, S)
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


def test_gradient_is_the_slope_of_the_picture():
    """Autograd agrees with finite differences where nothing clips."""
    who, state = long_haired(), (lively() + 0.03).double()
    who = Identity(who.continuous.double(), who.categorical)
    weight = torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(0)).double()

    def score(value):
        return (render(who, with_column(state, "turn", value), 48) * weight).sum()

    turn = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    score(turn).backward()
    step = 1e-5
    slope = (score(turn.detach() + step) - score(turn.detach() - step)) / (2 * step)
    assert abs(turn.grad - slope) < 0.02 * slope.abs() + 0.05


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


def dark_area(frames):
    """Pixels as dark and reddish as the inside of a mouth, in the mouth's neighbourhood."""
    dark = torch.tensor([0.27, 0.06, 0.06])[:, None, None] * 2 - 1
    near = (frames - dark).abs().amax(1) < 0.25
    return near[:, 52:80, 30:66].sum((1, 2))


def test_mouth_opening_grows_monotonically():
    who = someone(8)
    who.continuous[0, list(CONTINUOUS).index("skin_tone")] = 1.0
    for name in ("hair", "glasses", "facial_hair"):
        who.categorical[0, list(CATEGORICAL).index(name)] = 0
    opens = torch.linspace(0.1, 1, 7)
    state = torch.zeros(7, S)
    state[:, COL["mouth_open"]] = opens
    closed = render_clip(who, torch.zeros(1, S))
    changed = (render_clip(who, state) - closed).abs().amax(1).gt(0.2).sum((1, 2))
    assert (changed.diff() > 0).all()
    state[:, COL["mouth_width"]] = 1.0
    assert (dark_area(render_clip(who, state)).diff() > 0).float().mean() > 0.6


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
