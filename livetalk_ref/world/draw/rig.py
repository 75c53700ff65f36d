"""Where everything is: one frame's head, features and body in scene units.

The head is a ball that turns, nods and tilts over the neck. A feature at depth z before the
middle of the head moves by z times the sine of the turn, so the nose runs ahead of the eyes,
the eyes ahead of the outline, and the hair behind the head goes the other way.
"""

from dataclasses import dataclass

import torch

from livetalk_ref.world.draw.paint import grid, oklch, rotate
from livetalk_ref.world.state import COL

ZOOM = 1.32             # how close the camera is
RADIUS = 0.46           # of the ball the features sit on
YAW = 0.22              # radians at turn = 1: features move by about 5 of 96 pixels
PITCH = 0.11            # sine of the pitch at nod = 1
ROLL = 0.13             # radians at tilt = 1: 7 degrees
PIVOT_Y = 0.50          # the head tilts about the top of the neck
EYE_Y, BROW_Y, NOSE_Y, MOUTH_Y = -0.08, -0.245, 0.085, 0.235


@dataclass
class Rig:
    """A batch of frames: state, identity, and pixel grids that move with head and body."""

    identity: object
    state: torch.Tensor     # (N, S)
    size: int
    colours: dict           # palette(identity)

    def __post_init__(self):
        self.sx, self.sy = grid(self.size, self.state)                    # picture (1, H, W)
        self.gx, self.gy = self.sx / ZOOM, self.sy / ZOOM                 # scene (1, H, W)
        self.pixel = 2 / self.size / ZOOM                                 # in scene units
        s = self.at
        self.shift_x = 0.05 * s("sway_x")
        self.shift_y = 0.03 * s("sway_y") + 0.012 * s("nod")
        self.roll = ROLL * s("tilt")
        self.yaw = YAW * s("turn")
        self.width = self.identity.factor("face_width")
        x, y = rotate(self.gx - self.shift_x, self.gy - self.shift_y - PIVOT_Y, self.roll)
        self.x, self.y = x, y + PIVOT_Y                                   # head frame (N, H, W)
        self.bx = self.gx - 0.8 * self.shift_x                            # body frame (N, H, W)
        self.by = self.gy + 0.08 + 0.02 * s("breath")

    def at(self, name):
        """One state column (N, 1, 1)."""
        return self.state[:, COL[name], None, None]

    def place(self, x, y, depth):
        """Head-frame position of a feature that sits at (x, y) when looking ahead."""
        drift = self.yaw.sin() * depth
        return x * self.yaw.cos() + drift, y + PITCH * depth * self.at("nod")

    def on_ball(self, x):
        """Turn a point x of the face's ball: its new x and how much its width shrinks."""
        angle = torch.asin((x / RADIUS).clamp(-0.95, 0.95))
        return RADIUS * (angle + self.yaw).sin(), (angle + self.yaw).cos() / angle.cos()

    def to_scene(self, x, y):
        """Head-frame point -> scene units."""
        cos, sin = self.roll.cos(), self.roll.sin()
        y = y - PIVOT_Y
        return (cos * x - sin * y + self.shift_x,
                sin * x + cos * y + PIVOT_Y + self.shift_y)

    def box(self, x, y, left, top, right, bottom):
        """Pixel window (top, left, bottom, right) around a head-frame point, for all frames."""
        px, py = (v.detach() for v in self.to_scene(x, y))
        edges = py.min() - top, px.min() - left, py.max() + bottom, px.max() + right
        places = [(float(edge) * ZOOM + 1) / 2 for edge in edges]       # in 0..1 inside the picture
        return [min(max(round(place * self.size), 0), self.size) for place in places]


def palette(identity):
    """The colours of each identity, name -> (B, 3, 1, 1), chosen to go together."""
    f = identity.factor
    tone = f("skin_tone")
    light = 0.43 + 0.43 * tone
    chroma = 0.055 + 0.11 * tone * (1 - tone) + 0.012 * tone
    hue = 52 + 6 * tone + 12 * f("undertone")
    hair, hair_c, hair_h = f("hair_light"), f("hair_chroma"), f("hair_hue")
    back, back_h = f("back_light"), f("back_hue")
    cloth, cloth_h = f("cloth_light"), f("cloth_hue")
    lip = f("lip_colour")
    lip = lip * (1 - 0.85 * identity.mask("facial_hair", "moustache", "beard", "stubble", "goatee"))
    flat = torch.zeros_like(tone)
    return {
        "skin": oklch(light, chroma, hue),
        "skin_shadow": oklch(light * 0.85, chroma * 1.12 + 0.01, hue - 10),
        "skin_deep": oklch(light * 0.70, chroma * 1.15 + 0.01, hue - 16),
        "skin_light": oklch(light + 0.055, chroma * 0.8, hue + 6),
        "blush": oklch(light - 0.04, chroma + 0.065, flat + 28),
        "lip": oklch(light * 0.82 - 0.07 * lip, 0.08 + 0.07 * lip, 26 - 12 * lip),
        "lip_light": oklch(light * 0.9 + 0.03, 0.08 + 0.06 * lip, 28 - 10 * lip),
        "hair": oklch(hair, hair_c, hair_h),
        "hair_dark": oklch(hair * 0.72, hair_c * 0.9, hair_h - 8),
        "hair_light": oklch(hair * 0.93 + 0.13, hair_c * 1.05 + 0.01, hair_h + 6),
        "brow": oklch(hair.clamp(max=0.5) * 0.62 + 0.06, hair_c * 0.8, hair_h),
        "iris": oklch(f("eye_light"), 0.05 + 0.1 * f("eye_light"), f("eye_hue")),
        "iris_dark": oklch(f("eye_light") * 0.55, 0.06 + flat, f("eye_hue")),
        "cloth": oklch(cloth, 0.13 + flat, cloth_h),
        "cloth_dark": oklch(cloth * 0.76, 0.12 + flat, cloth_h - 12),
        "cloth_light": oklch(cloth * 0.8 + 0.2, 0.09 + flat, cloth_h + 10),
        "accent": oklch(0.93 + flat, 0.035 + flat, cloth_h + 40),
        "back": oklch(back, 0.07 + flat, back_h),
        "back_low": oklch(back - 0.13, 0.085 + flat, back_h + 32),
        "back_high": oklch(back * 0.7 + 0.3, 0.06 + flat, back_h - 24),
        "light1": oklch(0.93 + flat, 0.095 + flat, 84 + flat),
        "light2": oklch(0.90 + flat, 0.085 + flat, back_h + 48),
        "light3": oklch(0.975 + flat, 0.025 + flat, 90 + flat),
        "white": oklch(0.97 + flat, 0.008 + flat, 80 + flat),
        "ink": oklch(0.22 + flat, 0.03 + flat, 30 + flat),
        "mouth": oklch(0.27 + flat, 0.075 + flat, 20 + flat),
        "tongue": oklch(0.62 + flat, 0.13 + flat, 20 + flat),
        "gold": oklch(0.83 + flat, 0.12 + flat, 88 + flat),
    }
