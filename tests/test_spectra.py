"""Maps of latents: what each promises of its spectrum, and that decoding undoes them."""

from types import SimpleNamespace

import pytest
import torch

from livetalk_ref.judge import spectra

CODEC = SimpleNamespace(decode=lambda z: z)


def latents():
    """Correlated channels of unequal size, (N, 6) of unit size together."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(4000, 6, generator=g) * torch.tensor([3.0, 2, 1, 0.5, 0.3, 0.1])
    x = x @ torch.linalg.qr(torch.randn(6, 6, generator=g))[0]
    return x / x.std()


def mapped(design):
    x = latents()
    matrix = design(x)
    return x, x @ matrix.T, matrix


@pytest.mark.parametrize("design", spectra.DESIGNS)
def test_all_are_of_unit_size(design):
    _, z, _ = mapped(design)
    assert abs(z.square().mean().sqrt() - 1) < 0.05


def test_their_spectra():
    x, z, _ = mapped(spectra.one_scale)
    assert torch.equal(z, x)
    _, z, _ = mapped(spectra.per_channel)
    torch.testing.assert_close(z.std(0), torch.ones(6))
    _, z, _ = mapped(spectra.whitened)
    torch.testing.assert_close(z.T.cov(), torch.eye(6), atol=1e-2, rtol=0)
    _, z, matrix = mapped(spectra.half_of_them)
    assert matrix.shape == (3, 6) and z.T.cov().diagonal().diff().lt(0).all()   # strongest first


@pytest.mark.parametrize("design", spectra.DESIGNS[:3])
def test_decoding_undoes_the_map(design):
    x, _, matrix = mapped(design)
    z = x[:40].view(2, 5, 4, 6).movedim(-1, 2)[..., None]                # (2, 5, 6, 4, 1)
    codec = spectra.Mapped(CODEC, matrix)
    torch.testing.assert_close(codec.decode(codec.encode(z)), z, atol=1e-4, rtol=1e-4)


def test_half_the_channels_keep_what_is_strongest():
    x, z, matrix = mapped(spectra.half_of_them)
    back = z @ torch.linalg.pinv(matrix).T
    lost = (back - x).square().sum() / x.square().sum()
    assert 0 < lost < 0.05          # the three strong directions hold 97 % of the squares
