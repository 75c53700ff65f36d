"""Short stretches of rendered video with their truth, on which codec and judges are trained.

Kept as shards of 8-bit pictures in runs/snippets/KEY/.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from livetalk_ref.media import floats_of, to_bytes
from livetalk_ref.world import clips, shards
from livetalk_ref.world.draw import mouth_box, places
from livetalk_ref.world.identity import Identity

FRAMES = 17        # five latent frames
EYE = (0.08, 0.06)  # half the width and height of the part of the picture around an eye
OUT_OF = 65        # a snippet is cut from the first frames of a clip of this length


def make(split, number):
    """One snippet: 17 frames from somewhere in a clip, state, mouth box, identity."""
    clip = clips.script(split, number, OUT_OF)
    g = torch.Generator().manual_seed(number)
    first = int(torch.randint(OUT_OF - FRAMES + 1, (), generator=g))
    state = clip.state[first:first + FRAMES]
    with torch.inference_mode():
        frames = clips.draw(clip.identity, state, clip.degradation)
        box = mouth_box(clip.identity, state)
    row = {"frames": to_bytes(frames), "state": state, "box": box,
           "continuous": clip.identity.continuous[0], "categorical": clip.identity.categorical[0],
           "degraded": torch.tensor(clip.degradation is not None)}
    return row, []


def build(split, count):
    """Make `count` snippets of a split, yielding shard paths."""
    return shards.build(f"runs/snippets/{shards.cache_name()}", make, split, count)


@dataclass
class Snippets:
    """Snippets in memory; frames (N, 17, 3, H, W) uint8, state (N, 17, S), box (N, 17, 4)."""

    frames: torch.Tensor
    state: torch.Tensor
    box: torch.Tensor
    identity: Identity
    degraded: torch.Tensor

    @staticmethod
    def load(paths):
        t, _ = shards.load(paths)
        return Snippets(t["frames"], t["state"], t["box"],
                        Identity(t["continuous"], t["categorical"]), t["degraded"])

    def __len__(self):
        return len(self.frames)

    def pictures(self, index):
        """Frames in [-1, 1], float32, of an index into snippets or (snippets, frames)."""
        return floats_of(self.frames[index])


@torch.inference_mode()
def eyes(data):
    """Centres of the eyes of all `Snippets` (N, 17, 2, 2), as x and y in 0..1 of the picture."""
    return torch.stack([places(data.identity[i:i + 1], data.state[i])[:, :2]
                        for i in range(len(data))]).clone()


def detail(box, eyes, size):
    """Weight of every pixel in the codec's loss (..., 1, size, size): faces, more so mouths, and
    most of all eyes, whose centres are eyes (..., 2, 2)."""
    x0, y0, x1, y1 = box.unbind(-1)
    face = torch.stack([x0, y0 - 1.1 * (y1 - y0), x1, y1], -1)
    reach = eyes.new_tensor(EYE)
    around = box_mask(torch.cat([eyes - reach, eyes + reach], -1), size).amax(-4)
    return 1 + box_mask(face, size) + 2 * box_mask(box, size) + 6 * around


def box_mask(box, size):
    """Boxes (..., 4) in picture units -> (..., 1, size, size), 1 inside."""
    at = (torch.arange(size) + 0.5) / size
    x0, y0, x1, y1 = box[..., None].unbind(-2)                           # (..., 1)
    inside_x, inside_y = (at >= x0) & (at <= x1), (at >= y0) & (at <= y1)
    return (inside_y[..., :, None] & inside_x[..., None, :])[..., None, :, :].float()


def livelier(data, some, g):
    """Where a stretch of 13 frames begins in some snippets (N, 1): of two by chance the one in
    which more happens, for what melts is what moves."""
    first, other = torch.randint(FRAMES - 12, (2, len(some), 1), generator=g)
    moves = data.state[some[:, 0]].diff(dim=1).abs().sum(-1).cumsum(1)   # (N, 16)
    moves = F.pad(moves, (1, 0))

    def amount(begin):
        return moves.gather(1, begin + 12) - moves.gather(1, begin)

    return torch.where(amount(first) > amount(other), first, other)
