"""The grammar of prompts and the frozen text table."""

import hashlib
import re

import pytest
import torch
from tiny import dice

from livetalk_ref.errors import UserError
from livetalk_ref.world import prompts
from livetalk_ref.world.prompts import (VOCABULARY, Behaviour, alike, is_held_out, keep_known_words,
                                        list_words, parse, sample_prompt, words)
from livetalk_ref.world.state import EXPRESSIONS
from livetalk_ref.world.text import encode


def draw(count, seed=0, **kind):
    generator = dice(seed)
    return [sample_prompt(generator, **kind) for _ in range(count)]


def test_every_word_parses_and_those_with_effect_have_one():
    for word in VOCABULARY:
        assert 0 <= parse(word).intensity <= 1 and 0 <= parse(word).energy <= 1
    for word in prompts.EXPRESSION_WORDS.keys() | prompts.ENERGY_WORDS.keys():
        neutral = prompts.EXPRESSION_WORDS.get(word, ("", 0))[0] == "neutral"
        assert (parse(word) == Behaviour()) == neutral, word
    for word, (motion, _) in prompts.MOTION_WORDS.items():
        asks = parse(f"{word} left") if motion == "gaze" else parse(word)
        assert asks != Behaviour(), word


def test_a_whole_sentence():
    asked = parse("A person smiles, and nods while speaking; very calm -- looking LEFT!")
    assert (asked.expression, asked.nod, asked.gaze) == ("happy", 0.8, (-1, 0))
    assert asked.energy < parse("calm").energy
    assert parse("a person tilts the head left, looking right") == \
        Behaviour(tilt=0.8, tilt_side=-1, gaze=(1, 0))
    assert parse("looking at the viewer").gaze == (0, 0)


def test_degrees_scale_the_next_word_or_the_one_before_a_closer():
    sad, nods = parse("sad").intensity, parse("nods").nod
    assert parse("slightly sad").intensity < sad < parse("very sad").intensity
    assert parse("nods slightly and sad").nod < nods
    assert parse("nods slightly and sad").intensity == sad
    assert parse("nods, slightly sad").nod == nods
    assert parse("sad, nods often while speaking") == parse("sad and nods often")
    assert parse("nods often").nod > nods
    assert parse("sad, nods slightly").nod < nods
    assert parse("very extremely furious").intensity == 1.0


def test_prompts_without_effect_are_neutral():
    assert parse("") == parse("a person with a blue shirt") == Behaviour()
    assert all(parse(prompt) == Behaviour() for prompt in draw(100, vague=True))


def test_unknown_words_are_named_with_close_matches():
    with pytest.raises(UserError, match="'smilez'.*smiles"):
        parse("a person smilez")
    for prompt in ("улыбка", "a person 123", "xqzw"):
        with pytest.raises(UserError, match=re.escape(prompt.split()[-1])):
            parse(prompt)
    with pytest.raises(UserError, match="at most 15"):
        parse("nods " * 16)


def test_close_matches_are_of_one_kind_and_close():
    assert alike("hapy") == " (did you mean happy?)"
    assert alike("realistic") == alike("camcorder") == ""
    assert "'generate -h'" in str(pytest.raises(UserError, parse, "realistic").value)
    assert all(f" {word}," in f" {list_words()},".replace(";", ",") for word in VOCABULARY)


def test_free_words_keep_what_is_known():
    assert keep_known_words("A happy person, nods!") == ("A happy person, nods!", [])
    assert keep_known_words("A cheerful young lady, she nods; a lady!") == (
        "a cheerful nods a", ["young", "lady", "she"])
    assert keep_known_words("the person is happy and " * 4 + "nods") == (
        "happy and " * 4 + "nods", [])
    assert words(keep_known_words("nods and smiles " * 20)[0]) == (["nods", "and", "smiles"] * 5)
    assert keep_known_words("xqzw") == ("", ["xqzw"])


def test_training_prompts_are_even_and_never_hold_a_held_out_combination():
    """But every word that means something, and all of those in held-out prompts."""
    seen = draw(2000) + draw(200, vague=True)
    unseen = draw(300, held_out=True) + draw(50, held_out=True, vague=True)
    assert not any(map(is_held_out, seen)) and all(map(is_held_out, unseen))
    drawn = [parse(prompt).expression for prompt in seen[:2000]]
    assert all(0.12 < drawn.count(expression) / 2000 < 0.3 for expression in EXPRESSIONS)
    known = {word for prompt in seen for word in words(prompt)}
    assert known >= {word for prompt in unseen for word in words(prompt)}
    assert known >= prompts.EFFECTS.keys() | prompts.DEGREES.keys() | prompts.DIRECTIONS.keys()


def test_rephrased_prompts_ask_for_the_same_in_other_words():
    g = dice(5)
    for held_out in (False, True):
        for _ in range(100):
            prompt = sample_prompt(g, held_out=held_out)
            other = prompts.rephrase(prompt, g)
            assert parse(other) == parse(prompt) and is_held_out(other) == held_out
    said = {prompts.rephrase("a happy person in a blue shirt nods", g) for _ in range(60)}
    assert len(said) > 25


def test_embeddings_never_change():
    """The shipped teacher has learned this very table; a word's place counts, its case does not."""
    assert torch.equal(encode(["Nods, SAD!"]), encode(["nods sad"]))
    assert not torch.allclose(encode(["nods sad"]), encode(["sad nods"]))
    rows = encode(["", "a person smiles and nods while speaking"])
    digest = hashlib.sha256((rows * 1e4).round().int().numpy().tobytes())
    assert digest.hexdigest()[:16] == "5f3707f95b97f351"
