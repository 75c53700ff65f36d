"""SyncNet: towers against single windows, the curve against known offsets, whether a net learns,
and the shipped one on unseen faces, voices and sentences. Then the study of the judges: its
corruptions, and that what it breaks is seen.

How all judges answer to growing damage is asserted in notebook 09.
"""

import numpy as np
import pytest
import torch
from recite import recite
from tiny import act, dice, noise, scripted, shake

from livetalk_ref.errors import UserError
from livetalk_ref.judge import metrics
from livetalk_ref.loading import load_module
from livetalk_ref.nets import syncnet as s
from livetalk_ref.runs import save
from livetalk_ref.studies import judges as trial
from livetalk_ref.train import TrainConfig, train
from livetalk_ref.world import audio, clips
from livetalk_ref.world.draw import mouth_box
from livetalk_ref.world.identity import sample_identities
from livetalk_ref.world.speech import load_spoken

SMALL = s.SyncConfig(seen=(8, 8, 8), heard=(8, 8, 8), hidden=16, embedding=8)
NAMES = tuple(trial.corruptions(None))
NOTICED = {"dropped frames": ("freeze rate", 1), "freeze": ("freeze rate", 1),
           "added flicker": ("flicker", 1), "fade to black": ("black frames", 1),
           "blur": ("sharpness", -1), "colour shift": ("colour drift", 1)}


def hisses(frames, seed):
    """A face of one grey value for each frame and a hiss as loud: (T, 3, 96, 96), samples."""
    g = dice(seed)
    level = torch.rand(frames + 4, generator=g).unfold(0, 5, 1).amax(-1) ** 4
    between = torch.nn.functional.interpolate(level[None, None], scale_factor=1000, mode="linear",
                                              align_corners=False)[0, 0].roll(-500)
    samples = 0.1 * between * torch.randn(1000 * frames, generator=g)
    return (2 * level - 1)[:, None, None, None].expand(-1, 3, 96, 96), samples


def test_spectra_are_centred_where_they_say_and_loudness_does_not_matter():
    click = torch.zeros(20_000)
    click[1000 * 7 + 250] = 1
    mel = s.log_mel(click)
    assert mel.shape == (80, 32) and mel.mean(1).argmax() == 4 * 7 + 3
    around = click.numpy()[1000 * 7 + 250 - 256:][:512] * torch.hann_window(512).numpy()
    gain = min(audio.TARGET / (1 / 1000 ** 0.5), audio.LOUDEST_GAIN)
    power = np.abs(np.fft.rfft(gain * around)) ** 2 @ s.bank().numpy()
    assert torch.allclose(mel[31], torch.from_numpy(audio.scaled_log(power)), atol=1e-4)
    samples = load_spoken(3).samples[:40_000]
    change = (s.log_mel(samples) - s.log_mel(0.25 * samples)).abs()
    assert change.max() < 0.3 and change.mean() < 0.03


def test_each_window_is_judged_by_itself():
    net = shake(s.SyncNet(SMALL), 3)
    crops, mel = 0.5 * noise(1, 9, 3, 48, 80), noise(1, 36, 32)
    with torch.inference_mode():
        seen, heard = net.see(crops), net.hear(mel)
        assert seen.shape == heard.shape == (1, 5, 8)
        assert seen.norm(dim=-1).sub(1).abs().max() < 1e-5
        for i in range(5):
            assert torch.allclose(net.see(crops[:, i:i + 5])[:, 0], seen[:, i], atol=1e-5)
            assert torch.allclose(net.hear(mel[:, 4 * i:4 * i + 20])[:, 0], heard[:, i], atol=1e-5)
        assert (seen[0, 1:] - seen[0, :-1]).norm(dim=1).min() > 1e-2


@pytest.mark.parametrize("late", (-15, -4, 0, 1, 15))
def test_curve_is_lowest_at_the_true_offset(late):
    whole = torch.nn.functional.normalize(noise(90, 16), dim=1)
    curve = s.offset_curve(whole[15 - late:75 - late], whole[15:75])
    assert curve.shape == (31,) and curve.argmin() == late + 15 and curve[late + 15] < 1e-6
    by_hand = [(whole[15 - late + i] - whole[15 + i - 3]).norm() for i in range(3, 60)]
    assert torch.allclose(curve[18], sum(by_hand) / 57)


def test_loss_asks_every_window_for_its_own_sound():
    net = shake(s.SyncNet(SMALL), 3)
    crops, mel = noise(2, 7, 3, 48, 80), noise(2, 28, 32)
    seen, heard = net.see(crops).reshape(6, 8), net.hear(mel).reshape(6, 8)
    likeness = net.log_scale.exp() * seen @ heard.T
    want = sum(2 * likeness[i, i] - likeness[i].logsumexp(0) - likeness[:, i].logsumexp(0)
               for i in range(6)) / -12
    assert torch.allclose(s.sync_loss(net, crops, mel), want, atol=1e-5)


def test_a_net_learns_what_goes_together():
    torch.manual_seed(0)
    net = s.SyncNet(SMALL).to(memory_format=torch.channels_last)
    pairs = [hisses(40, seed) for seed in range(12)]
    crops = torch.stack([s.crop(frames) for frames, _ in pairs])
    mel = torch.stack([s.log_mel(samples) for _, samples in pairs])

    def loss(net, g):
        some = torch.randint(12, (4,), generator=g)
        return s.sync_loss(net, crops[some], mel[some])

    states = list(train(net, loss, TrainConfig(steps=60, lr=2e-3, muon=0.02, warmup=5)))
    assert states[-1].loss < 0.7 * states[0].loss
    frames, samples = hisses(100, 99)
    for late in (0, 3, -6):
        part = frames[20 - late:80 - late]
        reading = s.sync(net.eval(), part, samples[20_000:80_000])
        assert reading.offset == late
        assert reading.distance == pytest.approx(reading.curve.min().item())
        assert reading.confidence == pytest.approx(
            reading.curve.sort().values[15].item() - reading.distance)
    other = s.sync(net, frames[20:80], hisses(60, 98)[1])
    assert other.confidence < 0.7 * reading.confidence and other.distance > reading.distance


