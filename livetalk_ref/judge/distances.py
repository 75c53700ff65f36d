"""How far a set of clips is from a set of true ones, on the features of our own face reader.

Twice two numbers: of single frames and of whole clips, the Fréchet distance of two Gaussians and
the kernel distance, which has no bias by few clips. The features are no Inception's and no
I3D's, so these are no FID, FVD or KID and compare only with themselves. Letters: N clips, T
frames, M samples a clip, D features. Clip i of both sets may share its condition.
"""

import torch

from livetalk_ref.errors import UserError
from livetalk_ref.judge.stats import Comparison, edges, picks

START = 8                       # before this frame the reference still shows through
USED = slice(START, None, 4)    # frames that count as samples: neighbours say the same twice
STRONGEST = 10                  # directions whose course through a clip counts
DRAWS = 200


def frame_samples(features):
    """Features (N, T, 32) of all frames -> samples (N, M, 32) of single pictures."""
    return features[:, USED]


def clip_samples(features):
    """Features (N, T, 32) of all frames -> one sample a clip, (N, 1, 30).

    Of each of the 10 strongest directions its mean, its spread over time and the size of its
    steps from frame to frame, which alone tell a restless clip from a calm one.
    """
    x = features[:, START:, :STRONGEST]                                 # (N, T - 8, 10)
    steps = x.diff(dim=1).square().mean(1).sqrt()
    return torch.cat([x.mean(1), x.std(1), steps], 1)[:, None]          # (N, 1, 30)


def standardise(samples, truth):
    """Samples (N, M, D) in standard deviations of the truth, so that all D count alike."""
    flat = truth.flatten(0, 1)
    return (samples - flat.mean(0)) / flat.std(0).clamp(min=1e-6)


def frechet(a, b):
    """Fréchet distance of two sets of features (N, D), (M, D); lower is better, 0 at best.

    |mu_a - mu_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)), the formula of the FID (Heusel et al.
    2017). Few samples make it larger.
    """
    a, b = a.double(), b.double()
    ca, cb = torch.cov(a.T), torch.cov(b.T)
    values, vectors = torch.linalg.eigh(ca)
    root = vectors @ torch.diag(values.clamp(min=0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cb @ root).clamp(min=0).sqrt().sum()
    gap = (a.mean(0) - b.mean(0)).square().sum()
    return (gap + ca.trace() + cb.trace() - 2 * cross).item()


def kernel_pairs(a, b):
    """The terms of the squared maximum mean discrepancy for every pair of clips: (N, N).

    a, b (N, M, D). The kernel is the KID's, (x . y / D + 1)^3 (Binkowski et al. 2018); samples
    are centred on truth b and divided by its size, which features of ours do not have by nature.
    """
    b, a = b.double(), a.double()
    centre = b.mean((0, 1))
    size = (b - centre).square().mean().sqrt()
    a, b = (a - centre) / size, (b - centre) / size

    def likeness(x, y):
        """Mean kernel between all samples of two clips: (N, N)."""
        dots = x.flatten(0, 1) @ y.flatten(0, 1).T / x.shape[-1]        # (N M, N M)
        return ((dots + 1) ** 3).unflatten(1, y.shape[:2]).mean(2) \
            .unflatten(0, x.shape[:2]).mean(1)

    cross = likeness(a, b)
    return likeness(a, a) + likeness(b, b) - cross - cross.T


def kernel_distance(pairs, some=None):
    """The unbiased mean over pairs (N, N) of different clips (Gretton et al. 2012, eq. 4).

    It leaves out what clip i of one set has in common with clip i of the other, their condition.
    some: the clips of a bootstrap draw, (N,); else all, once each.
    """
    some = torch.arange(len(pairs)) if some is None else some
    other = some[:, None] != some                                       # (N, N)
    return (pairs[some][:, some] * other).sum().item() / max(1, other.sum().item())


def views(features, truth):
    """What is compared, (N, T, 32) each: names with samples (N, M, D) of clips and of truth."""
    yield "", frame_samples(features), frame_samples(truth)
    clips, true = clip_samples(features), clip_samples(truth)
    yield "clip ", standardise(clips, true), standardise(true, true)


def resampled(features, truth, draws=DRAWS, seed=0):
    """All distances and their bootstrap draws: {name: (value, (draws,) around it)}.

    features, truth (N, T, 32). UserError for sets of different sizes or of one clip.
    """
    if len(features) != len(truth) or len(truth) < 2:
        raise UserError(f"Distances need as many clips as true ones, two at least, not "
                        f"{len(features)} and {len(truth)}.")
    drawn, found = picks(len(truth), draws, seed), {}
    for name, a, b in views(features, truth):
        pairs = kernel_pairs(a, b)
        found[f"{name}frechet"] = around(
            frechet(a.flatten(0, 1), b.flatten(0, 1)),
            [frechet(a[some].flatten(0, 1), b[some].flatten(0, 1)) for some in drawn])
        found[f"{name}kernel"] = around(kernel_distance(pairs),
                                        [kernel_distance(pairs, some) for some in drawn])
    return found


def around(value, draws):
    """The draws moved to have the value as their mean: a draw repeats clips, and fewer different
    clips are farther from anything."""
    draws = torch.tensor(draws, dtype=torch.float64)
    return value, draws + value - draws.mean()


def distances(features, truth, draws=DRAWS, seed=0):
    """All distances of clips to true ones, with 95 % intervals: {name: (value, low, high)}.

    features, truth (N, T, 32) of all frames. The floor is that of a second, disjoint set of
    truth of as many clips; there a bootstrap interval is about twice too wide, farther away it
    is right. UserError for sets of different sizes or of one clip.
    """
    return {name: (value, *edges(again))
            for name, (value, again) in resampled(features, truth, draws, seed).items()}


def compare_distances(a, b, truth, draws=DRAWS, seed=0):
    """Is model A nearer to the truth than B, on the same draws of clips? {name: Comparison}.

    a, b, truth (N, T, 32).
    """
    ours, theirs = (resampled(x, truth, draws, seed) for x in (a, b))
    return {name: Comparison.of(ours[name][0] - theirs[name][0],
                                ours[name][1] - theirs[name][1], "lower") for name in ours}


def diversity(features):
    """How different clips of ONE condition and different seeds are: the mean distance of their
    features frame by frame. features (K, T, 32) of K seeds, two at least."""
    x = features[:, START:]
    one, other = torch.triu_indices(len(x), len(x), 1)
    return (x[one] - x[other]).norm(dim=-1).mean().item()
