"""How sure a mean is, and how sure a difference: the bootstrap over clips (Efron 1979).

Clips are drawn with replacement as often as there are clips, many times over; the spread of a
number over the draws stands for its spread over other sets of clips.
"""

from typing import NamedTuple

import torch

from livetalk_ref.errors import UserError

DRAWS = 1000
EDGES = (0.025, 0.975)      # of a 95 % interval
BETTER = ("higher", "lower", "close to truth")


def picks(count, draws=DRAWS, seed=0):
    """(draws, count) the clips of every draw, the same ones for whatever is compared."""
    return torch.randint(count, (draws, count), generator=torch.Generator().manual_seed(seed))


def edges(values):
    """The 95 % interval of values (draws,): (low, high)."""
    return values.quantile(torch.tensor(EDGES, dtype=values.dtype)).tolist()


def bootstrap(values, draws=DRAWS, seed=0):
    """Mean of per-clip values and its 95 % interval: (mean, low, high). None does not count."""
    x = torch.tensor([v for v in values if v is not None], dtype=torch.float64)
    return x.mean().item(), *edges(x[picks(len(x), draws, seed)].mean(1))


class Comparison(NamedTuple):
    """Model A against model B on the same clips: A minus B."""

    difference: float
    low: float              # its 95 % interval
    high: float
    superiority: float      # share of draws in which A is better, a tie counting half

    @staticmethod
    def of(difference, draws, better):
        """From the difference and its bootstrap draws (draws,); better: "higher" or "lower"."""
        gain = draws if better == "higher" else -draws
        wins = (gain > 0).double().mean() + (gain == 0).double().mean() / 2
        return Comparison(difference, *edges(draws), wins.item())


def compare(a, b, better, truth=None, draws=DRAWS, seed=0):
    """Paired bootstrap over clips of two models' per-clip values -> `Comparison`.

    a, b: one value per clip in the same order; clips where one is None do not count. better: as
    in table.DEFINITIONS. For "close to truth" the truth's own values must be given, and what is
    compared is the distance from them: lower is better. UserError where nothing can be compared.
    """
    if better not in BETTER:
        raise UserError(f"'{better}' is no direction; choose one of {', '.join(BETTER)}.")
    if better == "close to truth" and truth is None:
        raise UserError("Give the truth's own values: this number is best close to them.")
    truth = truth if better == "close to truth" else [0.0] * len(a)
    if not len(a) == len(b) == len(truth):
        raise UserError(f"A comparison needs the same clips on both sides, not {len(a)} values "
                        f"and {len(b)} (truth: {len(truth)}).")
    rows = [row for row in zip(a, b, truth) if None not in row]
    if not rows:
        raise UserError("No clip has this number for both models; compare another one.")
    x, y, t = torch.tensor(rows, dtype=torch.float64).T
    if better == "close to truth":
        x, y = (x - t).abs(), (y - t).abs()
    gap = x - y
    draws = gap[picks(len(gap), draws, seed)].mean(1)
    return Comparison.of(gap.mean().item(), draws, better)
