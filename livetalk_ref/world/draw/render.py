"""The renderer: identity and state in, pictures out. It reads from back to front.

Everything is a function of the pixel grid (paint.py), so one call draws a batch of frames at
any size, with gradients to every state column and every continuous factor.
"""

import torch

from livetalk_ref.errors import UserError
from livetalk_ref.world.draw import around, eyes, hair, head, mouth
from livetalk_ref.world.draw.paint import Canvas, soften
from livetalk_ref.world.draw.rig import EYE_Y, NOSE_Y, ZOOM, Rig, palette
from livetalk_ref.world.state import SIZE, S

LENS = 0.6              # pixels at 96: the blur of a lens, without which edges alias in motion
CHUNK = 16              # frames drawn at once; more would fall out of the processor's cache


def render(identity, state, size=SIZE, without=()):
    """Draw N frames: identity of N faces (or 1 for all), state (N, S) -> (N, 3, size, size).

    Values are in [-1, 1]. Deterministic; differentiable in state and continuous factors.
    without: of "eyes", "nose", "mouth", "glasses", what is left out of the faces.
    Raises UserError if the shapes do not fit.
    """
    if state.ndim != 2 or state.shape[1] != S:
        raise UserError(f"The state must have shape (frames, {S}), not {tuple(state.shape)}.")
    if len(identity) not in (1, len(state)):
        raise UserError(f"{len(identity)} identities do not fit {len(state)} frames.")
    many, colours, chunks = len(identity) > 1, palette(identity), []
    for start in range(0, len(state), CHUNK):
        rows = slice(start, start + CHUNK)
        faces, shades = identity, colours
        if many:
            faces, shades = identity[rows], {name: c[rows] for name, c in colours.items()}
        chunks.append(draw(Rig(faces, state[rows], size, shades), without))
    return torch.cat(chunks)                                              # (N, 3, size, size)


def render_clip(identity, state, size=SIZE):
    """Draw a clip of one face: identity of 1, state (T, S) -> (T, 3, size, size) in [-1, 1]."""
    if len(identity) != 1:
        raise UserError(f"A clip shows one identity, not {len(identity)}.")
    return render(identity, state, size)


def draw(rig, without=()):
    """All layers, from the backdrop to the glasses -> (N, 3, size, size) in [-1, 1]."""
    figure = torch.zeros_like(rig.gx)
    canvas = Canvas(rig.colours["back"].expand(-1, -1, rig.size, rig.size), figure, 2 / rig.size)
    outline, locks = head.outline(rig), hair.Hair(rig)
    around.backdrop(canvas, rig)
    canvas.pixel = rig.pixel
    hair.hair_back(canvas, locks)
    around.hood(canvas, rig)
    around.neck(canvas, rig, head.chin_shadow(rig))
    around.clothes(canvas, rig)
    head.ears(canvas, rig)
    head.skin(canvas, rig, outline)
    if "nose" not in without:
        head.nose(canvas, rig)
    head.lines(canvas, rig)
    mouth.facial_hair(canvas, rig, outline)
    if "mouth" not in without:
        mouth.mouth(canvas, rig)
    if "eyes" not in without:
        eyes.eyes(canvas, rig)
    eyes.brows(canvas, rig)
    hair.hair_front(canvas, locks, outline)
    if "glasses" not in without:
        eyes.glasses(canvas, rig)
    around.earrings(canvas, rig)
    return soften(key_light(canvas, rig), LENS * rig.size / 96) * 2 - 1


def key_light(canvas, rig):
    """Brighten the figure towards the light, darken it away from it -> (N, 3, H, W) in 0..1."""
    x, y = rig.at("key_x"), rig.at("key_y")
    towards = x * rig.x * 1.5 + y * (rig.y - 0.05) * 1.1                  # (N, H, W)
    gain = 0.6 * rig.at("key_strength") * (towards / (1 + towards.abs()) - 0.12)
    warmth = gain.new_tensor([1.0, 0.97, 0.88])[:, None, None]
    lit = canvas.rgb * (1 + (canvas.figure * gain).unsqueeze(1) * warmth)
    return lit.clamp(0, 1)


def mouth_box(identity, state):
    """Where the mouth is: (N, 4) as x0, y0, x1, y1 in 0..1 of the picture, head motion included."""
    rig = Rig(identity, state, 1, {})
    x, y = (v[:, 0, 0] for v in rig.to_scene(*mouth.centre(rig)))
    left, top, right, bottom = mouth.BOX
    edges = ZOOM * torch.stack([x - left, y - top, x + right, y + bottom], dim=1)
    return ((edges + 1) / 2).clamp(0, 1)                                  # (N, 4)


def places(identity, state):
    """Where the left eye, the right eye, nose and mouth are: (N, 4, 2) as x, y in 0..1."""
    rig = Rig(identity, state, 1, {})
    spacing = eyes.SPACING * identity.factor("eye_spacing") * rig.width
    points = [rig.place(side * spacing, EYE_Y, 0.41) for side in (-1, 1)]
    points += [rig.place(torch.zeros_like(rig.yaw), NOSE_Y, 0.56), mouth.centre(rig)]
    scene = torch.stack([torch.cat(rig.to_scene(x, y), 2)[:, 0] for x, y in points], dim=1)
    return (ZOOM * scene + 1) / 2                                         # (N, 4, 2)
