"""What is behind the head: a still backdrop in five styles."""

from livetalk_ref.world.draw.paint import box, circle, ellipse, ramp

# still bokeh discs: x, y, radius, opacity
BOKEH = ((-0.78, -0.62, 0.20, 0.30), (0.70, -0.78, 0.15, 0.34), (0.86, -0.18, 0.24, 0.22),
         (-0.88, 0.10, 0.14, 0.34), (-0.42, -0.93, 0.11, 0.26), (0.62, 0.34, 0.12, 0.26))


def backdrop(canvas, rig):
    """Gradient from high to low, a glow behind the head, and the style's own shapes."""
    c, x, y = rig.colours, rig.sx, rig.sy
    canvas.paint(c["back_low"], ramp((y + 0.75) * 0.6))
    canvas.paint(c["back_high"], 0.55 * ramp(1 - circle(x + 0.2, y + 0.45, 0.1) * 0.9))
    for style, draw in (("two_tone", _two_tone), ("window", _window), ("bokeh", _bokeh),
                        ("arch", _arch)):
        mask = rig.identity.mask("background", style)
        if mask is not None:
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
