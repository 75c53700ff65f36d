"""FID and FVD by path: scripted detectors of known answers stand at the places of the originals."""

import json

import pytest
import torch
from test_cli import checkpoints, go, place, refused  # noqa: F401
from test_cli_judge import small  # noqa: F401

from livetalk_ref.errors import UserError
from livetalk_ref.judge import benchmark, originals
from livetalk_ref.judge.distances import frechet


class Pictures(torch.nn.Module):
    """Mean colours of bytes."""

    def forward(self, x, return_features: bool = False):
        assert x.dtype == torch.uint8 and return_features
        return x.float().mean((2, 3)) / 255


class Videos(torch.nn.Module):
    """Mean colours and their mean change."""

    def forward(self, x, rescale: bool = False, resize: bool = False,
                return_features: bool = False):
        assert rescale and resize and return_features and x.shape[1] == 3
        means = x.mean((3, 4)) / 255                                    # (B, 3, T)
        return torch.cat([means.mean(2), means.diff(dim=2).abs().mean(2)], 1)


@pytest.fixture
def detectors(tmp_path):
    paths = {"FID": tmp_path / "inception.pt", "FVD": tmp_path / "i3d.pt"}
    torch.jit.script(Pictures()).save(str(paths["FID"]))
    torch.jit.script(Videos()).save(str(paths["FVD"]))
    return paths


def test_detectors_get_what_they_expect(detectors):
    frames = torch.rand(9, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    pictures, video = (originals.load_detector(path) for path in detectors.values())
    seen = originals.inception(pictures, frames)
    assert seen.shape == (2, 3)                                         # frames 1 and 5
    assert torch.allclose(seen, ((frames[[1, 5]] + 1) / 2).mean((2, 3)), atol=2e-3)
    seen = originals.i3d(video, frames)
    assert seen.shape == (1, 6)
    assert torch.allclose(seen[0, :3], ((frames[1:] + 1) / 2).mean((0, 2, 3)), atol=2e-3)


def test_evaluate_adds_fid_and_fvd(go, small, place, detectors):  # noqa: F811
    words = ["evaluate", "--set", "studio", "--clips", "2", "--json",
             "--inception", str(detectors["FID"]), "--i3d", str(detectors["FVD"])]
    rows = {}
    for model in ("truth", "codec"):
        status, out, _ = go(*words, "--model", model)
        assert status == 0
        rows[model] = json.loads(out)["rows"][0]
    assert rows["truth"]["FID"] == pytest.approx(0, abs=1e-6)
    assert rows["truth"]["FVD"] == pytest.approx(0, abs=1e-6)
    assert rows["codec"]["FID"] > 1e-4 and rows["codec"]["FVD"] > 1e-6
    assert f"FID {rows['codec']['FID']:24.3f}  squared" in benchmark.table(json.loads(out))


def test_fid_is_the_frechet_distance_of_these_features():
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(500, 4, generator=g), torch.randn(500, 4, generator=g) + 1
    assert frechet(a, b) == pytest.approx(4, rel=0.2)


def test_what_is_no_detector_is_refused(go, place, tmp_path):  # noqa: F811
    (tmp_path / "text.pt").write_text("no detector")
    with pytest.raises(UserError, match="not a TorchScript file"):
        originals.load_detector(tmp_path / "text.pt")
    with pytest.raises(UserError, match="There is no detector"):
        originals.load_detector(tmp_path / "none.pt")
    wrong = torch.jit.script(torch.nn.Linear(3, 3))
    with pytest.raises(UserError, match="does not take the arguments"):
        originals.features_of(wrong, torch.zeros(1, 3))
    with pytest.raises(UserError, match="does not take the arguments"):     # its own assertion
        originals.features_of(torch.jit.script(Videos()), torch.zeros(1, 3), rescale=False)
