"""Training in two processes, whole or in pieces, is training in one: the losses agree."""

import json
import subprocess
import sys
from math import prod

import parallel_run
import pytest
from parallel_run import SMALL, run
from repo import ROOT
from safetensors import safe_open

from livetalk_ref import parallel
from livetalk_ref.errors import UserError
from livetalk_ref.sizing import held_numbers
from livetalk_ref.wan import WanDiT

STAGES, UPDATES, STOPPED, FEW = ("teacher", "ode", "dmd"), 20, 4, 3


@pytest.fixture(scope="module", autouse=True)
def precise():
    """Sums that half precision would hide, and one process again afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (parallel_run.train, parallel_run.dmd):
            patch.setattr(module, "best_precision", parallel_run.full_precision)
        yield
    parallel.join("cpu")


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The folder of all runs in two processes, which are started once and end by a signal 9."""
    out = tmp_path_factory.mktemp("two")
    jobs = [{"stage": stage, "out": f"{out}/{stage}", "updates": FEW} for stage in STAGES]
    jobs += [{"stage": stage, "out": f"{out}/{stage}-sharded", "shard": True,
              "checkpoint_blocks": stage != "teacher"} for stage in STAGES]
    jobs += [{"stage": "teacher", "out": f"{out}/teacher", "shard": True, "updates": 2 * FEW}]
    jobs += [{"stage": "dmd", "out": f"{out}/even", "shard": True, "accumulate": 2, "even": True,
              "updates": FEW}]
    jobs += [{"stage": stage, "out": f"{out}/{stage}-stopped", "shard": True, "stopped": STOPPED,
              "killed": stage == "teacher"} for stage in ("dmd", "teacher")]
    done = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone",
                           "--nproc-per-node", "2", ROOT / "tests" / "parallel_run.py",
                           json.dumps(jobs)], capture_output=True, text=True, cwd=ROOT, timeout=500)
    assert "Signal 9" in done.stderr, done.stderr[-3000:]
    return out


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    out = tmp_path_factory.mktemp("one")
    return {stage: run(stage, out / stage) for stage in STAGES}


def losses(out):
    return [json.loads(line)["loss"] for line in (out / "metrics.jsonl").open()]


@pytest.mark.parametrize("stage", STAGES)
def test_two_ranks_make_the_losses_of_one(stage, one, two):
    """In pieces too, and where blocks are computed anew in the backward pass."""
    assert len(one[stage]) == UPDATES == len(set(one[stage]))
    assert losses(two / f"{stage}-sharded") == pytest.approx(one[stage], rel=1e-5)
    whole = losses(two / stage)         # the teacher's went on in pieces
    assert whole == pytest.approx(one[stage][:2 * FEW if stage == "teacher" else FEW], rel=1e-5)


@pytest.mark.parametrize("stage", ["teacher", "dmd"])
def test_a_sharded_run_that_was_killed_goes_on_in_one_process(stage, one, two):
    """From pieces of weights, average, moments and critic; what it leaves then is one file."""
    out = two / f"{stage}-stopped"
    assert [path.name for path in out.glob("last*")] == [f"last-{STOPPED:06d}"]
    (out / "last-000099").mkdir()               # of a save that was killed
    assert run(stage, out) == pytest.approx(one[stage], rel=1e-5)
    assert [path.name for path in out.glob("last*")] == ["last.safetensors"]


def test_the_average_of_a_sharded_run_is_one_file_as_ever(two):
    model = WanDiT(SMALL).state_dict()
    with safe_open(two / "ode-sharded" / "ema.safetensors", "pt") as file:
        assert {k: tuple(file.get_slice(k).get_shape()) for k in file.keys()} == \
            {k: tuple(v.shape) for k, v in model.items()}


def test_a_rank_holds_what_sizing_counts(two):
    """Weights of student and critic, an average, and both moments of each: seven numbers each."""
    with safe_open(*two.glob("dmd-sharded/last-*/shard-00001-*"), "pt") as file:
        shapes = [file.get_slice(key).get_shape() for key in file.keys()]
    assert sum(prod(shape) for shape in shapes if shape) == 7 * held_numbers(SMALL, 2)


def test_parts_of_a_batch_make_the_losses_of_the_whole(tmp_path, two):
    """Where all parts count as many frames; and one process keeps a model whole."""
    whole = run("dmd", tmp_path / "whole", FEW, even=True)
    parts = run("dmd", tmp_path / "parts", FEW, even=True, accumulate=4, shard=True)
    assert parts == pytest.approx(whole, rel=1e-5)
    assert (tmp_path / "parts" / "last.safetensors").is_file()
    assert losses(two / "even") == pytest.approx(whole, rel=1e-5)
    with pytest.raises(UserError, match="batch of 4 does not divide among 1 processes with 3"):
        run("teacher", tmp_path / "three", accumulate=3)
