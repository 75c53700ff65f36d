"""The report on bent paths, against `trajectories.straightness` and a closed form."""

from types import SimpleNamespace

import pytest
import torch
from test_clips import made
from test_ode import radius

from livetalk_ref import trajectories
from livetalk_ref.flow import Guidance, sigma_grid
from livetalk_ref.judge import evaluate
from livetalk_ref.studies import ode as ode_reports


def curved(s=0.25, clips=5, frames=4):
    """Paths of Gaussian data of deviation s, whose frame 0 stands still: (N, 49, F, C, h, w)."""
    g = torch.Generator().manual_seed(0)
    noise = torch.randn(clips, 1, frames, 2, 3, 3, generator=g, dtype=torch.float64)
    states = noise * radius(sigma_grid(48), s).view(1, 49, 1, 1, 1, 1)
    states[:, :, 0] = 7.0                               # given: no part of the path
    return states


def test_rows_are_means_over_paths_without_the_known_frame():
    rows = ode_reports.straightness_rows(curved(), "plain")
    deviation, curvature = trajectories.straightness(curved()[:, :, 1:])
    assert len(rows) == 48 and "curvature" not in rows[0]
    for k in (0, 20, 47):
        assert rows[k]["deviation"] == pytest.approx(deviation[:, k].mean().item(), abs=1e-5)
        low, high = rows[k]["deviation 95%"]
        assert low <= rows[k]["deviation"] + 1e-5 and rows[k]["deviation"] <= high + 1e-5
    assert rows[20]["curvature"] == pytest.approx(curvature[:, 19].mean().item(), abs=1e-5)
    grid = sigma_grid(48)
    assert rows[20]["bend"] == pytest.approx(grid[20].item(), abs=1e-5)
    assert rows[20]["sigma"] == pytest.approx((grid[20] + grid[21]).item() / 2, abs=1e-5)


def test_bends_are_those_of_the_closed_form():
    s, rows = 0.25, ode_reports.straightness_rows(curved(), "plain")
    for row in rows[5:40:7]:
        bend = s ** 2 / radius(torch.tensor(row["bend"]), s) ** 3       # radius''
        assert row["curvature"] == pytest.approx(bend.item() / (1 - s), rel=0.1)


def test_a_walk_does_not_depend_on_its_batch(monkeypatch):
    held_out = SimpleNamespace(data=made())

    def model(x, sigma, cond):
        return x * 0.1

    both = []
    for batch in (2, 3):
        monkeypatch.setattr(ode_reports, "BATCH", batch)
        both.append(torch.cat(list(ode_reports.walks(model, held_out, Guidance(), seed=4))))
    assert torch.equal(*both) and both[0].shape[:2] == (3, 49)
    ends = evaluate.generate(model, evaluate.HeldOut(made(), [0, 1, 2], None, "held_out"), steps=48,
                             seed=4)
    assert torch.allclose(both[0][:, -1], ends)         # the very clips that are judged
