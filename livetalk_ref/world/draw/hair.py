"""Hair and headwear: a back layer behind head and neck, a front layer with its hairline.

All styles are one shape with different numbers (STYLES): a cap around the skull, stretched
downwards to some length, minus an opening for the face. A few styles add a piece of their own.
"""

import torch

from livetalk_ref.world.draw.paint import box, circle, ellipse, ramp, rotate, smooth_max

# cap growth at the sides and on top; how far down the front and the back layer reach;
# the face opening's centre height, half-width and half-height; a pointed middle part;
# the slant of a side part; scallops of curls; waves along the sides
FIELDS = ("side", "top", "front", "back", "open_y", "open_w", "open_h", "part", "slant",
          "curl", "wave")
STYLES = {
    "short": (.02, .075, -.10, -.10, .10, .415, .50, 0, .34, 0, 0),
    "buzz": (.004, .012, -.12, -.12, .10, .415, .53, 0, 0, 0, 0),
    "bald": (0, 0, -1.5, -1.5, .10, .42, .50, 0, 0, 0, 0),
    "long": (.065, .075, .78, .95, .18, .375, .60, .10, 0, 0, 0),
    "wavy": (.085, .085, .66, .80, .18, .375, .62, .03, .26, 0, .035),
    "bob": (.085, .075, .36, .42, .14, .375, .44, 0, 0, 0, 0),
    "curly": (.15, .155, -.02, .36, .10, .40, .50, 0, 0, .035, 0),
    "bun": (.012, .04, -.10, -.05, .10, .415, .55, .06, 0, 0, 0),
    "headscarf": (.07, .06, .60, .95, .05, .375, .475, 0, 0, 0, 0),
    "beanie": (.02, .02, .16, .30, .12, .385, .55, 0, 0, 0, 0),
    "twin_buns": (.03, .05, .12, .20, .12, .38, .53, .10, 0, 0, 0),
}
# style: how far its balls move against the turn; their x, y and radius
BUNS = {"bun": (0.016, ((0.0, -0.76, 0.185),)),
        "twin_buns": (0.01, ((-0.36, -0.64, 0.175), (0.36, -0.64, 0.175)))}


class Hair:
    """The style's numbers and its distances, computed once per frame."""

    def __init__(self, rig):
        table = rig.state.new_tensor(list(STYLES.values()))               # (styles, fields)
        rows = table[rig.identity.option("hair")]                         # (B, fields)
        style = {name: rows[:, i, None, None] for i, name in enumerate(FIELDS)}
        self.rig, self.style = rig, style
        grow = 0.035 * rig.identity.factor("hair_volume") - 0.01
        grow = grow * (style["side"] > 0.01)
        self.rx = 0.462 * rig.width + style["side"] + grow
        self.ry = 0.50 + style["top"] + grow
        turn, nod = rig.at("turn"), rig.at("nod")
        wave = style["wave"] * (rig.y * 11).sin() * ramp(rig.y * 2 + 0.6)
        self.x, self.y = rig.x, rig.y
        self.wave = wave * torch.where(self.x < 0, -1.0, 1.0)
        self.front_x = self.x - 0.016 * turn
        self.face_x = rig.x - 0.065 * turn
        self.face_y = rig.y - 0.028 * nod
        self.cap = self._shell(self.front_x, style["front"], 0.0)
        self.open = self._opening()
        self.front = smooth_max(self.cap, -self.open, 0.02)

    def _shell(self, x, bottom, flare):
        """A cap that falls straight from its widest line to `bottom`."""
        u = x + self.wave
        down = (self.y + 0.17).clamp(min=0)
        u = u / (1 + flare * down)
        shell = ellipse(u, (self.y + 0.17).clamp(max=0), self.rx, self.ry)
        curl = self.style["curl"]
        if bool((curl > 0).any()):
            angle = torch.atan2(u, -(self.y + 0.10))
            round_ = ellipse(u, self.y + 0.13, self.rx, self.ry * 0.98)
            shell = torch.where(curl > 0, round_ - curl * (angle * 11).cos(), shell)
        tips = ((u.abs() - 0.40).abs() - 0.04).clamp(min=0)
        point = 0.7 * tips * (bottom > 0.5)             # long hair ends in two points
        return smooth_max(shell, (self.y - bottom + point) * 0.85, 0.10)

    def _opening(self):
        """Where the face shows; two shifted ellipses meet in a pointed middle part."""
        s = self.style
        x, y = rotate(self.face_x, self.face_y - s["open_y"], s["slant"])
        x = x.abs() + s["part"]
        return ellipse(x, y, s["open_w"] * self.rig.width + s["part"], s["open_h"])

    def back(self):
        x = self.x + 0.03 * self.rig.at("turn")
        return self._shell(x, self.style["back"], 0.10)


def hair_back(canvas, hair):
    """Dark hair behind head and neck; it moves against the turn."""
    rig = hair.rig
    scarf = rig.identity.mask("hair", "headscarf")
    colour = _tinted(rig, "hair_dark", "cloth_dark", scarf)
    canvas.paint_figure(colour, canvas.cover(hair.back()))
    for (sway, balls), mask in rig.identity.masks("hair", BUNS):
        for x, y, radius in balls:
            _ball(canvas, rig, x - sway * rig.at("turn"), y, radius, mask)


