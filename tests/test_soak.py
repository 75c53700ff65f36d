"""A minute of soaking, and that it notices what it is there to notice."""

import json

import pytest
import torch
from test_cli import run
from test_policies import folder  # noqa: F401
from test_stream import pictures, session

from livetalk_ref.judge import soak
from livetalk_ref.stream import AvatarSession, Frames


def test_a_minute_through_session_and_pipeline(monkeypatch, capsys):
    status, out, _ = run(monkeypatch, capsys, "soak", "--seconds", 60, "--seed", 1, "--json")
    rows = json.loads(out)["rows"]
    assert status == 0 and json.loads(out)["out"] is None
    plain, piped, idle, dead, both = rows
    assert plain["checksum"] == piped["checksum"] and both["held"]
    assert set(plain["events"]) == set(soak.EVENTS) and plain["events"] == piped["events"]
    assert plain["handed out"] > plain["frames"] > 30 * 16      # some of it was taken back
    assert idle["frames"] == 12 * 17 - 3                        # 12 s, to the end of the block
    assert 0 < dead["frames"] < idle["frames"]
    assert not any(row["wrong"] for row in rows[:-1])


def test_what_is_wrong_is_told():
    seen, grey = soak.Seen(), torch.zeros(9, 3, 4, 4)
    seen.show(Frames(0, grey))
    seen.show(Frames(21, grey + torch.nan))
    row = seen.row("x", 7)
    assert row["wrong"] == ["frame 21 came where 9 was due", "frames from 21 on are not finite",
                            "30 frames of 7 blocks"]


def test_a_session_that_forgets_its_seed_is_noticed(monkeypatch, capsys):
    """Each session that is made draws other noise."""
    made, begin = [], AvatarSession.__init__

    def forgetful(self, avatar, image, prompt, generator, policy, undo):
        made.append(1)
        begin(self, avatar, image, prompt, torch.Generator().manual_seed(len(made)), policy, undo)

    monkeypatch.setattr(soak.AvatarSession, "__init__", forgetful)
    status, out, err = run(monkeypatch, capsys, "soak", "--seconds", 3)
    assert status == 2 and "DIFFERENT pictures" in out and "did not hold" in err


def test_the_script_is_the_seeds():
    def told(seed):
        return [(event, what.nan_to_num(9, 9, 9).sum().item() if torch.is_tensor(what) else what)
                for event, what in soak.script(30, seed)]

    assert told(3) == told(3) != told(4)
    sizes = [len(what) for _, what in soak.script(60, 0) if torch.is_tensor(what)]
    assert min(sizes) < 100 and max(sizes) > 20_000


def test_a_source_that_breaks_is_told_to_the_consumer():
    def source():
        yield torch.zeros(21_000)
        raise OSError("unplugged")

    made = []
    with soak.Pipeline(session()) as live, pytest.raises(OSError, match="unplugged"):
        live.feed(source())
        made.extend(live)
    assert torch.equal(pictures(made), session().push(torch.zeros(21_000)).pictures)


def test_teachers_do_not_stream(monkeypatch, capsys):
    status, _, err = run(monkeypatch, capsys, "soak", "--model", "teacher")
    assert status == 2 and "does not stream" in err
