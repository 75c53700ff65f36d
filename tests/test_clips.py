"""Clips and their caches: determinism, splits, windows, dropped conditions, shards."""

import pytest
import torch

from livetalk_ref.codec import Codec, CodecConfig
from livetalk_ref.flow import group_audio
from livetalk_ref.world import clips, latents, shards, snippets, text
from livetalk_ref.world.identity import Identity
from livetalk_ref.world.state import S

FRAMES, OVERLAP = 105, latents.OVERLAP      # 27 latent frames


def made(count=3, switch=60):
    """A cache of random latents whose value tells the clip and the frame."""
    number = torch.arange(count)[:, None] * 100 + torch.arange(27)
    return latents.LatentClips(
        number[..., None, None, None].expand(-1, -1, 2, 2, 2).half(),
        (torch.arange(FRAMES)[None, :, None] + torch.zeros(count, 1, 3)).half(),
        torch.zeros(count, FRAMES, S).half(),
        Identity(torch.zeros(count, 27), torch.zeros(count, 6, dtype=torch.int64)),
        torch.tensor([[0, switch]] * count), torch.zeros(count, dtype=torch.bool),
        [["a happy person", "sad"]] * count)


def test_a_window_in_mid_stream_has_its_own_sound_and_the_clips_reference():
    data = made()
    x0, cond = data.window(4, OVERLAP)
    assert x0[1, :, 0, 0, 0].tolist() == [104 + i for i in range(21)]
    assert cond.ref[1, 0, 0, 0] == 100
    assert cond.known[0].tolist() == [True] * 4 + [False] * 17
    whole = group_audio(data.audio.float())
    assert torch.equal(cond.audio, whole[:, 4:25])
    assert cond.audio[0, 0].view(4, 3)[:, 0].tolist() == [13, 14, 15, 16]    # frames 4k-3 .. 4k


def test_prompts_change_at_their_frame():
    _, cond = made(switch=60).window(0, 1)
    first, second = cond.text_mask[0].split(text.TEXT_ROWS, dim=1)
    assert torch.equal(first, ~second) and first.any(1).tolist() == first.all(1).tolist()
    changes = [4 * k - 3 >= 60 for k in range(21)]
    assert second[:, 0].tolist() == changes


def test_batches_hide_audio_and_text_as_often_as_said():
    batches, g = latents.Batches(made()), torch.Generator().manual_seed(0)
    audio = words = prefix = seen = 0
    for _ in range(40):
        _, cond = batches.draw(450, g)
        seen += len(cond.ref)
        none = cond.drop("audio").drop("text")
        audio += (cond.audio == 0).all(2).all(1).sum().item()
        words += (cond.text == none.text).all(2).all(1).sum().item()
        prefix += (cond.known.sum(1) == OVERLAP).sum().item()
    assert audio / seen == pytest.approx(0.15, abs=0.03)
    assert words / seen == pytest.approx(0.15, abs=0.03)
    assert prefix / seen == pytest.approx(0.4, abs=0.05)


def test_batches_are_windows_of_the_clips(monkeypatch):
    monkeypatch.setattr(latents, "DROP", 0.0)
    monkeypatch.setattr(latents, "rephrase", lambda prompt, g: prompt)
    data, g = made(5, switch=40), torch.Generator().manual_seed(1)
    batches, seen = latents.Batches(data), set()
    for _ in range(20):
        x0, cond = batches.draw(90, g)
        seen.add(x0.shape[1])
        for i in range(len(x0)):
            clip, first = divmod(int(x0[i, 0, 0, 0, 0]), 100)
            one, wanted = data.select([clip]).window(first, OVERLAP if first else 1, x0.shape[1])
            assert torch.equal(x0[i:i + 1], one)
            for name in ("ref", "audio", "known", "text_mask"):
                assert torch.equal(getattr(cond[i:i + 1], name), getattr(wanted, name)), name
            assert torch.allclose(cond.text[i], wanted.text[0], atol=1e-3)
    assert seen == set(latents.WINDOWS)


def test_shards_continue_and_do_not_depend_on_order(tmp_path):
    paths = list(shards.build(tmp_path / "a", number_row, "train", 64, workers=1))
    first = paths[0].stat().st_mtime_ns
    again = list(shards.build(tmp_path / "a", number_row, "train", 96, workers=2))
    assert paths[0].stat().st_mtime_ns == first and len(again) == 3
    tensors, facts = shards.load(again)
    assert tensors["n"].tolist() == list(range(96)) and facts[40] == "train 40"


def number_row(split, number):
    return {"n": torch.tensor(number)}, f"{split} {number}"


def test_box_mask_and_detail_mark_the_mouth_most():
    box = torch.tensor([[0.25, 0.5, 0.75, 0.75]])
    mask = snippets.box_mask(box, 8)[0, 0]
    assert mask[4:6, 2:6].all() and mask.sum() == 8
    weight = snippets.detail(box, torch.tensor([[[0.4, 0.2], [0.6, 0.2]]]), 8)[0, 0]
    assert weight[5, 4] == 4 and weight[3, 4] == 2 and weight[0, 0] == 1
    assert weight[1, 3] == 7 and weight[1, 4] == 7      # eyes


def test_a_clip_is_its_split_and_number(recited):
    a, b = (clips.script("train", 5, 33) for _ in range(2))
    assert torch.equal(a.state, b.state) and torch.equal(a.heard, b.heard)
    assert torch.equal(clips.film(a), clips.film(b))
    unseen = clips.script("held_out", 5, 33)
    assert torch.equal(unseen.heard, unseen.samples)      # augmented in training alone
    for other in (clips.script("train", 6, 33), unseen):
        assert not torch.equal(a.state, other.state)
        assert not torch.equal(a.identity.continuous, other.identity.continuous)


def test_encoded_clips_keep_the_truth(recited, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SHARD", 2)
    torch.manual_seed(0)
    codec = Codec(CodecConfig(4, (16, 32, 32), (8, 16, 32))).eval()
    script, = shards.build(tmp_path, latents.script_row, "train", 2, workers=1)
    data = {kind: latents.LatentClips.load([latents.encode_shard(
        codec, tmp_path / kind, kind != "clean", 1 if kind == "starts" else None, script)])
        for kind in ("clean", "spoiled", "starts")}
    for i in range(2):
        clip = clips.script("train", i)
        assert data["clean"].prompts[i] == [p for _, p in clip.prompts]
        assert torch.equal(data["clean"].state[i], clip.state.half())
        assert torch.equal(data["clean"].audio[i], clip.audio.half())
        with torch.inference_mode():
            z = codec.encode(clips.film(clip)[None])[0]
        assert torch.allclose(data["spoiled"].latents[i].float(), z, atol=2e-3)
        assert torch.allclose(data["starts"].latents[i].float(), z[:1], atol=2e-3)
        assert data["spoiled"].degraded[i] == (clip.degradation is not None)
    assert data["clean"].latents.shape == (2, 27, 4, 6, 6) and not data["clean"].degraded.any()
