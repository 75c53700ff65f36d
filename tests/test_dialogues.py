"""The study of dialogues: its scenarios, the three systems' films, and the judges' numbers."""

import json
from types import SimpleNamespace

import pytest
import torch
from test_stream import AVATAR, PICTURE

from livetalk_ref.cache import POLICIES
from livetalk_ref.flow import Guidance
from livetalk_ref.judge.metrics import expressions_right
from livetalk_ref.nets.reader import READ
from livetalk_ref.stream import SAMPLES_PER_FRAME
from livetalk_ref.studies import dialogues
from livetalk_ref.world import prompts, speech
from livetalk_ref.world.state import EXPRESSIONS

_, ALL = dialogues.read_scenarios()
LINE = SimpleNamespace(text="A block.", prompt="a happy person nods", emotion="happy")
FIRST, SECOND = (SimpleNamespace(seconds=1.0, reply=(LINE, LINE), cut=0.5),
                 SimpleNamespace(seconds=1.5, reply=(LINE,), cut=None))
SHORT = SimpleNamespace(id="x", identity=9, voice="us", turns=(FIRST, SECOND))


@pytest.fixture
def tiny(monkeypatch):
    """The small stand-in as student and as teacher, its own portrait, and a tone for speech."""
    monkeypatch.setattr(dialogues, "portrait_of", lambda seed, size: PICTURE)
    tone = 0.3 * torch.sin(torch.arange(20_500) * 0.05)
    monkeypatch.setattr(dialogues, "say", lambda text, voice: speech.Spoken(
        tone, [("a", 0.0, 1.28)], text, voice))
    return SimpleNamespace(**vars(AVATAR) | {
        "policy": POLICIES["ahis"], "size": 64, "is_student": False, "guidance": Guidance(),
        "audio": lambda *_: AVATAR.audio()})


def test_scenarios_are_a_hundred_varied_dialogues_that_can_be_performed():
    kinds = [scenario.kind for scenario in ALL]
    assert len({s.id for s in ALL}) == 100 and len(set(kinds)) == len(set(kinds[:10])) == 3
    for scenario in ALL:
        assert len(scenario.turns) == 3 and scenario.voice in speech.voices("held_out")
        assert any(t.cut for t in scenario.turns) == (scenario.kind == "interruption")
        for line in (line for turn in scenario.turns for line in turn.reply):
            assert prompts.parse(line.prompt).expression == line.emotion
            assert not prompts.is_held_out(line.prompt)
        if scenario.kind == "emotions":
            assert len({turn.reply[0].emotion for turn in scenario.turns}) == 3


@pytest.mark.parametrize("system, options", [("stream_turns", {}), ("clip_each_turn", {"steps": 2}),
                                             ("stream_turns", {"restart": True})])
def test_films_have_a_sound_a_mouth_and_a_place_for_everything(tiny, system, options):
    film = getattr(dialogues, system)(tiny, SHORT, **options)
    frames, heard = torch.cat(film.frames), torch.cat(film.heard)
    assert len(heard) == len(frames) * SAMPLES_PER_FRAME == film.shown * SAMPLES_PER_FRAME
    assert torch.cat(film.mouths).shape == (len(frames), 3)
    for first, end in film.listening:
        assert heard[first * 1_000:end * 1_000].abs().max() == 0
    for first, end, emotion in film.marks:
        assert 0 < first < end <= len(frames) and emotion == "happy"
        assert heard[first * 1_000:first * 1_000 + 5_000].abs().max() > 0.2
    assert len(film.seams) == len(film.seconds) == 2 and min(film.seconds) > 0


def test_one_stream_is_cut_within_a_block_and_goes_on_where_it_was(tiny):
    """A restarted one begins with the portrait again."""
    film = dialogues.stream_turns(tiny, SHORT)
    assert 24 <= film.seams[1] < 24 + 12            # 1 s of listening and half a second of speech
    turns = SimpleNamespace(**vars(FIRST) | {"cut": None}), SECOND
    whole = dialogues.stream_turns(tiny, SimpleNamespace(**vars(SHORT) | {"turns": turns}))
    cut = film.seams[1]
    assert torch.equal(torch.cat(film.frames)[:cut], torch.cat(whole.frames)[:cut])
    restarted = dialogues.stream_turns(tiny, SHORT, restart=True)
    assert torch.equal(*torch.cat(restarted.frames)[[0, restarted.seams[1]]])
    assert not torch.equal(*torch.cat(film.frames)[[0, cut]])


