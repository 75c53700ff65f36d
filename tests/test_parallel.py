"""Training in two processes is training in one: the losses of every stage agree."""

import json
import subprocess
import sys

import pytest
from repo import ROOT

UPDATES = 20


def losses(out, stage, ranks, *more):
    """The losses of a short run of tests/parallel_run.py in so many processes."""
    run = [sys.executable]
    if ranks > 1:                   # at a free port of this machine
        run += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    done = subprocess.run([*run, ROOT / "tests" / "parallel_run.py", stage, out, *more],
                          capture_output=True, text=True, cwd=ROOT, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("stage", ["teacher", "ode", "dmd"])
def test_two_ranks_make_the_losses_of_one(stage, tmp_path):
    one = losses(tmp_path / "one", stage, 1)
    two = losses(tmp_path / "two", stage, 2)
    assert len(one) == UPDATES and len(set(one)) == UPDATES
    assert two == pytest.approx(one, abs=1e-5)


def test_a_run_of_two_ranks_goes_on_in_one(tmp_path):
    whole = losses(tmp_path / "whole", "teacher", 1)
    losses(tmp_path / "part", "teacher", 2, "5")
    assert losses(tmp_path / "part", "teacher", 1) == pytest.approx(whole, abs=1e-5)
