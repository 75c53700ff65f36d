"""How far a set of clips is from a set of true ones, and how sure a number or a difference is.

Two Fréchet distances, of single frames and of whole clips. They are of our own face reader's
features, so they are no FID or FVD. Intervals are those of the bootstrap over clips (Efron 1979):
clips are drawn with replacement, many times over. N clips, T frames, M samples a clip, D features.
"""

import torch
from torchaudio.functional import frechet_distance

from livetalk_ref.errors import UserError
from livetalk_ref.judge.metrics import DEFINITIONS, START

USED = slice(START, None, 4)    # frames that count as samples: neighbours say the same twice
STRONGEST = 10                  # directions whose course through a clip counts
DRAWS, DISTANCE_DRAWS = 1000, 200
COMPARED = ("frechet", "clip frechet", "sharpness", "whole faces", "open correlation",
            "width correlation", "Sync-C", "Sync-D", "expression right", "identity cosine")


def clip_samples(features):
    """One sample a clip, (N, 1, 30), of the features (N, T, 32) of all frames.

    It holds mean, spread over time and size of the steps of the 10 strongest.
    """
    x = features[:, START:, :STRONGEST]                                 # (N, T - 8, 10)
    steps = x.diff(dim=1).square().mean(1).sqrt()
    return torch.cat([x.mean(1), x.std(1), steps], 1)[:, None]          # (N, 1, 30)


def in_deviations(samples, truth):
    """Samples (N, M, D) in standard deviations of the truth, so that all D count alike."""
    flat = truth.flatten(0, 1)
    return (samples - flat.mean(0)) / flat.std(0).clamp(min=1e-6)


def frechet(a, b):
    """Fréchet distance of two sets of features (N, D), (M, D); 0 at best, larger by few samples.
    |mu_a - mu_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)), as in the FID (Heusel et al. 2017)."""
    one, other = ((x.mean(0), torch.cov(x.T)) for x in (a.double(), b.double()))
    return frechet_distance(*one, *other).item()


def diversity(features):
    """How different clips of ONE condition and different seeds are: the mean distance of their
    features frame by frame. features (K, T, 32) of K seeds, two at least."""
    x = features[:, START:]
    one, other = torch.triu_indices(len(x), len(x), 1)
    return (x[one] - x[other]).norm(dim=-1).mean().item()


def draw_clips(count, draws=DRAWS):
    """(draws, count) the clips of every draw, the same ones for whatever is compared."""
    return torch.randint(count, (draws, count), generator=torch.Generator().manual_seed(0))


def interval_of(values):
    """The 95 % interval of values (draws,): (low, high)."""
    return values.quantile(torch.tensor([0.025, 0.975], dtype=values.dtype)).tolist()


def with_interval(name, values, digits=4):
    """A mean and its 95 % interval as two entries of a row; values: one a clip, or None, or
    (value, low, high) as `distances` gives them. Nothing where no clip has the number."""
    if isinstance(values, list):
        x = torch.tensor([v for v in values if v is not None], dtype=torch.float64)
        if not len(x):
            return {}
        values = x.mean().item(), *interval_of(x[draw_clips(len(x))].mean(1))
    value, *edges = values
    return {name: round(value, digits), f"{name} 95%": [round(edge, digits) for edge in edges]}


def resampled_distances(features, truth, draws):
    """All `distances` and their bootstrap draws: {name: (value, (draws,) around it)}."""
    if len(features) != len(truth) or len(truth) < 2:
        raise UserError(f"Distances need as many clips as true ones, two at least, not "
                        f"{len(features)} and {len(truth)}.")
    drawn, found = [slice(None), *draw_clips(len(truth), draws)], {}
    clips, true = clip_samples(features), clip_samples(truth)
    for name, a, b in (("", features[:, USED], truth[:, USED]),
                       ("clip ", in_deviations(clips, true), in_deviations(true, true))):
        value, *again = (frechet(a[some].flatten(0, 1), b[some].flatten(0, 1)) for some in drawn)
        again = torch.tensor(again, dtype=torch.float64)
        # A draw repeats clips, and fewer different clips are farther from anything: moved back.
        found[f"{name}frechet"] = value, again + value - again.mean()
    return found


