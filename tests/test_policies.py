"""Streams under every policy: what is kept, what ends, numbers that see what they are named for."""

import json
from dataclasses import replace

import pytest
import torch
from test_benchmark import random_reader
from tiny import shake, write_checkpoints

from livetalk_ref import cache, loading
from livetalk_ref.cache import FULL, Policy
from livetalk_ref.errors import UserError
from livetalk_ref.judge import panel
from livetalk_ref.portrait import portrait_of
from livetalk_ref.studies import streams as policies
from livetalk_ref.runs import read, save
from livetalk_ref.wan import TINY, WanDiT
from livetalk_ref.world.speech import load_spoken
from livetalk_ref.world.visemes import visemes

SMALL = replace(TINY, dim=32, ffn_dim=32, heads=2, layers=4, audio_hidden=8, freq_dim=16)


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    """A student of a small size and random weights."""
    folder = tmp_path_factory.mktemp("checkpoints")
    write_checkpoints(folder)
    save(folder / "student.safetensors", shake(WanDiT(SMALL), 2).state_dict(), config=SMALL,
         sampler="rollout")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "CHECKPOINTS", folder)
        yield folder


def judges():
    return panel.Judges(random_reader(), None)


def test_talk_knows_the_mouth_of_every_moment():
    """Two roads: a part cut out of a long talk, and its first sentence alone."""
    talk = policies.Talk.of(40, 3)
    assert len(talk.samples) == 640_000
    times = [t for _, start, end in talk.phones for t in (start, end)]
    assert times == sorted(times) and times[-1] >= 40
    first = next(i for i in range(24) if torch.equal(
        load_spoken(i).samples, talk.samples[:len(load_spoken(i).samples)]))
    spoken = load_spoken(first)
    frames = int(16 * spoken.seconds) - 4
    assert torch.allclose(talk.mouth(0, frames), visemes(spoken.phones, frames)[:, 0], atol=0.02)
    whole = talk.mouth(0, 480)
    assert torch.allclose(talk.mouth(200, 100), whole[200:300], atol=0.02) and whole.std() > 0.1
    assert not torch.equal(policies.Talk.of(40, 4).samples, talk.samples)


def test_numbers_see_what_they_are_named_for():
    picture, talk = portrait_of(1), policies.Talk.of(30, 0)
    g = torch.Generator().manual_seed(0)
    moving = (picture + 0.1 * torch.randn(160, *picture.shape, generator=g)).clamp(-1, 1)
    watcher = policies.Watcher(judges(), picture, "a person talks", talk)
    usual = watcher(moving)
    still = watcher(picture.repeat(160, 1, 1, 1))
    assert (usual["seconds"], still["seconds"], usual["freeze"], still["freeze"]) == (0, 10, 0, 1)
    assert still["sharpness"] < usual["sharpness"] and still["colour drift"] == 0
    dim = picture.repeat(9, 1, 1, 1) - 20 / 127.5
    assert policies.colour_drift(dim, picture) == pytest.approx(20 * 3 ** 0.5, rel=1e-3)
    assert still["identity"] == pytest.approx(1, abs=1e-4) and usual["identity"] < 0.9999
    hand = picture.repeat(160, 1, 1, 1)
    hand[:60, :, 10:60, :30] = 1.0                                      # passes by
    assert policies.colour_drift(hand, picture) == 0


@pytest.fixture
def short(monkeypatch, tmp_path):
    """A study of one person for a minute, its policies few; absolute positions end after 20 s."""
    monkeypatch.setattr(policies.Judges, "load", staticmethod(judges))
    for name, keep in (("STREAMS", ("AHIS 3 + 2", "window only", "released 3 + 1, absolute")),
                       ("SPLITS", ("0 + 5", "5 + 0"))):
        monkeypatch.setattr(policies, name, {k: vars(policies)[name][k] for k in keep})
    monkeypatch.setattr(cache, "TABLE_END", 80)
    return lambda: policies.Streams(seconds=60.0, identities=1, folder=tmp_path,
                                    results=tmp_path / "data/results")


def test_a_minute_of_every_policy_and_on_from_where_it_was_stopped(short, tmp_path):
    lines = short().run()
    assert next(lines).startswith("done  stream-AHIS_3___2-60s-0")
    lines.close()                                   # in the second stream
    lines = list(short().run())
    assert lines[0] == "done  stream-AHIS_3___2-60s-0" and lines[1].startswith("done  stream-win")
    assert list(short().run()) == [f"done  {job.name}" for job in short().jobs()]
    rows = json.loads((tmp_path / "data/results/policies.json").read_text())["rows"]
    by_name = {row["policy"]: row for row in rows if "identity" in row}
    ahis, absolute = by_name["AHIS 3 + 2"], by_name["released 3 + 1, absolute"]
    assert ahis["seconds"] == [0, 10, 20, 30, 40, 50] and ahis["ends"] is None
    assert absolute["ends"] == 256 and absolute["seconds"] == [0, 10]
    assert by_name["5 + 0"]["seconds"] == [0, 10] and by_name["window only"]["sinks"] == 0
    assert set(read(short().shown("AHIS 3 + 2"))[0]) == {"0", "10", "60"}
    assert set(read(short().shown("released 3 + 1, absolute"))[0]) == {"0", "10"}
    held, best = rows[-2:]
    assert held["of"] == 1 and held["holds for"] in (0, 1)
    assert sorted(best["policies"]) == ["0 + 5", "5 + 0"]
    assert best["likeness"] == sorted(best["likeness"], reverse=True)
    assert (tmp_path / "data/pictures/policies.png").stat().st_size > 1000


def test_policies_of_the_table():
    ahis = policies.STREAMS["AHIS 3 + 2"]
    assert ahis == Policy(9, 6) and policies.STREAMS["full"] is FULL
    assert policies.STREAMS["released 3 + 1, absolute"] == Policy(9, 3, relative=False)
    assert {p.sinks + p.window for p in policies.SPLITS.values()} == {15}
    assert policies.SPLITS["3 + 2"] == ahis and len(policies.SPLITS) == 6


def test_a_teacher_is_refused_in_one_sentence(monkeypatch):
    monkeypatch.setattr(policies.Streams, "model", "teacher")
    with pytest.raises(UserError, match="is a teacher, which keeps no cache"):
        policies.Streams()
