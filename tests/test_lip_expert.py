"""LSE-D and LSE-C by path: scripted towers of a known answer stand at the place of the original's,
and everything around the towers is held against a second road to the same numbers."""

import json
import math

import numpy as np
import pytest
import torch
from test_cli import checkpoints, go, place, refused  # noqa: F401
from test_cli_judge import small  # noqa: F401

from livetalk_ref.errors import UserError
from livetalk_ref.judge import lip_expert as le
from livetalk_ref.judge import benchmark, originals, sets
from livetalk_ref.posters import act
from livetalk_ref.world import clips
from livetalk_ref.world.draw import mouth_box
from livetalk_ref.world.identity import sample_identities
from livetalk_ref.world.draw.mouth import BOX, HALF
from livetalk_ref.world.speech import load_spoken

HISS = 0.1                          # deviation of the loudest sound, as `Towers` knows it


def on_circle(level):
    """Levels (N,) in [0, 1] as vectors (N, 2) of unit length, a quarter turn apart at most."""
    angle = level * math.pi / 2
    return torch.stack([angle.cos(), angle.sin()], 1)


class Towers(torch.nn.Module):
    """Both say how bright, or how loud, it is in the middle of a window.

    Half the spectrum of 400 samples of a hiss of deviation s holds a power of 200 s^2, which the
    pre-emphasis makes 1 + 0.97^2 times as large. White is s = 0.1, black a tenth of that.
    """

    @torch.jit.export
    def forward_lip(self, x):
        assert x.dtype == torch.float32 and x.shape[1:] == (3, 5, 224, 224)
        return on_circle(x[:, :, 2].mean((1, 2, 3)) / 255)

    @torch.jit.export
    def forward_aud(self, x):
        assert x.dtype == torch.float32 and x.shape[1:] == (1, 13, 20)
        loudest = math.log(200 * (1 + 0.97 ** 2) * (0.1 * 32768) ** 2)
        power = x[:, 0, 0, 6:8].mean(1)                 # around 1240 of a window's 3440 samples
        return on_circle((power - loudest) / (2 * math.log(10)) + 1)


class Same(torch.nn.Module):
    """Both towers flatten what they get, so their vectors are not of one length."""

    @torch.jit.export
    def forward_lip(self, x):
        return x.flatten(1)

    @torch.jit.export
    def forward_aud(self, x):
        return x.flatten(1)


class Strict(Towers):
    """A tower that wants pictures of another size."""

    @torch.jit.export
    def forward_lip(self, x):
        assert x.shape[-1] == 96
        return x.mean((1, 2, 3))


def saved(net, path):
    torch.jit.script(net).save(str(path))
    return path


@pytest.fixture
def file(tmp_path):
    return saved(Towers(), tmp_path / "syncnet.pt")


def loaded(path):
    return le.check(originals.load_detector(path), path)


def course(seconds):
    """A restless level in [0, 1] at moments (N,)."""
    g = torch.Generator().manual_seed(3)
    rates, phases = 0.3 + 2.2 * torch.rand(6, generator=g), 6.28 * torch.rand(6, generator=g)
    waves = (6.28 * rates * seconds[:, None] + phases).sin().sum(1)
    return 0.5 + 0.5 * (0.4 * waves).tanh()


def pulsing(late=0, frames=80):
    """A face of one grey, `late` pictures of 25 a second behind a hiss that is as loud: (T, 3, 96,
    96), samples."""
    grey = course(torch.arange(frames) / 16 - late / 25)
    level = course(torch.arange(1000 * frames) / 16_000)
    hiss = torch.randn(1000 * frames, generator=torch.Generator().manual_seed(0))
    samples = HISS * 10 ** (level - 1) * hiss
    return (2 * grey - 1)[:, None, None, None].expand(-1, 3, 96, 96), samples


# --- the curve of distances

@pytest.mark.parametrize("late", (-11, 0, 4))
def test_a_shift_is_found(file, late):
    reading = le.read(loaded(file), *pulsing(late))
    assert reading.offset == late and len(reading.curve) == 31
    assert reading.distance == reading.curve.min()
    assert reading.confidence == pytest.approx((reading.curve.median() - reading.distance).item())
    aside = abs(late) / 120             # windows whose sound is beside the clip: distance 1
    assert aside - 0.01 < reading.distance < aside + 0.12 and reading.confidence > 0.2


def test_curve_is_the_loop_over_windows():
    g = torch.Generator().manual_seed(0)
    seen, heard = torch.randn(2, 40, 6, generator=g).double().unbind()
    curve, nothing = le.offset_curve(seen, heard), torch.zeros(6)
    for late in range(-15, 16):
        gaps = [(seen[i] - (heard[i - late] if 0 <= i - late < 40 else nothing)).norm()
                for i in range(40)]
        assert curve[late + 15] == pytest.approx(sum(gaps).item() / 40, abs=1e-5)


