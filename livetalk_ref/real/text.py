"""Prompts to umT5 embeddings, or to ones that were saved beforehand.

umT5-xxl takes 11 GB in bf16, four times the DiT, and is needed once a prompt: `prepare` writes
its embeddings to a file of a few megabytes. There are 512 rows; those behind a prompt's end are
zero and are read like any others. LiveTalk section 3.1, Wan 2.1.
"""

import json
import re

import torch
import torch.nn.functional as F

from livetalk_ref.errors import UserError
from livetalk_ref.real.weights import brief, from_folder, open_weights
from livetalk_ref.runs import save

ROWS = 512              # tokens of a prompt


class UmT5:
    """The text encoder: `encoder(prompts)` -> (B, 512, 4096)."""

    def __init__(self, tokenizer, model, dtype=torch.float32):
        self.tokenizer, self.model, self.dtype = tokenizer, model, dtype

    @torch.no_grad()
    def __call__(self, prompts):
        prompts = [" ".join(prompt.split()) for prompt in prompts]
        read = self.tokenizer(prompts, padding="max_length", truncation=True, max_length=ROWS,
                              return_attention_mask=True, return_tensors="pt")
        tokens, used = (read[name].to(self.model.device)
                        for name in ("input_ids", "attention_mask"))
        rows = self.model(input_ids=tokens, attention_mask=used).last_hidden_state
        return (rows * used[..., None]).to(self.dtype)                   # (B, 512, 4096)

    known = staticmethod(str)       # a prompt itself, for any can be read

    def words(self):
        """What a prompt may hold, for a reader."""
        return "Any words."


class SavedText:
    """Embeddings from a file that `prepare` wrote: `saved(prompts)` -> (B, 512, 4096)."""

    def __init__(self, path, dtype=torch.float32, device="cpu"):
        self.path = path
        with open_weights(path, device) as file:
            prompts = json.loads((file.metadata() or {}).get("prompts", "[]"))
            used = [file.get_tensor(str(i)).to(dtype) for i in range(len(prompts))]
        self.rows = {prompt: F.pad(rows, (0, 0, 0, ROWS - len(rows)))    # (512, D)
                     for prompt, rows in zip(prompts, used)}

    def __call__(self, prompts):
        for prompt in prompts:
            if prompt not in self.rows:
                known = ", ".join(f"'{name}'" for name in self.rows if name)
                raise UserError(f"The prompt '{prompt}' is not among the saved ones of "
                                f"{self.path} ({known}): add it with the 'prepare' command.")
        return torch.stack([self.rows[prompt] for prompt in prompts])

    def known(self, prompt):
        """The prompt if it is saved, else the saved one that shares most words with it, of
        several the first."""
        if prompt in self.rows:
            return prompt
        asked = split(prompt)
        return max(filter(None, self.rows), key=lambda saved: len(asked & split(saved)), default="")

    def words(self):
        """All saved prompts, for a reader."""
        return "; ".join(filter(None, self.rows))


def split(prompt):
    """The set of a prompt's words."""
    return set(re.findall(r"\w+", prompt.lower()))


def save_text(path, encoder, prompts, negative=""):
    """Write the rows that prompts use, and those of the dropped prompt.

    negative: what stands for no prompt under a teacher's guidance; the student needs none.
    """
    rows = dict.fromkeys(["", *prompts])
    for prompt in rows:
        made = encoder([negative if prompt == "" else prompt])[0]        # (512, D)
        used = made.abs().amax(dim=-1).nonzero()
        rows[prompt] = made[:int(used.max()) + 1 if len(used) else 1].cpu()
    save(path, {str(i): value for i, value in enumerate(rows.values())}, prompts=list(rows))


def load_text(folder, device="cpu", dtype=torch.float32):
    """`UmT5` from a folder with text_encoder/ and tokenizer/, safetensors only.

    dtype: of the model and of its embeddings. UserError without it.
    """
    from transformers import AutoTokenizer, UMT5EncoderModel

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} holds no umT5 (text_encoder/ and tokenizer/): "
                        f"{brief(error)}") from error
    model = from_folder(UMT5EncoderModel, folder / "text_encoder", "umT5 encoder", dtype=dtype)
    return UmT5(tokenizer, model.to(device), dtype)
