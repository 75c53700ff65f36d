"""The conversation: one stream for a whole dialogue, interruptions, errors, clean ends."""

import threading
import time

import pytest
import torch
from test_stream import AVATAR, PICTURE

from livetalk_ref.cache import POLICIES
from livetalk_ref.errors import UserError
from livetalk_ref.generate import known_words
from livetalk_ref.live.conversation import Conversation, Played, hold
from livetalk_ref.live.events import Meter, Onset, Picture, Said, Sentence, Sound, Turn
from livetalk_ref.live.performer import LEAD, MARGIN, Performer, to_bytes
from livetalk_ref.live.think import LISTENING
from livetalk_ref.stream import SAMPLES_PER_FRAME, AvatarSession, frames_of

AVATAR.policy, AVATAR.known = POLICIES["ahis"], known_words
PATIENCE = 60
HAPPY = "a happy person nods while speaking"


def tone(seconds, pitch):
    return 0.3 * torch.sin(torch.arange(int(16_000 * seconds)) * pitch)


def think(dialogue):
    """Two sentences, and a step of thought before each."""
    for number in (1, 2):
        yield None
        yield Sentence(f"{dialogue.turn.text} {number}", HAPPY, "test")


def speak(sentence):
    """0.8 s of sound in chunks, a pitch for each sentence."""
    yield from tone(0.8, 0.01 * len(sentence.text)).split(5_000)


def talk(think=think, speak=speak, listen=None):
    return Conversation(AVATAR, PICTURE, listen, think, speak)


def where(played, text):
    return next(line.first_sample for line in played.lines if line.text == text)


@pytest.fixture(scope="module")
def played():
    return hold(talk(), ["first", "second"])


def test_sound_and_pictures_share_one_clock_without_gaps(played):
    assert sorted(played.pictures) == list(range(len(played.pictures)))
    samples = played.samples()
    assert len(samples) == played.end() and not played.errors
    rest = samples.clone()
    for text in ("first 1", "first 2", "second 1", "second 2"):
        start = where(played, text)
        want = torch.cat(list(speak(Sentence(text, HAPPY, "test"))))
        assert torch.equal(samples[start:start + len(want)], want)
        rest[start:start + len(want)] = 0
    assert rest.abs().max() == 0                    # silence between answers and late sentences
    names = [state.name for state in played.states]
    assert names == ["listening", *["thinking", "speaking", "listening"] * 2]


def test_the_whole_dialogue_is_one_stream_bit_for_bit(played):
    """What was shown is what one plain session shows of the same sound: one cache throughout."""
    plain = AvatarSession(AVATAR, PICTURE, LISTENING, policy=AVATAR.policy)
    spoken = [line.first_sample for line in played.lines if line.role == "avatar"]
    samples, made, block = played.samples(), [], 0
    while frames_of(block) < len(played.pictures):
        start, end = (frames_of(b) * SAMPLES_PER_FRAME for b in (block, block + 1))
        speech = any(at < end and at + 12_800 > start for at in spoken)
        plain.change_prompt(HAPPY if speech else LISTENING)
        made.append(plain.push(samples[start:end]).pictures)
        block += 1
    made = to_bytes(torch.cat(made))                # without a last block that was cut short
    assert len(made) > len(played.pictures) - 12 and torch.equal(made, played.frames()[:len(made)])


def watch(asked, played):
    """Events of a conversation, as a listener takes them that keeps the clock."""
    for event in asked.events():
        played.add(event)
        if isinstance(event, Picture):
            asked.played(event.first_sample)
        yield event


def test_an_interruption_rolls_back_to_what_was_shown():
    """Pictures and sound are those of the sound that stayed; unheard lines are forgotten."""
    heard, played, stop = [], Played(), None

    def remember(dialogue):
        heard.append(dialogue.said)
        yield from think(dialogue)

    asked = talk(remember)
    asked.ask("long")
    for event in watch(asked, played):
        if isinstance(event, Picture) and any(line.text == "long 1" for line in played.lines):
            if stop is None and event.first_sample >= where(played, "long 1") + 4_000:
                stop = event.first_sample
                asked.interrupt()
            if stop is not None and event.first_sample >= stop + 60_000:
                break
    asked.ask("again")
    while not heard[1:]:
        time.sleep(0.01)
    asked.close()
    cut = played.states[-1].first_sample
    assert played.states[-1].name == "listening" and stop < cut <= stop + 12_000 + 4_000
    assert played.samples()[cut:].abs().max() == 0
    assert sorted(played.pictures) == list(range(len(played.pictures)))
    assert heard[1] == (("user", "long"), ("avatar", "long 1"), ("user", "again"))
    assert "long 2" not in [line.text for line in played.lines]


def test_a_question_over_an_answer_is_thought_about_and_answered_soon():
    """It is thinking, not listening, that shows behind the cut; no idle block comes before the
    answer than those that nobody can take back any more; what was read is no token."""
    go = threading.Event()

    def read(dialogue):
        yield ""
        assert go.wait(PATIENCE)
        yield from think(dialogue)

    asked, played, second = talk(read), Played(), None
    go.set()
    asked.ask("long")
    for event in watch(asked, played):
        if isinstance(event, Picture) and second is None and any(
                line.text == "long 1" for line in played.lines):
            go.clear()
            second = event.first_sample
            asked.ask("again")
            assert asked.performer.tokens_per_s
        if second and getattr(event, "name", "") == "thinking":
            ordered = sorted(played.states, key=lambda state: state.first_sample)
            assert ordered[-1].name == "thinking"               # behind the cut's "listening"
            at, hurry = asked.performer.position, asked.performer.took
            go.set()
            while not asked.performer.opening or asked.performer.back:  # the clock stands
                time.sleep(0.001)
            hurry = max(hurry, asked.performer.took)
        if second and getattr(event, "name", "") == "speaking":
            break
    asked.close()
    assert second <= event.first_sample < at + MARGIN + 16_000 * hurry + 12_000 + 1_000


