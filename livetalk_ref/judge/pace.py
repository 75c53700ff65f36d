"""The pace of a stream: every block's time, the deadlines it keeps, its memory, its limit.

Live, the sound of a block is complete at a known moment, and no machine can begin before. How
late the block's pictures are after it is the compute latency; a block still under work delays
the next. A player that shows every frame ALLOWANCE later than the earliest moment misses the
deadline of a block that is later than that. Time is measured while blocks are made as fast as
they can be; the waiting for sound is added by counting, so that ten minutes take less.
"""

import time

import torch

from livetalk_ref.cache import BLOCK, EMPTY
from livetalk_ref.flow import guided
from livetalk_ref.generate import FRESH, GUIDANCE
from livetalk_ref.judge.cost import count_flops, peak_memory, reset_peak_memory
from livetalk_ref.rollout import denoise, draw
from livetalk_ref.stream import FRAMES, AvatarSession, frames_of, samples_for
from livetalk_ref.world.latents import WINDOW
from livetalk_ref.world.state import FPS, SAMPLE_RATE

SECONDS = 600.0         # of a usual stream
EARLY = 10.0            # seconds after which memory is looked at first
ALLOWANCE = 0.15        # seconds that a block may take
MATRIX = 1024           # rows of the square matrices whose product is the machine's rate
LEVELS = (0.5, 0.95, 0.99)


