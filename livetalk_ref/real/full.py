"""The full layout once: 857 random tensors in bf16 written, loaded, and run for one block.

`python -m livetalk_ref.real.full [--folder DIR] [--size 64]` takes 3 GB of disk and of memory and
writes data/results/real_full.json. Loading and running happen in a process of their own, whose
most memory is measured; what interpreter and PyTorch take alone (`rss_before_mib`) is told apart.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from livetalk_ref.cache import EMPTY
from livetalk_ref.errors import run_program
from livetalk_ref.flow import Cond
from livetalk_ref.judge.cost import peak_memory, reset_peak_memory
from livetalk_ref.judge.results import write_result
from livetalk_ref.real.standin import write_random
from livetalk_ref.real.weights import load_dit, stored_shapes
from livetalk_ref.rollout import denoise, draw, remember
from livetalk_ref.wan import LIVETALK_1P3B

MIB = 2 ** 20


def condition(config, size, dtype, seed=0):
    """A first block's condition of random content at a picture size."""
    g = torch.Generator().manual_seed(seed)

    def randn(*shape):
        return torch.randn(shape, generator=g).to(dtype)

    return Cond(randn(1, 16, size // 8, size // 8), randn(1, 3, 4 * config.audio_dim),
                randn(1, 512, config.text_dim), torch.tensor([[True, False, False]]),
                randn(1, 512, config.text_dim))


@torch.no_grad()
def block(model, size):
    """One block from noise to its clean pass: latents (1, 3, 16, h, w), and the cache behind."""
    cond = condition(model.config, size, next(model.parameters()).dtype)
    x0 = denoise(model, draw(cond, torch.Generator().manual_seed(0)), cond, EMPTY)
    return x0, remember(model, x0, cond, EMPTY)


def load_and_run(path, size):
    """Facts of loading a file and of running one block, measured in this process."""
    reset_peak_memory()
    before, began = peak_memory(), time.perf_counter()
    model = load_dit(path)
    loaded, seconds = peak_memory(), time.perf_counter() - began
    weights = sum(p.numel() * p.element_size() for p in model.parameters()) / MIB
    began = time.perf_counter()
    x0, cache = block(model, size)
    return {"tensors": len(model.state_dict()),
            "parameters": sum(p.numel() for p in model.parameters()),
            "dtype": str(next(model.parameters()).dtype), "weights_mib": round(weights, 1),
            "peak_rss_loading_mib": round(loaded, 1), "rss_before_mib": round(before, 1),
            "peak_over_weights": round((loaded - before) / weights, 3),
            "size": size, "block": list(x0.shape), "finite": bool(x0.isfinite().all()),
            "spread": round(x0.float().std().item(), 3), "cached_frames": len(cache.frames),
            "load_seconds": seconds, "block_seconds": time.perf_counter() - began}


def run(folder, size, config=LIVETALK_1P3B, dtype=torch.bfloat16):
    """Write the file, then load and run it in another process. Returns that one's facts."""
    path, began = Path(folder) / "model.safetensors", time.perf_counter()
    count = write_random(path, config, dtype)
    wrote, size_mib = time.perf_counter() - began, path.stat().st_size / MIB
    assert len(stored_shapes(path)[0]) == count
    command = [sys.executable, "-m", "livetalk_ref.real.full", "--load", path, "--size", str(size)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    facts = json.loads(done.stdout)
    path.unlink()
    return facts | {"file_mib": round(size_mib, 1), "write_seconds": wrote}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", help="where the file is written and removed (temporary)")
    parser.add_argument("--size", type=int, default=64, help="pixels a side of the block (64)")
    parser.add_argument("--load", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.load:
        print(json.dumps(load_and_run(options.load, options.size)))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        facts = run(folder, options.size)
    cost = {key: round(facts.pop(key), 1) for key in list(facts) if key.endswith("_seconds")}
    command = f"python -m livetalk_ref.real.full --size {options.size}"
    print(write_result("real_full", command, [facts], seeds=[0], cost=cost))


if __name__ == "__main__":
    run_program(main)
