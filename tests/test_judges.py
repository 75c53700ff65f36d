"""SyncNet: its spectra, loss and readings, and the shipped one on what it never met.

How all judges answer to growing damage is asserted in notebook 09.
"""

import pytest
import torch
from recite import recite
from tiny import dice, noise, shake

from livetalk_ref.errors import UserError
from livetalk_ref.loading import load_module
from livetalk_ref.nets import syncnet as s
from livetalk_ref.runs import save
from livetalk_ref.studies import judges as trial
from livetalk_ref.world import audio, clips
from livetalk_ref.world.speech import load_spoken

SMALL = s.SyncConfig(seen=(8, 8, 8), heard=(8, 8, 8), hidden=16, embedding=8)


def test_spectra_are_centred_where_they_say_and_loudness_does_not_matter():
    click = torch.zeros(20_000)
    click[1000 * 7 + 250] = 1
    mel = s.log_mel(click)
    assert mel.shape == (80, 32) and mel.mean(1).argmax() == 4 * 7 + 3
    samples = load_spoken(3).samples[:40_000]
    change = (s.log_mel(samples) - s.log_mel(0.25 * samples)).abs()
    assert change.max() < 0.3 and change.mean() < 0.03


def test_loss_asks_every_window_for_its_own_sound():
    net = shake(s.SyncNet(SMALL), 3)
    crops, mel = noise(2, 7, 3, 48, 80), noise(2, 28, 32)
    seen, heard = net.see(crops).reshape(6, 8), net.hear(mel).reshape(6, 8)
    likeness = net.log_scale.exp() * seen @ heard.T
    want = sum(2 * likeness[i, i] - likeness[i].logsumexp(0) - likeness[:, i].logsumexp(0)
               for i in range(6)) / -12
    loss = s.sync_loss(net, crops, mel)
    assert torch.allclose(loss, want, atol=1e-5)
    loss.backward()
    assert all(p.grad.abs().max() > 0 for p in net.parameters())


def test_speech_is_judged_and_where_nothing_is_said_nothing_is():
    net, frames, g = shake(s.SyncNet(SMALL), 3), torch.zeros(80, 3, 96, 96), dice(1)
    hum = 0.01 * torch.sin(torch.arange(80_000) * 0.1)
    for quiet in (torch.zeros(80_000), 0.02 * noise(80_000), hum,
                  0.02 * audio.coloured_noise(80_000, 1.0, g)):
        assert s.sync(net, frames, quiet) == s.SyncReading(None, None, None, None)
    said = torch.zeros(80_000)
    said[20_000:50_000] = load_spoken(3).samples[:30_000]
    found = s.sync(net, frames, said)
    assert found.offset == found.curve.argmin() - 15 and found.distance == found.curve.min()
    assert found.confidence == pytest.approx((found.curve.median() - found.curve.min()).item())
    for which in range(0, 24, 3):                   # without pauses, and in noise
        samples = load_spoken(which).samples
        samples = samples[:len(samples) // 1000 * 1000]
        loud = samples.square().mean().sqrt() * 10 ** (-5 / 20)
        for sound in (samples, samples + loud * audio.coloured_noise(len(samples), 0.5, g)):
            assert s.speech(s.log_mel(sound)).float().mean() > 0.4


def test_bad_input_is_one_sentence():
    for shape, samples, words in (((60, 3, 64, 64), 60_000, "resize them"),
                                  ((20, 3, 96, 96), 20_000, "at least 36 frames, not 20"),
                                  ((60, 3, 96, 96), 59_000, "60 frames need 60000 samples")):
        with pytest.raises(UserError, match=words):
            s.sync(s.SyncNet(SMALL), torch.zeros(shape), torch.zeros(samples))


def test_batches_keep_picture_and_sound_together_and_leave_silence_out(tmp_path, monkeypatch):
    crops = torch.arange(5, dtype=torch.uint8)[:, None, None, None, None].expand(5, 65, 3, 48, 80)
    data = s.SyncClips(50 * crops, torch.arange(5.0)[:, None, None].expand(5, 260, 32))
    x, mel = data.batch(20, dice(0))
    assert x.shape == (20, 65, 3, 48, 80) and mel.shape == (20, 260, 32)
    for i in range(5):
        of = x[mel[:, 0, 0] == i]
        assert len(of) and (of - (50 * i / 127.5 - 1)).abs().max() < 0.36
    monkeypatch.setattr(clips, "say", recite)
    row, _ = s.make("train", 3)
    silent = row | {"mel": s.log_mel(torch.zeros(65_000)).half()}
    save(tmp_path / "a.safetensors", {name: torch.stack([silent[name], row[name]]) for name in row},
         rows=[[], []])
    data = s.SyncClips.load([tmp_path / "a.safetensors"])
    assert torch.equal(data.crops, row["crops"][None]) and torch.equal(data.mel[0], row["mel"])


def test_shipped_net_finds_the_offset_of_truth_and_is_not_content_with_other_words(monkeypatch):
    """On faces, voices and sentences that it never met."""
    monkeypatch.setattr(clips, "say", recite)
    row, = trial.sync_rows(load_module("sync"), 8)
    assert row["clips"] >= 5 and row["found"] >= 0.95
    assert row["shift found"] == 1 == row["found within 1"]
    assert row["confidence"] > 2 * row["confidence with other sound"]
    assert row["distance"] < row["distance with other sound"]
