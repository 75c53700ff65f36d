"""What all studies share: jobs that are done once, stopped at any moment, continued by a call.

A job is a generator that yields now and then and returns {result: rows}, to which "cost" may add
what depends on the machine. What it returned is kept in FOLDER/jobs/NAME.json; when all jobs of a
result are done, data/results/RESULT.json is written.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from livetalk_ref.errors import Progress
from livetalk_ref.files import RESULTS, write_json, write_result
from livetalk_ref.judge.evaluate import Ground, Judges


@dataclass(frozen=True)
class Job:
    """A piece of a study: into which results its rows go, and its work."""

    name: str
    into: tuple
    work: Callable


def followed(label, states):
    """Pass a training loop's states on, showing its loss."""
    with Progress(label) as progress:
        yield from progress.follow(states)


class Study:
    """Jobs in an order in which they can be done; a subclass has `name`, `jobs` and `key`."""

    name = ""
    sizes = {}          # {attribute: (how much of it, and in a quick study)}
    seeds = (0,)
    device = "cpu"      # where what costs time was done

    def __init__(self, quick=False, compiled=False, folder="runs/studies", results=None, **sizes):
        self.quick, self.compiled = quick, compiled
        for what, (usual, few) in self.sizes.items():
            setattr(self, what, sizes.get(what, few if quick else usual))
        self.folder = Path(folder) / (f"{self.name}-quick" if quick else self.name) / self.key()
        self.results = self.folder / "results" if quick else Path(results or RESULTS)
        self.grounds = {}

    def key(self):
        """Names the folder: other weights begin another study."""
        raise NotImplementedError

    def jobs(self):
        """All `Job`s, in order."""
        raise NotImplementedError

    def combine(self, result, rows):
        """The rows of a result, made of those of its jobs."""
        return rows

    def costs(self, result, rows):
        """What of these depends on the machine, as a dict."""
        return {}

    def place(self, job):
        """Where a job's rows are kept."""
        return self.folder / "jobs" / f"{job.name}.json"

    @cached_property
    def judges(self):
        return Judges.load()

    def ground(self, *which):
        """The `evaluate.Ground` of (name, count, frames), made once."""
        if which not in self.grounds:
            self.grounds[which] = Ground.make(*which)
        return self.grounds[which]

    def is_done(self, job):
        return self.place(job).is_file()

    def write(self, result):
        """Write a result if its jobs are done and it does not say so yet: its path, or None."""
        jobs = [job for job in self.jobs() if result in job.into]
        if not all(map(self.is_done, jobs)):
            return None
        done = [json.loads(self.place(job).read_text()) for job in jobs]
        found = [row for one in done for row in one["rows"].get(result, ())]
        rows = self.combine(result, found)
        cost = {"seconds": round(sum(one["seconds"] for one in done))} | self.costs(result, found)
        for one in done:
            cost |= one["rows"].get("cost", {})
        path = self.results / f"{result}.json"
        there = json.loads(path.read_text()) if path.is_file() else {}
        if (there.get("rows"), there.get("cost")) == (rows, cost):
            return None
        return write_result(result, f"python -m livetalk_ref.studies {self.name}", rows,
                            self.seeds, cost, self.results, self.device)

    def run(self, minutes=None):
        """Work for so many minutes, yielding a line about every job and result."""
        end = time.monotonic() + 60 * (math.inf if minutes is None else minutes)
        jobs = self.jobs()
        for job in jobs:
            line, new, work, began = f"done  {job.name}", (), job.work(), time.monotonic()
            while not self.is_done(job):
                if time.monotonic() >= end:
                    yield f"stopped in {job.name}; call it again to continue"
                    return
                try:
                    next(work)
                except StopIteration as done:
                    seconds = round(time.monotonic() - began, 1)
                    write_json(self.place(job), {"seconds": seconds, "rows": done.value})
                    line, new = f"{line}, {seconds:.0f} s", job.into
            yield line
            yield from (str(path) for path in map(self.write, new) if path)
        results = dict.fromkeys(result for job in jobs for result in job.into)
        yield from (str(path) for path in map(self.write, results) if path)


def once(name, result, work):
    """A `Job` of one piece: work() -> (rows, cost)."""
    def run():
        yield
        rows, cost = work()
        return {result: rows, "cost": cost}

    return Job(name, (result,), run)
