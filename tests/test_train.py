"""The loop: exact resume after a kill, atomic files, averages, schedules."""

import json
import os
import signal
import subprocess
import sys

import pytest
import torch
from torch import nn

from livetalk_ref.errors import UserError
from livetalk_ref.muon import Muon
from livetalk_ref.runs import kept, read, save
from livetalk_ref.train import TrainConfig, descend, pace, step_generator, train

SCRIPT = """
import sys, time, torch
from torch import nn
from livetalk_ref.train import TrainConfig, train
torch.manual_seed(0)
model = nn.ModuleDict({"blocks": nn.Sequential(nn.Linear(4, 8), nn.Tanh()),
                       "kernel": nn.Conv2d(2, 3, (2, 2)), "head": nn.Linear(3, 1)})
model = model.to(memory_format=torch.channels_last)
def loss(model, g):
    x = torch.randn(16, 4, generator=g)
    time.sleep(float(sys.argv[3]))
    y = model["kernel"](model["blocks"](x).view(-1, 2, 2, 2)).flatten(1)
    y = model["head"](y)
    return (y - x.sum(1, keepdim=True)).square().mean()
config = TrainConfig(steps=40, lr=1e-2, muon=1e-2, warmup=5, save_every=0)
for state in train(model, loss, config, sys.argv[1], resume=sys.argv[2] == "resume"):
    print(state.step, flush=True)
"""


def losses(folder):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(row["step"], row["loss"]) for row in rows]


def start(folder, how, pause, kill=None):
    """A run in a process of its own, to its end or killed after a step."""
    run = subprocess.Popen([sys.executable, "-c", SCRIPT, folder, how, str(pause)],
                           stdout=subprocess.PIPE, text=True)
    for line in run.stdout:
        if line.strip() == kill:
            os.kill(run.pid, signal.SIGKILL)
    assert run.wait(120) == (-signal.SIGKILL if kill else 0)


