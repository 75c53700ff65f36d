"""The latent cache: every clip is scripted, drawn and encoded once, and training reads only this.

Shards live in runs/latents/NAME/, where NAME says the world's version and a digest of the ear and
of the codec's encoder, so a change of any starts afresh; another decoder changes nothing.
"""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from livetalk_ref.flow import Cond, group_audio
from livetalk_ref.runs import save
from livetalk_ref.world import clips, ear, shards, text
from livetalk_ref.world.degrade import Degradation
from livetalk_ref.world.identity import Identity
from livetalk_ref.world.prompts import rephrase

WINDOW = 21               # latent frames that a model sees at once ..
WINDOWS = (9, 15, 21)                   # .. and in training, so that short rollouts are known too
TOTAL = 336               # latent frames of an update
OVERLAP = 4               # clean latent frames at the start of a later window
DROP = 0.1                # how often training hides audio, text, or (half as often) both
WORDINGS = 4              # in which training tells each prompt
PROMPTS = 2               # at most so many prompts in a clip
NEVER = 10_000            # first frame of a second prompt that never comes


def script_row(split, number):
    """Everything of a clip but its picture: the tensors a shard keeps, its prompts and damage."""
    clip = clips.script(split, number)
    starts = [start for start, _ in clip.prompts]
    row = {"audio": clip.audio.half(), "state": clip.state,
           "continuous": clip.identity.continuous[0], "categorical": clip.identity.categorical[0],
           "starts": torch.tensor(starts + [NEVER] * (PROMPTS - len(starts)))}
    return row, {"prompts": [prompt for _, prompt in clip.prompts],
                 "damage": clip.degradation and [clip.degradation.parts, clip.degradation.seed]}


def cache_key(codec, spoiled=False):
    """Names the folder of latents and audio rows that this codec and the shipped ear make."""
    weights = {k: v for k, v in codec.state_dict().items() if not k.startswith("decoder.")}
    heard = {f"ear.{k}": v for k, v in ear.shipped().state_dict().items()}
    return shards.cache_name(weights | heard) + ("-spoiled" if spoiled else "")


@torch.inference_mode()
def encode_shard(codec, folder, spoiled, frames, script):
    """Draw and encode the clips of a script shard unless that is done; returns the path."""
    out = Path(folder) / Path(script).name
    if out.exists():
        return out
    t, facts = shards.load([script])
    damages = [Degradation.of(fact["damage"]) if spoiled else None for fact in facts]
    faces = Identity(t["continuous"], t["categorical"])
    latents = [codec.encode(clips.draw(faces[i:i + 1], t["state"][i, :frames], damage)[None])[0]
               .half() for i, damage in enumerate(damages)]
    save(out, t | {"latents": torch.stack(latents), "state": t["state"].half(),
                   "degraded": torch.tensor([damage is not None for damage in damages])},
         rows=[fact["prompts"] for fact in facts])
    return out


def build(codec, split, count, folder="runs/latents", spoiled=False, frames=None):
    """Latents of the first `count` clips of a split, yielding shard paths.

    spoiled: with the damage that their scripts hold for some, or all of them clean; frames: of
    each clip's picture so many alone.
    """
    key = shards.cache_name(ear.shipped().state_dict())
    scripts = list(shards.build(f"runs/scripts/{key}", script_row, split, count))   # takes the time
    out = Path(folder) / cache_key(codec, spoiled)
    yield from shards.run(partial(encode_shard, codec, out, spoiled, frames), scripts)


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
        """Latents (N, frames, C, h, w) from latent frame `first` on, and their `Cond`. The first
        `prefix` frames are known; the reference is always the clip's own frame 0."""
        x0 = self.latents[:, first:first + frames].float()
        known = torch.zeros(x0.shape[:2], dtype=torch.bool)
        known[:, :prefix] = True
        audio = group_audio(self.audio.float())[:, first:first + frames]
        rows = self.encode([p for pair in self.prompts for p in (pair[0], pair[-1])])
        shown = torch.arange(first, first + x0.shape[1])[None]
        mask = readable(shown, self.starts, rows.shape[1])
        prompts = rows.unflatten(0, (-1, PROMPTS)).flatten(1, 2)         # (N, 32, D)
        return x0, Cond(self.latents[:, 0].float(), audio, prompts, known, self.encode([""]), mask)


