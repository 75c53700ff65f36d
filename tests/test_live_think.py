"""The thinker: retrieval, sentences, moods, talkers."""

import pytest
import torch

from livetalk_ref.live import think as t
from livetalk_ref.live.events import RETRIEVAL, Dialogue, Sentence, Turn
from livetalk_ref.live.systems import LOUD, talker
from livetalk_ref.live.think import NOTICE, Thinker, joined, sentences, stream
from livetalk_ref.world import prompts
from livetalk_ref.world.state import EXPRESSIONS

TOPIC = t.shipped()


def dialogue(*texts):
    """Lines of the user and the avatar in turns; the last is the user's."""
    said = tuple(("user" if n % 2 == 0 else "avatar", text) for n, text in enumerate(texts))
    return Dialogue(said, Turn(texts[-1], 0.0, 0.0))


def test_the_topic_is_whole_and_can_be_performed():
    assert len(TOPIC.passages) >= 60 and len({p.id for p in TOPIC.passages}) == len(TOPIC.passages)
    for passage in TOPIC.passages:
        assert len(passage.ask) >= 2 and passage.emotion in (None, *EXPRESSIONS)
        for text in sentences(passage.answer):
            prompt = t.perform(text, passage.emotion)
            assert not prompts.is_held_out(prompt)
            assert text[-1] in ".!?" and len(text) <= 200


def test_every_question_finds_its_own_passage_by_its_words_alone():
    """Also without the table of exact questions, by BM25."""
    plain = t.Topic(TOPIC.passages)
    plain.exact = {}
    asked = [(q, p.id) for p in TOPIC.passages for q in p.ask]
    found = [plain.find(q).passage.id == i for q, i in asked]
    assert sum(found) / len(found) >= 0.95
    assert all(TOPIC.find(q).passage.id == i for q, i in asked)


@pytest.mark.parametrize("question, want", [
    ("please explain identity sinks", "sinks"), ("how long does one block last", "block"),
    ("tell me what the critic does", "critic"), ("may i speak over you", "interrupt"),
    ("what is the capital of france", None), ("how do i cook pasta", None),
    ("do you like music", None), ("how old is the universe", None)])
def test_other_words_for_a_question_and_questions_that_no_passage_answers(question, want):
    hit = TOPIC.find(question)
    assert (hit.passage.id if hit.is_answer else None) == want


def test_retrieval_says_the_passage_word_for_word_and_is_called_so():
    made = list(Thinker(None)(dialogue("What is a block?")))
    block = next(p for p in TOPIC.passages if p.id == "block")
    assert " ".join(s.text for s in made) == block.answer
    assert {s.source for s in made} == {RETRIEVAL}
    asked = "what is the capital of france"
    assert [s.source for s in Thinker(None)(dialogue(asked))] == [NOTICE]
    assert [s.source for s in Thinker(None)(dialogue(""))] == [NOTICE]


def test_moods_follow_words():
    asked = prompts.parse(t.perform("Hello, and welcome!"))
    assert asked.expression == "happy" and asked.gesture > 0
    assert prompts.parse(t.perform("Unfortunately the file is lost.")).expression == "sad"
    assert prompts.parse(t.perform("It is a file.", "angry")).expression == "angry"


@pytest.mark.parametrize("step", [1, 3, 100])
def test_sentences_come_while_they_are_written(step):
    text = 'It is Dr. No. Is it? Yes, 3.5 of them! And then it stops becau'
    made = list(stream(text[:n] for n in [*range(step, len(text), step), len(text)]))
    want = sentences(text)
    assert [s for s in made if s] == want[:-1] and want[-1] == "And then it stops becau"
    assert made.count(None) > 0 or step == 100
    assert list(stream(["", "no end"])) == ["", None, "no end."] and not list(stream([]))


def test_lines_are_joined_to_turns():
    said = (("avatar", "x"), ("user", "a"), ("avatar", "b"), ("avatar", "c"), ("user", "d"))
    assert joined(said) == [("user", "a"), ("assistant", "b c"), ("user", "d")]


@pytest.mark.speech
def test_a_talker_speaks_at_one_loudness():
    sound = torch.cat(list(talker("us-f2")(Sentence("This is a block.", "", "test"))))
    assert 12_000 < len(sound) < 48_000
    assert abs(sound.abs().max().item() - LOUD) < 1e-4 and sound[-2_000:].abs().max() == 0
