"""What work costs: counted operations, seconds and memory.

A function evaluation is one run of the DiT on one window; guidance needs two or three a step.
FLOPs are those of matrix products, convolutions and attention, a multiplication and an addition
counted as two; what is cheap (norms, activations) is left out, as everywhere in this field.
"""

import sys
import time
from contextlib import contextmanager, suppress

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count


def count_flops(work):
    """FLOPs of a call of `work()`."""
    # The counter knows attention on GPUs alone; on a CPU the operator has a name of its own.
    own = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu:
           lambda query, key, value, *_, **__: sdpa_flop_count(query, key, value)}
    with FlopCounterMode(display=False, custom_mapping=own) as counter:
        work()
    return counter.get_total_flops()


def count_bytes(work):
    """Bytes that the operations of a call of `work()` read and write, each by itself."""
    moved = []

    def add(*tensors):
        moved.extend(t.nbytes for t in tree_leaves(tensors) if torch.is_tensor(t))

    class Operations(TorchDispatchMode):
        def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
            made = operation(*args, **(kwargs or {}))
            if not operation.is_view and "empty" not in operation.name():
                add(args, kwargs, made)
            return made

    class Fused(TorchFunctionMode):         # one operation on a GPU, several elsewhere
        def __torch_function__(self, function, types, args=(), kwargs=None):
            if function.__name__ not in ("rms_norm", "scaled_dot_product_attention"):
                return function(*args, **(kwargs or {}))
            add(args, args[0])
            return torch.empty_like(args[0])

    with Operations(), Fused():
        work()
    return sum(moved)


@contextmanager
def counted_passes(model, watch=lambda count: None):
    """`with counted_passes(model) as seen:`, after which sum(seen) is the model's evaluations;
    watch(n) is called after every n of them."""
    seen = []

    def count(_, inputs, __):
        seen.append(len(inputs[0]))
        watch(seen[-1])

    hook = model.register_forward_hook(count)
    try:
        yield seen
    finally:
        hook.remove()


def reset_peak_memory(device="cpu"):
    """Let `peak_memory` forget what was before, where the system can."""
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")                                 # else it is the peak since the start


def peak_memory(device="cpu"):
    """The most memory this process has held since the reset, in MiB, all that is loaded included.

    Of a GPU it is the GPU's own. Where the system knows no reset it is the most since the start;
    None where it tells nothing.
    """
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2 ** 20
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024      # bytes on macOS, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2 ** 20


def wall_clock(device):
    """The time in seconds, once a GPU has done what it was asked to."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def quantiles(values, **levels):
    """Quantiles of a list by name, such as median=0.5."""
    at = torch.tensor(list(levels.values()), dtype=torch.float64)
    found = torch.tensor(values, dtype=torch.float64).quantile(at)
    return dict(zip(levels, found.tolist()))
