"""The codec: causality, what training sees and counts, bad sizes."""

from dataclasses import replace

import pytest
import torch

from livetalk_ref import codec as codec_file
from livetalk_ref.codec import Codec, CodecConfig, codec_loss, resize, restlessness
from livetalk_ref.errors import UserError

SMALL = CodecConfig(4, (16, 32, 32), (8, 16, 32))


@pytest.fixture(scope="module")
def codec():
    torch.manual_seed(0)
    codec = Codec(SMALL).eval()
    codec.scale.fill_(0.5)                  # as of one that was trained: not 1
    return codec


def video(frames=13, size=32, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.rand(1, frames, 3, size, size, generator=g) * 2 - 1


@torch.inference_mode()
def test_the_future_reaches_neither_latents_nor_frames(codec):
    x, z = video(), codec.encode(video())
    x[:, 5:] += 0.5
    assert torch.allclose(codec.encode(x)[:, :2], z[:, :2], atol=1e-6)
    assert (codec.encode(x)[:, 2] - z[:, 2]).abs().max() > 1e-4
    other = z.clone()
    other[:, 2:] += 1
    assert torch.equal(codec.decode(other)[:, :5], codec.decode(z)[:, :5])


@torch.inference_mode()
def test_training_pass_equals_encode_and_decode(codec, monkeypatch):
    quiet = Codec(replace(SMALL, noise=0.0)).eval()
    quiet.load_state_dict(codec.state_dict())
    monkeypatch.setattr(codec_file, "EQUIVARIANT", 0.0)
    y, target, z = quiet(video())
    assert torch.equal(target, video()) and torch.equal(z, quiet.encode(video()) / 0.5)
    assert torch.allclose(y.clamp(-1, 1), quiet.decode(0.5 * z), atol=1e-5)
    monkeypatch.setattr(codec_file, "EQUIVARIANT", 1.0)
    y, target, _ = quiet(video())
    assert y.shape == target.shape == (1, 13, 3, 16, 16)
    assert torch.allclose(target, resize(video(), 16))


@torch.inference_mode()
def test_latents_in_training_have_noise_of_a_level_for_each_clip(codec, monkeypatch):
    monkeypatch.setattr(codec_file, "EQUIVARIANT", 0.0)
    loud, g = Codec(replace(SMALL, noise=5.0)).eval(), torch.Generator()
    loud.load_state_dict(codec.state_dict())
    y, _, z = loud(torch.cat([video()] * 2), g.manual_seed(1))
    torch.rand((), generator=g.manual_seed(1))              # whether the batch is scaled down
    levels = 5.0 * torch.rand(2, generator=g)
    noise = torch.stack([levels[i] * n for i, n in enumerate(torch.randn(z.shape, generator=g))])
    assert torch.allclose(y.clamp(-1, 1), loud.decode(0.5 * (z + noise)), atol=1e-5)


def test_loss_of_the_codec_by_hand():
    """A picture that is wrong by .1 all over, or in a stripe, and latents that are constants."""
    x, weight, z = video(), torch.ones(1, 13, 1, 32, 32), torch.full((1, 4, 4, 2, 2), 2.0)
    weight[..., :16] = 3.0
    pixel, leash = 0.1 + 2 * 0.1 ** 2, (2 ** 2 - 1) + 2 ** 2
    assert codec_loss(x + 0.1, x, z, weight, x).item() == pytest.approx(2 * pixel + 0.01 * leash)
    assert codec_loss(x + 0.1, x, 0 * z, weight, x).item() == pytest.approx(2 * pixel)
    stripe = x.clone()
    stripe[..., 16:] += 0.1                                 # one of 31 steps along a row
    assert codec_loss(stripe, x, 0 * z, weight, x).item() == pytest.approx(
        pixel / 2 + 0.2 * 0.1 / 31, rel=1e-4)
    still, z[:, 2:] = x[:, :1].expand_as(x), -2.0
    assert codec_loss(still, still, z, weight, still).item() == pytest.approx(
        0.01 * 3 + 0.2 * 4 ** 2 * 4 / 13)


def test_only_what_moves_without_the_picture_is_restless():
    x, z = video().expand(1, 13, 3, 32, 32).clone(), torch.randn(1, 4, 4, 2, 2)
    x[:] = x[:, :1]
    assert restlessness(z, x) == pytest.approx(z.diff(dim=1).square().mean(2).sum() / 13)
    assert restlessness(z[:, :1].expand(-1, 4, -1, -1, -1), x) == 0
    x[:, 5:] = -x[:, 5:]        # one group moves: its latent and the next one may
    z[:, :2] = z[:, :1]
    assert restlessness(z, x) < 1e-6


@pytest.mark.parametrize("shape", [(1, 12, 3, 32, 32), (1, 13, 3, 40, 32), (1, 13, 3, 32, 40)])
def test_a_misfit_is_one_sentence(codec, shape):
    with pytest.raises(UserError, match="4n \\+ 1 frames"):
        codec.encode(torch.zeros(shape))
