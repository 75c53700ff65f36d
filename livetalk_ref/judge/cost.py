"""What a clip costs: function evaluations, counted FLOPs, seconds, and the most memory held.

A function evaluation is one run of the DiT on one window; guidance needs two or three a step.
FLOPs are those of matrix products, convolutions and attention, a multiplication and an addition
counted as two; what is cheap (norms, activations) is left out, as everywhere in this field.
"""

import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode


def attention_flops(query, key, value, *_, out_shape=None, **__):
    """Queries times keys, and weights times values, from shapes (B, H, N, d)."""
    b, heads, n, d = query
    return 2 * b * heads * n * key[-2] * (d + value[-1])


# torch's counter does not know the processor's own attention
MORE = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention_flops}


def count_flops(work):
    """FLOPs of a call of `work()`."""
    with FlopCounterMode(display=False, custom_mapping=MORE) as counter:
        work()
    return counter.get_total_flops()


@contextmanager
def counted(model):
    """`with counted(model) as seen:`, after which sum(seen) is the model's evaluations."""
    seen = []
    hook = model.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    try:
        yield seen
    finally:
        hook.remove()


@dataclass
class Clock:
    """Seconds and memory that went into making things, apart from what is done with them."""

    seconds: float = 0.0
    peak_mib: float | None = None

    def watch(self, things):
        """Pass things on, measuring only the time and memory in which each is made."""
        things, missing = iter(things), object()
        while True:
            reset_peak_memory()
            began = time.perf_counter()
            thing = next(things, missing)
            self.seconds += time.perf_counter() - began
            if thing is missing:
                return
            self.peak_mib = max(filter(None, (self.peak_mib, peak_memory())), default=None)
            yield thing


def reset_peak_memory(device="cpu"):
    """Let `peak_memory` forget what was before, where the system can."""
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        pass                                            # then it is the peak since the start


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
