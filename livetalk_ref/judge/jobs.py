"""Long work in pieces that can be stopped: a job, its progress, and until when it may go on.

A job's work is a generator that yields now and then and returns {result: rows}; a study keeps
the rows of every finished job.
"""

import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass

from livetalk_ref.errors import UserError
from livetalk_ref.progress import Progress


@dataclass(frozen=True)
class Job:
    """A piece of a study: into which results its rows go, and its work."""

    name: str
    into: tuple
    work: Callable


def followed(label, states):
    """Pass a training loop's states on, showing its loss."""
    with Progress(label) as progress:
        for state in states:
            progress.say(f"update {state.step}, loss {state.loss:.4f}")
            yield


def carried_out(study, job, end):
    """Do a job and keep its rows, yielding a line about it. False when time is over before."""
    began = time.monotonic()
    rows = yield from within(job, end)
    if rows is None:
        return False
    seconds = time.monotonic() - began
    study.keep(job, rows, seconds)
    yield f"done  {job.name}, {seconds:.0f} s"
    return True


def within(job, end):
    """A job's rows, or None, and a line about it, when time is over before it is done."""
    work = job.work()
    while True:
        if time.monotonic() >= end:
            yield f"stopped in {job.name}; call it again to continue"
            return None
        try:
            next(work)
        except StopIteration as done:
            return done.value


@contextmanager
def beside(processes):
    """`with beside(processes):`, all end together, after an exception at once. UserError when one
    of them failed."""
    for process in processes:
        process.start()
    try:
        yield
    except BaseException:
        for process in processes:
            process.terminate()
        raise
    finally:
        for process in processes:
            process.join()
    failed = sum(process.exitcode != 0 for process in processes)
    if failed:
        raise UserError(f"{failed} of {len(processes)} processes beside this one failed, see "
                        f"above; what is done is kept, call it again to continue.")