def wait(device):
    """Until a GPU has done what it was asked to; a CPU has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def clock(device):
    """The time in seconds, once a GPU has done what it was asked to."""
    wait(device)
    return time.perf_counter()


def count_blocks(seconds):
    """Blocks of a stream of about so many seconds."""
    return max(1, round(seconds * FPS / FRAMES))


def blocks(session, sound, count):
    """For each of `count` blocks (seconds to its pictures, seconds of the clean pass after).

    sound(first, n) makes samples.
    """
    for _ in range(count):
        heard = session.state.samples
        samples = sound(heard, samples_for(session.state.blocks + 1, session.ahead) - heard)
        wait(session.device)
        began = time.perf_counter()
        made = session.hear(samples)
        session.decode(next(made))
        shown = time.perf_counter()
        next(made, None)
        wait(session.device)
        yield shown - began, time.perf_counter() - shown


def lateness(took, ahead):
    """How many seconds after its sound was complete each block is there, live.

    took: (seconds to the pictures, seconds of the clean pass) of each.
    """
    late, free = [], 0.0
    for index, (pictures, clean) in enumerate(took):
        heard = samples_for(index + 1, ahead) / SAMPLE_RATE
        done = max(heard, free) + pictures
        late.append(done - heard)
        free = done + clean
    return late


def percentiles(values):
    """{"p50": .., "p95": .., "p99": ..} of a list."""
    at = torch.tensor(LEVELS, dtype=torch.float64)
    found = torch.tensor(values, dtype=torch.float64).quantile(at).tolist()
    return {f"p{round(100 * level)}": value for level, value in zip(LEVELS, found)}


def stream(avatar, picture, prompt, sound, seconds=SECONDS, watch=None):
    """A stream of so many seconds as fast as it goes: a dict of figures, seconds everywhere."""
    count = count_blocks(seconds)
    session = AvatarSession(avatar, picture, prompt, policy=avatar.policy, undo=0)
    early, took, memory = min(count, count_blocks(EARLY)), [], {}
    reset_peak_memory(session.device)
    processor = time.process_time()
    for pair in blocks(session, sound, count):
        took.append(pair)
        if len(took) == early:
            memory = {"early": peak_memory(session.device)}
            reset_peak_memory(session.device)
        if watch:
            watch()
    memory["late"] = peak_memory(session.device) if count > early else memory["early"]
    processor = time.process_time() - processor
    late = lateness(took, session.ahead)
    busy = sum(map(sum, took))
    return {"seconds": frames_of(count) / FPS, "blocks": count, "busy": busy,
            "frames_per_second": frames_of(count) / busy,
            "real_time": frames_of(count) / FPS / busy,
            "processor_seconds_per_block": processor / count,
            "pictures": percentiles([pictures for pictures, _ in took]),
            "block": percentiles([sum(pair) for pair in took]),
            "allowance": ALLOWANCE, "missed": sum(x > ALLOWANCE for x in late),
            "latest": max(late), "early_seconds": frames_of(early) / FPS,
            "memory_mib": memory}


@torch.inference_mode()
def matrix_rate(device, repeats=12):
    """FLOPs a second of a large matrix product, the best of some: what this machine can do."""
    a, best = torch.randn(MATRIX, MATRIX, device=device), float("inf")
    for _ in range(repeats):
        wait(device)
        began = time.perf_counter()
        a @ a
        wait(device)
        best = min(best, time.perf_counter() - began)
    return 2 * MATRIX ** 3 / best


def block_flops(avatar, picture, prompt, sound):
    """Counted FLOPs of a later block: its passes behind a full cache, decoding, the clean pass."""
    session = AvatarSession(avatar, picture, prompt, policy=avatar.policy, undo=0)
    full = 1 + -(-(session.state.cache.policy.sinks + (avatar.policy.window or 0)) // BLOCK)
    list(blocks(session, sound, full))
    return count_flops(lambda: list(blocks(session, sound, 1)))


@torch.inference_mode()
def teacher_flops(avatar, cond, steps, windows):
    """Counted FLOPs of a guided teacher's video of so many windows: to its first frame, for a
    frame, and for a frame without its decoding."""
    x = torch.zeros(cond.known.shape + cond.ref.shape[1:], device=cond.ref.device)
    window = steps * count_flops(lambda: guided(avatar.model, x, x[:, :, 0, 0, 0], cond, GUIDANCE))
    latents = WINDOW + (windows - 1) * FRESH
    decoding = [count_flops(lambda n=n: avatar.codec.decode(x[:, :1].expand(-1, n, -1, -1, -1)))
                for n in (2, latents)]
    frames = 4 * latents - 3
    return {"first frame": window + decoding[0],
            "frame": (windows * window + decoding[1]) / frames,
            "frame, model alone": windows * window / frames}


@torch.inference_mode()
def student_flops(avatar, cond, block):
    """The same of a student whose later blocks take `block` FLOPs; cond: of a first one."""
    noise = draw(cond, torch.Generator().manual_seed(0))
    first = count_flops(lambda: denoise(avatar.model, noise, cond, EMPTY))
    one, two = (count_flops(lambda n=n: avatar.codec.decode(noise[0, :, :n])) for n in (1, 2))
    return {"first frame": first + two, "frame": block / FRAMES,
            "frame, model alone": (block - BLOCK * (two - one)) / FRAMES}


def limit(flops, rate, seconds):
    """How far a block is from what the machine could do: times the limit."""
    return {"flops_per_block": flops, "matrix_flops_per_second": rate,
            "least_seconds": flops / rate, "times_the_limit": seconds * rate / flops}


def table(found, bound):
    """The figures of `stream` and `limit` for people."""
    def three(name):
        return " / ".join(f"{1000 * v:.0f}" for v in found[name].values()) + " ms"

    lines = [f"stream of {found['seconds']:.0f} s    {found['frames_per_second']:.1f} frames/s, "
             f"{found['real_time']:.2f} times real time",
             f"  to its pictures   {three('pictures')}: p50 / p95 / p99 of {found['blocks']} "
             f"blocks",
             f"  a whole block     {three('block')} of {1000 * FRAMES / FPS:.0f}, processor time "
             f"{1000 * found['processor_seconds_per_block']:.0f} ms",
             f"  missed deadlines  {found['missed']} at {FPS} frames/s and "
             f"{1000 * found['allowance']:.0f} ms of compute; the latest came after "
             f"{1000 * found['latest']:.0f} ms"]
    if found["memory_mib"]["early"]:
        early, late = found["memory_mib"].values()
        lines.append(f"  peak memory       {early:.0f} MiB in the first "
                     f"{found['early_seconds']:.0f} s, {late:.0f} MiB after")
    lines.append(f"  its limit         {bound['flops_per_block'] / 1e9:.2f} GFLOP at "
                 f"{bound['matrix_flops_per_second'] / 1e9:.0f} GFLOP/s would take "
                 f"{1000 * bound['least_seconds']:.0f} ms; it takes "
                 f"{bound['times_the_limit']:.1f} times that")
    return "\n".join(lines)
