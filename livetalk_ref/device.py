"""The device of a run, the one that was named or a CUDA GPU, and the precision that suits it."""

from contextlib import contextmanager, nullcontext

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from livetalk_ref.errors import UserError


def best_device():
    """The device of a training that is not told another: a CUDA GPU where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def check_device(name):
    """The name. UserError where PyTorch cannot compute on this device."""
    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError, ImportError) as error:     # each build has its own
        raise UserError(f"PyTorch cannot use the device '{name}' here; give another --device, "
                        f"such as cpu.") from error
    return name


@contextmanager
def autocast(device, precision):
    """Mixed precision, "bf16", "fp16" or "fp32" (none), with the device's `fast_attention`."""
    device = torch.device(device).type
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[precision]
    # In torch 2.6 a weight that was cast without gradients gets none in a later pass.
    cached = not torch.is_grad_enabled()
    with torch.autocast(device, dtype, dtype != torch.float32, cached), fast_attention(device):
        yield


def fast_attention(device):
    """The attention kernel that is fast where gradients are kept: on CPU the plain one."""
    plain = torch.device(device).type == "cpu" and torch.is_grad_enabled()
    return sdpa_kernel(SDPBackend.MATH) if plain else nullcontext()


def best_precision(device, scaled=False):
    """bf16 where the device multiplies it in hardware, fp16 on an older GPU if the loss is
    scaled, for small gradients vanish in it, else fp32."""
    kind = torch.device(device).type
    if kind == "cuda":
        old = "fp16" if scaled else "fp32"
        return "bf16" if torch.cuda.get_device_capability()[0] >= 8 else old
    fast = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return "bf16" if kind == "cpu" and fast else "fp32"
