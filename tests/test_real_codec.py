"""Wan's autoencoder as a stream: equal to diffusers' whole decode, its state a value."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_wan import worst

from livetalk_ref.errors import UserError
from livetalk_ref.real.standin import SMALL_VAE, random_vae
from livetalk_ref.real.vae import WanCodec, load_vae

CODEC, THEIRS = WanCodec(random_vae(**SMALL_VAE)), random_vae(**SMALL_VAE)
G = torch.Generator().manual_seed(0)
MEAN = torch.tensor(CODEC.vae.config.latents_mean).view(1, -1, 1, 1, 1)
STD = torch.tensor(CODEC.vae.config.latents_std).view(1, -1, 1, 1, 1)
LATENTS = torch.randn(1, 4, 16, 2, 4, generator=G)


@torch.no_grad()
def whole(z):
    """diffusers' own decode of everything at once."""
    z = z.transpose(1, 2) * STD + MEAN
    return THEIRS.decode(z, return_dict=False)[0].transpose(1, 2)


@torch.no_grad()
@pytest.mark.parametrize("sizes", ([1, 1, 1, 1], [1, 2, 1], [1, 3]))
def test_streamed_by_any_number_of_latent_frames_is_the_whole_decode(sizes):
    made, before = [], None
    for z in LATENTS.split(sizes, dim=1):
        frames, before = CODEC.decode_step(z, before)
        made.append(frames)
    assert [f.shape[1] for f in made] == [1, *(4 * n for n in sizes[1:])]
    want = whole(LATENTS)
    assert want.shape == (1, 13, 3, 16, 32) and 0.1 < want.std() and want.abs().max() < 1
    assert worst(torch.cat(made, dim=1), want) < 1e-5


@torch.no_grad()
def test_encoding_is_the_normalised_mean_of_the_posterior():
    x = torch.rand(1, 5, 3, 16, 32, generator=G) * 2 - 1
    moments = THEIRS._encode(x.transpose(1, 2))
    want = ((moments.chunk(2, dim=1)[0] - MEAN) / STD).transpose(1, 2)
    assert worst(CODEC.encode(x), want) < 1e-5
    assert CODEC.encode(x).shape == (1, 2, 16, 2, 4)
    half = WanCodec(random_vae(**SMALL_VAE), torch.bfloat16)        # which encodes in float32
    assert torch.equal(half.encode(x.bfloat16()), CODEC.encode(x.bfloat16().float()).bfloat16())
    assert half.decode_step(half.encode(x)[:, :1])[0].dtype == torch.bfloat16


def test_what_does_not_fit_is_one_sentence(tmp_path):
    """So is a file that does not hold all of it: the library would draw the rest at random."""
    for shape in ((1, 1, 3, 24, 32), (1, 1, 3, 32, 40), (1, 4, 3, 32, 32)):
        with pytest.raises(UserError, match="multiples of 16"):
            CODEC.encode(torch.zeros(shape))
    with pytest.raises(UserError, match="holds no autoencoder"):
        load_vae(tmp_path)
    CODEC.vae.save_pretrained(tmp_path)
    file, key = tmp_path / "diffusion_pytorch_model.safetensors", "decoder.conv_out.weight"
    tensors = load_file(file)
    assert torch.equal(load_vae(tmp_path).vae.state_dict()[key], tensors[key])
    save_file({k: v for k, v in tensors.items() if k != key}, file)
    with pytest.raises(UserError, match=f"the whole autoencoder .* 1 missing: {key}"):
        load_vae(tmp_path)
    save_file(tensors | {key: torch.zeros(2)}, file)
    with pytest.raises(UserError, match=f"1 misshapen: {key} is 2, not 3x8x3x3x3"):
        load_vae(tmp_path)
