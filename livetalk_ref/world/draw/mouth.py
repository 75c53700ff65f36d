"""The mouth, which must be readable at 96 pixels, and the facial hair around it."""

import torch

from livetalk_ref.world.draw.paint import capsule, cut, ellipse, ramp, smooth_max
from livetalk_ref.world.draw.rig import MOUTH_Y

OPEN = 0.29             # inner height at mouth_open = 1: 14 of 96 pixels
HALF = 0.235            # half the width at rest: 23 of 96 pixels wide
UPPER = 0.26            # share of the opening above the resting line
BOX = (0.40, 0.20, 0.40, 0.38)      # left, top, right, bottom of mouth_box around its centre


def opening(rig):
    """Inner height of the mouth in scene units (N, 1, 1)."""
    return OPEN * rig.at("mouth_open") + 0.022 * rig.at("surprised")


def centre(rig):
    """Head-frame position of the mouth (N, 1, 1) each."""
    return rig.place(torch.zeros_like(rig.shift_x), MOUTH_Y, 0.44)


class Mouth:
    """The mouth's curves on a window: t runs -1..1 from corner to corner."""

    def __init__(self, rig, window):
        s, (x, y) = rig.at, centre(rig)
        half = HALF * (1 + 0.26 * s("mouth_width") - 0.34 * s("mouth_round") + 0.09 * s("happy")
                       - 0.08 * s("surprised") - 0.04 * s("sad")) * rig.yaw.cos()
        lift = 0.012 + 0.08 * s("happy") - 0.075 * s("sad") - 0.04 * s("angry")
        height = opening(rig)
        self.x, self.y = cut(rig.x, window) - x, cut(rig.y, window) - y     # from its middle
        self.half, self.height, self.t = half, height, self.x / half
        square = self.t * self.t
        self.profile = (1 - square) * (1 + 0.4 * square)
        middle = lift * (0.45 - square)
        self.upper = middle - UPPER * height * self.profile         # the inner edges of the lips
        self.lower = middle + (1 - UPPER) * height * self.profile
        # turns vertical into perpendicular distance
        self.slope = (1 + (square * ((1.3 * height + 2 * lift) / half) ** 2)).sqrt()

    def between(self, top, bottom):
        inside = torch.maximum(top - self.y, self.y - bottom) / self.slope
        return torch.maximum(inside, self.x.abs() - 1.03 * self.half)


def mouth(canvas, rig):
    """Lips with a bow and a highlight, dark inside, upper teeth, tongue."""
    f, c, rounding = rig.identity.factor, rig.colours, rig.at("mouth_round")
    window = rig.box(*centre(rig), *BOX)
    part, m = canvas.window(window), Mouth(rig, window)
    full = f("lip_fullness")
    bow = m.profile * (1 - 0.30 * ramp(1 - m.t.abs() * 4))
    thick_up = 0.047 * full * (1 + 0.55 * rounding) * (1 - 0.3 * rig.at("angry"))
    thick_low = 0.065 * full * (1 + 0.40 * rounding) * (1 - 0.3 * rig.at("angry"))
    top, bottom = m.upper - thick_up * bow, m.lower + thick_low * m.profile
    shadow = ellipse(m.x, m.y - m.height * 0.74 - thick_low - 0.032, 0.085, 0.018)
    part.glow(c["skin_shadow"], shadow, 0.04, 0.55)
    part.shape(c["lip"], m.between(top - 0.006, bottom + 0.006))
    gloss = m.between(m.lower + thick_low * 0.22, m.lower + thick_low * 0.75)
    part.paint(c["lip_light"], part.cover(torch.maximum(gloss, m.x.abs() - 0.55 * m.half), 2) * .8)
    _inside(part, rig, m)
    canvas.paste(part)


def _inside(part, rig, m):
    c = rig.colours
    inner = m.between(m.upper - 0.011, m.lower + 0.011)
    part.shape(c["mouth"], inner)
    tongue = ellipse(m.x, m.y - 0.74 * m.height + 0.01, 0.62 * m.half, 0.36 * m.height + 0.01)
    open_enough = ramp(m.height / 0.10)
    part.shape(c["tongue"], torch.maximum(tongue, inner + 0.016), open_enough)
    depth = 0.105 * m.height / (m.height + 0.07) * (1 - 0.45 * rig.at("mouth_round"))
    depth = depth * (1 - 0.4 * rig.at("sad"))
    teeth = m.between(m.upper + 0.004, m.upper + depth + 0.02 * m.t * m.t)
    teeth = smooth_max(teeth, m.x.abs() - 0.80 * m.half, 0.04)
    part.shape(c["white"], torch.maximum(teeth, inner), ramp(m.height / 0.06))


def facial_hair(canvas, rig, head):
    """Drawn under the mouth, so that lips stay readable."""
    x, y = centre(rig)
    shapes = {"beard": (1.0, _beard), "stubble": (0.38, _beard), "goatee": (1.0, _goatee)}
    for (opacity, shape), mask in rig.identity.masks("facial_hair", shapes):
        cover = canvas.cover(shape(rig, head, x, y)) * mask * opacity
        canvas.paint_figure(rig.colours["hair"], cover)
        low = ramp((rig.y - y - 0.12) * 4)
        canvas.paint(rig.colours["hair_dark"], cover * low * 0.7)
    mask = rig.identity.mask("facial_hair", "beard", "moustache", "goatee")
    if mask.any():
        canvas.shape(rig.colours["hair_dark"], _moustache(rig, x, y), mask)


def _beard(rig, head, x, y):
    cheeks = ellipse(rig.x - 0.9 * x, rig.y - y + 0.20, 0.36 * rig.width, 0.235)
    return smooth_max(smooth_max(head - 0.022, -cheeks, 0.05), -0.02 - rig.y, 0.05)


def _goatee(rig, head, x, y):
    drop = opening(rig)
    chin = ellipse(rig.x - x, rig.y - y - 0.16 - 0.4 * drop, 0.17, 0.15 + 0.3 * drop)
    return smooth_max(chin, head - 0.03, 0.03)


def _moustache(rig, x, y):
    lift = UPPER * opening(rig)
    u, v = (rig.x - x).abs(), rig.y - y + lift
    return capsule(u, v, 0.03, -0.085, 0.20 * rig.yaw.cos(), -0.03, 0.040, 0.018)
