"""Teacher trajectories on disk: made from cached conditions, read back as training batches.

Every shard of the latent cache gives one shard of trajectories, which holds its conditions,
seeds and guidance too. Shards appear when they are complete, so a killed build continues where
it was and a longer one adds to it. They live in runs/trajectories/KEY/, where KEY names the
latent cache, the teacher's weights and the guidance.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from livetalk_ref.generate import GUIDANCE
from livetalk_ref.load import load_module
from livetalk_ref.ode import trajectory
from livetalk_ref.train import save
from livetalk_ref.world import latents, shards
from livetalk_ref.world.clips import FRAMES
from livetalk_ref.world.latents import WINDOW, LatentClips


@dataclass
class Trajectories:
    """Trajectories in memory, and the batches drawn from them."""

    states: torch.Tensor        # (N, 5, 21, C, h, w) fp16: noise, three between, clean end
    clips: LatentClips          # conditions, and the true latents that go with them
    seeds: torch.Tensor         # (N,) of the noise

    @staticmethod
    def load(paths):
        """Read shards made by `build`, or a file made by `save`."""
        tensors, _ = shards.load(paths)
        return Trajectories(tensors["states"], LatentClips.load(paths), tensors["seeds"])

    def __len__(self):
        return len(self.states)

    def select(self, index):
        """The trajectories of an index tensor."""
        index = torch.as_tensor(index)
        return Trajectories(self.states[index], self.clips.select(index), self.seeds[index])

    def cond(self):
        """The `Cond` they were made for: 21 latent frames, the first one known."""
        return self.clips.window(0, 1)[1]

    def batch(self, size, g):
        """A training batch: states (size, 5, 21, C, h, w) and their Cond."""
        some = self.select(torch.randint(len(self), (size,), generator=g))
        return some.states.float(), some.cond()

    def save(self, path, **facts):
        """Write all of it as one shard."""
        c = self.clips
        save(path, {"states": self.states, "seeds": self.seeds, "latents": c.latents,
                    "audio": c.audio, "state": c.state, "continuous": c.identity.continuous,
                    "categorical": c.identity.categorical, "starts": c.starts,
                    "degraded": c.degraded}, rows=c.prompts, **facts)


def make(teacher, clips, first, guidance, walk=trajectory, watch=None):
    """Trajectories of clips from their first frame on; clip i's noise has the seed first + i."""
    clips = replace(clips, latents=clips.latents[:, :WINDOW], audio=clips.audio[:, :FRAMES],
                    state=clips.state[:, :FRAMES])
    x0, cond = clips.window(0, 1)
    seeds = torch.arange(first, first + len(clips))
    noise = torch.stack([torch.randn(x0.shape[1:], generator=torch.Generator().manual_seed(seed))
                         for seed in seeds.tolist()])                    # (N, 21, C, h, w)
    device = next(teacher.parameters()).device
    states = walk(teacher, noise.to(device), x0[:, :1].to(device), cond.to(device), guidance,
                  watch=watch)
    return Trajectories(states.half().cpu(), clips, seeds)


def build(teacher, paths, guidance=GUIDANCE, folder="runs/trajectories", walk=trajectory,
          watch=None):
    """One shard of trajectories for each of some latent shards, yielding its path in order.

    paths: shards as `latents.build` yields them; walk: `ode.trajectory`, or
    `ode.causal_trajectory` for an autoregressive teacher. `watch` is called with every
    `flow.Step`, 48 a shard (or 48 a block).
    """
    who = f"{shards.world_key(teacher.state_dict())}-text{guidance.text:g}-audio{guidance.audio:g}"
    for path in map(Path, paths):
        out = Path(folder) / f"{path.parent.name}-{who}" / path.name
        if not out.exists():
            first = int(path.stem.rpartition("-")[2]) * shards.SHARD
            made = make(teacher, LatentClips.load([path]), first, guidance, walk, watch)
            made.save(out, guidance=guidance)
        yield out


def from_shipped(count, device="cpu", watch=None, **options):
    """Trajectories of the shipped teacher for the first `count` training clips (rounded up to
    shards of 32), yielding shard paths. Options go to `latents.build`."""
    clips = latents.build(load_module("codec"), "train", count, **options)
    yield from build(load_module("teacher", device=device), clips, watch=watch)
