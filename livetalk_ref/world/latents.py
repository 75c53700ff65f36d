"""The latent cache: every clip is rendered and encoded once, and training reads only this.

Shards live in runs/latents/KEY/, where KEY is a hash of the world's sources, of the ear and of
the codec's encoder, so a change of any starts afresh; another decoder changes nothing.
"""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from livetalk_ref.flow import Cond, group_audio
from livetalk_ref.world import clips, ear, shards, text
from livetalk_ref.world.identity import Identity
from livetalk_ref.world.prompts import rephrase

WINDOW = 21               # latent frames that a model sees at once
OVERLAP = 4               # clean latent frames at the start of a later window
DROP = 0.1                # how often training hides audio, text, or (half as often) both
PROMPTS = 2               # at most so many prompts in a clip
NEVER = 10_000            # first frame of a second prompt that never comes


def encode_clip(codec, options, split, number):
    """Script, film and encode one clip -> the tensors a shard keeps, and its prompts."""
    clip = clips.script(split, number, **options)
    with torch.inference_mode():
        latents = codec.encode(clips.film(clip)[None])[0]                # (F, C, h, w)
    starts = [start for start, _ in clip.prompts]
    row = {"latents": latents.half(), "audio": clip.audio.half(), "state": clip.state.half(),
           "continuous": clip.identity.continuous[0], "categorical": clip.identity.categorical[0],
           "starts": torch.tensor(starts + [NEVER] * (PROMPTS - len(starts))),
           "degraded": torch.tensor(clip.degradation is not None)}
    return row, [prompt for _, prompt in clip.prompts]


def cache_key(codec):
    """Names the folder of latents and audio rows that this codec and the shipped ear make."""
    weights = {k: v for k, v in codec.state_dict().items() if not k.startswith("decoder.")}
    heard = {f"ear.{k}": v for k, v in ear.shipped().state_dict().items()}
    return shards.world_key(weights | heard)


def build(codec, split, count, folder="runs/latents", workers=None, **options):
    """Make the first `count` clips of a split, yielding shard paths; options go to `script`."""
    folder = Path(folder) / cache_key(codec)
    yield from shards.build(folder, partial(encode_clip, codec, options), split, count, workers)


@dataclass
class LatentClips:
    """Clips of a cache in memory, and the batches drawn from them."""

    latents: torch.Tensor       # (N, F, C, h, w) fp16
    audio: torch.Tensor         # (N, T, A) fp16
    state: torch.Tensor         # (N, T, S) fp16
    identity: Identity          # N faces
    starts: torch.Tensor        # (N, 2) first frame of each prompt
    degraded: torch.Tensor      # (N,) bool
    prompts: list               # N lists of one or two prompts
    encode: callable = text.encode      # prompts -> (B, rows, D)

    @staticmethod
    def load(paths):
        """Read shards made by `build`."""
        t, prompts = shards.load(paths)
        return LatentClips(t["latents"], t["audio"], t["state"],
                           Identity(t["continuous"], t["categorical"]), t["starts"],
                           t["degraded"], prompts)

    def __len__(self):
        return len(self.latents)

    def select(self, index):
        """The clips of an index tensor."""
        index = torch.as_tensor(index)
        return LatentClips(self.latents[index], self.audio[index], self.state[index],
                           self.identity[index], self.starts[index], self.degraded[index],
                           [self.prompts[i] for i in index.tolist()], self.encode)

    def channels(self):
        """How many latent channels, audio features and text features a model gets of them."""
        return self.latents.shape[2], self.audio.shape[-1], self.encode([""]).shape[-1]

    def window(self, first, prefix, frames=WINDOW):
        """Latents (N, 21, C, h, w) from latent frame `first` on, and their `Cond`.

        The first `prefix` frames are known; the reference is always the clip's own frame 0.
        """
        x0 = self.latents[:, first:first + frames].float()
        known = torch.zeros(x0.shape[:2], dtype=torch.bool)
        known[:, :prefix] = True
        audio = group_audio(self.audio.float())[:, first:first + frames]
        prompts, mask = self.text(first, x0.shape[1])
        return x0, Cond(self.latents[:, 0].float(), audio, prompts, known, self.encode([""]), mask)

    def text(self, first, frames):
        """Both prompts' rows (N, 32, D), and which a latent frame may read (N, frames, 32)."""
        rows = self.encode([p for pair in self.prompts for p in (pair[0], pair[-1])])
        pixel = (torch.arange(first, first + frames) * 4 - 3).clamp(min=0)
        second = pixel >= self.starts[:, 1:2]                            # (N, frames)
        mask = torch.stack([~second, second], dim=-1).repeat_interleave(rows.shape[1], dim=-1)
        return rows.unflatten(0, (-1, PROMPTS)).flatten(1, 2), mask

    def batch(self, size, g):
        """A training batch: windows at the start (prefix 1) or in mid-stream (prefix 4), prompts
        in other words, audio and text dropped at random. -> x0 (size, 21, C, h, w), Cond."""
        some = self.select(torch.randint(len(self), (size,), generator=g))
        if self.encode is text.encode:      # which reads the world's words, in any order
            some.prompts = [[rephrase(prompt, g) for prompt in pair] for pair in some.prompts]
        last = self.latents.shape[1] - WINDOW
        middle = torch.rand(size, generator=g) < 0.4
        offsets = torch.where(middle, torch.randint(1, last + 1, (size,), generator=g), 0)
        parts = [some.select([i]).window(k, OVERLAP if k else 1)
                 for i, k in enumerate(offsets.tolist())]
        x0, cond = torch.cat([p[0] for p in parts]), Cond.cat([p[1] for p in parts])
        return x0, drop_some(cond, torch.rand(size, generator=g))


def drop_some(cond, dice):
    """Hide audio, text or both by dice in [0, 1), one a clip, so that guidance has its branches."""
    audio = (dice < DROP) | ((dice > 2 * DROP) & (dice < 2.5 * DROP))
    words = (dice >= DROP) & (dice < 2.5 * DROP)
    without = cond.drop("audio").drop("text")
    return replace(cond, audio=torch.where(audio[:, None, None], without.audio, cond.audio),
                   text=torch.where(words[:, None, None], without.text, cond.text))