def _tinted(rig, own, cloth, scarf):
    """The hair's colour, or the cloth's under a headscarf."""
    return torch.lerp(rig.colours[own], rig.colours[cloth], scarf.unsqueeze(1))


def _ball(canvas, rig, x, y, radius, mask):
    c = rig.colours
    ball = circle(rig.x - x, rig.y - y, radius)
    canvas.paint_figure(c["hair"], canvas.cover(ball) * mask)
    shade = circle(rig.x - x + 0.05, rig.y - y + 0.05, radius * 0.9)
    canvas.paint(c["hair_dark"], canvas.cover(torch.maximum(ball, -shade), 2) * mask * 0.9)
    canvas.glow(c["hair_light"], ellipse(rig.x - x + 0.06, rig.y - y + 0.07, 0.05, 0.03), 0.04,
                0.8 * mask)


def hair_front(canvas, hair, head):
    """The cap with its shadow on the face, a darker inner edge and a band of gloss."""
    rig, c = hair.rig, hair.rig.colours
    scarf = rig.identity.mask("hair", "headscarf")
    present = 1 - rig.identity.mask("hair", "bald")
    near = ramp(1 + hair.open / 0.085) * canvas.cover(head)
    canvas.paint(c["skin_deep"], near * ramp(0.15 - rig.y * 1.5) * 0.6 * present)
    present = present * (1 - 0.25 * rig.identity.mask("hair", "buzz"))
    cover = canvas.cover(hair.front) * present
    canvas.paint_figure(_tinted(rig, "hair", "cloth", scarf), cover)
    dark = _tinted(rig, "hair_dark", "cloth_dark", scarf)
    light = _tinted(rig, "hair_light", "cloth_light", scarf)
    canvas.paint(dark, cover * ramp(1 - hair.open / 0.11) * 0.8)
    canvas.paint(dark, cover * ramp((hair.front_x - 0.1) * 2.4) * 0.5)
    band = (hair.cap + 0.085).abs() - 0.022
    where = ramp(1 - circle(hair.front_x + 0.22, rig.y + 0.42, 0.05) * 2.6)
    canvas.paint(light, cover * canvas.cover(band, 2.5) * where * 0.9)
    lock = (hair.cap + 0.20).abs() - 0.013
    canvas.paint(dark, cover * canvas.cover(lock, 2.5) * ramp((hair.front_x + 0.15) * 4) * 0.8)
    more = {"bob": _fringe, "beanie": _beanie, "headscarf": _drape}
    for draw, mask in rig.identity.masks("hair", more):
        draw(canvas, hair, mask)


def _fringe(canvas, hair, mask):
    """Straight bangs with a soft lower edge."""
    rig, c = hair.rig, hair.rig.colours
    edge = rig.y + 0.285 - 0.09 * hair.face_x ** 2 / 0.16 - 0.028 * rig.at("nod")
    bangs = smooth_max(smooth_max(hair.cap + 0.01, edge, 0.05), hair.face_x.abs() - 0.42, 0.05)
    cover = canvas.cover(bangs) * mask
    canvas.paint(c["hair"], cover)
    canvas.paint(c["hair_dark"], cover * ramp(1 + edge / 0.10) * 0.7)
    band = (rig.y + 0.50 - 0.35 * hair.face_x ** 2).abs() - 0.026
    canvas.paint(c["hair_light"], cover * canvas.cover(band, 2.5)
                 * ramp(1.3 - (hair.face_x + 0.1).abs() * 4) * 0.9)


def _beanie(canvas, hair, mask):
    """A knitted cap with a brim and a pompom."""
    rig, c = hair.rig, hair.rig.colours
    brim_y = rig.y + 0.40 - 0.12 * hair.front_x ** 2 - 0.022 * rig.at("nod")
    dome = ellipse(hair.front_x, rig.y + 0.24, 0.50 * rig.width, 0.54)
    x = rig.x + 0.01 * rig.at("turn")
    canvas.paint_figure(c["accent"], canvas.cover(circle(x, rig.y + 0.80, 0.115)) * mask)
    cap = canvas.cover(smooth_max(dome, brim_y, 0.03)) * mask
    canvas.paint_figure(c["cloth"], cap)
    canvas.paint(c["cloth_dark"], cap * ramp((hair.front_x - 0.05) * 2.6) * 0.7)
    brim = box(hair.front_x, brim_y + 0.03, 0.515 * rig.width, 0.085, 0.06)
    canvas.paint_figure(c["cloth_light"], canvas.cover(brim) * mask)


def _drape(canvas, hair, mask):
    """The fold of a headscarf below the chin."""
    rig, c = hair.rig, hair.rig.colours
    fold = ellipse(rig.bx, rig.by - 0.72, 0.44, 0.17)
    canvas.paint_figure(c["cloth"], canvas.cover(fold) * mask)
    crease = torch.maximum(fold, -ellipse(rig.bx + 0.03, rig.by - 0.67, 0.44, 0.155))
    canvas.paint(c["cloth_dark"], canvas.cover(crease, 2.5) * mask)
