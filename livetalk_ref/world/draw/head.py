"""The head's skin: outline, ears, shading, cheeks, nose and the lines that come with age."""

import torch

from livetalk_ref.world.draw.mouth import opening
from livetalk_ref.world.draw.paint import arc, capsule, circle, cut, ellipse, ramp, smooth_min
from livetalk_ref.world.draw.rig import EYE_Y, NOSE_Y


def outline(rig):
    """Distance to the head without hair: skull and jaw joined; the chin follows the mouth."""
    f, turn = rig.identity.factor, rig.at("turn")
    drop = 0.42 * opening(rig)
    skull = ellipse(rig.x - 0.024 * turn, rig.y + 0.17, 0.462 * rig.width, 0.50)
    jaw_x, jaw_y = 0.06 * turn, 0.06 + 0.019 * rig.at("nod")
    jaw = ellipse(rig.x - jaw_x, rig.y - jaw_y - 0.45 * drop,
                  0.39 * rig.width * f("jaw"), 0.415 + f("chin") + 0.55 * drop)
    return smooth_min(skull, jaw, 0.14)


def ears(canvas, rig):
    """Behind the head: the ear that the head turns away from comes out, the other hides."""
    turn = rig.at("turn")
    side = torch.where(rig.x < 0.024 * turn, -1.0, 1.0)
    u = rig.x * side - 0.455 * rig.width + 0.006 * turn * side
    v = rig.y - EYE_Y - 0.07 + 0.016 * rig.at("nod")
    canvas.paint_figure(rig.colours["skin"], canvas.cover(ellipse(u, v, 0.085, 0.125)))
    canvas.shape(rig.colours["skin_shadow"], ellipse(u - 0.01, v, 0.045, 0.075), 0.8)


def skin(canvas, rig, head):
    """Flat skin, a soft shadow away from the light, a lighter brow, rosy cheeks."""
    c, turn = rig.colours, rig.at("turn")
    inside = canvas.cover(head)
    canvas.paint_figure(c["skin"], inside)
    bright = ellipse(rig.x + 0.17 - 0.053 * turn, rig.y + 0.10, 0.47, 0.62)
    canvas.paint(c["skin_shadow"], inside * ramp(bright * 4 + 0.1) * 0.7)
    glow = ellipse(rig.x + 0.08 - 0.085 * turn, rig.y + 0.26, 0.26, 0.13)
    canvas.paint(c["skin_light"], ramp(0.6 - glow * 5) * inside * 0.65)
    _cheeks(canvas, rig, inside)


def _cheeks(canvas, rig, inside):
    left, scale_l = rig.on_ball(torch.full_like(rig.width, -0.255))
    right, scale_r = rig.on_ball(torch.full_like(rig.width, 0.255))
    y = EYE_Y + 0.20 + 0.044 * rig.at("nod") - 0.02 * rig.at("happy")
    here = rig.x < (left + right) / 2
    u = (rig.x - torch.where(here, left, right)) / torch.where(here, scale_l, scale_r)
    strength = rig.identity.factor("cheek") * 0.42 + 0.16 * rig.at("happy")
    canvas.paint(rig.colours["blush"],
                 ramp(1.15 - circle(u, (rig.y - y) * 1.25, 0.03) * 7) * inside * strength)


def nose(canvas, rig):
    """One shaded side, a tip with its shadow, two nostrils and a highlight."""
    f, c, nod = rig.identity.factor, rig.colours, rig.at("nod")
    half = 0.082 * f("nose_width")
    top_x, top_y = rig.place(torch.zeros_like(half), EYE_Y - 0.03, 0.47)
    x, y = rig.place(torch.zeros_like(half), EYE_Y + (NOSE_Y - EYE_Y) * f("nose_length"), 0.56)
    box = rig.box(x, y, 0.34, 0.36, 0.34, 0.20)
    part, px, py = canvas.window(box), cut(rig.x, box), cut(rig.y, box)
    along = ((py - top_y) / (y - top_y + 1e-3)).clamp(0, 1)
    ridge = px - (top_x + (x - top_x) * along)
    bridge = capsule(px, py, top_x, top_y, x, y, 0.030, half)
    part.shape(c["skin_shadow"], torch.maximum(bridge, -ridge), 0.75)
    tip = ellipse(px - x, py - y, half * 1.12, 0.062)
    under = ellipse(px - x, py - y + 0.022, half * 1.35, 0.060)
    part.shape(c["skin_deep"], torch.maximum(tip, -under), 0.85)
    part.glow(c["skin_light"], ellipse(px - x + 0.012, py - y + 0.03, 0.022, 0.03), 0.03, 0.9)
    nostril = ellipse((px - x).abs() - half * 0.55, py - y - 0.04 + 0.011 * nod, 0.026, 0.014)
    part.shape(c["skin_deep"], nostril, 0.9)
    canvas.paste(part)


def lines(canvas, rig):
    """Folds beside the mouth and under the eyes: from age, and from smiling."""
    f, happy = rig.identity.factor, rig.at("happy")
    age = (f("age") * 0.75 - 0.12).clamp(min=0)
    x, y = rig.place(torch.zeros_like(age), 0.14, 0.43)
    box = rig.box(x, y, 0.42, 0.30, 0.42, 0.30)
    part, px, py = canvas.window(box), cut(rig.x, box), cut(rig.y, box)
    u, v = (px - x).abs() / rig.yaw.cos(), py - y
    fold = capsule(u, v, 0.115, -0.03, 0.235 + 0.03 * happy, 0.09, 0.014)
    part.shape(rig.colours["skin_shadow"], fold, (age + 0.55 * happy).clamp(max=0.9))
    bag = arc(u - 0.2, v + 0.125, -0.03, 0.10, 0.014)
    part.shape(rig.colours["skin_shadow"], bag, age * 0.9)
    canvas.paste(part)


def chin_shadow(rig):
    """Distance to the shadow that the jaw throws on the neck."""
    turn = rig.at("turn")
    drop = 0.42 * opening(rig)
    return ellipse(rig.x - 0.053 * turn - 0.03, rig.y - 0.17 - drop, 0.36 * rig.width, 0.42)
