"""Below the head: neck, shoulders and clothes, things that dangle, and hands that gesture."""

import torch

from livetalk_ref.world.paint import box, capsule, circle, cut, ellipse, ramp, rotate, smooth_min


def neck(canvas, rig, head_below):
    """Neck and chest, with the shadow that the chin throws on them."""
    c = rig.colours
    x, y = rig.to_scene(0.05 * rig.at("turn"), torch.full_like(rig.roll, 0.34))
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
    if mask is not None:
        shape = ellipse(rig.bx, rig.by - 0.66, 0.40, 0.24)
        canvas.paint_figure(rig.colours["cloth_dark"], canvas.cover(shape) * mask)


def clothes(canvas, rig):
    c, mask = rig.colours, rig.identity.mask
    trunk, x, y = shoulders(rig), rig.bx, rig.by
    collar = ellipse(x, y - 0.60, 0.235, 0.195)
    garment = torch.maximum(trunk, -collar)
    inside = canvas.cover(garment)
    canvas.paint_figure(c["cloth"], inside)
    canvas.paint(c["cloth_dark"], inside * ramp((x - 0.12) * 2.2) * 0.55)
    canvas.paint(c["cloth_light"], inside * ramp(1 - circle(x + 0.45, y - 0.82, 0.02) * 4) * 0.45)
    styles = (("tee", _tee), ("collar", _shirt), ("hoodie", _hoodie), ("jacket", _jacket),
              ("turtleneck", _turtleneck))
    for name, draw in styles:
        chosen = mask("clothing", name)
        if chosen is not None:
            draw(canvas, rig, chosen, garment, collar)


def _band(rig, collar, width):
    """The front half of a neckline's hem."""
    return torch.maximum(torch.maximum(collar - width, -collar), 0.60 - rig.by)


def _tee(canvas, rig, mask, garment, collar):
    c = rig.colours
    canvas.shape(c["cloth_dark"], _band(rig, collar, 0.045), mask)
    _pendant(canvas, rig, mask)


def _pendant(canvas, rig, mask):
    """A necklace whose drop swings."""
    c, swing = rig.colours, 0.11 * rig.at("earring_swing")
    u = rig.bx.abs()
    string = capsule(u, rig.by, torch.zeros_like(swing) + 0.155, 0.62, 0.02, 0.80, 0.013)
    canvas.shape(c["gold"], string, mask)
    canvas.shape(c["gold"], circle(rig.bx - swing, rig.by - 0.84, 0.042), mask)


def _shirt(canvas, rig, mask, garment, collar):
    """Pointed collar and a tie that swings."""
    c, x, y = rig.colours, rig.bx, rig.by
    swing = 0.12 * rig.at("earring_swing")
    zero = torch.zeros_like(swing)
    tie = capsule(x, y, zero, 0.80, swing, 1.02, 0.045, 0.085)
    canvas.shape(c["back_low"], torch.minimum(tie, circle(x, y - 0.79, 0.06)), mask)
    flap = capsule(x.abs(), y, zero + 0.205, 0.63, 0.11, 0.80, 0.07, 0.035)
    canvas.shape(c["accent"], flap, mask)


def _hoodie(canvas, rig, mask, garment, collar):
    c, x, y = rig.colours, rig.bx, rig.by
    canvas.shape(c["cloth_light"], _band(rig, collar, 0.075), mask)
    swing = 0.10 * rig.at("earring_swing")
    for side in (-1, 1):
        start = torch.full_like(swing, 0.12 * side)
        string = capsule(x, y, start, 0.80, start + swing, 0.97, 0.018, 0.026)
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
    turn = rig.at("turn")
    chosen = rig.identity.mask("earrings", "stud", "drop")
    if chosen is None:
        return
    side = torch.where(rig.x < 0, -1.0, 1.0)
    u = rig.x * side - 0.475 * rig.width + 0.012 * turn * side
    v = rig.y - 0.115 + 0.03 * rig.at("nod")
    shown = ramp(1.6 - 2.2 * turn * side)               # the far ear is behind the head
    canvas.shape(rig.colours["gold"], circle(u, v, 0.034), chosen * shown)
    drops = rig.identity.mask("earrings", "drop")
    if drops is not None:
        swing = 0.10 * rig.at("earring_swing") * side
        drop = capsule(u, v, torch.zeros_like(turn), 0.02, swing, 0.17, 0.016)
        drop = torch.minimum(drop, circle(u - swing, v - 0.18, 0.042))
        canvas.shape(rig.colours["gold"], drop, drops * shown)


# ---- hands ----

FINGERS = ((-0.082, 0.155, -0.42), (-0.028, 0.20, -0.12), (0.028, 0.19, 0.14), (0.08, 0.15, 0.42))


HAND = 1.28             # size of a hand


def hands(canvas, rig):
    """Rise from below beside the chin; they never reach the mouth."""
    for name, side in (("hand_l", -1), ("hand_r", 1)):
        up = rig.at(f"{name}_up")
        if float(up.detach().max()) > 0.02:
            _hand(canvas, rig, name, side, up)


def _hand(canvas, rig, name, side, up):
    x = side * 0.66 + 0.10 * rig.at(f"{name}_x") + 0.8 * rig.shift_x
    x = x + side * 0.08 * (side * rig.at("turn")).clamp(min=0)      # out of the mouth's way
    y = 1.45 - 0.86 * up
    low, high = float(x.detach().min()) - 0.42, float(x.detach().max()) + 0.42
    top = float(y.detach().min()) - 0.45
    window = rig.window(top, low, 1.0, high)
    part = canvas.window(window)
    spread = rig.at(f"{name}_spread")
    u = (cut(rig.gx, window) - x) * -side / HAND        # towards the other hand
    v = (cut(rig.gy, window) - y) / HAND
    u, v = rotate(u, v, torch.full_like(x, -0.10))
    _sleeve(part, rig, u, v)
    _fingers(part, rig, u, v, spread)
    canvas.paste(part)


def _sleeve(part, rig, u, v):
    c, zero = rig.colours, torch.zeros_like(rig.roll)
    part.paint_figure(c["skin_shadow"], part.cover(capsule(u, v, zero, 0.05, zero, 0.4, 0.082)))
    part.paint_figure(c["cloth"], part.cover(box(u, v - 0.60, 0.15, 0.36, 0.06)))
    part.shape(c["cloth_light"], box(u, v - 0.275, 0.155, 0.035, 0.03))


def _fingers(part, rig, u, v, spread):
    """Palm, four fingers and a thumb; closed, the fingers fold to knuckles."""
    c = rig.colours
    for start, length, fan in FINGERS:
        angle = fan * spread
        root = -0.07 + 0.5 * start * start
        reach = length * (0.28 + 0.72 * spread)
        tip_x = start + angle.sin() * reach
        finger = capsule(u, v, torch.zeros_like(spread) + start, root, tip_x,
                         root - angle.cos() * reach, 0.036, 0.030)
        part.paint_figure(c["skin_shadow"], part.cover(finger - 0.012))
        part.shape(c["skin"], finger)
    palm = box(u, v, 0.112, 0.105, 0.075)
    part.paint_figure(c["skin"], part.cover(palm))
    part.paint(c["skin_shadow"], part.cover(palm) * ramp(v * 7) * 0.6)
    thumb = capsule(u, v, torch.full_like(spread, 0.07), 0.05, 0.10 + 0.13 * spread,
                    -0.02 - 0.06 * spread, 0.040, 0.034)
    part.paint_figure(c["skin_shadow"], part.cover(thumb - 0.012))
    part.shape(c["skin"], thumb)