def distances(features, truth, draws=DISTANCE_DRAWS):
    """All distances of clips to true ones, with 95 % intervals: {name: (value, low, high)}.

    features, truth (N, T, 32) of all frames. The floor is that of a second, disjoint set of
    truth of as many clips; there a bootstrap interval is about twice too wide, farther away it
    is right. UserError for sets of different sizes or of one clip.
    """
    return {name: (value, *interval_of(again))
            for name, (value, again) in resampled_distances(features, truth, draws).items()}


def comparison(difference, draws, better):
    """Model A minus model B, as entries of a row: the difference, its 95 % interval, and the
    share of bootstrap draws (draws,) in which A is better, a tie counting half."""
    gain = draws if better == "higher" else -draws
    wins = (gain > 0).double().mean() + (gain == 0).double().mean() / 2
    return {"difference": round(difference, 4),
            "95%": [round(edge, 4) for edge in interval_of(draws)],
            "superiority": round(wins.item(), 4)}


def compare_distances(a, b, truth, draws=DISTANCE_DRAWS):
    """A `comparison` for each distance of a and b to truth, (N, T, 32) each, on the same draws."""
    ours, theirs = (resampled_distances(x, truth, draws) for x in (a, b))
    return {name: comparison(ours[name][0] - theirs[name][0], ours[name][1] - theirs[name][1],
                             "lower") for name in ours}


def compare_paired(a, b, truth, better):
    """The `comparison` of two models' values, one a clip or None, in pairs; None without a pair.
    For what is better "close to truth" the distances from the truth's own values are compared."""
    near = better == "close to truth"
    rows = [row for row in zip(a, b, truth if near else [0.0] * len(a), strict=True)
            if None not in row]
    if not rows:
        return None
    x, y, t = torch.tensor(rows, dtype=torch.float64).T
    gap = (x - t).abs() - (y - t).abs() if near else x - y
    return comparison(gap.mean().item(), gap[draw_clips(len(gap))].mean(1), better)


def judged_row(name, rows, features, truth):
    """One row of a table: means and distances to the truth (N, T, 32) with 95 % intervals."""
    row = {"name": name, "clips": len(features)}
    found = {key: [one[key] for one in rows] for key in (rows[0] if rows else ())}
    found |= distances(features, truth)
    for key in [key for key in DEFINITIONS if key in found]:
        row |= with_interval(key, found[key])
    return row


def compare_judged(name, ours, theirs, truth):
    """A row for each number of COMPARED; ours, theirs, truth: `Judged` of the same clips."""
    found = compare_distances(ours.features, theirs.features, truth.features)
    for key in COMPARED:
        if key not in found:
            columns = ([row.get(key) for row in judged.rows] for judged in (ours, theirs, truth))
            found[key] = compare_paired(*columns, DEFINITIONS[key].better)
    return [{"comparison": name, "number": key} | found[key] for key in COMPARED if found[key]]


def evaluation_text(facts):
    """The figures for people."""
    row, ceiling, floor = facts["rows"]
    settings = "".join(f", {key.replace('_', ' ')} {value}"
                       for key, value in facts["settings"].items())
    lines = [f"{row['name']} on {facts['set']} {facts['version']}: {row['clips']} clips{settings}"]
    for key, (unit, better, _) in DEFINITIONS.items():
        if key in row:
            low, high = row[f"{key} 95%"]
            others = "".join(f", {what} {of[key]:.3f}" for what, of in
                             (("codec", ceiling), ("floor", floor)) if key in of)
            lines.append(f"{key:18} {row[key]:9.3f}  [{low:.3f}, {high:.3f}]  {unit}, "
                         f"{better} is better{others}")
    cost = facts["cost"]
    flops = cost["flops_per_frame"]
    lines.append(f"cost: {cost['evaluations_per_clip']:.0f} evaluations a clip"
                 + (f", {flops / 1e9:.2f} GFLOP a frame" if flops else ""))
    return "\n".join(lines)
