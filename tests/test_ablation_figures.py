"""Figures and filmstrips of the ablation: what is drawn is what was measured, and no more."""

import numpy as np
import pytest
import torch
from test_findings import ROUGH, trained

from livetalk_ref import viz
from livetalk_ref.judge import ablation_figures as figures
from livetalk_ref.judge import filmstrips, looks
from livetalk_ref.recipes import ROWS


class Codec:
    """Latents (B, F, 3, h, w) shown as they are, four frames each but the first."""

    def decode(self, z):
        frames = torch.cat([z[:, :1], z[:, 1:].repeat_interleave(4, 1)], 1)
        return frames.repeat_interleave(8, -1).repeat_interleave(8, -2)


def plain(*levels):
    """Latents (F, 3, 2, 2) of plain grey."""
    return torch.tensor(levels)[:, None, None, None].expand(-1, 3, 2, 2)


def shown(image):
    return np.asarray(image.convert("L")).astype(int)


LOOKS = {f"{part} baseline-seed0 {update}": torch.stack([plain(0.9, level, level),
                                                         plain(0.9, -level, -level)]).half()
         for part, level in (("x", 0.5), ("real", 0.1), ("fake", -0.8)) for update in (0, 25)} | {
    f"told baseline-seed0 {update}": torch.arange(16.).reshape(4, 4) + update
    for update in (0, 25)} | {"end final-seed0": plain(-1.0, -0.5, 0.0, 0.5).half()}


def lines(ax):
    return {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}


def test_training_shows_what_each_run_told():
    rows = trained("baseline", 0, loss=1.0) + trained("baseline", 1, loss=3.0)
    loss, gradient, *_ = figures.training(rows, ("baseline", "baseline-long")).axes
    assert list(lines(loss)) == ["baseline"]
    assert lines(loss)["baseline"].get_xydata().tolist() == [[5, 2.0], [10, 2.0]]
    assert [text.get_text() for text in gradient.texts] == ["not measured"]


def test_courses_show_means_bands_and_references():
    made = figures.courses(ROUGH, ("baseline",), ("frechet", "Sync-C"), columns=2)
    left, right = made.axes
    drawn = lines(left)
    assert drawn["baseline"].get_xydata().tolist() == [[0, 40.0], [100, 32.0], [200, 51.0]]
    assert {name: line.get_ydata()[0] for name, line in drawn.items() if name != "baseline"} == {
        "truth through the codec": 2.0, "teacher, guided, 48 steps": 20.0, "start, short": 40.0}
    band = left.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == 30.0 and band[:, 1].max() == 52.0
    assert [text.get_text() for text in right.texts] == ["not measured"]
    assert left.get_title(loc="left") == "Fréchet distance \u2193"


def test_doublings_of_updates_are_equally_far_apart():
    _, ax = viz.figure()
    figures.updates(ax, [0, 25, 50, 100, 200, 400, 800])
    place = ax.transData.transform([(u, 0) for u in (175, 375, 775)])[:, 0]
    assert place[1] - place[0] == pytest.approx(place[2] - place[1])
    assert ax.get_xticks().tolist() == [0, 25, 100, 200, 400, 800]


def test_ends_have_a_dot_a_seed_and_say_what_was_not_run():
    rows = [row | ({"frechet 95%": [45.0, 55.0]} if row.get("update") == 200 else {})
            for row in ROUGH]
    made = figures.ends(rows, ("frechet", "Sync-C"))
    left, right = made.axes
    names = [tick.get_text() for tick in left.get_yticklabels()]
    assert names[0] == "baseline" and names[4] == "+ stronger guidance, not run"
    assert len(names) == len(ROWS)
    dots = [group.get_offsets().tolist() for group in left.collections]
    assert dots[0] == [[50.0, 0.0], [52.0, 0.0]] and dots[1] == [[25.0, 1.0]] and dots[4] == []
    assert list(left.lines[2].get_xdata()) == [45.0, 55.0]        # after the two references
    assert [text.get_text() for text in right.texts] == ["not measured"]