def reading(states, identity):
    return SimpleNamespace(identity=identity, column=lambda name: states[:, READ.index(name)])


def test_coherence_sees_a_jump_and_where_it_is():
    g = torch.Generator().manual_seed(0)
    frames = 0.02 * torch.randn(40, 3, 8, 8, generator=g)
    state = torch.zeros(40, len(READ))
    identity = torch.nn.functional.one_hot(torch.zeros(40, dtype=torch.long), 4).float()
    calm = dialogues.seam_numbers(frames, reading(state, identity), [20])
    assert calm["identity across turns"] == pytest.approx(1) and calm["pose step"] == 0
    assert calm["step over usual"] == pytest.approx(1, abs=0.3)
    frames[20:] += 0.5
    state[20:, READ.index("turn")] = 0.3
    identity[20:] = torch.tensor([0.0, 1, 0, 0])
    jump = dialogues.seam_numbers(frames, reading(state, identity), [20])
    assert jump["identity across turns"] == pytest.approx(0)
    assert jump["pose step"] == pytest.approx(0.3)
    assert jump["colour step"] == pytest.approx(0.5 * 127.5, abs=1) and jump["step over usual"] > 10
    elsewhere = dialogues.seam_numbers(frames, reading(state, identity), [30])
    assert elsewhere["pose step"] == 0
    assert dialogues.seam_numbers(frames, reading(state, identity), []) == {}


def test_expressions_are_judged_once_settled_and_lines_of_one_emotion_together():
    film = dialogues.Film()
    for quiet, emotions in ((2, ("sad", "sad", "happy")), (3, ("happy",))):
        lines = [SimpleNamespace(mouth=torch.zeros(10, 3), emotion=one) for one in emotions]
        frames = torch.zeros(quiet + 10 * len(lines) - 1, 3, 8, 8)
        film.add(SimpleNamespace(quiet=quiet, lines=lines, sound=torch.zeros(0)), frames, 0.1)
    assert film.marks == [(2, 22, "sad"), (22, 31, "happy"), (34, 43, "happy")]
    shown = torch.zeros(60, dtype=torch.long)
    shown[20:30] = 2                                                # sad
    read = SimpleNamespace(expression=lambda: shown)
    happy, sad = EXPRESSIONS[1:3]
    assert expressions_right(read, [(0, 30, sad)]) == 1
    assert expressions_right(read, [(0, 30, happy)]) == 0
    assert expressions_right(read, [(0, 19, sad)]) is None           # too short to settle


def test_rows_and_waits_are_those_of_the_dialogues(tmp_path, monkeypatch):
    """One job a dialogue and system; their numbers become means, their waits a median."""
    monkeypatch.setattr(dialogues.Dialogues, "key", lambda self: "x")
    monkeypatch.setattr(dialogues.Dialogues, "judges", None)
    monkeypatch.setattr(dialogues, "judge_dialogue", lambda film, _: {"pose step": film.number})
    study = dialogues.Dialogues(count=2, folder=tmp_path, results=tmp_path)
    films = {one.id: SimpleNamespace(number=number, seconds=[0.5, 1.5, 2.5 + number])
             for number, one in enumerate(ALL)}
    study.systems = dict.fromkeys((dialogues.OURS, dialogues.RESTARTED, dialogues.CLIPS),
                                  lambda scenario: films[scenario.id])
    assert len(list(study.run())) == 2 * 3 + 1
    made = json.loads((tmp_path / "multiturn.json").read_text())
    for row in made["rows"]:
        assert row["dialogues"] == 2 and row["pose step"] == 0.5 and "Sync-C" not in row
        assert row["pose step 95%"] == [0, 1]
        assert made["cost"][f"{row['name']}: {dialogues.WAIT}"] == 1.5
