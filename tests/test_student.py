"""A model file that says it is a student is sampled by the rollout, everywhere."""

import pytest
import torch
from tiny import shake, write_checkpoints, write_student

from livetalk_ref import generate, loading, rollout
from livetalk_ref.errors import UserError
from livetalk_ref.flow import Cond, Guidance, group_audio
from livetalk_ref.portrait import portrait_of
from livetalk_ref.runs import save
from livetalk_ref.wan import TINY, WanDiT
from livetalk_ref.world import text

PROMPT = "a happy person nods"


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    write_checkpoints(folder)
    write_student(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "CHECKPOINTS", folder)
        yield folder


@pytest.fixture(scope="module")
def student(folder):
    return loading.load("student_ode")


def sound(frames):
    return 0.1 * torch.randn(frames * 1000, generator=torch.Generator().manual_seed(5))


def test_the_file_says_what_it_is(folder, student):
    assert student.is_student and not loading.load("teacher").is_student
    assert loading.sampler(folder / "student_ode.safetensors") == "rollout"
    save(folder / "odd.safetensors", shake(WanDiT(TINY), 1).state_dict(), config=TINY,
         sampler="heun")
    with pytest.raises(UserError, match="asks for the sampler 'heun'; this version knows euler"):
        loading.load(folder / "odd.safetensors")


@torch.no_grad()
def test_generated_blocks_are_the_offline_rollout(student):
    """Two roads: the session that `roll` drives, and one rollout of a whole condition."""
    picture, samples = portrait_of(3), sound(57)                         # 5 blocks
    windows = list(generate.roll(student, picture, samples, PROMPT, seed=4))
    rows = student.audio().rows(torch.cat([samples, torch.zeros(1000)]), 57)
    ref = student.codec.encode(picture[None, None])[:, 0]
    known = torch.arange(15)[None] == 0
    cond = Cond(ref, group_audio(rows[None]), text.encode([PROMPT]), known, text.encode([""]))
    whole = rollout.sample(student.model, cond, torch.Generator().manual_seed(4), generate.KEPT)
    assert [(w.index, w.count) for w in windows] == [(i, 5) for i in range(5)]
    assert torch.equal(torch.cat([w.latents for w in windows], 1), whole)
    frames = torch.cat([w.frames for w in windows])
    assert torch.equal(frames, student.codec.decode(whole)[0])


@pytest.mark.parametrize("frames, blocks", [(1, 1), (9, 1), (10, 2), (21, 2), (22, 3), (81, 7)])
def test_blocks_cover_the_frames(student, frames, blocks):
    assert generate.count_blocks(frames) == blocks
    if frames < 22:
        windows = list(generate.roll(student, portrait_of(3), sound(frames), PROMPT))
        assert len(windows) == blocks and sum(len(w.frames) for w in windows) == frames


def test_a_longer_sound_leaves_earlier_blocks_as_they_were(student):
    short, long = (list(generate.roll(student, portrait_of(3), sound(40)[:n], PROMPT))
                   for n in (21_000, 40_000))
    assert all(torch.equal(a.latents, b.latents) for a, b in zip(short, long))


def test_kept_frames_are_those_of_training():
    """All of them while a clip is as long as in training; never more than that afterwards."""
    for start in range(0, 90, 3):
        kept = [f for f in range(start) if generate.KEPT.keeps(f, start)]
        assert len(kept) == min(start, 18) and kept[:3] == list(range(min(3, start)))


def test_a_student_takes_neither_steps_nor_weights(student):
    assert generate.settle(student) == (4, Guidance())
    assert generate.settle(student, 4, Guidance(1, 1)) == (4, Guidance())
    for wrong in ({"steps": 48}, {"guidance": Guidance(2, 2)}):
        with pytest.raises(UserError, match="student_ode is a student: it always makes 4 steps"):
            generate.settle(student, **wrong)
    assert generate.settle(loading.load("teacher")) == (48, generate.GUIDANCE)
