"""diagrams.py: the drawings say what is there."""

import torch

from livetalk_ref import diagrams, viz
from livetalk_ref.cache import KVCache, Policy


def test_the_mask_and_the_cache_say_the_same():
    """Two roads: what the framed rows of the mask may read, and what is drawn as cached or new."""
    policy = Policy(sinks=3, window=6)
    made = diagrams.memory(21, 3, policy, 5)
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
    ax = diagrams.rolling({"p": policy, "all": Policy()}, 3, 6).axes[0]
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
