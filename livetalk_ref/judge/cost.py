"""What work costs: counted operations, seconds and memory; and a live stream on one clock.

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

from livetalk_ref.cache import BLOCK
from livetalk_ref.flow import STUDENT_STEPS
from livetalk_ref.pipeline import Pipeline
from livetalk_ref.stream import AvatarSession, count_blocks
from livetalk_ref.world.state import FPS, SAMPLES_PER_FRAME


def attention_flops(query, key, value, *_, out_shape=None, **__):
    """Queries times keys, and weights times values, from shapes (B, H, N, d)."""
    b, heads, n, d = query
    return 2 * b * heads * n * key[-2] * (d + value[-1])


def count_flops(work):
    """FLOPs of a call of `work()`."""
    own = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention_flops}
    with FlopCounterMode(display=False, custom_mapping=own) as counter:
        work()
    return counter.get_total_flops()


@contextmanager
def counted_passes(model):
    """`with counted_passes(model) as seen:`, after which sum(seen) is the model's evaluations."""
    seen = []
    hook = model.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    try:
        yield seen
    finally:
        hook.remove()


@dataclass
class Stopwatch:
    """Seconds and memory that went into making things, apart from what is done with them."""

    seconds: float = 0.0
    peak_mib: float | None = None

    def time_each(self, things):
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


def wall_clock(device):
    """The time in seconds, once a GPU has done what it was asked to."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def quantiles(values, **levels):
    """Quantiles of a list by name, such as median=0.5; None if there is nothing in it."""
    values = [v for v in values if v is not None]
    if not values:
        return None
    at = torch.tensor(list(levels.values()), dtype=torch.float64)
    found = torch.tensor(values, dtype=torch.float64).quantile(at)
    return dict(zip(levels, found.tolist()))


# Who works when: a live stream's sound, passes and decoding on one clock.


@dataclass(frozen=True)
class Note:
    """Something that took from `start` to `end`, in seconds since the stream began."""

    lane: str           # "sound", "step", "clean pass", "decoding" or "shown"
    block: int
    start: float
    end: float


@contextmanager
def noted(module, notes, name):
    """Note every call of a module while this lasts. name(n) -> (lane, block) of call number n."""
    begun, made = [], []

    def after(*_):
        made.append(Note(*name(len(made)), begun[-1], time.perf_counter()))
        notes.append(made[-1])

    hooks = [module.register_forward_pre_hook(lambda *_: begun.append(time.perf_counter())),
             module.register_forward_hook(after)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def microphone(samples, began, notes, ahead):
    """Yield 62.5 ms of sound at a time, each when it has been heard."""
    for index, chunk in enumerate(samples.split(SAMPLES_PER_FRAME)):
        start = began + index / FPS
        time.sleep(max(0.0, start + 1 / FPS - time.perf_counter()))
        notes.append(Note("sound", count_blocks(index * SAMPLES_PER_FRAME, ahead), start,
                          start + 1 / FPS))
        yield chunk


def live_timeline(avatar, picture, prompt, samples):
    """The `Note`s of a live stream of (N,) samples, in the order of their beginnings.

    Sound arrives as fast as a microphone gives it, and the pipeline's threads work beside each
    other. A block's "shown" is the stretch for which its frames last, from when they are there.
    """
    notes, session = [], AvatarSession(avatar, picture, prompt, policy=avatar.policy)

    def passes(n):
        block, step = divmod(n, STUDENT_STEPS + 1)              # the last pass is the clean one
        return ("step" if step < STUDENT_STEPS else "clean pass"), block

    with noted(avatar.model, notes, passes), \
            noted(avatar.codec.decoder, notes, lambda n: ("decoding", n // BLOCK)), \
            Pipeline(session) as pipeline:
        began = time.perf_counter()
        pipeline.feed(microphone(samples, began, notes, session.ahead))
        for block, frames in enumerate(pipeline):
            now = time.perf_counter()
            notes.append(Note("shown", block, now, now + len(frames) / FPS))
    return sorted((Note(n.lane, n.block, n.start - began, n.end - began) for n in notes),
                  key=lambda n: n.start)


def block_budget(notes, block=1):
    """Where a later block's time goes: {what: seconds} from its last sound to its pictures."""
    part = [n for n in notes if n.block == block]
    heard = max(n.end for n in part if n.lane == "sound")
    steps = [n for n in part if n.lane == "step"]
    shown = next(n.start for n in part if n.lane == "shown")
    spent = {"waiting and features": steps[0].start - heard,
             "four steps": sum(n.end - n.start for n in steps),
             "decoding": sum(n.end - n.start for n in part if n.lane == "decoding")}
    return spent | {"handing over": shown - heard - sum(spent.values()),
                    "from the last sound": shown - heard}
