"""Numbers that say how good generated clips are, each with unit and better direction.

Frames (T, 3, H, W) in [-1, 1]; a batch of clips is (B, T, 3, H, W). Readings come from the
face reader. The first frames are left out where the reference still rules: see SETTLED.
"""

import torch

SETTLED = 16      # frames after a prompt begins, before its expression is judged
VOICED = 0.05     # a clip whose mouth moves less than this (standard deviation) is silent


def correlation(a, b):
    """Pearson correlation of two tracks (T,); higher is better, 1 at most."""
    a, b = a - a.mean(), b - b.mean()
    return (a @ b / (a.norm() * b.norm() + 1e-9)).item()


def mouth_correlation(read, truth, start=4):
    """Read against true mouth column, (T,) each, without the first frames; None when silent."""
    read, truth = read[start:].float(), truth[start:].float()
    return correlation(read, truth) if truth.std() > VOICED else None


def sharpness(frames):
    """Mean absolute difference of neighbouring pixels, in 1/255; close to truth's is best."""
    x = frames.float() * 127.5
    return (x.diff(dim=-1).abs().mean() + x.diff(dim=-2).abs().mean()).item()


def unrest(frames, still):
    """Typical flicker of still places, in 1/255; lower is better.

    frames (T, 3, H, W), still (H, W) bool. The median over time of each pixel's change from
    frame to frame, so that a hand passing by does not count, averaged over the still places.
    """
    change = frames[1:].float().diff(dim=0).abs().mean(1) * 127.5        # (T - 2, H, W)
    return change.median(dim=0).values[still].mean().item()


def still_places(frames, tolerance=0.5):
    """Where rendered truth (T, 3, H, W) never changes by more than `tolerance` / 255: (H, W)."""
    span = frames.amax(0) - frames.amin(0)
    return (span.amax(0) * 127.5) < tolerance


def frechet(a, b):
    """Fréchet distance of two sets of features (N, D), (M, D); lower is better, 0 at best.

    |mu_a - mu_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)) on the features of our own reader, so it
    is no FID (Heusel et al. 2017) and compares only with itself.
    """
    a, b = a.double(), b.double()
    ca, cb = torch.cov(a.T), torch.cov(b.T)
    values, vectors = torch.linalg.eigh(ca)
    root = vectors @ torch.diag(values.clamp(min=0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cb @ root).clamp(min=0).sqrt().sum()
    gap = (a.mean(0) - b.mean(0)).square().sum()
    return (gap + ca.trace() + cb.trace() - 2 * cross).item()


def bootstrap(values, draws=1000, seed=0):
    """Mean of per-clip values and its 95 % interval: (mean, low, high)."""
    x = torch.tensor([v for v in values if v is not None], dtype=torch.float64)
    g = torch.Generator().manual_seed(seed)
    means = x[torch.randint(len(x), (draws, len(x)), generator=g)].mean(1)
    low, high = means.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return x.mean().item(), low, high
