"""Learning from videos of one's own, beside learning from the world itself.

Protocol, fixed before the run. "live": latents and sound of the world's first 200 training clips,
as the stage `teacher` reads them. "own": these clips as mp4 files, each with its first prompt in a
text file, through `prepare --clips --whole`, as `train teacher --data` reads them. Both train
teachers from nothing by 200 updates of 84 latent frames; a seed decides first weights and which
clips are drawn. The held-out loss is the averaged weights' velocity error on 32 held-out clips of
the world, of one noise at four levels. Predicted: the means of own and live are no further apart
than live's three seeds are, since an mp4 costs latents only a few per cent.
"""

from dataclasses import replace
from functools import cached_property, partial
from statistics import mean

import torch

from livetalk_ref import stages
from livetalk_ref.files import write_text
from livetalk_ref.flow import flow_loss
from livetalk_ref.loading import load_module
from livetalk_ref.media import movie
from livetalk_ref.own_clips import prepare_clips, read_clips
from livetalk_ref.runs import read
from livetalk_ref.studies.work import Job, Study
from livetalk_ref.world import clips, latents

SIGMAS = (0.2, 0.4, 0.6, 0.8)
SCALE = 2           # how much larger than drawn the videos are
RUNS = (("live", 0), ("own", 0), ("live", 1), ("own", 1), ("live", 2))      # whose clips, seed


class OwnClips(Study):
    """Videos, their shards, and a job a training."""

    sizes = {"count": (200, 2), "updates": (200, 2), "batch": (84, 42), "judged": (32, 1)}
    seeds = (0, 1, 2)

    def key(self):
        return latents.cache_key(load_module("codec"))

    def jobs(self):
        return [Job("videos", None, self.film), Job("shards", None, self.prepare),
                *(Job(f"{whose}-{seed}", "own_clips", partial(self.train, whose, seed))
                  for whose, seed in RUNS)]

    def film(self):
        """Write the clips as videos, their first prompts beside them."""
        for number in range(self.count):
            path = self.folder / "videos" / f"{number:05d}.mp4"
            if not path.is_file():
                clip = clips.script("train", number)
                write_text(path.with_suffix(".txt"), clip.prompts[0][1])
                with movie(path, clip.heard, scale=SCALE) as file:
                    file.add(clips.film(clip))
            yield

    def prepare(self):
        """Make shards of the videos that a user would."""
        yield from prepare_clips(self.folder / "videos", self.folder / "shards", whole=True)

    @cached_property
    def data(self):
        """{whose: clips}, the same ones in the same order."""
        return {"live": world("train", self.count), "own": read_clips(self.folder / "shards")}

    def train(self, whose, seed):
        """Train a teacher as the command does, and return its row."""
        torch.manual_seed(seed)             # of the first weights
        stage = stages.teacher_stage(data=self.data[whose], batch=self.batch)
        stage.config = replace(stage.config, seed=seed, save_every=30.0)
        out = self.folder / f"{whose}-{seed}"
        for _ in stage.run("teacher", out, self.updates, True, None, 1.0, self.compiled, "cpu"):
            yield
        stage.model.load_state_dict(read(out / "ema.safetensors")[0])
        found = flow_losses(stage.model, world("held_out", self.judged))
        return [{"data": whose, "seed": seed, "held-out loss": round(mean(found.values()), 4)}
                | {f"sigma {sigma:g}": round(loss, 4) for sigma, loss in found.items()}]

    def combine(self, result, rows):
        """Behind the trainings' rows, how far own is from live, and what was lost on the way."""
        live, own = ([row["held-out loss"] for row in rows if row["data"] == whose]
                     for whose in ("live", "own"))
        apart, spread = mean(own) - mean(live), max(live) - min(live)
        return [*rows, {
            "data": "own - live", "difference": round(apart, 4), "spread of live": round(spread, 4),
            "within": abs(apart) <= spread,
            "pairs": [round(mine - theirs, 4) for mine, theirs in zip(own, live)],
            "latents lost": self.lost("latents"), "sound lost": self.lost("audio")}], {}

    def lost(self, what):
        """The share of the variance of latents or audio rows that videos do not give back."""
        live, own = (vars(self.data[whose])[what].float() for whose in ("live", "own"))
        return round(((own - live).square().mean() / live.var()).item(), 4)


def world(split, count):
    """The first clips of a split, from the latent cache."""
    paths = latents.build(load_module("codec"), split, count)
    return latents.LatentClips.load(list(paths)).select(torch.arange(count))


@torch.no_grad()
def flow_losses(model, held_out):
    """{sigma: a model's velocity error} on the first windows of clips, known frames left out."""
    x0, cond = held_out.window(0, 1)
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))
    return {sigma: flow_loss(model, x0, noise, torch.full((len(x0),), sigma), cond.known,
                             cond).item() for sigma in SIGMAS}
