"""What is around the head: a still backdrop in five styles; neck, clothes, earrings."""

import torch

from livetalk_ref.world.draw.paint import box, capsule, circle, ellipse, ramp, smooth_min

# still bokeh discs: x, y, radius, opacity
BOKEH = ((-0.78, -0.62, 0.20, 0.30), (0.70, -0.78, 0.15, 0.34), (0.86, -0.18, 0.24, 0.22),
         (-0.88, 0.10, 0.14, 0.34), (-0.42, -0.93, 0.11, 0.26), (0.62, 0.34, 0.12, 0.26))


# Behind everything.

def backdrop(canvas, rig):
    """Gradient from high to low, a glow behind the head, and the style's own shapes."""
    c, x, y = rig.colours, rig.sx, rig.sy
    canvas.paint(c["back_low"], ramp((y + 0.75) * 0.6))
    canvas.paint(c["back_high"], 0.55 * ramp(1 - circle(x + 0.2, y + 0.45, 0.1) * 0.9))
    styles = {"two_tone": _two_tone, "window": _window, "bokeh": _bokeh, "arch": _arch}
    for draw, mask in rig.identity.masks("background", styles):
        draw(canvas, rig, mask)


def _two_tone(canvas, rig, mask):
    c = rig.colours
    canvas.shape(c["back_low"], 0.8 * rig.sx + 0.6 * rig.sy - 0.12, 0.75 * mask)
    canvas.shape(c["back_high"], circle(rig.sx - 0.62, rig.sy + 0.52, 0.46), 0.5 * mask)


def _window(canvas, rig, mask):
    """A bright window with a cross bar, a sill and a plant pot's worth of colour below."""
    c, x, y = rig.colours, rig.sx + 0.52, rig.sy + 0.42
    canvas.shape(c["back_low"], box(x, y, 0.45, 0.56, 0.06), mask)
    panes = box(x.abs() - 0.195, y.abs() - 0.25, 0.165, 0.22, 0.03)
    canvas.shape(c["back_high"], panes, mask)
    canvas.glow(c["light3"], circle(x + 0.1, y + 0.25, 0.05), 0.5, 0.4 * mask)
    canvas.shape(c["back_low"], box(rig.sx - 0.75, y + 0.15, 0.17, 0.24, 0.03), mask)
    canvas.shape(c["light1"], circle(rig.sx - 0.75, y + 0.19, 0.085), 0.6 * mask)


def _bokeh(canvas, rig, mask):
    for i, (x, y, radius, opacity) in enumerate(BOKEH):
        colour = rig.colours[("back_high", "light1", "light3")[i % 3]]
        disc = circle(rig.sx - x, rig.sy - y, radius)
        canvas.paint(colour, canvas.cover(disc, 4) * opacity * mask)


def _arch(canvas, rig, mask):
    """Concentric rainbow arches around the head; only the shifted distribution has them."""
    c = rig.colours
    for radius, colour in ((0.98, "back_low"), (0.84, "light2"), (0.70, "back_high")):
        tall = ellipse(rig.sx, (rig.sy + 0.05).clamp(max=0), radius, radius)
        canvas.shape(c[colour], tall, 0.8 * mask)


# Below the head.

def neck(canvas, rig, head_below):
    """Neck and chest, with the shadow that the chin throws on them."""
    c = rig.colours
    x, y = rig.to_scene(0.027 * rig.at("turn"), torch.full_like(rig.roll, 0.34))
    throat = capsule(rig.gx, rig.gy, x, y, 0.8 * rig.shift_x, 0.80 + 0 * x, 0.17, 0.185)
    chest = ellipse(rig.bx, rig.by - 0.84, 0.34, 0.22)
    shape = smooth_min(throat, chest, 0.12)
    inside = canvas.cover(shape)
    canvas.paint_figure(c["skin"], inside)
    canvas.paint(c["skin_shadow"], inside * ramp((rig.bx + 0.02) * 5) * 0.5)
    canvas.paint(c["skin_deep"], inside * canvas.cover(head_below, 3) * 0.7)


def shoulders(rig):
    wide = rig.identity.factor("shoulders")
    slope = 0.03 * rig.at("breath")
    trunk = box(rig.bx, rig.by - 1.20, (0.68 + 0.35 * slope) * wide, 0.50, 0.36)
    return smooth_min(trunk, ellipse(rig.bx, rig.by - 0.86, 0.42, 0.19), 0.16)


def hood(canvas, rig):
    """Behind the neck, so drawn before it."""
    mask = rig.identity.mask("clothing", "hoodie")
    if mask.any():
        shape = ellipse(rig.bx, rig.by - 0.66, 0.40, 0.24)
        canvas.paint_figure(rig.colours["cloth_dark"], canvas.cover(shape) * mask)


