"""Resumable folders of numbered safetensors shards, made by worker processes.

A row is what `make(split, number)` returns: (tensors, facts). Every shard depends on its number
alone and is written atomically, so a build can be killed, continued and grown at any time.
"""

import hashlib
import os
import signal
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch

from livetalk_ref.runs import read, save
from livetalk_ref.world.state import SIZE, WORLD

SHARD = 32


def cache_name(weights=None):
    """What names a cache: the world's version and picture size, and a digest of `weights`, the
    state of the networks that made it, where there are any."""
    kind = f"world{WORLD}-{SIZE}"
    if not weights:
        return kind
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        digest.update(name.encode() + value.half().cpu().numpy().tobytes())
    return f"{kind}-{digest.hexdigest()[:8]}"


def shard_path(folder, split, shard):
    return Path(folder) / f"{split}-{shard:05d}.safetensors"


def build_shard(folder, make, split, shard):
    """Make one shard unless it is there; returns its path."""
    path = shard_path(folder, split, shard)
    if not path.exists():
        made = [make(split, shard * SHARD + i) for i in range(SHARD)]
        tensors = {k: torch.stack([row[k] for row, _ in made]) for k in made[0][0]}
        save(path, tensors, rows=[facts for _, facts in made])
    return path


def build(folder, make, split, count, workers=None):
    """Make `count` rows of a split (rounded up to shards), yielding each shard's path in order.

    make must be a module's function or a `functools.partial` of one.
    """
    numbers = range(-(-count // SHARD))
    whole = all(shard_path(folder, split, number).exists() for number in numbers)
    return run(partial(build_shard, folder, make, split), numbers, 1 if whole else workers)


def run(job, items, workers=None):
    """job(item) of every item in order, by processes of one thread each; 1 worker is this one."""
    workers = workers or os.cpu_count() or 1
    if workers == 1:
        yield from map(job, items)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), prepare_worker) as pool:
        # Few at a time and none cancelled: the pool's own thread falls over a cancelled one when
        # a signal to all processes ends them.
        under_way = deque()
        for item in items:
            under_way.append(pool.submit(job, item))
            if len(under_way) > workers:
                yield under_way.popleft().result()
        yield from (future.result() for future in under_way)


def prepare_worker():
    signal.signal(signal.SIGINT, signal.SIG_DFL)        # Ctrl-C: the parent alone speaks of it
    torch.set_num_threads(1)


def load(paths):
    """All rows of some shards: stacked tensors and the list of facts."""
    parts = [read(path) for path in paths]
    tensors = {k: torch.cat([t[k] for t, _ in parts]) for k in parts[0][0]}
    return tensors, [row for _, facts in parts for row in facts["rows"]]
