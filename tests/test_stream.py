"""The session: any chunks are the offline rollout, memory stays flat, errors change nothing."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from tiny import dice, shake

from livetalk_ref.cache import BLOCK, FULL, POLICIES, TABLE_END
from livetalk_ref.codec import Codec, CodecConfig
from livetalk_ref.errors import UserError
from livetalk_ref.flow import Cond, group_audio
from livetalk_ref.rollout import sample
from livetalk_ref.stream import AHIS, AvatarSession, count_blocks, frames_of, samples_for
from livetalk_ref.wan import Config, WanDiT
from livetalk_ref.world import text
from livetalk_ref.world.audio import MelRows
from livetalk_ref.world.ear import AUDIO_DIM, AudioFeatures

SMALL = Config(dim=24, ffn_dim=32, heads=2, layers=4, text_dim=text.TEXT_DIM, audio_dim=AUDIO_DIM,
               latent_channels=4, audio_hidden=8, freq_dim=32)
CODEC = shake(Codec(CodecConfig(4, (8, 8, 8))), 2).requires_grad_(False)
CODEC.decoder.per_frame[-2].weight *= 0.02           # else all pixels are black or white
CODEC.decoder.per_frame[-2].bias *= 0.02
AVATAR = SimpleNamespace(model=shake(WanDiT(SMALL), 1).requires_grad_(False), codec=CODEC,
                         text=text.encode, audio=AudioFeatures)
HAPPY, ANGRY = "a happy person nods", "an angry man"


class FarSighted(MelRows):
    """Rows with any look-ahead, cut to the model's width: the newest sound, and a constant."""

    def push(self, samples):
        return F.pad(super().push(samples)[:, 1 - AUDIO_DIM:], (0, 1), value=1.0)


def hearing(ahead):
    """The world's own features, which look 1 frame ahead, or others."""
    return AudioFeatures() if ahead == 1 else FarSighted(ahead)


PICTURE = torch.rand(3, 32, 64, generator=dice(3)) * 2 - 1        # 2 tokens a latent frame