def test_of_silence_nothing_is_said(file):
    frames, _ = pulsing()
    assert le.read(loaded(file), frames, torch.zeros(80_000)).distance is None


# --- what the towers are given

def test_pictures_are_the_face_in_the_originals_colours():
    frames = torch.ones(4, 3, 96, 96)
    frames[:, :, 28:92, 16:80] = torch.tensor([1, 0, -0.5])[:, None, None]
    seen = le.pictures(frames, 6)
    assert seen.shape == (3, 6, 224, 224)
    for channel, value in enumerate((64, 128, 255)):                    # blue, green, red
        assert (seen[channel] - value).abs().max() < 1e-3
    frames[:, :, 28, 16] = frames[:, :, 91, 79] = -1                    # the outermost pixels
    corners = le.pictures(frames, 6)[..., [0, -1], [0, -1]]
    assert corners.abs().max() < 1e-3


def test_the_crop_holds_the_mouth():
    """Of the mouth's box its middle, as wide as lips at rest, and all but the chin below."""
    top, left, side = le.CROP
    for seed in range(6):
        g = torch.Generator().manual_seed(seed)
        state = act(load_spoken(seed), "energetic, turning and nodding", g)
        x0, y0, x1, y1 = mouth_box(sample_identities(1, g, shifted=seed > 2), state).T
        middle, half, chin = (x0 + x1) / 2, (x1 - x0) / 2 * HALF / BOX[0], (y1 - y0) / 6
        assert left < (middle - half).min() and (middle + half).max() < left + side
        assert top < y0.min() and (y1 - chin).max() < top + side


def test_each_picture_is_the_nearest_frame():
    frames = (torch.arange(80) / 127.5 - 1)[:, None, None, None].expand(-1, 3, 96, 96)
    shown = le.pictures(frames, 125)[0, :, 0, 0].tolist()
    assert shown == [min(range(80), key=lambda i: abs(i / 16 - j / 25)) for j in range(125)]


def test_coefficients_are_those_of_the_textbook():
    """One step of the sound by sums over sines and triangles, without a transform."""
    samples = load_spoken(3).samples[:40_000]
    whole, step = (samples.double() * 32768).round().numpy(), 117
    at = 160 * step
    x = np.zeros(512)
    x[:400] = whole[at:at + 400] - 0.97 * whole[at - 1:at + 399]
    waves = np.exp(-2j * np.pi * np.outer(np.arange(257), np.arange(512)) / 512)
    power = np.abs(waves @ x) ** 2 / 512
    edges = [math.floor(513 * 700 * (10 ** (k * math.log10(1 + 8000 / 700) / 27) - 1) / 16_000)
             for k in range(28)]
    bands = [sum(power[b] * np.interp(b, edges[k:k + 3], (0, 1, 0)) for b in range(257))
             for k in range(26)]
    expected = [math.log(power.sum())]
    for n in range(1, 13):
        waves = [math.cos(math.pi * n * (k + 0.5) / 26) for k in range(26)]
        lift = 1 + 11 * math.sin(math.pi * n / 22)
        expected.append(lift * math.sqrt(2 / 26) * np.dot(waves, np.log(bands)))
    found = le.mfcc(samples)
    assert found.shape == (13, 248) and found[:, step].tolist() == pytest.approx(expected, abs=2e-3)


# --- files, and the command

def test_what_is_no_syncnet_is_refused(tmp_path):
    with pytest.raises(UserError, match="has no method forward_lip"):
        loaded(saved(torch.nn.Linear(3, 3), tmp_path / "linear.pt"))
    with pytest.raises(UserError, match="does not take pictures or sound"):
        loaded(saved(Strict(), tmp_path / "strict.pt"))
    with pytest.raises(UserError, match=r"makes \(2, 752640\) of two windows of lips"):
        originals.load({"LSE": saved(Same(), tmp_path / "same.pt")})
    with pytest.raises(UserError, match="There is no detector"):
        originals.load({"LSE": tmp_path / "none.pt"})


def test_evaluate_adds_lse(go, small, place, file):  # noqa: F811
    words = ["evaluate", "--set", "studio", "--clips", "2", "--model", "truth", "--syncnet"]
    status, out, _ = go(*words, str(file), "--json")
    facts = json.loads(out)
    row, floor = facts["rows"]
    assert status == 0 and "LSE-D" not in floor and "FID" not in row
    refused(go(*words, "speech.wav"), "not a TorchScript file")
    net, found = loaded(file), []
    for number in range(2):
        clip = sets.script("studio", number)
        found.append(le.read(net, clips.film(clip)[1:], clip.samples[1000:]))
    for name, values in (("LSE-D", [one.distance for one in found]),
                         ("LSE-C", [one.confidence for one in found])):
        assert row[name] == pytest.approx(sum(values) / 2, abs=1e-3)
        assert row[f"{name} 95%"] == pytest.approx([min(values), max(values)], abs=1e-3)
    assert f"{'LSE-C':18} {row['LSE-C']:9.3f}  [" in benchmark.table(facts)
