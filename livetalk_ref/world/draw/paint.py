"""Painting with signed distances: shapes are functions of the pixel grid, edges are one pixel wide.

A signed distance is negative inside its shape. Letters: B identities (or 1), N frames,
H, W the rows and columns of the canvas. Planes are (N, H, W), numbers (N, 1, 1), colours
(N, 3, 1, 1). The picture spans -1..1 in x and y, y downwards; 96 pixels make 2 units.
"""

import math

import torch


def grid(size, like):
    """Pixel centres of a square picture: x and y, each (1, size, size)."""
    axis = (torch.arange(size, device=like.device, dtype=like.dtype) * 2 + 1) / size - 1
    return axis.expand(1, size, size), axis[:, None].expand(size, size)[None]


def soften(pictures, sigma):
    """Gaussian blur of pictures (..., H, W), sigma in pixels: a product with two matrices."""
    down, across = (gaussian(side, sigma).to(pictures) for side in pictures.shape[-2:])
    return down @ pictures @ across.T                                   # (..., H, W)


def gaussian(side, sigma):
    """The blur of a line of pixels as a matrix (side, side) whose rows sum to 1."""
    place = torch.arange(float(side))
    far = (place[:, None] - place).abs() / sigma
    weight = torch.exp(-0.5 * far ** 2) * (far < 4)         # no denormals: they are slow
    return weight / weight.sum(1, keepdim=True)


# ---- shapes ----

def ellipse(x, y, rx, ry):
    """Distance to an axis-aligned ellipse, exact to first order at its border."""
    u, v = x / rx, y / ry
    radius = (u * u + v * v + 1e-6).sqrt()
    slope = ((u / rx) ** 2 + (v / ry) ** 2 + 1e-6).sqrt()
    return radius * (radius - 1) / slope


def circle(x, y, radius):
    return (x * x + y * y + 1e-9).sqrt() - radius


def box(x, y, half_w, half_h, corner):
    """Distance to a rectangle with rounded corners of radius `corner`."""
    u, v = x.abs() - half_w + corner, y.abs() - half_h + corner
    outside = (u.clamp(min=0) ** 2 + v.clamp(min=0) ** 2 + 1e-9).sqrt()
    return outside + torch.maximum(u, v).clamp(max=0) - corner


def capsule(x, y, ax, ay, bx, by, radius, end_radius=None):
    """Distance to the thick line from a to b; the radius may change on the way."""
    dx, dy = bx - ax, by - ay
    along = ((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy + 1e-6)
    along = along.clamp(0, 1)
    if end_radius is not None:
        radius = radius + (end_radius - radius) * along
    return circle(x - ax - along * dx, y - ay - along * dy, radius)


def arc(x, y, bend, half, thickness):
    """A bar of half-length `half` along y = bend * (x / half)^2, thinning to its ends."""
    t = x / half
    slope = 2 * bend * t / half
    across = (y - bend * t * t).abs() / (1 + slope * slope).sqrt()
    return torch.maximum(across - thickness * (1 - 0.6 * t * t), x.abs() - half)


def rotate(x, y, angle):
    """Coordinates in a frame turned clockwise (as seen) by `angle` radians."""
    cos, sin = angle.cos(), angle.sin()
    return cos * x + sin * y, cos * y - sin * x


def smooth_min(a, b, k):
    """Union of two shapes whose seam is filleted over a width k."""
    h = (k - (a - b).abs()).clamp(min=0) / k
    return torch.minimum(a, b) - h * h * (k / 4)


def smooth_max(a, b, k):
    """Intersection with a rounded seam."""
    return -smooth_min(-a, -b, k)


def ramp(t):
    """Smoothstep of t in 0..1, flat outside."""
    t = t.clamp(0, 1)
    return t * t * (3 - 2 * t)


# ---- colour ----

def oklch(lightness, chroma, hue):
    """Perceptual lightness 0..1, chroma 0..0.3 and hue in degrees -> sRGB (B, 3, 1, 1)."""
    angle = hue * (math.pi / 180)
    a, b = chroma * angle.cos(), chroma * angle.sin()
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = torch.stack([
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    ], dim=1)                                                    # (B, 3, 1, 1)
    linear = linear.clamp(1e-5, 1)
    return torch.where(linear < 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


# ---- canvas ----

class Canvas:
    """The picture so far, and how much of each pixel belongs to the lit figure."""

    def __init__(self, rgb, figure, pixel, origin=(0, 0)):
        self.rgb = rgb              # (N, 3, H, W) in 0..1
        self.figure = figure        # (N, H, W) in 0..1
        self.pixel = pixel          # width of a pixel in the units of the shapes
        self.origin = origin        # row and column of the window in the whole picture

    def cover(self, distance, softness=1.6):
        """Share of a pixel inside a shape; the edge is `softness` pixels wide."""
        return (0.5 - distance * (1 / (softness * self.pixel))).clamp(0, 1)

    def paint(self, colour, alpha):
        """Lay a colour (N, 3, 1, 1) or (N, 3, H, W) over the picture."""
        self.rgb = torch.lerp(self.rgb, colour, alpha.unsqueeze(1))

    def paint_figure(self, colour, alpha):
        """As paint, for layers of the person, which the key light falls on."""
        self.paint(colour, alpha)
        self.figure = self.figure + alpha * (1 - self.figure)

    def shape(self, colour, distance, opacity=1.0):
        self.paint(colour, self.cover(distance) * opacity)

    def glow(self, colour, distance, width, opacity):
        """A soft shape: full inside, fading to nothing over `width` outside its border."""
        self.paint(colour, ramp(1 - distance / width) * opacity)

    def window(self, box):
        """A canvas on the part (top, left, bottom, right) only; paste it back when done."""
        return Canvas(cut(self.rgb, box), cut(self.figure, box), self.pixel, box[:2])

    def paste(self, part):
        top, left = part.origin
        height, width = part.rgb.shape[-2:]
        rgb, figure = self.rgb.clone(), self.figure.clone()
        rgb[..., top:top + height, left:left + width] = part.rgb
        figure[..., top:top + height, left:left + width] = part.figure
        self.rgb, self.figure = rgb, figure


def cut(plane, box):
    """The part (top, left, bottom, right) of a plane."""
    return plane[..., box[0]:box[2], box[1]:box[3]]
