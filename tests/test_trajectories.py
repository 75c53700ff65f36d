"""Trajectories on disk: what they hold, that a broken build continues, batches."""

import pytest
import torch
from test_wan import SMALL, shake, worst

from livetalk_ref import ode, trajectories
from livetalk_ref.flow import Guidance
from livetalk_ref.runs import read, save
from livetalk_ref.trajectories import Trajectories, build
from livetalk_ref.wan import Config, WanDiT
from livetalk_ref.world import shards
from livetalk_ref.world.text import TEXT_DIM

CONFIG = Config(**{**vars(SMALL), "text_dim": TEXT_DIM})
PAIR = ["a happy person smiles", "a happy person nods"]


def latent_shard(folder, number, clips=2):
    """A shard as the latent cache has them, of random clips of 27 latent frames."""
    g = torch.Generator().manual_seed(number)
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


class Counting:
    """A model that counts its calls and can be made to fail."""

    def __init__(self, model):
        self.model, self.calls, self.fail_at = model, 0, None

    def __getattr__(self, name):
        return getattr(self.model, name)

    def __call__(self, *inputs):
        self.calls += 1
        if self.calls == self.fail_at:
            raise KeyboardInterrupt
        return self.model(*inputs)


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
    noise = torch.stack([torch.randn(21, 4, 4, 4, generator=torch.Generator().manual_seed(seed))
                         for seed in data.seeds.tolist()])
    cond = data.cond()
    assert torch.equal(cond.ref, truth[:, 0]) and cond.known.sum(1).tolist() == [1, 1]
    want = ode.trajectory(teacher, noise, truth[:, :1], cond, guidance)
    assert worst(data.states.float(), want) < 1e-3                       # fp16
    assert worst(data.states[:, 0, 1:].float(), noise[:, 1:]) < 1e-3
    assert not cond.text_mask[:, 0].equal(cond.text_mask[:, -1])         # the prompt changes


def test_a_broken_build_continues(tmp_path, teacher):
    model, made = Counting(teacher), tmp_path / "made"
    sources = [latent_shard(tmp_path, number) for number in range(2)]
    model.fail_at = 60                                  # within the second shard
    with pytest.raises(KeyboardInterrupt):
        list(build(model, sources, folder=made))
    assert len([path for path in made.rglob("*") if path.is_file()]) == 1
    seen, model.fail_at = [], None
    paths = list(build(model, sources, folder=made, watch=seen.append))
    assert len(seen) == 48 and model.calls == 60 + 48
    assert list(build(model, sources, folder=made)) == paths and model.calls == 60 + 48
    whole = list(build(teacher, sources, folder=tmp_path / "whole"))
    assert torch.equal(Trajectories.load(paths).states, Trajectories.load(whole).states)


def test_other_teachers_and_guidance_get_other_folders(tmp_path, teacher):
    source = [latent_shard(tmp_path, 0, clips=1)]
    folders = {next(build(model, source, Guidance(w, 2.0), tmp_path)).parent.name
               for model in (teacher, shake(WanDiT(CONFIG), seed=5)) for w in (1.0, 2.0)}
    assert len(folders) == 4


def test_half_precision_ends_almost_there_in_a_folder_of_its_own(tmp_path, teacher):
    source = [latent_shard(tmp_path, 0)]
    exact, rough = (next(build(teacher, source, folder=tmp_path, precision=precision))
                    for precision in ("fp32", "bf16"))
    assert exact.parent != rough.parent and read(rough)[1]["precision"] == "bf16"
    want, got = (Trajectories.load([path]).states[:, -1].float() for path in (exact, rough))
    assert 0 < (got - want).norm() < 0.05 * want.norm()


def test_batches_and_samples(tmp_path, teacher):
    paths = list(build(teacher, [latent_shard(tmp_path, 0)], folder=tmp_path / "made"))
    data = Trajectories.load(paths)
    g = torch.Generator().manual_seed(0)
    states, cond = data.batch(3, g)
    assert states.dtype == torch.float32 and states.shape == (3, 5, 21, 4, 4, 4)
    assert torch.equal(states[:, -1, 0], cond.ref)                       # given, so unchanged
    loss = ode.ode_loss(teacher, (states, cond), g)
    assert loss.isfinite() and loss > 0

    data.select([1]).save(tmp_path / "sample.safetensors", guidance=trajectories.GUIDANCE)
    few = Trajectories.load([tmp_path / "sample.safetensors"])
    assert len(few) == 1 and torch.equal(few.states[0], data.states[1])
    assert torch.equal(few.cond().audio[0], data.cond().audio[1])
    assert few.clips.prompts == [PAIR]
