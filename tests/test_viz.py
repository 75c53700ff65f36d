"""What notebooks show, read back: pictures hold the right pixels, videos the right length."""

import base64
import io
import json
import re
from types import SimpleNamespace

import av
import numpy as np
import torch

from livetalk_ref import viz
from livetalk_ref.cache import KVCache, Policy
from livetalk_ref.world.speech import load_spoken
from livetalk_ref.world.state import FPS, SAMPLE_RATE
from livetalk_ref.world.visemes import visemes


def greys(levels, size=96):
    """One plain frame a level in [-1, 1]: (T, 3, size, size)."""
    return torch.tensor(levels)[:, None, None, None].expand(-1, 3, size, size).contiguous()


def test_filmstrip_shows_the_asked_moments_in_their_places():
    frames = greys(np.linspace(-1, 1, 9, dtype=np.float32).tolist())
    image = np.asarray(viz.filmstrip(frames, (8, 0, 4), height=50).convert("RGB")).astype(int)
    middle = [image[20 + viz.GAP + 25, viz.GAP + 25 + k * (50 + viz.GAP)] for k in range(3)]
    assert np.abs(np.array(middle) - [[255] * 3, [0] * 3, [128] * 3]).max() <= 2
    clips = {"a white clip": greys([1.0] * 4), "black": greys([-1.0] * 6)}  # in this order
    image = np.asarray(viz.filmstrip(clips, 4, height=40).convert("L")).astype(int)
    right = image.shape[1] - viz.GAP - 20
    assert image[20 + viz.GAP + 20, right] > 250 and image[20 + 2 * viz.GAP + 60, right] < 5
    assert viz.filmstrip(greys([0.0] * 4), 4, height=40).height < image.shape[0]


def carried(player):
    return av.open(io.BytesIO(base64.b64decode(re.search(r'base64,([^"]+)', player.data)[1])))


def test_video_has_all_frames_at_their_rate_and_the_sound_beside_them():
    tone = 0.5 * torch.sin(torch.arange(12_000) * 0.2)
    player = viz.show_video(greys([-0.8] * 6 + [0.8] * 6), tone, height=65)
    assert len(player.data) < 40_000
    with carried(player) as file:
        assert file.streams.video[0].average_rate == FPS
        assert "Synthetic" in file.metadata["comment"]
        shown = [frame.to_ndarray(format="gray") for frame in file.decode(video=0)]
    assert len(shown) == 12 and shown[0].shape == (64, 64)
    assert shown[5].mean() < 60 < 190 < shown[6].mean()
    for one in (player, viz.show_sound(tone, "a tone")):
        with carried(one) as file:
            assert file.streams.audio[0].rate == SAMPLE_RATE
            heard = np.concatenate([f.to_ndarray()[0] for f in file.decode(audio=0)])
        assert abs(len(heard) - len(tone)) <= 3 * 1024 and 0.3 < heard[4000:8000].std() < 0.4


def test_curve_of_several_runs_is_their_mean_and_a_smoothed_one_ends_at_the_last_point():
    _, ax = viz.figure()
    line = viz.curve(ax, [1, 2], [[0.0, 4.0], [2.0, 8.0]])
    assert line.get_ydata().tolist() == [1.0, 6.0]
    band = ax.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == 0 and band[:, 1].max() == 8
    line = viz.curve(ax, range(10), range(10), window=4)
    assert line.get_xdata()[-1] == 9 and line.get_ydata()[-1] == 7.5


def test_watch_drives_a_run_to_its_end_and_shows_the_last_loss(tmp_path, monkeypatch):
    shown, run = [], tmp_path / "mine"
    monkeypatch.setattr(viz, "display", lambda figure, display_id: SimpleNamespace(
        update=lambda figure: shown.append(figure.axes[0].get_title(loc="left"))))

    def training():
        run.mkdir()
        with open(run / "metrics.jsonl", "w") as file:
            for step, loss in enumerate((8.0, 4.0, 2.0, 0.5), 1):
                print(json.dumps({"step": step, "loss": loss, "seconds_left": 60}), file=file,
                      flush=True)
                yield step

    viz.watch(run, training(), every=0)
    assert "0.5 after 4 updates" in shown[-1] and "mine" in shown[-1]


def test_speech_figure_marks_shut_lips():
    spoken = load_spoken(12)
    made = viz.speech(spoken.samples, spoken.phones, visemes(spoken.phones, 30))
    marks = {text.get_text(): text.get_color() for ax in made.axes for text in ax.texts}
    assert marks["b"] == viz.CORAL and marks["ð"] == viz.INK


def test_a_verdict_compares_or_asks_and_waits_for_an_answer(capsys):
    for answer, check in ((None, 3), (3, 3), (2, 3), (2, lambda n: n > 1), (0, lambda n: n > 1),
                          (0, lambda n: n > 1 or f"{n} is too small.")):
        viz.verdict(1, answer, check)
    assert capsys.readouterr().out.splitlines() == [
        "1: not answered yet", "1: right", "1: not yet", "1: right", "1: not yet",
        "1: not yet. 0 is too small."]


# --- caches, as they are

def test_the_mask_and_the_cache_say_the_same():
    """Two roads: what the framed rows of the mask may read, and what is drawn as cached or new."""
    policy = Policy(sinks=3, window=6)
    made = viz.memory(21, 3, policy, 5)
    left, right = made.axes
    mask = left.images[0].get_array()
    read = {frame for frame in range(21) if mask[15][frame]}
    cached, own, rest = (bars.patches for bars in right.containers)
    drawn = [{round(bar.get_x() + 0.45) for bar in bars} for bars in (cached, own, rest)]
    assert drawn[0] == {0, 1, 2, *range(9, 15)} and drawn[1] == {15, 16, 17}
    assert read == drawn[0] | drawn[1] and drawn[2] == set(range(21)) - read
    assert "9 frames" in right.get_title(loc="left")


def test_a_rolling_cache_is_what_the_cache_keeps():
    """Two roads: the drawn bars, and a cache that was filled block by block."""
    policy = Policy(sinks=3, window=6)
    ax = viz.rolling({"p": policy, "all": Policy()}, 3, 6).axes[0]
    cache = KVCache(policy)
    for row in range(6):
        bars = {name: {round(bar.get_x() + 0.45) for group in ax.containers for bar in group
                       if round(bar.get_y() + 0.4) == row
                       and bar.get_facecolor() == viz.plt.matplotlib.colors.to_rgba(colour)}
                for name, colour in (("sinks", viz.AMBER), ("window", viz.TEAL),
                                     ("own", viz.CORAL))}
        assert bars["sinks"] | bars["window"] == set(cache.frames) and len(bars["own"]) == 3
        assert bars["sinks"] == {f for f in cache.frames if f < 3}
        new = torch.zeros(1, 1, 3, 1, 1)
        cache = cache.append([(new, new)])
