"""Which latents does a diffusion model learn fastest? The same small training run on four.

All are linear maps of the shipped codec's latents, so that nothing but their channels and their
scaling differs, and each is decoded by the map's inverse and the shipped decoder. N latents,
C channels of the codec, K of a design. `python -m livetalk_ref report latents` runs it.
"""

from dataclasses import dataclass, replace

import torch

from livetalk_ref.judge import evaluate
from livetalk_ref.load import load_module
from livetalk_ref.stages import teacher_stage
from livetalk_ref.train import train
from livetalk_ref.wan import TINY, WanDiT
from livetalk_ref.world.latents import LatentClips

UPDATES = 400
HELD_OUT = 16
SEED = 0


def principal(x):
    """Directions of latents x (N, C), strongest first, as rows (C, C), and their deviations."""
    _, deviations, directions = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    return directions, deviations / len(x) ** 0.5


def one_scale(x):
    """As shipped: the natural spectrum, all of unit size together."""
    return torch.eye(x.shape[1])


def per_channel(x):
    """Every channel of unit size."""
    return torch.diag(1 / x.std(0))


def whitened(x):
    """No channel can be told from another one, and all are of unit size."""
    directions, deviations = principal(x)
    return directions / deviations[:, None]


def half_of_them(x):
    """Only the stronger half of the principal channels, of unit size together."""
    directions, deviations = principal(x)
    kept = len(directions) // 2
    return directions[:kept] / deviations[:kept].square().mean().sqrt()


DESIGNS = (one_scale, per_channel, whitened, half_of_them)


@dataclass
class Mapped:
    """A codec behind a map (K, C) of its latents."""

    codec: torch.nn.Module
    matrix: torch.Tensor

    def encode(self, z):
        """The codec's latents (.., C, h, w) as a design's (.., K, h, w)."""
        return torch.einsum("kc,...chw->...khw", self.matrix, z.float())

    def decode(self, z):
        """Pictures of a design's latents."""
        back = torch.linalg.pinv(self.matrix)
        return self.codec.decode(torch.einsum("ck,...khw->...chw", back, z.float()))

    def clips(self, data):
        """Cached clips with a design's latents."""
        return replace(data, latents=self.encode(data.latents))


def learn(data: LatentClips, updates):
    """A teacher of the usual size after so many updates on these clips, averaged weights."""
    stage = teacher_stage(data=data)
    torch.manual_seed(SEED)
    model = WanDiT(replace(TINY, latent_channels=data.latents.shape[2]))
    config = replace(stage.config, steps=updates, seed=SEED)
    for _ in train(model, stage.loss, config):
        pass
    return model.eval().requires_grad_(False)


def compare(data, updates=UPDATES, clips=HELD_OUT):
    """Rows of the table: what each design's codec keeps of truth, and what its teacher learned."""
    codec, reader = load_module("codec"), load_module("reader")
    held_out = evaluate.HeldOut.make(codec, clips)
    channels = data.latents.movedim(2, -1).flatten(0, -2)[::97].float()  # (N, C)
    _, truth = evaluate.judge(held_out.decode(held_out.data.latents), held_out, reader)
    rows = []
    for design in DESIGNS:
        mapped = Mapped(codec, design(channels))
        bench = replace(held_out, data=mapped.clips(held_out.data), codec=mapped)
        model = learn(mapped.clips(data), updates)
        for name, latents in (("truth", bench.data.latents),
                              ("teacher", evaluate.generate(model, bench))):
            line = evaluate.summarise(f"{design.__name__}, {name}",
                                      *evaluate.judge(bench.decode(latents), bench, reader), truth)
            rows.append(line | {"channels": len(mapped.matrix), "updates": updates})
    return rows
