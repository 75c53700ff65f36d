"""What each training stage trains on: the data, the loss and the numbers of its run.

`STAGES[name](folder)` gives a `Stage`; `run_stage` drives it. Stages read the shipped weights
of the stages before them, so each can be redone alone.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from livetalk_ref import load
from livetalk_ref.codec import Codec, codec_loss
from livetalk_ref.flow import draw_sigma, flow_loss
from livetalk_ref.judge.reader import Reader, reader_loss
from livetalk_ref.load import half, load_module
from livetalk_ref.train import TrainConfig, read, save, train
from livetalk_ref.wan import TINY, WanDiT
from livetalk_ref.world import latents, snippets

@dataclass
class Stage:
    """A model, its loss(model, generator) and its training numbers."""

    model: torch.nn.Module
    loss: callable
    config: TrainConfig
    finish: callable = lambda model: None      # measures what the shipped file holds besides


def codec_stage(count=1600):
    """Codec on rendered snippets; mouths count more."""
    data = snippets.Snippets.load(list(snippets.build("train", count)))
    model = Codec().to(memory_format=torch.channels_last)

    def loss(model, g):
        some = torch.randint(len(data), (14, 1), generator=g)
        when = torch.randint(snippets.FRAMES - 8, (14, 1), generator=g) + torch.arange(9)
        x = data.pictures((some, when))                                  # (14, 9, 3, 96, 96)
        weight = snippets.detail(data.box[some, when], x.shape[-1])
        y, z = model(x, g)
        return codec_loss(y.float(), x, z.float(), weight)

    @torch.inference_mode()
    def finish(model):
        """One global scale gives latents unit size and leaves their natural spectrum."""
        z = model.encode(data.pictures(torch.arange(64))) / model.scale
        model.scale.copy_(1 / z.std())

    return Stage(model, loss, TrainConfig(steps=3000, lr=1e-3, cooldown=0.35), finish)


def reader_stage(count=1600):
    """Face reader on rendered frames, half of them through the codec."""
    data = snippets.Snippets.load(list(snippets.build("train", count)))
    codec = load_module("codec")
    model = Reader().to(memory_format=torch.channels_last)

    def loss(model, g):
        some = torch.randint(len(data), (96,), generator=g)
        when = torch.randint(snippets.FRAMES, (96,), generator=g)
        x, state, who = data.pictures((some, when)), data.state[some, when], data.identity[some]
        few = some[:3]                                                   # 51 frames
        with torch.no_grad():
            seen = codec.decode(codec.encode(data.pictures(few))).float().flatten(0, 1)
        return reader_loss(model, x, state, who) + reader_loss(
            model, seen, data.state[few].flatten(0, 1), data.identity[few].repeat(snippets.FRAMES))

    @torch.inference_mode()
    def finish(model):
        """Fréchet features are the main directions of truth."""
        frames = data.pictures((torch.arange(1024) % len(data), torch.arange(1024) % 17))
        model.fit_features(torch.cat([model(part)[2] for part in frames.split(64)]))

    return Stage(model, loss, TrainConfig(steps=2500, lr=1e-3), finish)


def teacher_stage(count=1024):
    """Bidirectional teacher: flow matching on cached latents, clean and degraded alike."""
    data = latents.LatentClips.load(list(latents.build(load_module("codec"), "train", count)))
    model = WanDiT(TINY)

    def loss(model, g):
        x0, cond = data.batch(16, g)
        noise = torch.randn(x0.shape, generator=g)
        return flow_loss(model, x0, noise, draw_sigma(len(x0), g), cond.known, cond)

    return Stage(model, loss, TrainConfig(steps=12_000, lr=1e-3, muon=0.02, ema=0.999))


FEW = 64               # clips that are enough to measure what `finish` does
SHIPPED = {"codec": "codec", "judges": "reader", "teacher": "teacher"}
STAGES = {"codec": codec_stage, "judges": reader_stage, "teacher": teacher_stage}


def export(name, folder=None):
    """Ship the averaged weights of a run as fp16 under data/checkpoints; returns the path."""
    tensors, facts = read(Path(folder or f"runs/{name}") / "ema.safetensors")
    stage = STAGES[name](count=FEW)
    stage.model.load_state_dict(tensors)
    stage.finish(stage.model.eval())
    path = load.CHECKPOINTS / f"{SHIPPED[name]}.safetensors"
    save(path, half(stage.model.state_dict()), **facts)
    return path


def run_stage(name, out=None, steps=None, resume=False, **options):
    """Train one stage in out (default runs/NAME), yielding the loop's states."""
    stage = STAGES[name](**options)
    if steps:
        stage.config = replace(stage.config, steps=steps)
    yield from train(stage.model, stage.loss, stage.config, Path(out or f"runs/{name}"), resume,
                     {"config": stage.model.config})