def speech(blocks, extra=0, seed=4):
    """Loud and quiet noise, as long as so many blocks need."""
    n = samples_for(blocks, 1) + extra
    g = dice(seed)
    loudness = torch.rand(n // 4000 + 1, generator=g).repeat_interleave(4000)[:n]
    return 0.3 * loudness * torch.randn(n, generator=g).clamp(-3, 3)


def session(**options):
    return AvatarSession(AVATAR, PICTURE, HAPPY, dice(), **options)


def push_all(session, samples, sizes):
    """The frames of pushes of such sizes, over and over."""
    made, start = [], 0
    while start < len(samples):
        size = sizes[len(made) % len(sizes)]
        made.append(session.push(samples[start:start + size]))
        start += size
    return made


def pictures(frames):
    return torch.cat([f.pictures for f in frames])


def condition(samples, prompt=HAPPY, ahead=1):
    """Everything at once: all rows of all samples that complete blocks."""
    blocks = count_blocks(len(samples), ahead)
    rows = hearing(ahead).rows(samples, frames_of(blocks))
    known = torch.arange(BLOCK * blocks)[None] == 0
    with torch.no_grad():
        ref = AVATAR.codec.encode(PICTURE[None, None])[:, 0]
    return Cond(ref, group_audio(rows[None]), text.encode([prompt]), known, text.encode([""]))


@torch.no_grad()
def offline(samples, ahead=1):
    """The other road: features, rollout and decoding of the whole, one after the other."""
    cond = condition(samples, ahead=ahead)
    return AVATAR.codec.decode(sample(AVATAR.model, cond, dice(), AHIS))[0]


LONG = speech(8, extra=700)
WHOLE = offline(LONG)


def test_the_stand_in_shows_what_goes_in():
    """Pictures are neither flat nor saturated, and other sound, heard from block 4 on, changes all
    of them from its first frame on, so that equal pictures mean something."""
    assert 0.1 < WHOLE[1:].std() and (WHOLE.abs() == 1).float().mean() < 0.5
    sound = torch.cat([LONG[:samples_for(4, 1)], speech(8, seed=5)])[:len(LONG)]
    change = (session().push(sound).pictures - WHOLE).abs().amax(dim=(1, 2, 3))
    assert change[:frames_of(4)].max() == 0 and change[frames_of(4):].min() > 1e-3


@pytest.mark.parametrize("sizes", [
    [10 ** 9], [12_000], [9_000, 12_000], [1000], [999], [1001], [160], [7_777, 1, 23_000, 300],
    [8_999, 1, 1, 11_999, 2]], ids=str)
def test_any_chunks_are_the_offline_rollout_bit_for_bit(sizes):
    assert torch.equal(pictures(push_all(session(), LONG, sizes)), WHOLE)


@torch.no_grad()
@pytest.mark.parametrize("seed", [0, 1])
def test_seed_and_number_of_steps_are_those_of_the_offline_rollout(seed, monkeypatch):
    """Without a generator the seed is 0; an avatar says how many steps it makes."""
    monkeypatch.setattr(AVATAR, "student_steps", 2, raising=False)
    x0 = sample(AVATAR.model, condition(LONG), dice(seed), AHIS, steps=2)
    live = AvatarSession(AVATAR, PICTURE, HAPPY, dice(1) if seed else None)
    assert torch.equal(live.push(LONG).pictures, AVATAR.codec.decode(x0)[0])


@pytest.mark.parametrize("ahead", [1, 2, 5])
def test_frames_come_as_soon_as_the_formula_says(ahead, monkeypatch):
    """b = (N // 1000 - (ahead - 1) + 3) // 12 blocks, with any look-ahead of the rows."""
    monkeypatch.setattr(AVATAR, "audio", lambda: hearing(ahead))
    made, heard, live = [], 0, session()
    for size in [8_999, 1, 999, 1, 3_000, 1, 7_998, 1, 1, 1, 1_000, 20_000, 14_003]:
        made.append(live.push(LONG[heard:heard + size]))
        heard += size
        b = max(0, (heard // 1000 - (ahead - 1) + 3) // 12)
        assert sum(map(len, made)) == (12 * b - 3 if b else 0) == frames_of(live.state.blocks)
        assert live.state.samples == heard
    numbers = [frames.first + i for frames in made for i in range(len(frames))]
    assert numbers == list(range(len(numbers)))
    assert torch.equal(pictures(made), offline(LONG[:heard], ahead=ahead))


def floats(x, seen):
    """How many numbers an object holds on to, each tensor's memory once."""
    if isinstance(x, torch.Tensor):
        storage = x.untyped_storage()
        new = storage.data_ptr() not in seen
        seen.add(storage.data_ptr())
        return storage.nbytes() if new else 0
    if isinstance(x, (dict, list, tuple)):
        items = [*x, *x.values()] if isinstance(x, dict) else x
        return sum(floats(item, seen) for item in items)
    if hasattr(x, "nbytes"):
        return x.nbytes
    return floats(vars(x), seen) if hasattr(x, "__dict__") else 0


def held(live):
    seen = set()
    return sum(floats(x, seen) for x in (live.state, live.borders, live.memories))


@pytest.mark.parametrize("policy, grows", [(AHIS, False), (FULL, True)], ids=["ahis", "full"])
def test_memory_is_flat_once_the_window_is_full(policy, grows):
    live, sizes = session(policy=policy), []
    for _ in range(24):
        live.push(speech(2)[:12_000])
        sizes.append(held(live))
    full = 5 + live.undo + 1
    assert (sizes[full + 6] > sizes[full]) == grows
    assert grows or set(sizes[full:]) == {sizes[full]}
    assert len(live.borders) == live.undo + 1


def test_a_stream_passes_the_end_of_absolute_positions():
    for policy in (AHIS, POLICIES["released"]):
        live = session(policy=policy)
        live.push(LONG)
        live.state = replace(live.state, cache=replace(live.state.cache, now=TABLE_END - 2))
        before = live.state
        if policy.relative:
            assert len(live.push(LONG[:12_000])) == 12
        else:
            with pytest.raises(UserError, match="relative positions"):
                live.push(LONG[:12_000])
            assert live.state is before


def test_what_nobody_said_is_no_speech():
    """So `flush` has nothing to complete after silence."""
    live = session()
    live.push(LONG[:5_000])
    live.idle()
    assert (live.state.spoken, live.state.samples) == (5_000, samples_for(1, 1))


def test_bad_samples_are_silence_and_loud_ones_are_cut():
    bad = LONG.clone()
    bad[3_000:3_010], bad[13_000], bad[22_000:22_100] = torch.nan, -torch.inf, 7.0
    good = LONG.clone()
    good[3_000:3_010], good[13_000], good[22_000:22_100] = 0, 0, 1.0
    made = pictures(push_all(session(), bad, [3_005]))
    assert made.isfinite().all()
    assert torch.equal(made, session().push(good.double().numpy()).pictures)


def test_what_is_no_sound_or_picture_or_prompt_is_one_sentence():
    live = session()
    before = live.state
    for bad in (torch.zeros(2, 500), torch.zeros(500, dtype=torch.int16)):
        with pytest.raises(UserError, match="16 kHz mono"):
            live.push(bad)
    with pytest.raises(UserError, match="unknown word 'grinz'"):
        live.change_prompt("grinz")
    assert live.state is before and len(live.push([])) == 0
    with pytest.raises(UserError, match="unknown word"):
        AvatarSession(AVATAR, PICTURE, "grinz")
    with pytest.raises(UserError, match="multiples of 16"):
        AvatarSession(AVATAR, PICTURE[:, :30], HAPPY)


def test_a_picture_of_another_kind_is_one_sentence():
    kinds = {"uint8": (PICTURE * 127 + 127).byte(), ".. 254": PICTURE.abs() * 255,
             ".. 0.99": PICTURE / 2 + 0.5, "nan": PICTURE * float("nan"), "inf": PICTURE / 0,
             "str": "face.png", "Tensor": PICTURE[:, :0], "[32, 64, 3]": PICTURE.movedim(0, 2),
             "list": PICTURE.tolist(), "[1, 3, 32, 64]": PICTURE[None], "[1, 32": PICTURE[:1]}
    for word, image in kinds.items():
        with pytest.raises(UserError, match="picture must be") as error:
            AvatarSession(AVATAR, image, HAPPY)
        assert word in str(error.value)
    for image in (PICTURE.double(), PICTURE.numpy(), torch.ones(3, 32, 64), torch.zeros(3, 32, 64)):
        AvatarSession(AVATAR, image, HAPPY)


@pytest.mark.parametrize("part", ["model", "codec"])
def test_a_push_that_fails_changes_nothing(part, monkeypatch):
    """Even one of more blocks than can be taken back, which fails at its very end."""
    live = session(undo=1)
    cut = samples_for(2, 1) + 500
    made = [live.push(LONG[:cut])]
    calls, owner, name = [], *{"model": (AVATAR.model, "forward"),
                               "codec": (AVATAR.codec, "decode_step")}[part]
    works, limit = getattr(owner, name), {"model": 5 * 5 + 2, "codec": 3 * 5 + 1}[part]

    def fails(*args, **kwargs):
        calls.append(1)
        if len(calls) > limit:
            raise RuntimeError("out of memory")
        return works(*args, **kwargs)

    monkeypatch.setattr(owner, name, fails)
    before = live.state, dict(live.borders), dict(live.memories)
    with pytest.raises(RuntimeError, match="out of memory"):
        live.push(LONG[cut:])
    assert live.state is before[0]
    for now, then in zip((live.borders, live.memories), before[1:]):
        assert now.keys() == then.keys() and all(now[key] is then[key] for key in now)
    monkeypatch.setattr(owner, name, works)
    made.append(live.push(LONG[cut:]))
    assert torch.equal(pictures(made), WHOLE)