def test_a_voice_interrupts_at_once_and_its_turn_is_answered():
    def listen(sounds):
        for number, part in enumerate(sounds):
            yield Onset() if number == 0 else Turn("spoken", 0.0, 0.0, part)

    asked, said = talk(listen=listen), []
    asked.ask("typed")
    for event in watch(asked, Played()):
        if isinstance(event, Said):
            said.append((event.role, event.source, event.text))
            if event.text == "typed 1":
                asked.hear(tone(0.1, 0.1))
                asked.hear(tone(0.1, 0.1))
            if event.text == "spoken 2":
                break
    asked.close()
    assert ("user", "voice", "spoken") in said and ("avatar", "test", "typed 2") not in said


def test_sound_that_waits_at_the_end_is_not_heard():
    """Or its thread would go on, beside the next conversation's, with the same recogniser."""
    heard, go = [], threading.Event()

    def listen(sounds):
        for part in sounds:
            heard.append(part)
            assert go.wait(PATIENCE)

    asked = talk(listen=listen)
    for _ in range(9):
        asked.hear(tone(0.1, 0.1))
    while not heard:
        time.sleep(0.01)
    asked.close(wait=False)
    go.set()
    asked.close()
    assert len(heard) == 1


def test_who_does_not_tell_the_clock_gets_no_more_than_the_lead():
    asked = talk()
    made, events = Played(), asked.events()
    for event in events:
        made.add(event)
        if isinstance(event, Meter) and event.buffer_ms >= LEAD / 16:
            break
    time.sleep(1)
    assert asked.queue.empty() and made.end() <= LEAD + 12_000      # nothing else comes
    asked.played(12_000)
    assert isinstance(next(events), Sound)      # and now it does
    asked.close()
    assert not any(thread.is_alive() for thread in asked.threads)


@pytest.mark.parametrize("where", ["think", "speak"])
def test_a_backend_that_fails_costs_its_answer_and_no_more(where, capsys):
    def broken(argument):
        yield from ()
        raise RuntimeError("no such network")

    asked = talk(**{where: broken})
    played = hold(asked, ["first", "second"])
    assert [e.sentence for e in played.errors] == \
        ["Something broke: RuntimeError: no such network."] * 2
    assert "RuntimeError: no such network" in capsys.readouterr().err
    assert not any(error.fatal for error in played.errors)
    assert played.states[-1].name == "listening"


@pytest.mark.parametrize("error, sentence", [
    (ZeroDivisionError("by zero"), "ZeroDivisionError"),
    (RuntimeError("CUDA error: unspecified launch failure\nCUDA kernel errors might"),
     r"^The GPU is lost \(CUDA error: .* failure\): end this program and start it again.$")])
def test_a_performer_that_fails_ends_the_conversation_with_one_sentence(error, sentence,
                                                                        monkeypatch):
    """In mid-stream; what PyTorch adds in further lines is left out."""
    asked, count = talk(), iter(range(100))

    def decode(block, decode=asked.performer.session.decode_parts):
        if next(count) > 1:
            raise error
        return decode(block)

    monkeypatch.setattr(asked.performer.session, "decode_parts", decode)
    with pytest.raises(UserError, match=sentence):
        hold(asked, ["first"])
    assert not any(thread.is_alive() for thread in asked.threads)


def test_prompts_are_performed_as_far_as_they_are_known(monkeypatch):
    """The user's own comes before the thinker's, and a word that nobody knows is left out."""
    seen, encode = [], AVATAR.text
    monkeypatch.setattr(AVATAR, "text", lambda prompts: (encode(prompts), seen.append(prompts))[0])

    def odd(dialogue):
        yield Sentence("One.", "a joyous person nods", "test")

    played = hold(talk(odd), ["first"])
    assert "'a joyous person nods' and goes on with 'a person nods'" in played.errors[0].sentence
    assert seen[-2:] == [["a person nods"], [LISTENING]]
    asked = talk(odd)
    asked.set_prompt("a sad person looks down")
    hold(asked, ["first"])
    assert asked.performer.prompt == "a sad person looks down"
    asked.set_prompt("joyous")                          # nothing of it is known
    assert asked.performer.wish == LISTENING


def test_what_is_on_show_is_never_too_far_back():
    """A listener's clock that lags as far as it can, and an interruption at every place."""
    performer = Performer(AVATAR, PICTURE, LISTENING, lambda event: None)
    for position in range(0, 40_000, 900):
        performer.played(position)
        while performer.may_begin():
            performer.make_block(*performer.next_sound())
        performer.hush(None)
        performer.make_block(*performer.next_sound())
        assert performer.end() >= position


def test_an_empty_question_is_a_sentence_and_of_many_the_last_is_answered():
    asked = talk()
    with pytest.raises(UserError, match="Type a question"):
        asked.ask("  ")
    for number in range(20):
        asked.ask(f"question {number}")
    played = hold(asked, [])
    lines = [(line.role, line.text) for line in played.lines]
    assert [text for role, text in lines if role == "user"][-1] == "question 19"
    assert lines[-2:] == [("avatar", "question 19 1"), ("avatar", "question 19 2")]
    assert asked.said == lines and not any(thread.is_alive() for thread in asked.threads)
