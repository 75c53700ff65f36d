"""The released checkpoint: read tensor by tensor into a model that owns no memory before.

Files are safetensors and are never unpickled. Keys and shapes are compared before anything is
read, and every difference is told. A teacher may be a base model with a LoRA adapter, which is
merged while reading: W + alpha / rank (up @ down). Layout: paper code; LiveTalk section 3.1.
"""

import json
import logging
import re

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import nn

from livetalk_ref.errors import UserError, unreadable
from livetalk_ref.files import eight_bit_rows
from livetalk_ref.wan import LIVETALK_1P3B, Config, WanDiT

SHOWN = 20              # keys of a kind that a sentence spells out
LONGEST = 200           # characters of a library's own words
ALPHA = 64.0            # of OmniAvatar's adapter, rank 128, as far as is known
PREFIX = re.compile(r"^(?:base_model\.model\.|pipe\.dit\.|diffusion_model\.|model\.)+")
LORA = re.compile(r"^(?P<layer>.+)\.lora_(?P<part>A|B|down|up)(?:\.default)?\.weight$")


def brief(words):
    """The words of an error in one line."""
    words = " ".join(str(words).split())
    return words if len(words) <= LONGEST else f"{words[:LONGEST]} .."


def listed(keys):
    """Some keys in words, the others counted."""
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return ", ".join(keys[:SHOWN]) + more


def misfit(missing=(), unexpected=(), misshapen=()):
    """How keys differ from a model's, in words; misshapen: (key, its shape, the model's)."""
    shaped = [f"{key} is {'x'.join(map(str, got)) or 'a number'}, not "
              f"{'x'.join(map(str, want)) or 'a number'}" for key, got, want in sorted(misshapen)]
    kinds = {"missing": sorted(missing), "unexpected": sorted(unexpected), "misshapen": shaped}
    return "; ".join(f"{len(keys)} {kind}: {listed(keys)}" for kind, keys in kinds.items() if keys)


def compare(shapes, wanted):
    """The `misfit` of {key: shape} to the wanted {key: shape}."""
    misshapen = [(key, shapes[key], wanted[key]) for key in shapes.keys() & wanted.keys()
                 if shapes[key] != wanted[key]]
    return misfit(wanted.keys() - shapes.keys(), shapes.keys() - wanted.keys(), misshapen)


def open_weights(path, device="cpu"):
    """A safetensors file, nothing of it read yet. UserError when it is not one."""
    try:
        return safe_open(path, "pt", device=str(device))
    except FileNotFoundError as error:
        raise UserError(f"There is no file {path}; see notebook 10 for what to download.") \
            from error
    except (SafetensorError, OSError) as error:
        raise UserError(f"{unreadable(path, error)} If it was cut short, "
                        f"download it again; weights in another format must be converted, they "
                        f"are never unpickled.") from error


def stored_shapes(path):
    """{key: shape} from a file's header, and its metadata."""
    with open_weights(path) as file:
        return ({key: tuple(file.get_slice(key).get_shape()) for key in file.keys()},
                file.metadata() or {})


def stored_tensor(path, key, device, dtype=None):
    """One tensor of a file, in its own memory."""
    with open_weights(path, device) as file:    # mapped anew, so that pages already copied go back
        tensor = file.get_tensor(key)
        return tensor.to(dtype=dtype or tensor.dtype, copy=True)