def windows_of(frames, total=TOTAL):
    """How many windows of so many latent frames make an update of `total`."""
    return 8 * max(1, total // (8 * frames))        # divides among 2, 4 or 8 processes


class Batches:
    """Training batches of clips, drawn on one device: windows of 9, 15 or 21 latent frames at
    the start (prefix 1) or in mid-stream (prefix 4), prompts in one of WORDINGS ways, conditions
    dropped at random. Which, the CPU's generator decides: the same on every device."""

    def __init__(self, clips, device="cpu"):
        g = torch.Generator().manual_seed(0)
        self.latents = clips.latents.to(device)                          # (N, F, C, h, w)
        self.audio = torch.cat([group_audio(rows.float()).half() for rows in clips.audio.split(64)])
        said = [[prompt for pair in clips.prompts for prompt in (pair[0], pair[-1])]]
        if clips.encode is text.encode:     # which reads the world's words, in any order
            said = [[rephrase(prompt, g) for prompt in said[0]] for _ in range(WORDINGS)]
        rows = torch.stack([torch.cat([clips.encode(some[i:i + 4096]).half() for i in
                                       range(0, len(some), 4096)]) for some in said])
        self.words = rows.view(len(said), len(clips), -1, rows.shape[-1]).to(device)
        self.audio, self.starts = self.audio.to(device), clips.starts.to(device)
        self.no_text = clips.encode([""]).to(device)

    def draw(self, total, g):
        """Windows of F latent frames, total / F of them -> x0 (B, F, C, h, w), Cond."""
        def dice(*shape):
            return torch.rand(*shape, generator=g).to(self.latents.device)

        frames = WINDOWS[int(torch.randint(len(WINDOWS), (), generator=g))]
        size = windows_of(frames, total)
        some, wording = (dice(2, size) * torch.tensor([[len(self.latents)], [len(self.words)]],
                                                      device=self.latents.device)).long()
        middle, where, drop = dice(3, size)
        first = (1 + where * (self.latents.shape[1] - frames)).long() * (middle < 0.4)
        shown = first[:, None] + torch.arange(frames, device=first.device)       # (size, F)
        known = torch.arange(frames, device=first.device) < \
            torch.where(first > 0, OVERLAP, 1)[:, None]
        mask = readable(shown, self.starts[some], self.words.shape[2] // PROMPTS)
        cond = Cond(self.latents[some, 0].float(), self.audio[some[:, None], shown].float(),
                    self.words[wording, some].float(), known, self.no_text, mask)
        return self.latents[some[:, None], shown].float(), drop_some(cond, drop)


def readable(frames, starts, rows):
    """Which of the rows of two prompts latent frames (N, F) may read: (N, F, 2 rows), by starts
    (N, 2)."""
    second = (frames * 4 - 3).clamp(min=0) >= starts[:, 1:2]
    return torch.stack([~second, second], dim=-1).repeat_interleave(rows, dim=-1)


def drop_some(cond, dice):
    """Hide audio, text or both by dice in [0, 1), one a clip, so that guidance has its branches."""
    audio = (dice < DROP) | ((dice > 2 * DROP) & (dice < 2.5 * DROP))
    words = (dice >= DROP) & (dice < 2.5 * DROP)
    without = cond.drop("audio").drop("text")
    return replace(cond, audio=torch.where(audio[:, None, None], without.audio, cond.audio),
                   text=torch.where(words[:, None, None], without.text, cond.text))
