"""Who is in the picture: everything about a face that does not move.

A normal identity is drawn inside the ranges below. The shifted distribution is held out for
evaluation: dyed hair, dark or lime backgrounds, shapes beyond the ranges, and the styles that
are marked here as never drawn normally.
"""

from dataclasses import dataclass

import torch

# factor: (low, high) of the normal distribution. Lengths are relative to an average face.
CONTINUOUS = {
    "skin_tone": (0.0, 1.0),        # deep .. light
    "undertone": (-1.0, 1.0),       # rosy .. golden
    "face_width": (0.93, 1.06),
    "jaw": (0.84, 1.04),            # narrow .. square
    "chin": (-0.04, 0.03),          # short .. long
    "cheek": (0.2, 1.0),            # blush
    "eye_spacing": (0.93, 1.07),
    "eye_size": (0.9, 1.15),
    "eye_slant": (-1.0, 1.0),       # outer corner down .. up
    "eye_hue": (50.0, 260.0),       # degrees: hazel .. green .. blue
    "eye_light": (0.32, 0.62),
    "brow_thickness": (0.75, 1.35),
    "brow_arch": (0.4, 1.4),
    "nose_length": (0.9, 1.12),
    "nose_width": (0.82, 1.25),
    "lip_fullness": (0.8, 1.3),
    "lip_colour": (0.0, 1.0),       # bare .. lipstick
    "hair_hue": (35.0, 80.0),       # degrees: auburn .. blond
    "hair_light": (0.2, 0.76),
    "hair_chroma": (0.02, 0.10),
    "hair_volume": (0.0, 1.0),
    "cloth_hue": (0.0, 360.0),
    "cloth_light": (0.36, 0.74),
    "back_hue": (160.0, 400.0),     # degrees: teal, blue, violet, rose, orange
    "back_light": (0.62, 0.86),
    "age": (0.0, 1.0),              # lines beside nose, under the eyes
    "shoulders": (0.92, 1.06),
}

CATEGORICAL = {
    "hair": ("short", "buzz", "bald", "long", "wavy", "bob", "curly", "bun", "headscarf", "beanie",
             "twin_buns"),
    "glasses": ("none", "round", "square", "tinted"),
    "facial_hair": ("none", "moustache", "beard", "stubble", "goatee"),
    "clothing": ("tee", "collar", "hoodie", "jacket", "turtleneck"),
    "background": ("gradient", "two_tone", "window", "bokeh", "arch"),
    "earrings": ("none", "stud"),
}

# how often each option is drawn, normally and in the shifted distribution
WEIGHTS = {
    "hair": ((4, 1, 1, 3, 3, 3, 3, 3, 2, 2, 0), (1, 0, 0, 1, 1, 2, 2, 0, 1, 1, 4)),
    "glasses": ((12, 3, 3, 0), (3, 1, 1, 4)),
    "facial_hair": ((10, 2, 2, 2, 0), (6, 0, 1, 0, 4)),
    "clothing": ((3, 3, 3, 3, 0), (1, 1, 1, 1, 4)),
    "background": ((2, 2, 2, 3, 0), (1, 1, 1, 1, 4)),
    "earrings": ((6, 4), (1, 2)),
}

# shifted ranges that replace the normal ones; the other shapes leave theirs on either side
SHIFTED = {
    "hair_hue": (130.0, 360.0),
    "hair_light": (0.4, 0.75),
    "hair_chroma": (0.1, 0.16),
    "cloth_light": (0.25, 0.85),
    "back_hue": (60.0, 155.0),
    "back_light": (0.3, 0.5),
    "eye_hue": (260.0, 380.0),
    "eye_light": (0.45, 0.62),
} | {name: CONTINUOUS[name] for name in (           # as usual
    "skin_tone", "undertone", "cloth_hue", "lip_colour", "hair_volume", "cheek", "age")}
REACH = (0.08, 0.3)     # how far beyond a range the shifted shapes go, in ranges


@dataclass(frozen=True)
class Identity:
    """A batch of faces: continuous (B, Nc) float32 and categorical (B, Nk) int64."""

    continuous: torch.Tensor
    categorical: torch.Tensor

    def __len__(self):
        return len(self.continuous)

    def __getitem__(self, rows):
        """The faces of a slice, as a batch."""
        return Identity(self.continuous[rows], self.categorical[rows])

    def factor(self, name):
        """One continuous factor (B, 1, 1)."""
        return self.continuous[:, list(CONTINUOUS).index(name), None, None]

    def option(self, name):
        """One categorical factor (B,), an index into CATEGORICAL[name]."""
        return self.categorical[:, list(CATEGORICAL).index(name)]

    def mask(self, name, *options):
        """1 where the factor is one of the options, else 0 (B, 1, 1)."""
        wanted = torch.tensor([CATEGORICAL[name].index(o) for o in options],
                              device=self.categorical.device)
        hit = torch.isin(self.option(name), wanted)
        return hit[:, None, None].to(self.continuous.dtype)

    def masks(self, name, table):
        """(value, mask) of every option in a table {option: value} that some face has."""
        found = ((value, self.mask(name, option)) for option, value in table.items())
        return [(value, mask) for value, mask in found if mask.any()]


def sample_identities(count, generator, shifted=False):
    """Draw `count` faces; `shifted` draws from the held-out distribution. -> Identity (count)."""
    draw = torch.rand(count, len(CONTINUOUS), generator=generator)
    side = torch.rand(count, len(CONTINUOUS), generator=generator) < 0.5
    columns = []
    for i, (name, (low, high)) in enumerate(CONTINUOUS.items()):
        if shifted and name in SHIFTED:
            low, high = SHIFTED[name]
        value = low + (high - low) * draw[:, i]
        if shifted and name not in SHIFTED:
            beyond = (REACH[0] + (REACH[1] - REACH[0]) * draw[:, i]) * (high - low)
            value = torch.where(side[:, i], low - beyond, high + beyond)
        columns.append(value)
    continuous = torch.stack(columns, 1)                                  # (count, Nc)
    options = [torch.multinomial(torch.tensor(WEIGHTS[name][shifted], dtype=torch.float32),
                                 count, replacement=True, generator=generator)
               for name in CATEGORICAL]
    return Identity(_harmonise(continuous), _suitable(torch.stack(options, 1)))


def _harmonise(continuous):
    """Clothes take a hue that goes with the background: a neighbour or the complement."""
    names = list(CONTINUOUS)
    cloth, back = names.index("cloth_hue"), names.index("back_hue")
    turn = continuous[:, cloth] / 360                                     # uniform in 0..1
    offset = torch.where(turn < 0.5, 150 + 120 * turn, 20 + 80 * (turn - 0.5))
    continuous[:, cloth] = (continuous[:, back] + offset) % 360
    return continuous


def _suitable(categorical):
    """A headscarf hides earrings; some styles go without facial hair."""
    names = list(CATEGORICAL)
    hair = categorical[:, names.index("hair")]
    for name, styles in (("earrings", ("headscarf",)),
                         ("facial_hair", ("headscarf", "bob", "twin_buns"))):
        column = names.index(name)
        without = torch.isin(hair, torch.tensor([CATEGORICAL["hair"].index(s) for s in styles]))
        categorical[:, column] = torch.where(without, 0, categorical[:, column])
    return categorical
