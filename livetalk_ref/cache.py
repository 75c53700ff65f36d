"""What a block may read of the past, in two forms: a mask for one pass, a cache for streaming.

`KVCache` is a value: nothing is ever written into it. Appending makes a new one and the old one
stays as it was, so whoever keeps an old cache can go back to it. It knows no model, only a key
and a value for every layer, head and token. Keys are stored before RoPE; where a cached frame
stands in time is decided when it is read. Letters: B batch, H heads, n cached latent frames,
F new ones, S tokens a frame, d channels of a head. LiveTalk section 4 (identity sinks), 3.1.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F

from livetalk_ref.errors import UserError

BLOCK = 3           # latent frames that are denoised together: 9 video frames, then 12
TABLE_END = 1024    # rows of the released code's rotary table: 256 s at 4 latent frames a second


@dataclass(frozen=True)
class Policy:
    """Which past latent frames stay readable, and where they stand in time.

    Relative positions count what is there (sinks in front, then the window, then the new
    block), so a stream has no last frame; absolute ones are frame numbers since the start.
    """

    sinks: int = 0               # first frames of all, kept for ever
    window: int | None = None    # latest frames kept besides; None is all of them
    relative: bool = True

    def keeps(self, frame, now):
        """True where this frame number is readable to a block that starts at frame `now`."""
        # The first frames of all anchor the identity; then come the latest (section 4).
        return frame < self.sinks or self.window is None or frame >= now - self.window


FULL = Policy()
POLICIES = {
    "full": FULL,
    "window": Policy(window=15),
    "ahis": Policy(sinks=9, window=6),                          # the paper: 3 + 2 blocks
    "released": Policy(sinks=9, window=3, relative=False),      # its code: 3 + 1, absolute
}


def block_causal_mask(frames, tokens, block, policy=FULL):
    """Which token may read which, (F S, F S) bool: all of its own block, and of earlier ones
    what the policy keeps. One block of all frames is bidirectional attention; tokens = 1 gives
    the mask over latent frames."""
    # Inside a block attention is bidirectional, across blocks causal (LiveTalk section 3.1).
    rows = []
    for frame in range(frames):
        start = frame // block * block
        rows.append([start <= other < start + block or
                     other < start and policy.keeps(other, start) for other in range(frames)])
    mask = torch.tensor(rows)                                            # (F, F)
    return mask.repeat_interleave(tokens, 0).repeat_interleave(tokens, 1)


@dataclass(frozen=True)
class KVCache:
    """Keys and values of the clean latent frames that a policy has kept so far."""

    policy: Policy = FULL
    layers: tuple = ()      # for every layer (keys, values), each (B, H, n, S, d)
    frames: tuple = ()      # the numbers of the n frames
    now: int = 0            # the number of the next frame
    room: dict = field(default_factory=dict, init=False, compare=False)     # of a block's passes

    def append(self, new):
        """A cache that holds F more frames and has let go of what its policy drops.

        new: for every layer (keys before RoPE, values), each (B, H, F, S, d).
        """
        # Sinks stay for ever, the window rolls (LiveTalk section 4, Anchor-Heavy Identity Sinks).
        now = self.now + new[0][0].shape[2]
        frames = self.frames + tuple(range(self.now, now))
        slots = [i for i, frame in enumerate(frames) if self.policy.keeps(frame, now)]
        self.room.clear()       # who goes back to this cache makes room once more
        if not slots:
            return KVCache(self.policy, now=now)
        # A new value, layer after layer, or all of the old one would be held twice for a moment.
        layers = []
        for i, pair in enumerate(new):
            pair = [t.unbind(2) for t in pair]
            if self.layers:
                pair = [old.unbind(2) + t for old, t in zip(self.layers[i], pair)]
            layers.append(tuple(torch.stack([t[slot] for slot in slots], dim=2) for t in pair))
        return KVCache(self.policy, tuple(layers), tuple(frames[i] for i in slots), now)

    def read(self, layer, new, rotate):
        """A layer's cached keys, brought to their places by rotate(keys), with room for so many new
        ones behind them, (B, H, n S + new, d), and values (B, H, n S, d); None if empty."""
        if not self.layers:
            return None
        keys, values = (t.flatten(2, 3) for t in self.layers[layer])
        # No frame moves before the next append: four steps and the clean pass share these keys,
        # and each writes its own behind them. (Room for values would be a second copy of all.)
        if (layer, new) not in self.room:
            with torch.inference_mode(False):       # it can be written in outside of it as well
                self.room[layer, new] = F.pad(rotate(keys), (0, 0, 0, new))
        return self.room[layer, new], values

    def positions(self, new):
        """Where the n cached frames and then `new` more ones stand in time, n + new integers.

        Raises UserError where absolute positions end.
        """
        # Keys are rotated behind each append: sinks keep place 0 .., and no stream runs out.
        if self.policy.relative:
            return tuple(range(len(self.frames) + new))
        if self.now + new > TABLE_END:
            raise UserError(f"Absolute positions end at latent frame {TABLE_END} (256 s); "
                            f"choose a policy with relative positions for longer streams.")
        return (*self.frames, *range(self.now, self.now + new))


EMPTY = KVCache()
