"""A teacher's windows on random weights, and a student's blocks: they continue, frames stay."""

from pathlib import Path

import pytest
import torch
from tiny import SMALL, dice, noise, shake, shipped_in, write_student

from livetalk_ref import generate, loading, rollout
from livetalk_ref.errors import UserError
from livetalk_ref.flow import Cond, Guidance, group_audio
from livetalk_ref.generate import (audio_windows, conditions, count_frames, count_windows, roll,
                                   settle, stream)
from livetalk_ref.judge.cost import peak_memory, reset_peak_memory
from livetalk_ref.portrait import portrait_of
from livetalk_ref.runs import save
from livetalk_ref.wan import TINY, WanDiT
from livetalk_ref.world import text
from livetalk_ref.world.ear import AudioFeatures
from livetalk_ref.world.latents import OVERLAP, WINDOW

PROMPT, PICTURE = "a happy person nods", portrait_of(3)
FAST = {"steps": 2, "guidance": Guidance(1, 1)}


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    with shipped_in(tmp_path_factory.mktemp("checkpoints")) as folder:
        write_student(folder)
        write_student(folder, "small", SMALL)
        yield folder


@pytest.fixture(scope="module")
def avatar(folder):
    return loading.load("teacher")


@pytest.fixture(scope="module")
def student(folder):
    return loading.load("student_ode")


def sound(frames, extra=0):
    return 0.1 * noise(300_000, seed=5)[:frames * 1000 + extra]


@pytest.fixture(scope="module")
def long_run(avatar):
    """Two windows: 81 and 19 of 68 frames; the last begun 1000 samples count."""
    return list(stream(avatar, PICTURE, sound(99, 1), PROMPT, seed=4, **FAST))


def test_windows_continue_and_are_decoded_as_one_video(avatar, long_run):
    """The first latent frame is the reference; longer sound leaves earlier windows as they were,
    and the same seed gives the same bits."""
    first, second = long_run
    assert [(w.index, w.count) for w in long_run] == [(0, 2), (1, 2)]
    assert torch.equal(second.latents[:, :OVERLAP], first.latents[:, -OVERLAP:])
    assert (second.latents[:, OVERLAP:] - first.latents[:, OVERLAP:]).abs().max() > 0.1
    with torch.no_grad():
        ref = avatar.codec.encode(PICTURE[None, None])
        assert torch.equal(first.latents[:, :1], ref)
        assert torch.equal(first.frames[:1], avatar.codec.decode(ref)[0])
        whole = avatar.codec.decode(torch.cat([first.latents, second.latents[:, OVERLAP:]], 1))
    frames = torch.cat([first.frames, second.frames])
    assert len(frames) == 100 and torch.equal(frames, whole[0, :100])
    short, = stream(avatar, PICTURE, sound(81), PROMPT, seed=4, **FAST)
    assert torch.equal(short.frames, first.frames)


def test_seed_prompt_and_sound_matter(avatar, long_run):
    def once(loudness=1, prompt=PROMPT, seed=4):
        samples = loudness * sound(20)
        return next(stream(avatar, PICTURE, samples, prompt, seed=seed, **FAST)).frames

    window, = stream(avatar, PICTURE, torch.zeros(1), "", **FAST)
    assert window.frames.shape == (1, 3, 96, 96)            # one sample makes one frame
    base = once()
    for other in (once(seed=5), once(prompt="an angry man"), once(loudness=0)):
        assert base.shape == other.shape == (20, 3, 96, 96)
        assert (base - other).abs().max() > 1e-3


@pytest.mark.parametrize("frames, extra, windows", [
    (30, 0, 1), (81, 0, 1), (81, 1, 2), (149, 0, 2), (149, 700, 3)])
def test_sound_in_windows_is_the_whole_sound_cut(frames, extra, windows):
    """Two roads: streamed window by window, and all rows at once."""
    samples = sound(frames, extra)
    parts = list(audio_windows(samples))
    assert len(parts) == windows == count_windows(count_frames(samples))
    latent_frames = WINDOW + (len(parts) - 1) * (WINDOW - OVERLAP)
    rows = AudioFeatures().rows(samples, frames=4 * latent_frames - 3)
    whole = group_audio(rows[None])
    assert whole.shape[1] == latent_frames
    for i, part in enumerate(parts):
        start = i * (WINDOW - OVERLAP)
        assert torch.equal(part, whole[:, start:start + WINDOW])


def test_conditions_name_what_is_known_and_odd_ones_are_refused(avatar):
    conds = list(conditions(avatar, PICTURE, sound(99), PROMPT))
    assert [c.known.sum().item() for c in conds] == [1, OVERLAP]
    assert all(c.known[0, :k].all() for c, k in zip(conds, (1, OVERLAP)))
    assert torch.equal(conds[0].ref, conds[1].ref) and conds[0].text.shape == (1, 16, 64)
    with pytest.raises(UserError, match="unknown word 'grinz'.*grins"):
        next(stream(avatar, PICTURE, sound(5), "grinz"))
    with pytest.raises(UserError, match="multiples of 16"):
        next(stream(avatar, PICTURE[:, :90], sound(5), ""))


def test_the_file_says_what_it_is(folder, student):
    assert student.is_student and settle(student, 4) == (4, Guidance())
    teacher = loading.load("teacher")
    assert not teacher.is_student and settle(teacher) == (48, generate.GUIDANCE)
    assert loading.sampler(folder / "student_ode.safetensors") == "rollout"
    save(folder / "odd.safetensors", shake(WanDiT(TINY), 1).state_dict(), config=TINY,
         sampler="heun")
    with pytest.raises(UserError, match="asks for the sampler 'heun'; this version knows euler"):
        loading.load(folder / "odd.safetensors")


@torch.no_grad()
def test_generated_blocks_are_the_offline_rollout(student):
    """Two roads: the session that `roll` drives, and one rollout of a whole condition."""
    samples = sound(57)                                     # 5 blocks
    windows = list(roll(student, PICTURE, samples, PROMPT, seed=4))
    rows = student.audio().rows(torch.cat([samples, torch.zeros(1000)]), 57)
    ref = student.codec.encode(PICTURE[None, None])[:, 0]
    known = torch.arange(15)[None] == 0
    cond = Cond(ref, group_audio(rows[None]), text.encode([PROMPT]), known, text.encode([""]))
    whole = rollout.sample(student.model, cond, dice(4), generate.KEPT)
    assert [(w.index, w.count) for w in windows] == [(i, 5) for i in range(5)]
    assert torch.equal(torch.cat([w.latents for w in windows], 1), whole)
    frames = torch.cat([w.frames for w in windows])
    assert torch.equal(frames, student.codec.decode(whole)[0])


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
def test_generate_takes_as_much_memory_late_as_early(tmp_path, folder):
    """Half a minute of pictures would be 53 MB; it may grow by no more than a tenth of that."""
    avatar, peaks = loading.load(folder / "small.safetensors"), []

    def watch(block):
        if block.index in (15, 39):
            peaks.append(peak_memory())
            reset_peak_memory()

    facts = generate.make_video(avatar, PICTURE, 0.1 * noise(480_000), "a happy person",
                                tmp_path / "o.mp4", scale=1, watch=watch)
    assert facts["frames"] == 480
    early, late = peaks
    assert late < early + 5