def test_speech_is_judged_and_where_nothing_is_said_nothing_is():
    net, frames, g = shake(s.SyncNet(SMALL), 3), torch.zeros(80, 3, 96, 96), dice(1)
    hum = 0.01 * torch.sin(torch.arange(80_000) * 0.1)
    for quiet in (torch.zeros(80_000), 0.02 * noise(80_000), hum,
                  0.02 * audio.coloured_noise(80_000, 1.0, g)):
        assert s.sync(net, frames, quiet) == s.SyncReading(None, None, None, None)
    said = torch.zeros(80_000)
    said[20_000:50_000] = load_spoken(3).samples[:30_000]
    assert s.sync(net, frames, said).offset is not None
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


def test_training_rows_are_the_clips_own(monkeypatch):
    monkeypatch.setattr(clips, "say", recite)
    row, _ = s.make("train", 3)
    clip = clips.script("train", 3, s.LENGTH)
    frames = clips.film(clip)[:, :, s.TOP:s.BOTTOM, s.LEFT:s.RIGHT]
    assert row["crops"].shape == (65, 3, 48, 80) and row["mel"].shape == (260, 32)
    assert (row["crops"].float() / 127.5 - 1 - frames).abs().max() < 0.005
    assert (row["mel"] - s.log_mel(clip.heard)).abs().max() < 0.01


def test_the_crop_holds_the_mouth():
    spoken = [load_spoken(i) for i in range(4)]
    for seed, shifted in ((1, False), (2, True), (3, False), (4, True)):
        g = dice(seed)
        state = act(spoken[seed % 4], "energetic, turning and nodding", g)
        low = 96 * mouth_box(sample_identities(1, g, shifted), state)    # x0, y0, x1, y1
        assert low[:, 0].min() >= s.LEFT - 1 and low[:, 2].max() <= s.RIGHT + 1
        assert low[:, 1].min() >= s.TOP - 1 and low[:, 3].max() <= s.BOTTOM + 1


def test_batches_keep_picture_and_sound_together_and_leave_silence_out(tmp_path):
    crops = torch.arange(5, dtype=torch.uint8)[:, None, None, None, None].expand(5, 65, 3, 48, 80)
    data = s.SyncClips(50 * crops, torch.arange(5.0)[:, None, None].expand(5, 260, 32))
    x, mel = data.batch(20, dice(0))
    assert x.shape == (20, 65, 3, 48, 80) and mel.shape == (20, 260, 32)
    for i in range(5):
        of = x[mel[:, 0, 0] == i]
        assert len(of) and (of - (50 * i / 127.5 - 1)).abs().max() < 0.36
    said = torch.zeros(65_000)
    said[9_000:39_000] = load_spoken(3).samples[:30_000]
    rows = [s.log_mel(torch.zeros(65_000)), s.log_mel(said)]
    save(tmp_path / "a.safetensors", {"crops": torch.zeros(2, 65, 3, 2, 2, dtype=torch.uint8),
                                      "mel": torch.stack(rows).half()}, rows=[[], []])
    data = s.SyncClips.load([tmp_path / "a.safetensors"])
    assert len(data) == 1 and torch.equal(data.mel[0], rows[1].half())


def test_shipped_net_finds_the_offset_of_truth_and_is_not_content_with_other_words(monkeypatch):
    """On faces, voices and sentences that it never met."""
    monkeypatch.setattr(clips, "say", recite)
    row, = trial.sync_rows(load_module("sync"), 8)
    assert row["clips"] >= 5 and row["found"] >= 0.95
    assert row["shift found"] == 1 == row["found within 1"]
    assert row["confidence"] > 2 * row["confidence with other sound"]
    assert row["distance"] < row["distance with other sound"]


# --- the study

@pytest.fixture(scope="module")
def filmed():
    """A clip, its pictures, and another face's."""
    clip = scripted(0, 49)
    return clip, clips.film(clip), trial.another_face(clip, dice(1))


@pytest.mark.parametrize("name", NAMES)
def test_damage_grows_from_none_and_the_reference_is_never_touched(filmed, name):
    clip, frames, other = filmed
    damage = trial.corruptions(other)[name]

    def at(strength):
        return damage(frames, clip.samples, strength, dice(3))

    same, sound = at(0.0)
    assert torch.allclose(same, frames, atol=1e-6) and torch.equal(sound, clip.samples)
    worst, sound = at(1.0)
    assert torch.equal(worst[0], frames[0]) and worst.abs().max() <= 1
    assert torch.equal(frames, worst) == ("audio" in name)
    assert torch.equal(clip.samples, sound) == ("audio" not in name)
    assert all(torch.equal(a, b) for a, b in zip(at(0.6), at(0.6)))         # a seed decides
    if name in NOTICED:
        number, sign = NOTICED[name]
        truth = metrics.Truth.of(clip.state, frames, frames)
        values = [sign * metrics.picture_numbers(at(s)[0], truth)[number] for s in (0, 0.5, 1)]
        assert values[0] < values[1] < values[2]
