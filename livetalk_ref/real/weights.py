"""The released checkpoint: read tensor by tensor into a model that owns no memory before.

The file is safetensors and is never unpickled. Its keys and shapes are compared first, and told
exactly; only then is anything read. A teacher may be a base model with a LoRA adapter, which is
merged while reading: W + alpha / rank (up @ down). LiveTalk section 3.1, paper code's layout.
"""

import json
import re
from dataclasses import dataclass

import torch
from safetensors import SafetensorError, safe_open

from livetalk_ref.errors import UserError, unreadable
from livetalk_ref.wan import LIVETALK_1P3B, Config, WanDiT

SHOWN = 20              # keys of a kind that the sentence spells out
ALPHA = 64.0            # of OmniAvatar's adapter, rank 128, as far as is known
PREFIX = re.compile(r"^(?:base_model\.model\.|pipe\.dit\.|diffusion_model\.|model\.)+")
LORA = re.compile(r"^(?P<layer>.+)\.lora_(?P<part>A|B|down|up)(?:\.default)?\.weight$")


@dataclass(frozen=True)
class Misfit:
    """How a file's keys differ from a model's. Misshapen: (key, its shape, the model's)."""

    missing: tuple = ()
    unexpected: tuple = ()
    misshapen: tuple = ()

    def __bool__(self):
        return bool(self.missing or self.unexpected or self.misshapen)

    def __str__(self):
        shaped = [f"{key} is {by(got)}, not {by(want)}" for key, got, want in self.misshapen]
        kinds = {"missing": self.missing, "unexpected": self.unexpected, "misshapen": shaped}
        return "; ".join(f"{len(keys)} {kind}: {listed(keys)}" for kind, keys in kinds.items()
                         if keys)


def by(shape):
    return "x".join(map(str, shape)) or "a number"


def listed(keys):
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return ", ".join(keys[:SHOWN]) + more


def compare(shapes, wanted):
    """The `Misfit` of {key: shape} to the wanted {key: shape}."""
    common = sorted(shapes.keys() & wanted.keys())
    return Misfit(tuple(sorted(wanted.keys() - shapes.keys())),
                  tuple(sorted(shapes.keys() - wanted.keys())),
                  tuple((key, shapes[key], wanted[key]) for key in common
                        if shapes[key] != wanted[key]))


def shapes_of(model):
    """{key: shape} of a module's state."""
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}


def opened(path, device="cpu"):
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
    with opened(path) as file:
        return ({key: tuple(file.get_slice(key).get_shape()) for key in file.keys()},
                file.metadata() or {})


def stored_tensor(path, key, device, dtype=None):
    """One tensor. The file is mapped into memory for this one alone, so that the pages of those
    already copied are given back."""
    with opened(path, device) as file:
        tensor = file.get_tensor(key)
        return tensor.to(dtype=dtype or tensor.dtype, copy=True)


class Adapter:
    """A LoRA file: pairs of matrices for some weights, and whole tensors that replace others."""

    def __init__(self, path, alpha=ALPHA):
        self.path, self.alpha, self.pairs, self.whole = path, alpha, {}, {}
        self.shapes, _ = stored_shapes(path)
        for key in self.shapes:
            name = PREFIX.sub("", key)
            match = LORA.match(name)
            if match:
                part = "down" if match["part"] in ("A", "down") else "up"
                self.pairs.setdefault(f"{match['layer']}.weight", {})[part] = key
            else:
                self.whole[name] = key
        broken = [key for key, pair in self.pairs.items() if len(pair) < 2]
        if broken:
            raise UserError(f"{path} holds only one of two matrices for {listed(broken)}.")

    def change(self, key, device):
        """What is added to a weight, float32 (out, in); None for one that it leaves alone."""
        if key not in self.pairs:
            return None
        down, up = (stored_tensor(self.path, self.pairs[key][part], device, torch.float32)
                    for part in ("down", "up"))
        return self.alpha / len(down) * (up @ down)

    def shape(self, key):
        """(out, in) of the product of a pair."""
        down, up = (self.shapes[self.pairs[key][part]] for part in ("down", "up"))
        return (*up[:1], *down[1:])


def load_dit(path, config=LIVETALK_1P3B, device="cpu", dtype=None, lora=None, alpha=ALPHA):
    """A `WanDiT` with the weights of a file, in evaluation mode, on a device and in a dtype.

    A file of ours names its own config; any other must have the layout of `config`. dtype None
    keeps the file's. lora: an adapter's file, merged on reading. Holds the model and one tensor
    in memory at most. UserError names every key that is missing, unexpected or misshapen.
    """
    shapes, facts = stored_shapes(path)
    config = Config(**json.loads(facts["config"])) if "config" in facts else config
    adapter = Adapter(lora, alpha) if lora else None
    with torch.device("meta"):
        model = WanDiT(config)
    check(path, shapes, shapes_of(model), adapter)
    model.load_state_dict({key: merged(path, key, device, dtype, adapter)
                           for key in model.state_dict()}, assign=True)
    return model.eval().requires_grad_(False)


def check(path, shapes, wanted, adapter):
    """UserError if file and adapter together do not make the wanted keys and shapes."""
    if adapter:
        whole = {name: adapter.shapes[key] for name, key in adapter.whole.items()}
        pairs = {key: adapter.shape(key) for key in adapter.pairs}
        misfit = compare(pairs, {key: wanted[key] for key in pairs if key in wanted})
        if misfit:
            raise UserError(f"The adapter {adapter.path} does not fit: {misfit}.")
        shapes = shapes | whole
    misfit = compare(shapes, wanted)
    if misfit:
        raise UserError(f"{path} does not have the layout of this model: {misfit}.")


def merged(path, key, device, dtype, adapter):
    """A tensor of the file, replaced or changed by the adapter (summed in float32)."""
    if adapter and key in adapter.whole:
        return stored_tensor(adapter.path, adapter.whole[key], device, dtype)
    change = adapter and adapter.change(key, device)
    if change is None:
        return stored_tensor(path, key, device, dtype)
    tensor = stored_tensor(path, key, device)
    return (tensor.float() + change).to(dtype or tensor.dtype)
