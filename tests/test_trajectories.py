"""Trajectories on disk: what they hold, that a broken build continues, batches."""

import pytest
import torch
from test_wan import SMALL, shake, worst
from tiny import dice, noise

from livetalk_ref import ode, trajectories
from livetalk_ref.flow import Guidance
from livetalk_ref.runs import read, save
from livetalk_ref.trajectories import Trajectories, build
from livetalk_ref.wan import Config, WanDiT
from livetalk_ref.world import shards
from livetalk_ref.world.text import TEXT_DIM

CONFIG = Config(**{**vars(SMALL), "text_dim": TEXT_DIM})
PAIR = ["a happy person smiles", "a happy person nods"]


def latent_shard(folder, number):
    """A shard as the latent cache has them, of random clips of 27 latent frames."""
    g, clips = dice(number), 2
    tensors = {"latents": torch.randn(clips, 27, 4, 4, 4, generator=g).half(),
               "audio": torch.randn(clips, 105, CONFIG.audio_dim, generator=g).half(),
               "state": torch.rand(clips, 105, 5, generator=g).half(),
               "continuous": torch.rand(clips, 3, generator=g),
               "categorical": torch.zeros(clips, 2, dtype=torch.long),
               "starts": torch.tensor([[0, 40]] * clips),
               "degraded": torch.zeros(clips, dtype=torch.bool)}
    path = folder / "0123456789" / f"train-{number:05d}.safetensors"
    save(path, tensors, rows=[PAIR] * clips)
    return path


@pytest.fixture(scope="module")
def teacher():
    return shake(WanDiT(CONFIG)).requires_grad_(False)


def test_a_shard_holds_what_its_conditions_and_seeds_give(tmp_path, teacher):
    source = latent_shard(tmp_path, 3)
    guidance = Guidance(2.0, 2.0)
    paths = list(build(teacher, [source], guidance, tmp_path / "made"))
    data = Trajectories.load(paths)
    assert data.seeds.tolist() == [3 * shards.SHARD, 3 * shards.SHARD + 1]
    assert data.states.shape == (2, 5, 21, 4, 4, 4)
    assert read(paths[0])[1]["guidance"] == {"text": 2.0, "audio": 2.0}

    truth = read(source)[0]["latents"].float()
    start = torch.stack([noise(21, 4, 4, 4, seed=seed) for seed in data.seeds.tolist()])
    cond = data.cond()
    assert torch.equal(cond.ref, truth[:, 0]) and cond.known.sum(1).tolist() == [1, 1]
    want = ode.trajectory(teacher, start, truth[:, :1], cond, guidance)
    assert worst(data.states.float(), want) < 1e-3                       # fp16
    assert worst(data.states[:, 0, 1:].float(), start[:, 1:]) < 1e-3
    assert not cond.text_mask[:, 0].equal(cond.text_mask[:, -1])         # the prompt changes


def test_a_broken_build_continues(tmp_path, teacher):
    seen, made = [], tmp_path / "made"
    sources = [latent_shard(tmp_path, number) for number in range(2)]

    def stop(step):
        seen.append(step)
        if len(seen) == 60:                             # within the second shard
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(build(teacher, sources, folder=made, watch=stop))
    assert len([path for path in made.rglob("*") if path.is_file()]) == 1
    paths = list(build(teacher, sources, folder=made, watch=stop))
    assert len(seen) == 60 + 48
    assert list(build(teacher, sources, folder=made, watch=stop)) == paths
    assert len(seen) == 60 + 48
    whole = list(build(teacher, sources, folder=tmp_path / "whole"))
    assert torch.equal(Trajectories.load(paths).states, Trajectories.load(whole).states)


def test_other_teachers_guidance_and_precisions_get_other_folders(tmp_path, teacher):
    """In half precision a path ends almost there."""
    source, other = [latent_shard(tmp_path, 0)], shake(WanDiT(CONFIG), seed=5)
    exact, rough, *more = (
        next(build(model, source, Guidance(weight, 2.0), tmp_path, precision=precision))
        for model, weight, precision in ((teacher, 2.0, "fp32"), (teacher, 2.0, "bf16"),
                                         (teacher, 1.0, "fp32"), (other, 2.0, "fp32")))
    assert len({path.parent for path in (exact, rough, *more)}) == 4
    assert read(rough)[1]["precision"] == "bf16"
    want, got = (Trajectories.load([path]).states[:, -1].float() for path in (exact, rough))
    assert 0 < (got - want).norm() < 0.05 * want.norm()


def test_batches_and_samples(tmp_path, teacher):
    paths = list(build(teacher, [latent_shard(tmp_path, 0)], folder=tmp_path / "made"))
    data = Trajectories.load(paths)
    states, cond = data.batch(3, dice())
    assert states.dtype == torch.float32 and states.shape == (3, 5, 21, 4, 4, 4)
    assert torch.equal(states[:, -1, 0], cond.ref)                       # given, so unchanged
    data.select([1]).save(tmp_path / "sample.safetensors", guidance=trajectories.GUIDANCE)
    few = Trajectories.load([tmp_path / "sample.safetensors"])
    assert len(few) == 1 and torch.equal(few.states[0], data.states[1])
    assert torch.equal(few.cond().audio[0], data.cond().audio[1])
    assert few.clips.prompts == [PAIR]
