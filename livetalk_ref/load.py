"""Shipped weights to ready-made objects: single modules, or a whole `Avatar`."""

from dataclasses import dataclass
from pathlib import Path

import torch

from livetalk_ref.codec import Codec, CodecConfig
from livetalk_ref.errors import UserError
from livetalk_ref.judge.reader import Reader, ReaderConfig
from livetalk_ref.judge.sync import SyncConfig, SyncNet
from livetalk_ref.train import read
from livetalk_ref.wan import Config, WanDiT
from livetalk_ref.world import text
from livetalk_ref.world.ear import CHECKPOINTS, AudioFeatures, Ear, EarConfig

SAMPLERS = ("euler", "rollout")     # of teachers, of students: the fact "sampler" of their files
KINDS = {"codec": (Codec, CodecConfig), "reader": (Reader, ReaderConfig),
         "sync": (SyncNet, SyncConfig), "ear": (Ear, EarConfig)}            # else a WanDiT


def checkpoint(name):
    """The file of a shipped model's name, or of a path to one. UserError if there is none."""
    path = Path(name)
    if path.suffix == ".safetensors" and path.is_file():
        return path
    path = CHECKPOINTS / f"{name}.safetensors"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in CHECKPOINTS.glob("*.safetensors")))
        raise UserError(f"There is no model '{name}'; choose one of {known}, or give the path of "
                        f"a .safetensors checkpoint.")
    return path


def load_module(name, kind=None, device="cpu"):
    """One module with its weights, float32, in evaluation mode.

    name: a shipped checkpoint or a path; kind: "codec", "reader", "sync", "dit" or None for what
    name says.
    """
    tensors, facts = read(checkpoint(name), device)
    module, config = KINDS.get(kind or str(name), (WanDiT, Config))
    try:
        fields = {k: tuple(v) if isinstance(v, list) else v for k, v in facts["config"].items()}
        made = module(config(**fields))
        made.load_state_dict({k: v.float() for k, v in tensors.items()})
    except (KeyError, TypeError, RuntimeError) as error:
        raise UserError(f"{name} does not hold the weights of a {module.__name__}: "
                        f"{str(error).splitlines()[0]}") from error
    return made.to(device).eval().requires_grad_(False)


def half(tensors):
    """Floating tensors as fp16, the form in which weights ship."""
    return {k: v.half() if v.is_floating_point() else v for k, v in tensors.items()}


@dataclass(frozen=True)
class Avatar:
    """A generator with all it needs: DiT, codec, and how it is sampled."""

    model: torch.nn.Module
    codec: Codec
    name: str
    sampler: str = "euler"      # one of SAMPLERS

    @property
    def is_student(self):
        """Does it make block after block in 4 steps, or whole windows with a guided Euler?"""
        return self.sampler == "rollout"

    def text(self, prompts):
        """Embeddings (B, L, D) of prompts. UserError for unknown words."""
        return text.encode(prompts)

    def audio(self):
        """The audio features of a new stream."""
        return AudioFeatures()


def sampler(name):
    """How a DiT's checkpoint says it is sampled; one that says nothing is a teacher."""
    found = read(checkpoint(name))[1].get("sampler", SAMPLERS[0])
    if found not in SAMPLERS:
        raise UserError(f"{name} asks for the sampler '{found}'; this version knows "
                        f"{' and '.join(SAMPLERS)}.")
    return found


def load(name="teacher", device="cpu"):
    """A ready `Avatar` by the name of its generator ("teacher") or a checkpoint's path."""
    return Avatar(load_module(name, "dit", device), load_module("codec", device=device), str(name),
                  sampler(name))
