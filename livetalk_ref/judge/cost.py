"""What work costs: counted operations, seconds and memory; and a live stream on one clock.

A function evaluation is one run of the DiT on one window; guidance needs two or three a step.
FLOPs are those of matrix products, convolutions and attention, a multiplication and an addition
counted as two; what is cheap (norms, activations) is left out, as everywhere in this field.
"""

import itertools
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from livetalk_ref.cache import BLOCK
from livetalk_ref.flow import STUDENT_STEPS
from livetalk_ref.pipeline import Pipeline
from livetalk_ref.stream import AvatarSession, count_blocks
from livetalk_ref.world.state import FPS, SAMPLES_PER_FRAME


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
def each_call(module, tell):
    """While this lasts, tell(batch, start, end) of every call of a module, in seconds."""
    begun = []
    hooks = [module.register_forward_pre_hook(lambda *_: begun.append(time.perf_counter())),
             module.register_forward_hook(lambda _, inputs, __: tell(
                 len(inputs[0]), begun.pop(), time.perf_counter()))]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def counted_passes(model):
    """`with counted_passes(model) as seen:`, after which sum(seen) is the model's evaluations."""
    seen = []
    with each_call(model, lambda batch, *_: seen.append(batch)):
        yield seen


@dataclass
class Stopwatch:
    """Seconds that went into making things, apart from what is done with them."""

    seconds: float = 0.0

    def time_each(self, things):
        """Pass things on, measuring only the time in which each is made."""
        things, end = iter(things), object()
        while True:
            began = time.perf_counter()
            thing = next(things, end)
            self.seconds += time.perf_counter() - began
            if thing is end:
                return
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


@dataclass(frozen=True)
class Note:
    """Something that took from `start` to `end`, in seconds since the stream began."""

    lane: str           # "sound", "step", "clean pass", "decoding" or "shown"
    block: int
    start: float
    end: float


def microphone(samples, began, note, ahead):
    """Yield 62.5 ms of sound at a time, each when it has been heard."""
    for index, chunk in enumerate(samples.split(SAMPLES_PER_FRAME)):
        start, end = began + index / FPS, began + (index + 1) / FPS
        time.sleep(max(0.0, end - time.perf_counter()))
        note("sound", count_blocks(index * SAMPLES_PER_FRAME, ahead), start, end)
        yield chunk


def live_timeline(avatar, picture, prompt, samples):
    """The `Note`s of a live stream of (N,) samples, in order of time; sound arrives as fast as a
    microphone gives it. A block is "shown" for as long as its frames last, once they are there."""
    session = AvatarSession(avatar, picture, prompt, policy=avatar.policy)
    notes, passes, groups = [], itertools.count(), itertools.count()

    def note(lane, block, start, end):
        notes.append(Note(lane, block, start - began, end - began))

    def passed(_, start, end):                              # the last pass is the clean one
        block, step = divmod(next(passes), STUDENT_STEPS + 1)
        note("step" if step < STUDENT_STEPS else "clean pass", block, start, end)

    def decoded(_, start, end):
        note("decoding", next(groups) // BLOCK, start, end)

    with each_call(avatar.model, passed), each_call(avatar.codec.decoder, decoded), \
            Pipeline(session) as pipeline:
        began = time.perf_counter()
        pipeline.feed(microphone(samples, began, note, session.ahead))
        for block, frames in enumerate(pipeline):
            now = time.perf_counter()
            note("shown", block, now, now + len(frames) / FPS)
    return sorted(notes, key=lambda n: n.start)


def block_budget(notes, block=1):
    """Where a later block's time goes: {what: seconds} from its last sound to its pictures."""
    lanes = {}
    for n in notes:
        if n.block == block:
            lanes.setdefault(n.lane, []).append(n)
    heard, shown = max(n.end for n in lanes["sound"]), lanes["shown"][0].start
    spent = {"waiting and features": lanes["step"][0].start - heard,
             "four steps": sum(n.end - n.start for n in lanes["step"]),
             "decoding": sum(n.end - n.start for n in lanes["decoding"])}
    return spent | {"handing over": shown - heard - sum(spent.values()),
                    "from the last sound": shown - heard}
