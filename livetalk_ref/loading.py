"""Weights to ready-made objects: shipped ones by name, the released ones from a folder."""

import hashlib
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from livetalk_ref.generate import SAMPLERS, Avatar
from livetalk_ref.codec import Codec, CodecConfig
from livetalk_ref.errors import UserError
from livetalk_ref.files import unpacked
from livetalk_ref.flow import STUDENT_STEPS, student_sigmas
from livetalk_ref.nets.reader import Reader, ReaderConfig
from livetalk_ref.nets.restorer import Restorer, RestorerConfig
from livetalk_ref.nets.syncnet import SyncConfig, SyncNet
from livetalk_ref.nets.whole_faces import WholeFaces
from livetalk_ref.real import REAL
from livetalk_ref.real.weights import load_dit, stored_shapes
from livetalk_ref.runs import read
from livetalk_ref.wan import LIVETALK_1P3B, SIZES, Config, WanDiT
from livetalk_ref.world.ear import CHECKPOINTS, Ear, EarConfig

# A module and its config by name; any other is a WanDiT.
KINDS = {"codec": (Codec, CodecConfig), "reader": (Reader, ReaderConfig),
         "sync": (SyncNet, SyncConfig), "ear": (Ear, EarConfig),
         "restorer": (Restorer, RestorerConfig), "faces": (WholeFaces, ReaderConfig)}


def checkpoint(name):
    """The file of a shipped model's name, or of a path to one. UserError if there is none."""
    path = Path(name)
    if path.suffix == ".safetensors" and path.is_file():
        return path
    path = CHECKPOINTS / f"{name}.safetensors"
    if not path.is_file():
        raise UserError(f"There is no model '{name}'; choose one of {generators()}, or give the "
                        f"path of a .safetensors checkpoint.")
    return path


def generators():
    """The names of the shipped models that make videos, as words."""
    names = sorted(path.stem for path in CHECKPOINTS.glob("*.safetensors"))
    return ", ".join(name for name in names if name not in KINDS)


def is_released(path):
    """True for a file of LiveTalk's or OmniAvatar's: theirs do not say their size, ours do."""
    with suppress(UserError):                       # what cannot be read is told by who reads it
        shapes, facts = stored_shapes(path)
        return "config" not in facts and "audio_proj.proj.weight" in shapes
    return False


def checkpoints_key(start, *names):
    """Ten hex digits of a text and of the files of checkpoints: they name what both decide."""
    digest = hashlib.sha256(start.encode())
    for name in names:
        digest.update(checkpoint(name).read_bytes())
    return digest.hexdigest()[:10]


def load_module(name, kind=None, device="cpu"):
    """One module with its weights, float32, in evaluation mode.

    name: a shipped checkpoint or a path; kind: one of KINDS, or "dit", or None for what name says.
    """
    path = checkpoint(name)
    if is_released(path):
        raise UserError(f"{path} has the layout of released weights, which take a folder: give "
                        f"--model {' or '.join(REAL)}, and --weights with the folder in which it "
                        f"is called model.safetensors.")
    tensors, facts = read(path, device)
    module, config = KINDS.get(kind or str(name), (WanDiT, Config))
    try:
        fields = {k: tuple(v) if isinstance(v, list) else v for k, v in facts["config"].items()}
        made = module(config(**fields))
        made.load_state_dict(unpacked(tensors))
    except (KeyError, TypeError, RuntimeError) as error:
        raise UserError(f"{name} does not hold the weights of a {module.__name__}: "
                        f"{str(error).splitlines()[0]}") from error
    made = made.to(device).eval().requires_grad_(False)
    return made.to(memory_format=torch.channels_last) if isinstance(made, Codec) else made


def load_start(name, device="cpu"):
    """A `WanDiT` to train from, float32: of a shipped model's name, of a checkpoint's path, or of
    a released file's, whose width tells its size."""
    if not is_released(path := checkpoint(name)):
        return load_module(name, "dit", device)
    width = stored_shapes(path)[0]["patch_embedding.weight"][0]
    config = next((c for c in SIZES.values() if c.dim == width), LIVETALK_1P3B)
    return load_dit(path, config, device, torch.float32)


def check_channels(who, config, latent_channels, audio_dim, text_dim):
    """UserError where a model reads other numbers than there are."""
    there = {"latent channels": (latent_channels, config.latent_channels),
             "audio features": (audio_dim, config.audio_dim),
             "text features": (text_dim, config.text_dim)}
    wrong = [f"{want} {name} where there are {have}" for name, (have, want) in there.items()
             if have != want]
    if wrong:
        raise UserError(f"{who} does not fit the data: it reads {' and '.join(wrong)}.")


def sampler(name):
    """How a DiT's checkpoint says it is sampled; one that says nothing is a teacher."""
    if name in REAL:
        return REAL[name]
    found = read(checkpoint(name))[1].get("sampler", SAMPLERS[0])
    if found not in SAMPLERS:
        raise UserError(f"{name} asks for the sampler '{found}'; this version knows "
                        f"{' and '.join(SAMPLERS)}.")
    return found


def steps_of(name):
    """How many steps a block a student's checkpoint says; one that says nothing makes 4."""
    steps = read(checkpoint(name))[1].get("student_steps", STUDENT_STEPS)
    return len(student_sigmas(steps))


def load(name="teacher", device="cpu", path=None, **options):
    """A ready `Avatar` by the name of its generator ("teacher") or a checkpoint's path.

    "livetalk-1.3b" and "omniavatar-1.3b" take the folder of their weights as path, or "random" for
    small ones of the same layout, and options, see real/avatar.py.
    """
    if name in REAL:
        from livetalk_ref.real.avatar import assemble
        from livetalk_ref.real.standin import RANDOM, SMALL_SIZE, write_folder

        if path == RANDOM:
            with TemporaryDirectory() as made:
                return assemble(name, write_folder(made), device, size=SMALL_SIZE, **options)
        return assemble(name, path, device, **options)
    if path or any(options.values()):
        raise UserError(f"--weights, --decoder and --int8 go with --model {' or '.join(REAL)} "
                        f"alone.")
    if name in KINDS:
        raise UserError(f"The {name} makes no videos; choose one of {generators()}.")
    return Avatar(load_module(name, "dit", device), load_module("codec", device=device), str(name),
                  sampler(name), student_steps=steps_of(name))
