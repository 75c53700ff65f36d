"""What all studies share: jobs that are done once, stopped at any moment, continued by a call.

A job's work returns rows of a result, at once or as a generator that yields where it can be
stopped. They are kept in FOLDER/jobs/NAME.json; when all jobs of a result are done,
data/results/RESULT.json is written.
"""

import json
import math
import time
from collections.abc import Callable
from functools import cache, cached_property
from inspect import isgenerator
from pathlib import Path
from typing import NamedTuple

from livetalk_ref.files import RESULTS, write_json, write_result
from livetalk_ref.judge.evaluate import Ground, Judges


class Job(NamedTuple):
    """A piece of a study: into which result its rows go, or None, and its work."""

    name: str
    result: str | None
    work: Callable


class Study:
    """A subclass, one a file, has `key()`, which names its folder, so that other weights begin
    another study, and `jobs()`, all `Job`s in an order in which they can be done."""

    sizes = {}          # {attribute: (how much of it, and in a quick study)}
    seeds = (0,)
    device = "cpu"      # where what costs time was done

    def __init__(self, quick=False, compiled=False, folder="runs/studies", results=None, **sizes):
        self.quick, self.compiled = quick, compiled
        self.name = type(self).__module__.rpartition(".")[2]
        for what, both in self.sizes.items():
            setattr(self, what, sizes.get(what, both[quick]))
        self.folder = Path(folder) / (f"{self.name}-quick" if quick else self.name) / self.key()
        self.results = self.folder / "results" if quick else Path(results or RESULTS)
        self.ground = cache(Ground.make)        # of (name, count, frames)

    def combine(self, result, rows):
        """A result's rows, made of those of its jobs, and what depends on the machine, a dict."""
        return rows, {}

    @cached_property
    def judges(self):
        return Judges.load()

    def place(self, job):
        """Where a job's rows are kept."""
        return self.folder / "jobs" / f"{job.name}.json"

    def is_done(self, job):
        return self.place(job).is_file()

    def do(self, job):
        """Do a job, yielding where it can be stopped, and keep its rows."""
        began = time.monotonic()
        yield
        rows = job.work()
        if isgenerator(rows):
            rows = yield from rows
        write_json(self.place(job), {"seconds": round(time.monotonic() - began, 1),
                                     "rows": {job.result: rows} if job.result else {}})

    def write(self, result):
        """Write a result, yielding its path, if its jobs are done and it does not say so yet."""
        jobs = [job for job in self.jobs() if job.result == result]
        if not all(map(self.is_done, jobs)):
            return
        done = [json.loads(self.place(job).read_text()) for job in jobs]
        rows, cost = self.combine(result, [row for one in done for row in one["rows"][result]])
        cost = {"seconds": round(sum(one["seconds"] for one in done))} | cost
        path = self.results / f"{result}.json"
        there = json.loads(path.read_text()) if path.is_file() else {}
        if (there.get("rows"), there.get("cost")) != (rows, cost):
            yield str(write_result(result, f"python -m livetalk_ref.studies {self.name}", rows,
                                   self.seeds, cost, self.results, self.device))

    def run(self, minutes=None, only=("",)):
        """Work for so many minutes on jobs that begin so, yielding a line about each and result."""
        end = time.monotonic() + 60 * (math.inf if minutes is None else minutes)
        jobs = self.jobs()
        for job in (job for job in jobs if job.name.startswith(tuple(only))):
            fresh = not self.is_done(job)
            for _ in self.do(job) if fresh else ():
                if time.monotonic() >= end:
                    yield f"stopped in {job.name}; call it again to continue"
                    return
            yield f"done  {job.name}"
            if fresh and job.result:
                yield from self.write(job.result)
        for result in filter(None, dict.fromkeys(job.result for job in jobs)):
            yield from self.write(result)


def mean_row(rows):
    """The means of many rows' numbers, where there are any."""
    columns = {key: [row[key] for row in rows if row.get(key) is not None]
               for key in (rows[0] if rows else ())}
    return {key: round(sum(values) / len(values), 4) for key, values in columns.items() if values}
