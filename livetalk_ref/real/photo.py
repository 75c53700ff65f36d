"""A photograph fitted as the authors do: enlarged or shrunk to cover the target, then cropped."""

import torch.nn.functional as F

from livetalk_ref.portrait import read_image


def cover(pixels, height, width):
    """Bytes (H, W, 3) -> (3, height, width) in [-1, 1].

    The larger of the two ratios makes the picture cover the target; "padding" by the difference
    of the sizes, which is negative, then cuts to the centre (an odd pixel goes on the far side).
    """
    have = pixels.shape[:2]
    ratio = max(height / have[0], width / have[1])
    size = [max(want, int(side * ratio)) for side, want in zip(have, (height, width))]
    x = pixels.permute(2, 0, 1)[None].float()
    if tuple(size) != tuple(have):
        x = F.interpolate(x, size, mode="bilinear", antialias=True)
    top, left = ((side - want) // 2 for side, want in zip(size, (height, width)))
    return x[0, :, top:top + height, left:left + width] / 127.5 - 1


def load_photo(path, size=512):
    """An image file -> (3, size, size) in [-1, 1]. UserError as of `portrait.read_image`."""
    return cover(read_image(path), size, size)
