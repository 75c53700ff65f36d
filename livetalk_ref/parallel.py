"""Training on several processes: each takes its rows of every batch, all move one model.

    torchrun --nproc-per-node 2 -m livetalk_ref train teacher

Whole batches are drawn on every rank and cut, and so is their noise: how many ranks there are
changes no draw. Losses are means over all ranks' frames, gradients are averaged over ranks. On
one process every function here is the plain one. B rows of a batch, R ranks.
"""

import atexit
import os

import torch
import torch.distributed as dist

from livetalk_ref.errors import UserError


def join(device):
    """Join the processes that torchrun started, if it did; returns this rank's device."""
    if "WORLD_SIZE" not in os.environ:
        return device
    cuda = torch.device(device).type == "cuda"
    if not dist.is_initialized():
        dist.init_process_group("nccl" if cuda else "gloo")
        atexit.register(dist.destroy_process_group)     # its threads end before Python does
    return f"cuda:{os.environ['LOCAL_RANK']}" if cuda else device


def size():
    """How many ranks train."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank():
    """Which of them this is; 0 writes the files."""
    return dist.get_rank() if dist.is_initialized() else 0


def own():
    """The slice of this rank's rows, of all R B."""
    return slice(rank(), None, size())


def mine(*parts):
    """This rank's rows of tensors or a `Cond`. UserError where ranks would get unequal numbers."""
    if size() == 1:
        return list(parts)
    for part in parts:
        rows = len(part if torch.is_tensor(part) else part.known)
        if rows % size():
            raise UserError(f"A batch of {rows} does not divide among {size()} processes.")
    return [part[own()] for part in parts]


def randn(shape, generator):
    """Normal noise of B own rows: that of all ranks' rows is drawn, and cut."""
    return mine(torch.randn((size() * shape[0], *shape[1:]), generator=generator))[0]


def rand(shape, generator):
    """Uniform numbers of B own rows, drawn as those of `randn`."""
    return mine(torch.rand((size() * shape[0], *shape[1:]), generator=generator))[0]


def randint(high, shape, generator):
    """Whole numbers below `high` of B own rows, drawn as those of `randn`."""
    return mine(torch.randint(high, (size() * shape[0], *shape[1:]), generator=generator))[0]


def mean(total, count):
    """total / count where both are sums over own rows: the mean over all ranks' rows, times R,
    so that gradients which are averaged over ranks are those of one process."""
    if size() == 1:
        return total / count.clamp(min=1)
    everyone = count.detach().clone().to(total.dtype)
    dist.all_reduce(everyone)
    return size() * total / everyone.clamp(min=1)


@torch.no_grad()
def average_gradients(model):
    """Give every rank the mean of all ranks' gradients."""
    if size() == 1:
        return
    found = [p.grad for p in model.parameters() if p.grad is not None]
    whole = torch.cat([gradient.flatten() for gradient in found])
    dist.all_reduce(whole)
    parts = (whole / size()).split([gradient.numel() for gradient in found])
    for gradient, part in zip(found, parts):
        gradient.copy_(part.view_as(gradient))


def over_ranks(value):
    """The mean over ranks of a scalar tensor, as a number."""
    if size() == 1:
        return value.item()
    told = value.detach().clone()
    dist.all_reduce(told)
    return told.item() / size()
