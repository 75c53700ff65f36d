"""A machine's stages: each is measured, or its row says why not; what is made is kept at once."""

import json
import time
from statistics import median

import torch


def short(value):
    """Four digits of a number."""
    return float(f"{value:.4g}")


class Bench:
    """The machine, the sizes, the rows made so far and the time that is left.

    keep is called with all rows after every stage: a machine may be taken away at any time.
    """

    def __init__(self, sizes, device, minutes, keep=lambda rows: None):
        self.sizes, self.device, self.keep = sizes, torch.device(device), keep
        self.cuda, self.rows = self.device.type == "cuda", []
        self.end = time.monotonic() + 60 * minutes

    def stage(self, name, work, **about):
        """Run a stage and keep its row; without time, or with an error, say that instead."""
        row = {"stage": name} | about
        if time.monotonic() > self.end:
            row["result"] = "not measured: no time left"
        else:
            try:
                row |= work()
            except Exception as error:      # a backend that is not there must not end the rest
                row["result"] = f"not measured: {type(error).__name__}: {str(error)[:160]}"
        self.rows.append(row)
        self.keep(self.rows)
        print(json.dumps(row), flush=True)
        return row

    def best(self, stage, key, choose=max):
        """The best figure of a stage in all its modes, None where there is none."""
        found = (row[key] for row in self.rows if row["stage"] == stage and key in row)
        return choose(found, default=None)

    def wait(self):
        if self.cuda:
            torch.cuda.synchronize()

    def milliseconds(self, work, repeats=None):
        """The median over repeats, after two calls that do not count."""
        took = []
        for _ in range(2 + (repeats or self.sizes.repeats)):
            self.wait()
            began = time.perf_counter()
            work()
            self.wait()
            took.append(1000 * (time.perf_counter() - began))
        return short(median(took[2:]))

    def reset_peak(self):
        if self.cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def peak_gib(self):
        used = torch.cuda.max_memory_allocated() / 2 ** 30 if self.cuda else None
        return "not measured" if used is None else short(used)
