"""Loading the released layout: what is read, what is told, what is merged, what it holds."""

import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from repo import ROOT
from safetensors.torch import load_file, save_file
from test_wan import worst

from livetalk_ref.errors import UserError
from livetalk_ref.loading import load
from livetalk_ref.real.standin import SMALL, random_cond, write_random
from livetalk_ref.real.weights import load_dit, to_int8

QUERY = "blocks.1.self_attn.q.weight"


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "model.safetensors"
    write_random(file, SMALL, torch.float32)
    return file


def same(model, tensors):
    state = model.state_dict()
    return state.keys() == tensors.keys() and all(torch.equal(state[k], tensors[k]) for k in state)


def test_every_tensor_is_the_files(path):
    """Against safetensors' own reader; a model needs nothing else."""
    model = load_dit(path)
    assert model.config == SMALL and same(model, load_file(path))
    assert not model.training and not any(p.requires_grad for p in model.parameters())
    half = load_dit(path, dtype=torch.bfloat16)
    assert same(half, {k: v.bfloat16() for k, v in load_file(path).items()})


def test_a_file_without_metadata_must_have_the_released_layout(path):
    """Alone it is sent to its folder: its encoders would be missing."""
    save_file(load_file(path), path, {"format": "pt"})
    with pytest.raises(UserError, match=r"missing: .*misshapen: .* is 64x64, not 1536x1536"):
        load_dit(path)
    with pytest.raises(UserError, match="--model livetalk-1.3b or omniavatar-1.3b, and --weights"):
        load(str(path))
    assert same(load_dit(path, SMALL), load_file(path))


def test_each_key_that_does_not_fit_is_named(path):
    tensors = load_file(path)
    del tensors["head.head.bias"], tensors["blocks.0.modulation"]
    tensors["blocks.9.modulation"] = torch.zeros(1)
    tensors[QUERY] = torch.zeros(5, 64)
    save_file(tensors, path)
    with pytest.raises(UserError) as error:
        load_dit(path, SMALL)
    assert str(error.value) == (
        f"{path} does not have the layout of this model: 2 missing: blocks.0.modulation, "
        f"head.head.bias; 1 unexpected: blocks.9.modulation; 1 misshapen: {QUERY} is 5x64, not "
        f"64x64.")


@torch.no_grad()
@pytest.mark.parametrize("dtype, bound", [(torch.float32, 1e-6), (torch.bfloat16, 0.02)])
def test_int8_weights_compute_with_rounded_ones(path, dtype, bound):
    """The matrices of blocks alone, each number off by half a step; all else is the file's."""
    plain, small = load_dit(path, dtype=dtype), to_int8(load_dit(path, dtype=dtype))
    args = (torch.randn(1, 3, 16, 4, 4, generator=torch.Generator().manual_seed(0)).to(dtype),
            torch.full((1, 3), 0.8, dtype=dtype), random_cond(SMALL, 32, dtype))
    exact, kept = plain(*args), small.state_dict()
    for key, weight in plain.named_parameters():
        if key.startswith("blocks.") and weight.ndim == 2:
            scale = kept[key.removesuffix("weight") + "scale"].float()[:, None]
            rounded = kept[key].float() * scale
            assert kept[key].dtype == torch.int8
            assert ((rounded - weight).abs() <= 0.52 * scale).all()
            weight.copy_(rounded)
        else:
            assert torch.equal(kept[key], weight)
    assert worst(small(*args), plain(*args)) < bound
    assert bound / 10 < worst(small(*args), exact) < 0.03
    linear = plain.blocks[0].ffn[0]
    held = sum(p.nbytes for p in small.blocks[0].ffn[0].parameters())
    assert held == linear.weight.numel() + len(linear.weight) * (2 + dtype.itemsize)


