"""Streams under every policy: what is kept, what ends, numbers that see what they are named for."""

import json

import pytest
import torch
from tiny import SMALL, noise, random_reader, shake, write_checkpoints, write_student

from livetalk_ref import cache, loading
from livetalk_ref.judge import metrics
from livetalk_ref.judge.evaluate import Judges
from livetalk_ref.nets.reader import ReaderConfig
from livetalk_ref.nets.whole_faces import WholeFaces
from livetalk_ref.portrait import portrait_of
from livetalk_ref.studies import streams
from livetalk_ref.runs import read
from livetalk_ref.world.speech import load_spoken
from livetalk_ref.world.visemes import visemes


def judges():
    return Judges(random_reader(), None, shake(WholeFaces(ReaderConfig((8, 8, 8, 8), 8))))


def test_talk_knows_the_mouth_of_every_moment():
    """Two roads: a part cut out of a long talk, and its first sentence alone."""
    samples, phones = streams.long_talk(40, 3)
    assert len(samples) == 640_000
    first = next(i for i in range(24) if torch.equal(
        load_spoken(i).samples, samples[:len(load_spoken(i).samples)]))
    spoken = load_spoken(first)
    frames = int(16 * spoken.seconds) - 4
    start, whole, part = (streams.asked_mouth(phones, *where) for where in
                          ((0, frames), (0, 480), (200, 100)))
    assert torch.allclose(start, visemes(spoken.phones, frames)[:, 0], atol=0.02)
    assert torch.allclose(part, whole[200:300], atol=0.02) and whole.std() > 0.1


def test_numbers_of_a_stream_see_what_they_are_named_for():
    picture, talk = portrait_of(1), streams.long_talk(30, 0)
    moving = (picture + 0.1 * noise(160, *picture.shape)).clamp(-1, 1)
    pace = metrics.movement(moving).median()
    usual, still = (streams.part_row(judges(), picture, talk, frames, first, pace) for frames, first
                    in ((moving, 0), (picture.repeat(160, 1, 1, 1), 160)))
    assert (usual["seconds"], still["seconds"], usual["freeze"], still["freeze"]) == (0, 10, 0, 1)
    assert still["sharpness"] < usual["sharpness"] and still["colour drift"] == 0
    dim = picture.repeat(9, 1, 1, 1) - 20 / 127.5
    assert streams.rim_drift(dim, picture) == pytest.approx(20 * 3 ** 0.5, rel=1e-3)
    assert still["identity"] == pytest.approx(1, abs=1e-4) and usual["identity"] < 0.9999


def test_a_minute_of_every_policy_and_on_from_where_it_was_stopped(tmp_path, monkeypatch):
    """Absolute positions end after 20 s here."""
    write_checkpoints(tmp_path / "models")
    write_student(tmp_path / "models", "student", SMALL)
    monkeypatch.setattr(loading, "CHECKPOINTS", tmp_path / "models")
    monkeypatch.setattr(Judges, "load", staticmethod(judges))
    monkeypatch.setattr(streams, "FACES", (3,))
    for name, keep in (("STREAMS", ("AHIS 3 + 2", "released 3 + 1, absolute")),
                       ("SPLITS", ("0 + 5",))):
        monkeypatch.setattr(streams, name, {k: vars(streams)[name][k] for k in keep})
    for module in (cache, streams):
        monkeypatch.setattr(module, "TABLE_END", 80)

    def study():
        return streams.Streams(seconds=60.0, seeds=(0,), folder=tmp_path,
                               results=tmp_path / "data/results")

    lines = study().run()
    assert next(lines).startswith("done  stream-AHIS_3___2-60s-0")
    lines.close()                                   # in the second stream
    assert list(study().run())[0] == "done  stream-AHIS_3___2-60s-0"
    rows = json.loads((tmp_path / "data/results/policies.json").read_text())["rows"]
    by_name = {row["policy"]: row for row in rows}
    ahis, absolute = by_name["AHIS 3 + 2"], by_name["released 3 + 1, absolute"]
    assert ahis["seconds"] == [0, 10, 20, 30, 40, 50] and ahis["ends"] is None
    assert absolute["ends"] == 20 and absolute["seconds"] == [0, 10]
    assert by_name["0 + 5"]["sinks"] == 0
    assert set(read(study().shown("AHIS 3 + 2"))[0]) == {"0", "10", "60"}
    face, = json.loads((tmp_path / "data/results/stream_faces.json").read_text())["rows"]
    assert (face["identity"], face["seconds"]) == (3, 60) and 0 <= face["whole faces"] <= 1
    assert (tmp_path / "data/pictures/policies.png").stat().st_size > 1000