class Adapter:
    """A LoRA file: pairs of matrices for some weights, and whole tensors that replace others."""

    def __init__(self, path, alpha=ALPHA):
        self.path, self.alpha, self.pairs, self.whole = path, alpha, {}, {}
        self.shapes, _ = stored_shapes(path)
        for key in self.shapes:
            name = PREFIX.sub("", key)
            if match := LORA.match(name):
                part = "down" if match["part"] in ("A", "down") else "up"
                self.pairs.setdefault(f"{match['layer']}.weight", {})[part] = key
            else:
                self.whole[name] = key
        if broken := [key for key, pair in self.pairs.items() if len(pair) < 2]:
            raise UserError(f"{path} holds only one of two matrices for {listed(broken)}.")

    def applied_to(self, shapes, wanted):
        """{key: shape} of a base model under this adapter. UserError for pairs that do not fit."""
        products = {}
        for key, pair in self.pairs.items():
            down, up = self.shapes[pair["down"]], self.shapes[pair["up"]]
            products[key] = (*up[:1], *down[1:])
        if found := compare(products, {key: wanted[key] for key in products if key in wanted}):
            raise UserError(f"The adapter {self.path} does not fit: {found}.")
        return shapes | {name: self.shapes[key] for name, key in self.whole.items()}

    def merge(self, key, base, device, dtype):
        """A tensor of the base file at a path, replaced, or changed in float32, by this adapter."""
        if key in self.whole:
            return stored_tensor(self.path, self.whole[key], device, dtype)
        tensor = stored_tensor(base, key, device, None if key in self.pairs else dtype)
        if key not in self.pairs:
            return tensor
        down, up = (stored_tensor(self.path, self.pairs[key][part], device, torch.float32)
                    for part in ("down", "up"))
        change = self.alpha / len(down) * (up @ down)                    # (out, in)
        return (tensor.float() + change).to(dtype or tensor.dtype)


class Int8Linear(nn.Module):
    """A linear layer whose weights are int8 with a scale for every output channel. It computes in
    the type of its input, and holds no other copy of its weights."""

    def __init__(self, linear):
        super().__init__()
        kept = (*eight_bit_rows(linear.weight), linear.bias)
        self.weight, self.scale, self.bias = (nn.Parameter(t, requires_grad=False) for t in kept)

    def forward(self, x):
        # Scaled weights, not scaled sums: those of whole numbers would overflow in fp16.
        weight = self.weight.to(x.dtype) * self.scale.to(x.dtype)[:, None]   # (out, in)
        return F.linear(x, weight, self.bias)


def to_int8(model):
    """A DiT with int8 weights in the linear layers of its blocks, where nearly all of them are."""
    for layer in list(model.blocks.modules()):
        for name, linear in list(layer.named_children()):
            if isinstance(linear, nn.Linear):
                setattr(layer, name, Int8Linear(linear))
    return model


def load_dit(path, config=LIVETALK_1P3B, device="cpu", dtype=None, lora=None, alpha=ALPHA):
    """A `WanDiT` with the weights of a file, in evaluation mode, on a device and in a dtype.

    A file of ours names its own config; any other must have the layout of `config`. dtype None
    keeps the file's. lora: an adapter's file, merged on reading. Holds the model and one tensor
    in memory at most. UserError names every key that is missing, unexpected or misshapen.
    """
    shapes, facts = stored_shapes(path)
    config = Config(**json.loads(facts["config"])) if "config" in facts else config
    with torch.device("meta"):
        model = WanDiT(config)
    wanted = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    adapter = Adapter(lora, alpha) if lora else None
    if found := compare(adapter.applied_to(shapes, wanted) if adapter else shapes, wanted):
        raise UserError(f"{path} does not have the layout of this model: {found}.")
    model.load_state_dict({key: adapter.merge(key, path, device, dtype) if adapter else
                           stored_tensor(path, key, device, dtype) for key in wanted}, assign=True)
    return model.eval().requires_grad_(False)


def from_folder(kind, folder, what, may_lack=(), **options):
    """`kind.from_pretrained(folder)`, safetensors only, in evaluation mode, on the CPU.

    kind: a class of diffusers or transformers; what: the module in words; may_lack: keys that it
    does without. A file may hold more than it uses. UserError names what is missing or misshapen.
    """
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)       # the library draws missing weights and only reports it
    try:
        module, found = kind.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, output_loading_info=True,
            ignore_mismatched_sizes=True, **options)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise UserError(f"{folder} holds no {what}: {brief(error)}") from error
    finally:
        logging.disable(before)
    misshapen = [(key, tuple(got), tuple(want)) for key, got, want in found["mismatched_keys"]]
    if wrong := misfit(set(found["missing_keys"]) - set(may_lack), (), misshapen):
        raise UserError(f"{folder} does not hold the whole {what}: {wrong}.")
    return module.eval().requires_grad_(False)
