"""Muon: the optimiser of hidden matrices, all those of one shape turned together."""

import torch

from livetalk_ref import parallel
from livetalk_ref.device import best_precision

MOMENTUM = 0.95
STEPS = 5                                   # of Newton-Schulz, and its coefficients
COEFFICIENTS = 3.4445, -4.775, 2.0315


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024) for matrices and for convolutions, a kernel (out, in, h, w)
    being the matrix (out, in h w).

    The many small matrices of a transformer take half the time when those of one shape are
    turned together; newer versions of PyTorch have a Muon that turns one after the other.
    """

    def __init__(self, weights, lr, weight_decay=0.1):
        super().__init__(weights, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        group, shapes = self.param_groups[0], {}
        for weight in group["params"]:
            shapes.setdefault(as_matrix(weight, weight).shape, []).append(weight)
        for shape, weights in shapes.items():
            self.turn(group, shape, weights)

    def turn(self, group, shape, weights):
        """One update of all weights whose matrices have a shape. Sharded ones are gathered for it,
        turned on every rank, and each moves its own rows."""
        heading = []
        for weight in weights:
            gradient = as_matrix(weight.grad, weight)
            past = self.state[weight].setdefault("momentum_buffer", torch.zeros_like(gradient))
            past.lerp_(gradient, 1 - MOMENTUM)
            heading.append(parallel.whole(gradient.lerp(past, MOMENTUM)))    # Nesterov
        updates = orthogonalise(torch.stack(heading))
        # Tall matrices move further, so that every output changes alike.
        rate = group["lr"] * max(1, shape[0] / shape[1]) ** 0.5
        for weight, update in zip(weights, updates):
            matrix, update = parallel.pieces(as_matrix(weight, weight), update)     # a view
            matrix.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=rate)


def orthogonalise(x):
    """Matrices (n, a, b) with all their singular values brought near 1 (Newton-Schulz), in bf16
    where the device multiplies it: elsewhere that takes twenty times as long as float32."""
    a, b, c = COEFFICIENTS
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    x = x.bfloat16() if best_precision(x.device) == "bf16" else x
    for _ in range(STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).float()


def as_matrix(values, weight):
    """The values of a weight as a matrix with one row for each output; of the weight, a view."""
    if weight.ndim == 4 and not weight.is_contiguous():
        values = values.permute(0, 2, 3, 1)                 # as channels-last kernels lie
    return values.flatten(1)
