"""umT5 embeddings: zero behind the prompt, the same from a file, one sentence for unknown ones."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_wan import worst

from livetalk_ref.errors import UserError
from livetalk_ref.real.standin import shaken
from livetalk_ref.real.text import SavedText, load_text, save_text

WORDS = ["a", "person", "talks", "nods", "no"]
PROMPTS = ["a person talks", "nods", "a  person\n nods"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small umT5 of random weights with a vocabulary of five words, as transformers saves it."""
    from transformers import T5Tokenizer, UMT5Config, UMT5EncoderModel
    folder = tmp_path_factory.mktemp("umt5")
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0), ("▁", -3.0),
                  *((f"▁{word}", -1.0) for word in WORDS)]
    T5Tokenizer(vocab=vocabulary, extra_ids=0).save_pretrained(folder / "tokenizer")
    config = UMT5Config(d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, vocab_size=16)
    shaken(UMT5EncoderModel(config), 0).save_pretrained(folder / "text_encoder")
    return folder


@pytest.fixture(scope="module")
def encoder(folder):
    return load_text(folder)


def test_rows_behind_the_prompt_are_zero_and_the_rest_is_the_models(encoder):
    rows = encoder(PROMPTS)
    assert rows.shape == (3, 512, 32)
    for prompt, made in zip(PROMPTS, rows):
        tokens = encoder.tokenizer(" ".join(prompt.split()), return_tensors="pt").input_ids
        with torch.no_grad():
            want = encoder.model(tokens).last_hidden_state[0]           # without any padding
        assert len(want) == len(prompt.split()) + 1                     # words and the end
        assert worst(made[:len(want)], want) < 1e-5
        assert made[len(want):].abs().max() == 0


def test_saved_and_read_it_is_the_same_and_an_unknown_prompt_has_a_nearest_one(encoder, tmp_path):
    """Which shares most words, whatever their case; of several it is the first."""
    path, prompts = tmp_path / "text.safetensors", ["A person talks.", "a person nods", "nods"]
    save_text(path, encoder, prompts)
    saved = SavedText(path)
    assert torch.equal(saved([*prompts, ""]), encoder([*prompts, ""]))
    assert path.stat().st_size < 5_000                                  # the used rows alone
    with pytest.raises(UserError, match="prompt 'no' is not among the saved ones .*'prepare'"):
        saved(["no"])
    assert [saved.known(prompt) for prompt in ("nods", "a Person, nods", "person", "", "no")] == [
        "nods", "a person nods", "A person talks.", "", "A person talks."]
    assert saved.words() == "A person talks.; a person nods; nods"
    assert encoder.known("whatever you like") == "whatever you like"


def test_what_is_missing_is_one_sentence(folder, tmp_path):
    with pytest.raises(UserError, match="holds no umT5"):
        load_text(tmp_path)
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "text_encoder" / "model.safetensors"
    save_file({k: v for k, v in load_file(file).items() if k != "shared.weight"}, file,
              {"format": "pt"})
    with pytest.raises(UserError, match="the whole umT5 encoder: .* missing: .*shared.weight"):
        load_text(tmp_path)
