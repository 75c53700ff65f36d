"""The study of a GPU at a small size; what ships of an H200, and what its page says of it."""

import json
from dataclasses import replace
from types import SimpleNamespace

import torch
from repo import ROOT

from livetalk_ref import graphs
from livetalk_ref.cache import FULL, KVCache
from livetalk_ref.files import read_result
from livetalk_ref.real.avatar import cache_bytes, kept_frames
from livetalk_ref.real.standin import SMALL, random_cond, random_dit
from livetalk_ref.rollout import remember
from livetalk_ref.stream import AHIS
from livetalk_ref.studies import released


def test_every_stage_that_a_cpu_can_do_gives_numbers_and_one_that_fails_says_so(tmp_path):
    def fails(model):
        raise KeyError("no such mode")

    study = released.Released(quick=True, folder=tmp_path)
    jobs = [*study.jobs(), study.job("dit", "odd", fails)]
    study.jobs = lambda: jobs
    *_, path = study.run()
    stages = json.loads(open(path).read())["cost"]["stages"]
    assert "KeyError" in stages.pop()["result"]
    made = {row["stage"]: row for row in stages}
    assert made["floor of a step"]["tflop"] > 0 and made["vae"]["ms_per_block"] > 0
    for stage in ("dit", "session", "teacher"):
        assert made[stage]["frames_per_second"] > 0


@torch.no_grad()
def test_a_cache_takes_the_bytes_that_are_computed_and_an_hour_no_more_than_six_seconds():
    model, cond = random_dit(SMALL), random_cond(SMALL, 32)
    cond = replace(cond, known=torch.zeros(1, 3).bool())
    x = torch.randn(1, 3, 16, 4, 4)
    for policy in (AHIS, FULL):
        cache = KVCache(policy)
        for blocks in range(1, 8):
            cache = remember(model, x, cond, cache)
            assert len(cache.frames) == kept_frames(policy, blocks)
        held = sum(t.nbytes for pair in cache.layers for t in pair)
        assert held == cache_bytes(SMALL, 4, len(cache.frames), torch.float32)
    assert kept_frames(AHIS, 8) == kept_frames(AHIS, 4800) == 15


@torch.no_grad()
def test_passes_as_graphs_are_the_plain_ones(monkeypatch):
    """Through a stream, another prompt and an undo. A graph runs as plain calls here, on the memory
    of its inputs and outputs alone."""
    def capture(run, pool):
        made = run()

        def replay():
            v, new = run()
            made[0].copy_(v)
            for pair, fresh in zip(made[1], new):
                for to, t in zip(pair, fresh):
                    to.copy_(t)
        return replay, made

    monkeypatch.setattr(graphs, "capture", capture)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: "pool")
    plain, g = random_dit(SMALL), torch.Generator().manual_seed(0)
    graphed, caches = graphs.Graphed(plain), [KVCache(AHIS)] * 2
    states = []
    for block in range(10):
        if block == 8:
            caches = states[6]                              # back to before the last two
        cond = replace(random_cond(SMALL, 32, seed=block), known=torch.arange(3)[None] == 3 * block)
        cond = replace(cond, text_keys=plain.read_text(cond.text))
        states.append(caches)
        for sigma in (1.0, 0.6):
            x = torch.randn(1, 3, 16, 4, 4, generator=g)
            want, _ = plain(x, torch.full((1, 3), sigma), cond, cache=caches[0])
            got, _ = graphed(x, torch.full((1, 3), sigma), cond, cache=caches[1])
            assert torch.equal(got, want)
        caches = [remember(model, x, cond, cache)
                  for model, cache in zip((plain, graphed), caches)]
        assert all(torch.equal(a, b) for pairs in zip(caches[0].layers, caches[1].layers)
                   for a, b in zip(*pairs))
    assert sorted(held for _, held, *_ in graphed.made) == [0, 15]


@torch.no_grad()
@torch._dynamo.config.patch(suppress_errors=False, recompile_limit=8)      # put back afterwards
def test_what_no_compiler_takes_runs_as_it_is():
    tried = []

    def absent(graph, inputs):
        tried.append(graph)
        raise RuntimeError("there is no compiler")

    model, codec = random_dit(SMALL), SimpleNamespace(decoder=torch.nn.Conv2d(3, 3, 1))
    args = (torch.randn(1, 3, 16, 4, 4), torch.full((1, 3), 0.8), random_cond(SMALL, 32))
    picture = torch.randn(1, 3, 4, 4)
    want = model(*args), codec.decoder(picture)
    graphs.compile_parts(model, codec, backend=absent)
    assert torch.equal(model(*args), want[0]) and torch.equal(codec.decoder(picture), want[1])
    assert len(tried) >= 2
    torch._dynamo.reset()


def test_the_page_says_what_was_measured_and_computed():
    text = (ROOT / "docs/real_weights.md").read_text()
    stages = {(row["stage"], row.get("mode")): row
              for row in read_result("real_gpu")["cost"]["stages"] if "attention" not in row}
    for mode in ("eager", "graphs", "compiled", "compiled graphs"):
        dit, live = stages["dit", mode], stages["session", mode]
        assert (f"| {mode} | {dit['ms_per_step']:.1f} | {dit['ms_per_block']:.0f} | "
                f"{dit['frames_per_second']:.1f} | {live['frames_per_second']:.1f} | "
                f"{live['first_frame_seconds']:.3f} | {live['peak_gib']:.1f} |") in text
    for row in read_result("real_memory")["rows"]:
        if "card" in row:
            line, = (line for line in text.splitlines() if line.startswith(f"| {row['card']} "))
            assert line.endswith(f"| {row['dtype']} | {row['total']:.1f} of {row['GiB']:.1f} GiB | "
                                 f"{row['undo']} |")
    rows = read_result("real_speed")["rows"]
    small, off = (next(row for row in rows if row["what"] == what) for what in (
        "weights of the DiT, int8", "velocity's error, teacher"))
    total = next(r["total"] for r in read_result("real_memory")["rows"] if r.get("dtype") == "bf16")
    saved = (small["before"] - small["after"]) * 1e9 / 2 ** 30
    assert f"| int8 weights | {total - saved:.1f} GiB |" in text
    assert f"{saved:.1f} GiB less" in text and f"are {off['after']:g} % off float32's" in text
    assert f"alone is {off['before']:g} % off" in text
    for what, unit in (("decoding", "GB"), ("all passes, eager", "GB"),
                       ("from the last sound to the first picture", "TFLOP"),
                       ("decoding, in one call", "GB"), ("decoding, light decoder", "TFLOP")):
        row, = (row for row in rows if (row["what"], row["unit"]) == (what, unit))
        assert f"{row['after']:g} {unit} in place of {row['before']:g}" in text
