"""Teacher trajectories on disk: made from cached conditions, read back as training batches.

Every shard of the latent cache gives one of trajectories, with its conditions, seeds and
guidance, in a folder named by cache, teacher, guidance and precision. Shards appear when they are
complete, so a killed build continues. Conditions are clean: from a teacher that draws what is
spoiled a student has nothing to learn.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from livetalk_ref import DATA, parallel
from livetalk_ref.device import autocast, best_device, best_precision
from livetalk_ref.flow import STUDENT_STEPS, sigma_grid
from livetalk_ref.generate import GUIDANCE
from livetalk_ref.loading import check_channels, load_module, load_start
from livetalk_ref.ode import trajectory
from livetalk_ref.real.avatar import GUIDANCE as REAL_GUIDANCE
from livetalk_ref.runs import save
from livetalk_ref.world import latents, shards, text
from livetalk_ref.world.clips import FRAMES
from livetalk_ref.world.latents import WINDOW, LatentClips

SAMPLE = DATA / "trajectories" / "sample.safetensors"
SHIPPED = 9                         # paths in it
FEW = 4                             # clips of one's own in a shard: a 1.3B teacher's are large


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

    def batch(self, size, g, steps=STUDENT_STEPS):
        """A training batch: states (size, steps + 1, 21, C, h, w) and their Cond. A student of
        fewer steps learns from every other state, or from the two ends."""
        some = self.select(torch.randint(len(self), (size,), generator=g))
        return some.states[:, ::STUDENT_STEPS // steps].float(), some.cond()

    def save(self, path, **facts):
        """Write all of it as one shard."""
        c = self.clips
        save(path, {"states": self.states, "seeds": self.seeds, "latents": c.latents,
                    "audio": c.audio, "state": c.state, "continuous": c.identity.continuous,
                    "categorical": c.identity.categorical, "starts": c.starts,
                    "degraded": c.degraded}, rows=c.prompts, **facts)


def make(teacher, clips, first, guidance, watch=None):
    """Trajectories of clips from their first frame on; clip i's noise has the seed first + i."""
    clips = replace(clips, latents=clips.latents[:, :WINDOW], audio=clips.audio[:, :FRAMES],
                    state=clips.state[:, :FRAMES])
    x0, cond = clips.window(0, 1)
    seeds = torch.arange(first, first + len(clips))
    noise = torch.stack([torch.randn(x0.shape[1:], generator=torch.Generator().manual_seed(seed))
                         for seed in seeds.tolist()])                    # (N, 21, C, h, w)
    device = next(teacher.parameters()).device
    states = trajectory(teacher, noise.to(device), x0[:, :1].to(device), cond.to(device), guidance,
                        watch=watch)
    return Trajectories(states.half().cpu(), clips, seeds)


def build(teacher, paths, guidance=GUIDANCE, folder="runs/trajectories", watch=None,
          precision="fp32"):
    """One shard of trajectories for each of some latent shards, yielding its path in order.

    paths: shards as `latents.build` yields them. `watch` is called with every `flow.Step`, 48 a
    shard. In "bf16", half as fast again, a path ends 1 % off.
    """
    who = f"{shards.cache_name(teacher.state_dict())}-text{guidance.text:g}-audio{guidance.audio:g}"
    device = next(teacher.parameters()).device
    for path in map(Path, paths):
        out = Path(folder) / f"{path.parent.name}-{who}-{precision}" / path.name
        if not out.exists():
            clips, number = LatentClips.load([path]), int(path.stem.rpartition("-")[2])
            with torch.no_grad(), autocast(device, precision):
                made = make(teacher, clips, number * shards.SHARD, guidance, watch)
            made.save(out, guidance=guidance, precision=precision)
        yield out


def count_shards(count):
    """Shards that hold so many clips."""
    return -(-count // shards.SHARD)


def from_shipped(count, split="train", watch=None):
    """Trajectories of the shipped teacher for a split's first `count` clips, as `build`."""
    device = best_device()
    clips = latents.build(load_module("codec"), split, count)
    yield from build(load_module("teacher", device=device), clips, watch=watch,
                     precision=best_precision(device))


def write_sample(path=None, watch=None):
    """Write trajectories of the first training clips, those that ship; returns the file's path."""
    paths = latents.build(load_module("codec"), "train", shards.SHARD)
    clips = LatentClips.load(list(paths))
    data = make(load_module("teacher"), clips.select(range(SHIPPED)), 0, GUIDANCE, watch=watch)
    data.save(path or SAMPLE, guidance=GUIDANCE)
    return path or SAMPLE


def from_clips(data, teacher="teacher", folder="runs/trajectories"):
    """`Trajectories` of a teacher, a checkpoint's name or path, for clips of one's own, made once.
    Several processes that see the folder share the work: each begins at another shard."""
    device = best_device()
    model, precision = load_start(teacher, device), best_precision(device)
    check_channels("The teacher", model.config, *data.channels())
    guidance = GUIDANCE if data.encode is text.encode else REAL_GUIDANCE
    words = torch.frombuffer(bytearray(json.dumps(data.prompts).encode()), dtype=torch.uint8)
    key = shards.cache_name(model.state_dict() | {
        "data.latents": data.latents, "data.audio": data.audio, "data.prompts": words})
    paths = [Path(folder) / f"own-{key}-{precision}" / f"{first:06d}.safetensors"
             for first in range(0, len(data), FEW)]
    begin = len(paths) * parallel.rank() // parallel.ranks()
    for path in paths[begin:] + paths[:begin]:
        if not path.exists():
            first = int(path.stem)
            some = data.select(torch.arange(len(data))[first:first + FEW])
            with torch.no_grad(), autocast(device, precision):
                made = make(model, some, first, guidance)
            made.save(path, guidance=guidance, precision=precision)
    found = Trajectories.load(paths)
    return replace(found, clips=replace(found.clips, encode=data.encode))


def straightness(states):
    """How far a path (B, K + 1, F, C, h, w) is from the straight line between its ends.

    Two measures along the noise levels `sigma_grid(K)`. Deviation (B, K): squared distance of
    a step's velocity from the chord's, over the chord's square; 0 everywhere is a straight
    path, which one Euler step would follow (Liu et al. 2022). Curvature (B, K - 1): change of
    the velocity per unit of sigma between neighbouring steps, over the chord's size.
    """
    x = states.flatten(2).double()                                       # (B, K + 1, D)
    grid = sigma_grid(x.shape[1] - 1).to(x.device)[:, None]
    v = x.diff(dim=1) / grid.diff(dim=0)                                 # (B, K, D)
    chord = x[:, :1] - x[:, -1:]        # sigma runs from 1 to 0, so this is a velocity
    size = chord.norm(dim=-1)                                            # (B, 1)
    between = (grid[2:] - grid[:-2])[:, 0].abs() / 2    # from one step's middle to the next
    deviation = (v - chord).norm(dim=-1).square() / size.square()
    return deviation, v.diff(dim=1).norm(dim=-1) / (between * size)
