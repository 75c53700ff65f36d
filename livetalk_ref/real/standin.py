"""Random weights in the layout of the released ones, at any size: what is proven without them.

A folder of such weights is read by `load` like the real one. Nothing that it generates looks like
anything, and all that is claimed of loading, parity, streaming and memory holds for it.
"""

import dataclasses
import json
import struct
from pathlib import Path

import torch

from livetalk_ref.real.text import save_text
from livetalk_ref.real.weights import shapes_of
from livetalk_ref.wan import LIVETALK_1P3B, Config, WanDiT

NAMES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
SMALL = Config(dim=64, ffn_dim=128, heads=2, layers=4, text_dim=32, audio_dim=4 * 16,
               latent_channels=16, audio_hidden=8, freq_dim=32)
SMALL_VAE = {"base_dim": 8}                     # of AutoencoderKLWan; the real one's is 96
SMALL_SPEECH = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
                "intermediate_size": 32, "conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16,
                "num_conv_pos_embedding_groups": 2}     # wav2vec2-base: Wav2Vec2Config()
PROMPTS = ("a person talks and nods", "a person smiles")


def random_tensor(key, shape, generator):
    """What keeps activations at unit size: matrices by their fan-in, gains about 1, small rest."""
    x = torch.randn(shape, generator=generator)
    if key.endswith(("norm_q.weight", "norm_k.weight", "norm3.weight", "norm_out.weight")):
        return 1 + 0.1 * x
    if len(shape) > 1 and not key.endswith("modulation"):
        return x / max(1, shape[1:].numel()) ** 0.5
    return 0.1 * x


def write_random(path, config=LIVETALK_1P3B, dtype=torch.bfloat16, seed=0):
    """Write a safetensors file of random weights, one tensor in memory at a time.

    It names its config if that is not the released one, and else nothing, like the real file.
    Returns the number of tensors.
    """
    with torch.device("meta"):
        shapes = {key: torch.Size(shape) for key, shape in shapes_of(WanDiT(config)).items()}
    header, end = {}, 0
    if config != LIVETALK_1P3B:
        header["__metadata__"] = {"config": json.dumps(dataclasses.asdict(config))}
    for key, shape in shapes.items():
        start, end = end, end + shape.numel() * dtype.itemsize
        header[key] = {"dtype": NAMES[dtype], "shape": list(shape), "data_offsets": [start, end]}
    words = json.dumps(header).encode()
    words += b" " * (-len(words) % 8)
    generator = torch.Generator().manual_seed(seed)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(words)) + words)
        for key, shape in shapes.items():
            tensor = random_tensor(key, shape, generator).to(dtype)
            file.write(tensor.view(-1).view(torch.uint8).numpy().data)
    return len(shapes)


@torch.no_grad()
def random_dit(config, device, dtype):
    """A `WanDiT` of random weights, made where it will be."""
    with torch.device("meta"):
        model = WanDiT(config)
    model = model.to_empty(device=device)
    g = torch.Generator().manual_seed(0)
    for key, p in model.named_parameters():
        p.copy_(random_tensor(key, p.shape, g))
    return model.to(dtype).eval().requires_grad_(False)


@torch.no_grad()
def shaken(module, seed, spread=1.0):
    """A module of diffusers or transformers with random weights in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    for name, p in module.named_parameters():
        x = torch.randn(p.shape, generator=generator)
        fan = max(1, p[0].numel()) if p.ndim else 1
        vector = p.ndim < 2 or fan == 1 or "gamma" in name
        p.copy_(1 + 0.1 * x if vector and not name.endswith("bias") else
                0.1 * x if vector else spread * x / fan ** 0.5)
    return module.eval().requires_grad_(False)


def random_vae(seed=0, **size):
    """diffusers' `AutoencoderKLWan` of random weights."""
    from diffusers import AutoencoderKLWan

    vae = shaken(AutoencoderKLWan(**size), seed)
    vae.decoder.conv_out.weight *= 0.2                  # else every pixel is black or white
    return vae


def random_speech(seed=0, **size):
    """transformers' `Wav2Vec2Model` of random weights."""
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    return shaken(Wav2Vec2Model(Wav2Vec2Config(**size)), seed)


def random_text(dim):
    """A stand-in for umT5: some random rows for every word, the same for the same word."""
    def encode(prompts):
        rows = torch.zeros(len(prompts), 512, dim)
        for i, prompt in enumerate(prompts):
            for place, word in enumerate(["", *prompt.split()]):
                seed = sum(ord(c) * 31 ** n for n, c in enumerate(word)) % 2 ** 31
                rows[i, place] = torch.randn(dim, generator=torch.Generator().manual_seed(seed))
        return rows
    return encode


def write_folder(folder, config=SMALL, vae=SMALL_VAE, speech=SMALL_SPEECH, dtype=torch.float32,
                 prompts=PROMPTS, seed=0):
    """Write FOLDER as `real/avatar.py` wants it, of random weights. Returns its path."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_random(folder / "model.safetensors", config, dtype, seed)
    random_vae(seed + 1, **vae).save_pretrained(folder / "vae")
    random_speech(seed + 2, **speech).save_pretrained(folder / "wav2vec2")
    save_text(folder / "text.safetensors", random_text(config.text_dim), prompts)
    return folder