def test_a_killed_run_continues_as_if_nothing_had_happened(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    start(whole, "new", 0)
    start(broken, "new", 0.05, "12")
    assert len(losses(broken)) < 40
    start(broken, "resume", 0.05, "25")                 # and killed once more
    start(broken, "resume", 0)
    assert losses(broken) == losses(whole)
    a, b = read(whole / "ema.safetensors")[0], read(broken / "ema.safetensors")[0]
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not list(broken.glob(".*.tmp"))


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_small_gradients_survive_every_precision(precision, monkeypatch):
    """A loss so small that fp16 loses its gradients unless they are scaled; the reported norm is
    that of the true ones."""
    monkeypatch.setattr("livetalk_ref.train.best_precision", lambda device, scaled: precision)
    torch.manual_seed(0)
    model = nn.Linear(3, 1)

    def loss(model, g):
        x = torch.randn(32, 3, generator=g)
        y = model(x).float() - x @ torch.tensor([[1.0], [2.0], [3.0]])
        return 1e-8 * y.square().mean()

    states = list(train(model, loss, TrainConfig(steps=300, lr=3e-2, warmup=10)))
    assert states[-1].loss < 0.01 * states[0].loss
    assert 1e-8 < states[0].grad_norm < 1e-6


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this PyTorch has no Muon")
def test_muon_is_pytorchs_with_matrices_of_a_shape_together():
    """And a kernel, in either memory layout, is the matrix (out, in h w)."""
    g = torch.Generator().manual_seed(0)
    shapes = [(6, 8), (6, 8), (9, 4), (6, 8), (6, 2, 2, 2), (6, 2, 2, 2)]
    ours = [nn.Parameter(torch.ones(shape)) for shape in shapes]
    ours[-1] = nn.Parameter(torch.ones(shapes[-1]).to(memory_format=torch.channels_last))
    theirs = [nn.Parameter(torch.ones(shape).flatten(1)) for shape in shapes]
    optimizers = Muon(ours, 0.02), torch.optim.Muon(theirs, 0.02)
    for _ in range(3):
        for a, b in zip(ours, theirs):
            a.grad = torch.randn(a.shape, generator=g)
            b.grad = a.grad.flatten(1).clone()
        for optimizer in optimizers:
            optimizer.step()
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(a.flatten(1), b, atol=3e-3, rtol=0)      # bf16
        assert (a - 1).abs().mean() > 0.005


def test_learning_rate_rises_stays_and_falls():
    c = TrainConfig(steps=100, lr=1.0, warmup=10, cooldown=0.2)
    rates = [pace(step, c) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[10] == rates[79] == 1
    assert rates[99] == pytest.approx(0.05)
    assert all(b >= a for a, b in zip(rates[:10], rates[1:11]))


def test_every_step_of_every_seed_draws_its_own_numbers_and_always_the_same():
    draws = [tuple(torch.rand(3, generator=step_generator(seed, step)).tolist())
             for seed, step in ((0, 0), (0, 1), (1, 0), (1, 1), (0, 0))]
    assert len(set(draws)) == 4 and draws[0] == draws[4]


def test_a_gradient_is_cut_to_the_largest_norm_and_gone_after_its_update():
    model = nn.Linear(4, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    for _ in range(2):
        before = model.weight.detach().clone()
        _, norm = descend(lambda g: 30 * model(torch.ones(4)).sum(), torch.Generator(), model,
                          [optimizer], 2.0, "model", "fp32")
        assert norm == pytest.approx(60)                    # four weights, 30 each
        assert (model.weight - before).norm().item() == pytest.approx(2)


@pytest.mark.parametrize("lr, muon, turned, rest", [(0, 0.1, True, False), (0.1, 0, True, True)])
def test_muon_moves_hidden_matrices_at_its_own_rate_and_adam_all_others(lr, muon, turned, rest):
    config = TrainConfig(steps=1, lr=lr, muon=muon, warmup=1, cooldown=0.0, weight_decay=0.5)
    for pull in (1, 0):
        model = nn.ModuleDict({"blocks": nn.Linear(4, 4), "kernel": nn.Conv2d(2, 2, 2),
                               "depthwise": nn.Conv2d(2, 2, 3, groups=2), "head": nn.Linear(4, 4)})
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        pulls = [pull * p.sin() for p in model.parameters()]
        list(train(model, lambda m, g, pulls=pulls: sum(p.sum() for p in pulls), config))
        for name, p in model.named_parameters():
            moves = turned if name in ("blocks.weight", "kernel.weight") else rest
            assert torch.equal(p, before[name]) != moves
            if not pull:                                    # nothing but weight decay, .5 of .1
                assert torch.allclose(p, before[name] * (0.95 if moves else 1))


def test_the_average_of_a_run_forgets_its_random_start(tmp_path):
    """Its decay grows from 0.1: 0.999 from the first update on would keep the first weights."""
    model, want = nn.Linear(2, 1, bias=False), None
    first = model.weight.detach().clone()
    config = TrainConfig(steps=3, lr=0.1, warmup=1, cooldown=0.0, save_every=0)
    for state in train(model, lambda m, g: m(torch.ones(1, 2)).square().sum(), config, tmp_path):
        decay = state.step / (9 + state.step)
        want = decay * (first if want is None else want) + (1 - decay) * model.weight.detach()
        assert torch.allclose(read(tmp_path / "ema.safetensors")[0]["weight"], want, atol=1e-6)


@pytest.mark.parametrize("spoilt", ["loss", "gradient"])
def test_a_run_stops_before_it_learns_what_is_no_number(tmp_path, spoilt):
    """And goes on, once the cause is gone, as if nothing had happened."""
    def go(out, bad=None, resume=False):
        torch.manual_seed(0)
        model, calls = nn.Linear(4, 4), []

        def loss(model, g):
            calls.append(1)
            y = model(torch.randn(8, 4, generator=g)).square().mean()
            if len(calls) == bad:
                return y * torch.nan if spoilt == "loss" else y + (y - y.detach()).sqrt()
            return y

        list(train(model, loss, TrainConfig(steps=9, lr=1e-2, save_every=0), out, resume))

    go(tmp_path / "whole")
    last = tmp_path / "run/last.safetensors"
    with pytest.raises(UserError, match=f"before update 6, for the {spoilt} of the model is not "
                                        f"finite; the last good file is {last}"):
        go(tmp_path / "run", bad=6)
    assert [step for step, _ in losses(tmp_path / "run")] == [1, 2, 3, 4, 5]
    for name in ("last", "ema"):
        tensors, _ = read(tmp_path / f"run/{name}.safetensors")
        assert all(v.isfinite().all() for v in tensors.values())
    go(tmp_path / "run", resume=True)
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")
    one, other = (read(tmp_path / out / "last.safetensors")[0] for out in ("whole", "run"))
    assert all(torch.equal(one[k], other[k]) for k in one)


def test_fp16_scales_gradients_for_muon_too_and_an_overflow_skips_the_update(monkeypatch):
    """The scaled gradient is too large for fp16, the true one is not, and the run goes on."""
    monkeypatch.setattr("livetalk_ref.train.best_precision", lambda device, scaled: "fp16")
    torch.manual_seed(0)
    model, seen = nn.Linear(3, 1), []

    def loss(model, g):
        seen.append(model.weight.detach().clone())
        return 1e2 * model(torch.ones(4, 3)).float().sum()

    states = list(train(model, loss, TrainConfig(steps=9, lr=1e-2, warmup=1)))
    assert states[0].grad_norm == float("inf") and states[-1].grad_norm < 1e4
    assert torch.equal(seen[0], seen[1]) and not torch.equal(seen[0], seen[-1])
    states = list(train(nn.Conv2d(3, 4, 3), lambda model, g: model(torch.ones(1, 3, 8, 8)).float()
                        .square().mean(), TrainConfig(steps=20, lr=1e-2, muon=1e-2, warmup=1)))
    assert states[0].grad_norm < 10 and states[-1].loss < 0.5 * states[0].loss


def steps_of(out, stop, resume=False, wide=1, facts=None, **options):
    """The steps that a small run makes until it is stopped."""
    config = TrainConfig(**{"steps": 9, "lr": 0.1, "save_every": 0, "keep": (2,)} | options)
    states = train(nn.Linear(wide, 1), lambda m, g: m(torch.ones(wide)).square().sum(), config, out,
                   resume, facts)
    return [state.step for _, state in zip(range(stop), states)]


def test_a_failed_write_leaves_the_old_file_and_bad_files_are_said_in_a_sentence(
        tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    save(path, {"w": torch.ones(3)}, config={"a": 1})
    with pytest.raises(UserError, match="Could not write .*model"):
        save(path / "a.safetensors", {"w": torch.ones(1)})
    for out in (path, path / "run"):
        with pytest.raises(UserError, match="Could not make the folder .*model"):
            steps_of(out, 1)
    monkeypatch.setattr("livetalk_ref.runs.save_file",
                        lambda *a: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(UserError, match="No space left"):
        save(path, {"w": torch.zeros(3)})
    tensors, facts = read(path)
    assert tensors["w"].sum() == 3 and facts["config"] == {"a": 1}
    assert os.listdir(tmp_path) == ["model.safetensors"]
    path.write_bytes(b"not tensors")
    for name, words in (("none", "no checkpoint"), ("model", "not a readable safetensors")):
        with pytest.raises(UserError, match=words):
            read(tmp_path / f"{name}.safetensors")


def test_a_new_run_leaves_nothing_of_an_older_one(tmp_path):
    """Stopped before it saves and then resumed, it begins again: the older one is gone."""
    steps_of(tmp_path, 5)
    assert kept(tmp_path, 2).is_file() and (tmp_path / "last.safetensors").is_file()
    steps_of(tmp_path, 1, save_every=99)
    assert os.listdir(tmp_path) == ["metrics.jsonl"]
    assert steps_of(tmp_path, 2, resume=True) == [1, 2]


def test_a_run_with_other_facts_is_refused_and_one_with_fewer_continued(tmp_path):
    steps_of(tmp_path, 2, facts={"variant": "a", "start": None})
    for other, word in (({"facts": {"variant": "b"}}, "variant"), ({"seed": 1}, "seed and variant"),
                        ({}, "variant"), ({"facts": {"variant": "a"}, "wide": 2}, "model")):
        with pytest.raises(UserError, match=f"holds a run of another {word}; choose"):
            steps_of(tmp_path, 1, resume=True, **other)
    same = {"facts": {"variant": "a", "start": "x"}, "steps": 20, "keep": (), "save_every": 5}
    assert steps_of(tmp_path, 1, resume=True, **same) == [3]
    tensors, facts = read(tmp_path / "last.safetensors")
    facts["train"].pop("muon")
    save(tmp_path / "last.safetensors", tensors, **facts)
    assert steps_of(tmp_path, 1, resume=True, **same) == [3]
