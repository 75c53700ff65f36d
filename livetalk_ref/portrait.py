"""The reference picture: from an image file, or drawn for a seed.

The tiny model knows only the drawn world. Whether a picture is of that world is judged by the
codec: it was trained on nothing else, so what it cannot restore is something else.
"""

import struct
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from livetalk_ref.codec import psnr
from livetalk_ref.errors import UserError
from livetalk_ref.files import blame, placed, readable
from livetalk_ref.media import fit, to_bytes
from livetalk_ref.world.draw import render
from livetalk_ref.world.identity import sample_identities
from livetalk_ref.world.state import COL, SIZE
from livetalk_ref.world.motion import reference_state

SMALLEST, LARGEST = 32, 10_000      # pixels a side
DRAWN = 25.5                        # dB that the codec restores of every drawn portrait
WHITES = {"I": (255, 2 ** 16 - 1, 2 ** 31 - 1, 2 ** 32 - 1),
          "F": (1, 255, 2 ** 16 - 1)}       # what white may be in grey pictures of a mode
HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
OVERSHOOT = 1.5                     # what resizing may make of white, and of no other white
BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error)  # Pillow's


def load_portrait(path, size=SIZE):
    """The largest central square of an image file, see `read_image`: (3, size, size) in [-1, 1]."""
    return fit(read_image(path), size)


def read_image(path):
    """An image file as bytes (H, W, 3), upright, laid on white. UserError for a file that is
    missing, broken, no image, too small or too large."""
    path = readable(path, "image")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # we check ourselves
            image = Image.open(path)            # reads the header alone
        if min(image.size) < SMALLEST or max(image.size) > LARGEST:
            raise UserError(f"The image '{path}' has {image.width}x{image.height} pixels; its "
                            f"sides must be {SMALLEST} to {LARGEST}.")
        image = eight_bits(ImageOps.exif_transpose(image)).convert("RGBA")
    except Image.DecompressionBombError:
        raise UserError(f"The image '{path}' is too large, over {LARGEST} pixels a side.") from None
    except UserError:
        raise
    except BROKEN:
        with open(path, "rb") as file:          # phones make HEIC pictures
            head = file.read(12)
        kind = "is a HEIC picture, which Pillow cannot read" \
            if head[4:8] == b"ftyp" and head[8:] in HEIC else "is broken or is not an image"
        raise UserError(f"The file '{path}' {kind}; use a PNG or JPEG.") from None
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return pixels.view(image.height, image.width, 3)


def eight_bits(image):
    """Grey of 16 bits, of 32 or of floats as 8 bits; any other image as it is.

    Such files do not say which value is white: it is the largest that their kind has, where
    one of these holds all pixels (1 or 255 for floats, 8, 16 or 32 bits for whole numbers).
    Floats far below 0 and none above 1 have their black at -1.
    """
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.nan_to_num(np.asarray(image).astype(np.float64), posinf=0.0, neginf=0.0)
    if image.mode == "I":
        values = values % 2 ** 32                       # Pillow has no unsigned 32 bits
    steps = (2 ** 16 - 1,) if image.mode.startswith("I;16") else WHITES[image.mode]
    top = values.max()
    if image.mode == "F" and values.min() < -0.5 and top <= OVERSHOOT:
        values = (values + 1) / 2
    white = next((step for step in steps if top <= OVERSHOOT * step), top)
    return Image.fromarray((255 / white * values).round().clip(0, 255).astype(np.uint8))


def blank(picture):
    """A sentence for a picture (3, H, W) in [-1, 1] that is nearly white or black alone, or ""."""
    mean = picture.mean().item()
    return f"the picture is nearly {'white' if mean > 0 else 'black'} everywhere; look whether " \
        f"it is the right one." if abs(mean) > 0.9 else ""


def portrait_of(seed, size=SIZE):
    """The portrait of `--identity seed`: (3, size, size) in [-1, 1].

    It looks at the viewer, friendly, with its mouth closed and its hands down; light and
    background lights are the seed's own.
    """
    generator = torch.Generator().manual_seed(seed)
    identity = sample_identities(1, generator)
    state = reference_state(generator)
    own = [i for name, i in COL.items() if name.startswith(("light", "key"))]
    calm = torch.zeros_like(state)
    calm[own] = state[own]
    calm[COL["happy"]] = 0.45
    return render(identity, calm[None], size)[0]


def save_portrait(picture, path):
    """Write a picture (3, H, W) in [-1, 1] as an image file, complete or not at all."""
    if Path(path).suffix.lower() != ".png":
        raise UserError(f"The portrait's name must end in .png, and {path} does not.")
    with placed(path) as temporary, blame(path):
        Image.fromarray(to_bytes(picture).permute(1, 2, 0).numpy()).save(temporary, "png")


@torch.no_grad()
def restored(picture, codec):
    """How well the codec restores a picture (3, H, W): dB."""
    x = picture[None, None].to(codec.scale.device)
    return psnr(codec.decode(codec.encode(x)), x).item()


def is_drawn(picture, codec):
    """True for a picture of the drawn world, as far as the codec can tell."""
    return restored(picture, codec) >= DRAWN
