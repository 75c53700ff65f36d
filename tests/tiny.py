"""Small stand-ins: checkpoints of random weights, written as shipped ones are, and odd files."""

import torch
from PIL import Image

from livetalk_ref.codec import Codec, CodecConfig
from livetalk_ref.runs import save
from livetalk_ref.wan import TINY, WanDiT
from livetalk_ref.world.clips import speaking
from livetalk_ref.world.motion import motion
from livetalk_ref.world.visemes import visemes

CODEC = CodecConfig(TINY.latent_channels, widths=(16, 32, 32))


def shake(model, seed):
    """Random weights everywhere: a fresh model's zero head would hide what goes into it."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            fan = max(1, p[0].numel()) if p.ndim else 1
            p.copy_(torch.randn(p.shape, generator=g) / fan ** 0.5 if p.ndim > 1 else
                    1 + 0.1 * torch.randn(p.shape, generator=g))
    return model.eval()


def write_checkpoints(folder):
    """codec.safetensors and teacher.safetensors of random weights in a folder."""
    for name, model, config in (("codec", Codec(CODEC), CODEC), ("teacher", WanDiT(TINY), TINY)):
        save(folder / f"{name}.safetensors", shake(model, 1).state_dict(), config=config)


def write_student(folder, name="student_ode"):
    """A student of random weights beside them."""
    save(folder / f"{name}.safetensors", shake(WanDiT(TINY), 2).state_dict(), config=TINY,
         sampler="rollout")


def act(spoken, prompt, generator, frames=None):
    """How a face says a sentence: the state (T, S) of all or the first `frames` frames."""
    frames = frames or int(spoken.seconds * 16) + 1
    return motion(visemes(spoken.phones, frames), speaking(spoken.phones, frames),
                  [(0, prompt)], generator)


def write_huge_image(path):
    """A bitmap whose header promises 20000x20000 pixels, as bombs do."""
    Image.new("L", (64, 64)).save(path, "bmp")
    data = bytearray(path.read_bytes())
    data[18:26] = (20_000).to_bytes(4, "little") * 2
    path.write_bytes(data)
