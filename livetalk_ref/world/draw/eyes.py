"""Eyes with lids, lashes and catch-lights; brows; glasses. Both sides are drawn at once:
a pixel belongs to the nearer eye, in coordinates whose u points away from the nose."""

import torch

from livetalk_ref.world.draw.paint import arc, box, capsule, circle, cut, ellipse, ramp, rotate
from livetalk_ref.world.draw.rig import BROW_Y, EYE_Y

SPACING = 0.205         # eye to middle of the face
HALF = 0.128            # half the width of an eye


def pair(canvas, rig, spacing, y, above, below):
    """A window on two mirrored features, and coordinates from the middle of the nearer one.

    above, below: how far the window reaches; u points outwards, unforeshortened, v down; side is
    -1 image left, 1 image right.
    """
    middle, _ = rig.place(torch.zeros_like(y), 0.0, 0.40)
    window = rig.box(middle, y, 0.47, above, 0.47, below)
    left, scale_l = rig.on_ball(-spacing)
    right, scale_r = rig.on_ball(spacing)
    x = cut(rig.x, window)
    here = x < (left + right) / 2
    side = torch.where(here, -1.0, 1.0)
    u = (x - torch.where(here, left, right)) * side / torch.where(here, scale_l, scale_r)
    return canvas.window(window), u, cut(rig.y, window) - y, side


def eyes(canvas, rig):
    f, s = rig.identity.factor, rig.at
    spacing = SPACING * f("eye_spacing") * rig.width
    _, y = rig.place(spacing, EYE_Y, 0.41)
    part, u, v, side = pair(canvas, rig, spacing, y, 0.26, 0.22)
    half = HALF * f("eye_size")
    v = v + 0.16 * f("eye_slant") * u
    t = u / half
    bulge = 1 - t * t
    closing = (1 - s("blink")).clamp(0, 1)
    lid = (1 + 0.32 * s("surprised") - 0.18 * s("happy") - 0.22 * s("angry")
           - 0.18 * s("sad")) * closing
    slant = 0.35 * (s("sad") - s("angry")) * t * closing
    lower_h = 0.060 * f("eye_size") * (1 + 0.1 * s("surprised") - 0.40 * s("happy"))
    lower = lower_h * bulge
    upper = (lower_h * (1 - closing) - 0.088 * f("eye_size") * (lid - slant)) * bulge
    crease = -(0.095 + 0.03 * lid) * bulge * f("eye_size") - 0.008
    slope = (1 + (0.16 / half * t) ** 2).sqrt()
    ends = u.abs() - half
    white = torch.maximum(upper - v, v - lower) / slope + 0.02 * (1 - closing)
    white = torch.maximum(white, ends)
    _lids(part, rig, v, ends, slope, crease, upper, lower)
    _eyeball(part, rig, u * side, v, white, upper)
    lash = torch.maximum((v - upper).abs() / slope - 0.013 - 0.007 * t, u.abs() - half * 1.06)
    wing = capsule(u, v, half * 0.92, upper.new_tensor(-0.005), half * 1.16, -0.035 * lid, 0.015)
    part.shape(rig.colours["ink"], torch.minimum(lash, wing))
    canvas.paste(part)


def _lids(part, rig, v, ends, slope, crease, upper, lower):
    c = rig.colours
    lid = torch.maximum(crease - v, v - upper) / slope - 0.004
    part.shape(c["skin_shadow"], torch.maximum(lid, ends), 0.75)
    under = (v - lower - 0.006).abs() / slope - 0.010
    part.shape(c["skin_shadow"], torch.maximum(under, ends), 0.6)


def _eyeball(part, rig, x, v, white, upper):
    """White with a shadow under the lid, iris darker above, pupil, two catch-lights."""
    c, f, s = rig.colours, rig.identity.factor, rig.at
    radius = 0.074 * f("eye_size")
    x = x - 0.056 * s("gaze_x")
    y = v + 0.012 - 0.034 * s("gaze_y")
    part.shape(c["white"], white)
    inside = part.cover(white)
    iris = part.cover(circle(x, y, radius))
    part.paint(c["iris_dark"], iris * inside)
    bright = ellipse(x, y - 0.018, radius * 0.78, radius * 0.62)
    part.paint(c["iris"], part.cover(bright, 2) * inside)
    part.paint(c["ink"], part.cover(circle(x, y, radius * 0.46)) * inside)
    part.paint(c["skin_deep"], inside * ramp(1 - (v - upper) / 0.045) * 0.45)
    part.paint(c["white"], part.cover(circle(x + 0.025, y + 0.026, 0.020)) * inside)


def brows(canvas, rig):
    f, s = rig.identity.factor, rig.at
    spacing = SPACING * f("eye_spacing") * rig.width * 1.03 - 0.012 * s("angry")
    raised = (0.05 * s("brow") + 0.065 * s("surprised") - 0.045 * s("angry")
              + 0.012 * s("happy") + 0.01 * s("sad"))
    _, y = rig.place(spacing, BROW_Y, 0.41)
    y = y - raised
    part, u, v, _ = pair(canvas, rig, spacing, y, 0.18, 0.18)
    u, v = rotate(u, v, 0.42 * s("sad") - 0.46 * s("angry") - 0.04 * f("eye_slant"))
    bend = 0.045 * f("brow_arch") + 0.02 * s("surprised")
    thick = 0.029 * f("brow_thickness") * (1 - 0.25 * u / 0.14)
    part.shape(rig.colours["brow"], arc(u - 0.01, v + 0.02, bend, 0.145, thick))
    canvas.paste(part)


def glasses(canvas, rig):
    """Round or square rims with a glint; tinted lenses let the eyes shine through."""
    if not rig.identity.option("glasses").any():
        return
    f, c = rig.identity.factor, rig.colours
    spacing = SPACING * f("eye_spacing") * rig.width * 1.04
    _, y = rig.place(spacing, EYE_Y + 0.01, 0.44)
    part, u, v, side = pair(canvas, rig, spacing, y, 0.26, 0.30)
    bridge = torch.maximum((v + 0.03).abs() - 0.014, u + 0.12)
    bridge = torch.maximum(bridge, -u - spacing - 0.02)
    shapes = {"round": (circle(u, v, 0.170), "white", 0.08, "gold"),
              "square": (box(u, v, 0.178, 0.138, 0.05), "white", 0.08, "ink"),
              "tinted": (ellipse(u, v, 0.174, 0.150), "light2", 0.34, "accent")}
    for (lens, colour, tint, rim), mask in rig.identity.masks("glasses", shapes):
        part.shape(c[colour], lens, tint * mask)
        glint = torch.maximum((u * side + v + 0.10).abs() - 0.03, lens + 0.02)
        part.shape(c["white"], glint, 0.35 * mask)
        part.shape(c[rim], torch.minimum(lens.abs() - 0.021, bridge), mask)
    canvas.paste(part)