def clothes(canvas, rig):
    c = rig.colours
    trunk, x, y = shoulders(rig), rig.bx, rig.by
    collar = ellipse(x, y - 0.60, 0.235, 0.195)
    garment = torch.maximum(trunk, -collar)
    inside = canvas.cover(garment)
    canvas.paint_figure(c["cloth"], inside)
    canvas.paint(c["cloth_dark"], inside * ramp((x - 0.12) * 2.2) * 0.55)
    canvas.paint(c["cloth_light"], inside * ramp(1 - circle(x + 0.45, y - 0.82, 0.02) * 4) * 0.45)
    styles = {"tee": _tee, "collar": _shirt, "hoodie": _hoodie, "jacket": _jacket,
              "turtleneck": _turtleneck}
    for draw, mask in rig.identity.masks("clothing", styles):
        draw(canvas, rig, mask, garment, collar)


def _band(rig, collar, width):
    """The front half of a neckline's hem."""
    return torch.maximum(torch.maximum(collar - width, -collar), 0.60 - rig.by)


def _tee(canvas, rig, mask, garment, collar):
    c = rig.colours
    canvas.shape(c["cloth_dark"], _band(rig, collar, 0.045), mask)
    _pendant(canvas, rig, mask)


def _pendant(canvas, rig, mask):
    """A necklace with a drop."""
    c, u = rig.colours, rig.bx.abs()
    string = capsule(u, rig.by, 0.155 + 0 * rig.roll, 0.62, 0.02, 0.80, 0.015)
    canvas.shape(c["gold"], torch.minimum(string, circle(rig.bx, rig.by - 0.84, 0.045)), mask)


def _shirt(canvas, rig, mask, garment, collar):
    """Pointed collar and a tie."""
    c, x, y, zero = rig.colours, rig.bx, rig.by, torch.zeros_like(rig.roll)
    tie = capsule(x, y, zero, 0.80, 0.0, 1.02, 0.045, 0.085)
    canvas.shape(c["back_low"], torch.minimum(tie, circle(x, y - 0.79, 0.06)), mask)
    flap = capsule(x.abs(), y, zero + 0.205, 0.63, 0.11, 0.80, 0.07, 0.035)
    canvas.shape(c["accent"], flap, mask)


def _hoodie(canvas, rig, mask, garment, collar):
    """A seam at the neck and two strings."""
    c, zero = rig.colours, torch.zeros_like(rig.roll)
    canvas.shape(c["cloth_light"], _band(rig, collar, 0.075), mask)
    string = capsule(rig.bx.abs(), rig.by, zero + 0.12, 0.80, 0.12, 0.97, 0.022, 0.028)
    canvas.shape(c["accent"], string, mask)


def _jacket(canvas, rig, mask, garment, collar):
    """Open over a light shirt, with lapels and a pendant."""
    c, x, y = rig.colours, rig.bx, rig.by
    opening = torch.maximum(x.abs() * 0.93 - 0.24 + (y - 0.66) * 0.36, 0.60 - y)
    canvas.paint(c["accent"], canvas.cover(torch.maximum(garment, opening)) * mask)
    zero = torch.zeros_like(rig.roll)
    lapel = capsule(x.abs(), y, zero + 0.25, 0.66, 0.13, 1.02, 0.075, 0.05)
    canvas.paint(c["cloth_dark"], canvas.cover(torch.maximum(lapel, garment)) * mask)
    _pendant(canvas, rig, mask)


def _turtleneck(canvas, rig, mask, garment, collar):
    c, zero = rig.colours, torch.zeros_like(rig.roll)
    roll = capsule(rig.bx, rig.by, zero, 0.62, zero, 0.80, 0.205, 0.27)
    canvas.shape(c["cloth"], roll, mask)
    canvas.shape(c["cloth_light"], box(rig.bx, rig.by - 0.60, 0.20, 0.07, 0.06), 0.8 * mask)
    _pendant(canvas, rig, mask)


def earrings(canvas, rig):
    """Studs; the far ear hides behind the head."""
    mask = rig.identity.mask("earrings", "stud")
    if not mask.any():
        return
    turn = rig.at("turn")
    side = torch.where(rig.x < 0, -1.0, 1.0)
    u = rig.x * side - 0.475 * rig.width + 0.006 * turn * side
    v = rig.y - 0.115 + 0.016 * rig.at("nod")
    shown = ramp(1.6 - 1.2 * turn * side)
    canvas.shape(rig.colours["gold"], circle(u, v, 0.044), mask * shown)
