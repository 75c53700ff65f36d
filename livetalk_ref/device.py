"""The device of a run: the one that was named, or a CUDA GPU where there is one."""

import torch

from livetalk_ref.errors import UserError


def best_device():
    """What a training takes unless it is told."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def check_device(name):
    """The name. UserError where PyTorch cannot compute on this device."""
    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError, ImportError) as error:     # each build has its own
        raise UserError(f"PyTorch cannot use the device '{name}' here; give another --device, "
                        f"such as cpu.") from error
    return name
