"""Random weights in the layout of the released ones, at any size: what is proven without them.

`load` reads a folder of such weights like the real one. What it generates looks like nothing; all
that is claimed of loading, parity, streaming, memory and speed holds for it.
"""

import zlib
from pathlib import Path

import torch

from livetalk_ref.cache import BLOCK
from livetalk_ref.flow import ROWS_PER_LATENT, Cond
from livetalk_ref.real.text import ROWS, save_text
from livetalk_ref.real.vae import STRIDE
from livetalk_ref.runs import save
from livetalk_ref.wan import LIVETALK_1P3B, Config, WanDiT

SMALL = Config(dim=64, ffn_dim=128, heads=2, layers=4, text_dim=32, audio_dim=4 * 16,
               latent_channels=16, audio_hidden=8, freq_dim=32, bf16_time=True)
SMALL_VAE = {"base_dim": 8}                     # of AutoencoderKLWan; the real one's is 96
SMALL_SPEECH = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
                "intermediate_size": 32, "conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16,
                "num_conv_pos_embedding_groups": 2}     # wav2vec2-base: Wav2Vec2Config()
SMALL_SIZE = 64                                 # pixels a side
RANDOM = "random"       # in the place of a folder: these small weights
PROMPTS = ("a person talks and nods", "a person smiles")


@torch.no_grad()
def shaken(module, seed):
    """A module with random weights that keep activations at unit size, in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    for name, p in module.named_parameters():
        x = torch.randn(p.shape, generator=generator)
        fan = max(1, p[0].numel()) if p.ndim else 1
        gain = p.ndim < 2 or fan == 1 or "gamma" in name        # else a matrix or a kernel
        p.copy_(0.1 * x if gain and name.endswith("bias") else 1 + 0.1 * x if gain
                else x / fan ** 0.5)
    return module.eval().requires_grad_(False)


def random_dit(config=LIVETALK_1P3B, device="cpu", dtype=torch.float32, seed=0):
    """A `WanDiT` of random weights, made where it will be."""
    with torch.device("meta"):
        model = WanDiT(config).to(dtype)
    return shaken(model.to_empty(device=device), seed)


def write_random(path, config=LIVETALK_1P3B, dtype=torch.bfloat16, seed=0):
    """Write a safetensors file of random weights; it names its config if that is one of ours."""
    facts = {} if config == LIVETALK_1P3B else {"config": config}
    save(path, random_dit(config, dtype=dtype, seed=seed).state_dict(), **facts)


def random_cond(config, size, dtype=torch.float32, seed=0):
    """A first block's condition of random content at a picture size in pixels."""
    g = torch.Generator().manual_seed(seed)

    def randn(*shape):
        return torch.randn(shape, generator=g).to(dtype)

    side, audio = size // STRIDE, ROWS_PER_LATENT * config.audio_dim
    return Cond(randn(1, config.latent_channels, side, side), randn(1, BLOCK, audio),
                randn(1, ROWS, config.text_dim), torch.arange(BLOCK)[None] == 0,
                randn(1, ROWS, config.text_dim))


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
    """A stand-in for umT5: a random row for every word and one more, the same for a prompt."""
    def encode(prompts):
        rows = torch.zeros(len(prompts), ROWS, dim)
        for i, prompt in enumerate(prompts):
            g, words = torch.Generator().manual_seed(zlib.crc32(prompt.encode())), prompt.split()
            rows[i, :len(words) + 1] = torch.randn(len(words) + 1, dim, generator=g)
        return rows
    return encode


def write_folder(folder, config=SMALL, vae=SMALL_VAE, speech=SMALL_SPEECH, seed=0):
    """Write FOLDER as `real/avatar.py` wants it, of random weights. Returns its path."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_random(folder / "model.safetensors", config, torch.float32, seed)
    random_vae(seed + 1, **vae).save_pretrained(folder / "vae")
    random_speech(seed + 2, **speech).save_pretrained(folder / "wav2vec2")
    save_text(folder / "text.safetensors", random_text(config.text_dim), PROMPTS)
    return folder