class Trap:
    """Unpickled, it would leave a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_is_refused_and_runs_nothing(path, tmp_path):
    (tmp_path / "pickled.safetensors").write_bytes(pickle.dumps(Trap(tmp_path / "run")))
    with pytest.raises(UserError, match="never unpickled"):
        load_dit(tmp_path / "pickled.safetensors")
    assert not (tmp_path / "run").exists()
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(UserError, match="If it was cut short, download it again"):
        load_dit(path)
    with pytest.raises(UserError, match="There is no file"):
        load_dit(tmp_path / "other.safetensors")


@pytest.mark.parametrize("style", ["base_model.model.{}.lora_{}.default.weight",
                                   "{}.lora_{}.weight", "pipe.dit.{}.lora_{}.weight"])
def test_lora_is_merged_while_reading(path, tmp_path, style):
    """Pairs are added to their weight, whole tensors replace theirs, in any usual naming; the
    base lacks what OmniAvatar adds to Wan."""
    g = torch.Generator().manual_seed(0)
    tensors = load_file(path)
    new = {k: torch.randn(v.shape, generator=g) for k, v in tensors.items()
           if k.startswith("audio") or k == "patch_embedding.weight"}
    base = {k: v for k, v in tensors.items() if not k.startswith("audio")}
    base["patch_embedding.weight"] = torch.zeros(64, 16, 1, 2, 2)
    save_file(base, path)
    down, up = torch.randn(4, 64, generator=g), torch.randn(64, 4, generator=g)
    pair = {style.format(QUERY.removesuffix(".weight"), part): value
            for part, value in (("A", down), ("B", up))}
    prefix = style.partition("{}")[0]
    save_file(pair | {prefix + k: v for k, v in new.items()}, tmp_path / "lora.safetensors")

    model = load_dit(path, SMALL, lora=tmp_path / "lora.safetensors", alpha=8.0)
    want = base | new
    want[QUERY] = base[QUERY] + torch.einsum("or,ri->oi", up, down) * 8.0 / 4
    state = model.state_dict()
    assert all((state[k] - want[k]).abs().max() < 1e-5 for k in state)
    assert (want[QUERY] - base[QUERY]).abs().max() > 1


def test_a_lora_that_does_not_fit_is_named(path, tmp_path):
    lora = tmp_path / "lora.safetensors"
    layer = QUERY.removesuffix(".weight")
    pair = {f"{layer}.lora_A.weight": torch.zeros(4, 32), f"{layer}.lora_B.weight":
            torch.zeros(64, 4)}
    save_file(pair, lora)
    with pytest.raises(UserError, match=f"does not fit: 1 misshapen: {QUERY} is 64x32"):
        load_dit(path, lora=lora)
    del pair[f"{layer}.lora_B.weight"]
    save_file(pair, lora)
    with pytest.raises(UserError, match=f"only one of two matrices for {QUERY}"):
        load_dit(path, lora=lora)


PEAK = """
import sys, torch
from livetalk_ref.judge.cost import peak_memory, reset_peak_memory
from livetalk_ref.real.weights import load_dit
dtype = {"same": None, "half": torch.bfloat16}[sys.argv[2]]
reset_peak_memory()
before = peak_memory()
model = load_dit(sys.argv[1], dtype=dtype)
size = sum(p.numel() * p.element_size() for p in model.parameters()) / 2 ** 20
print(peak_memory() - before, size)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak cannot be reset elsewhere")
@pytest.mark.parametrize("how", ["same", "half"])
def test_loading_holds_no_second_copy(tmp_path, how):
    """The most memory that loading takes, in a process of its own: 1.2 times the model."""
    wide = replace(SMALL, dim=512, heads=4, ffn_dim=2048, layers=12)
    write_random(tmp_path / "a.safetensors", wide, torch.float32)
    done = subprocess.run([sys.executable, "-c", PEAK, tmp_path / "a.safetensors", how], cwd=ROOT,
                          capture_output=True, text=True, check=True)
    peak, size = map(float, done.stdout.split())
    assert size > 90 and peak < 1.2 * size