def test_the_paper_is_shown_beside():
    left, right = figures.beside_paper(ROUGH).axes
    theirs, ours = lines(left).values()
    assert theirs.get_ydata()[1] == pytest.approx(14.90 / 27.10)
    assert ours.get_xydata().tolist() == [[0, 1.0], [1, pytest.approx(25 / 51)]]
    assert list(lines(right)) == ["the paper: Sync-C"]


def test_strips_show_the_right_latents():
    strip = shown(filmstrips.along(Codec(), LOOKS, "baseline", 3, 40))
    step, top = 40 + viz.GAP, 20 + viz.GAP + 20
    left = strip.shape[1] - 6 * step - viz.GAP
    seen = [strip[top, left + viz.GAP + 20 + k * step] for k in range(6)]
    assert np.abs(np.array(seen) - [242, 191, 191, 242, 64, 64]).max() <= 3

    sheet = shown(filmstrips.beliefs(Codec(), LOOKS, "baseline", height=40))
    column = [sheet[top + k * step, -viz.GAP - 20] for k in range(6)]
    assert np.abs(np.array(column) - [191, 140, 26, 64, 115, 230]).max() <= 3

    table = shown(filmstrips.matrix(Codec(), LOOKS, 4, 40))
    row = [table[top, table.shape[1] - 4 * step + 20 + k * step - viz.GAP] for k in range(4)]
    assert np.abs(np.array(row) - [0, 64, 128, 191]).max() <= 3


def test_what_is_not_there_is_no_picture():
    assert filmstrips.along(Codec(), LOOKS, "final") is None
    assert filmstrips.beliefs(Codec(), {}, "baseline") is None
    assert filmstrips.matrix(Codec(), {}) is None
    assert figures.apart(LOOKS, ("final",)) is None
    assert looks.first_shown(LOOKS, ("final", "baseline")) == "baseline"
    assert looks.first_shown({}, ("final",)) is None


def test_conditions_are_told_apart():
    """Of four conditions two were damaged: rows 0 and 1."""
    ax = figures.apart(LOOKS, ("final", "baseline")).axes[1]
    drawn = {name: line.get_xydata().tolist() for name, line in lines(ax).items()}
    assert drawn == {"reference collected damaged": [[0, 3.0], [25, 28.0]],
                     "reference collected good": [[0, 11.0], [25, 36.0]]}
    assert looks.turns(LOOKS, "baseline")[0] == (
        "references collected damaged: |student - teacher's belief| 3.000 at first, least 3.000 "
        "after 0 updates, 28.000 after 25")
    assert looks.turns({}, "baseline") == []


def test_curation_is_drawn():
    share = {"kept": 0.5, "mended": 0.3, "replaced": 0.2}
    rows = [{"part": "score", "name": "a", "auc": 0.7}, {"part": "score", "name": "b", "auc": 0.9},
            {"part": "damage", "name": "low_contrast", "damage": 9.0, "remains": 4.0,
             "remains, said": 5.0} | share,
            {"part": "references", "name": "damaged"} | share, {"part": "prompts", "name": "vague"}]
    left, middle, right = figures.curation(rows).axes
    assert [bar.get_width() for bar in left.patches] == [0.9, 0.7]
    assert [group.get_offsets().tolist() for group in middle.collections] == [
        [[9.0, 0.0]], [[4.0, 0.0]], [[5.0, 0.0]]]
    assert [round(bar.get_x() + bar.get_width(), 6) for bar in right.patches] == [
        0.5, 0.5, 0.8, 0.8, 1.0, 1.0]


def test_looks_that_were_not_made_say_how_to(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(looks, "RESULTS", tmp_path)
    assert looks.shipped() == {}
    assert "not made yet; run `python -m livetalk_ref ablation`." in capsys.readouterr().out


def test_every_row_has_a_colour():
    assert set(figures.COLOURS) == set(ROWS)
