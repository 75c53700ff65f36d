"""Training on several processes: each takes its rows of every batch, all move one model.

    torchrun --nproc-per-node 2 -m livetalk_ref train teacher --shard

Whole batches are drawn on every rank and cut, and so is their noise: how many ranks there are
changes no draw. Losses are means over all ranks' frames, gradients are averaged over ranks. The
parts of an accumulated update are cut as if they were ranks, and made one after the other. On one
process every function here is the plain one. B rows of a batch, R ranks, N parts.

A sharded model keeps on each rank a piece of the first dimension of every weight (FSDP2), and
gathers a block's weights when that block computes. Its weights, gradients and moments are
DTensors, recognised here by their `placements`, since importing the class takes a second.
"""

import atexit
import os
import warnings
from dataclasses import dataclass

import torch
import torch.distributed as dist

from livetalk_ref.errors import UserError


@dataclass
class Setup:
    """How this process trains."""

    shard: bool = False                 # split the models' weights over the ranks
    checkpoint_blocks: bool = False     # compute blocks anew in the backward pass
    accumulate: int = 1                 # parts of an update
    part: int = 0                       # the part under way


setup = Setup()


def join(device, **options):
    """Join the processes that torchrun started, if it did; returns this rank's device.

    options: the fields of `Setup`.
    """
    vars(setup).update(vars(Setup(**options)))
    if "WORLD_SIZE" not in os.environ:
        return device
    cuda = torch.device(device).type == "cuda"
    if not dist.is_initialized():
        dist.init_process_group("nccl" if cuda else "gloo")
        atexit.register(dist.destroy_process_group)     # its threads end before Python does
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    return f"cuda:{os.environ['LOCAL_RANK']}" if cuda else device


def ranks():
    """How many ranks train."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank():
    """Which of them this is; 0 writes the files."""
    return dist.get_rank() if dist.is_initialized() else 0


def size():
    """How many shares a batch is cut into, R N."""
    return ranks() * setup.accumulate


def own():
    """The slice of the rows of this rank's part under way, of all R N B."""
    return slice(rank() * setup.accumulate + setup.part, None, size())


def parts(generator):
    """Make the parts of an update one after the other: each draws from the same generator."""
    start = generator.get_state()
    try:
        for part in range(setup.accumulate):
            setup.part = part
            generator.set_state(start)
            yield part
    finally:
        setup.part = 0


def mine(*batch):
    """This share's rows of tensors or a `Cond`. UserError where shares would be unequal."""
    if size() == 1:
        return list(batch)
    for part in batch:
        rows = len(part if torch.is_tensor(part) else part.known)
        if rows % size():
            raise UserError(f"A batch of {rows} does not divide among {ranks()} processes with "
                            f"{setup.accumulate} parts each; choose divisors of {rows}.")
    return [part[own()] for part in batch]


def randn(shape, generator):
    """Normal noise of B own rows: that of all shares' rows is drawn, and cut."""
    return mine(torch.randn((size() * shape[0], *shape[1:]), generator=generator))[0]


def rand(shape, generator):
    """Uniform numbers of B own rows, drawn as those of `randn`."""
    return mine(torch.rand((size() * shape[0], *shape[1:]), generator=generator))[0]


def randint(high, shape, generator):
    """Whole numbers below `high` of B own rows, drawn as those of `randn`."""
    return mine(torch.randint(high, (size() * shape[0], *shape[1:]), generator=generator))[0]


def mean(total, count):
    """total / count where both are sums over own rows: the mean over all ranks' rows, times R,
    so that gradients which are averaged over ranks are those of one process.

    Parts of an accumulated update are averaged later, exactly where all count as many frames.
    """
    if ranks() == 1:
        return total / count.clamp(min=1)
    everyone = count.detach().clone().to(total.dtype)
    dist.all_reduce(everyone)
    return ranks() * total / everyone.clamp(min=1)


@torch.no_grad()
def average_gradients(model):
    """Give every rank the mean of all ranks' gradients; sharded ones were averaged on the way."""
    found = [p.grad for p in model.parameters() if p.grad is not None and not is_sharded(p.grad)]
    if ranks() == 1 or not found:
        return
    whole = torch.cat([gradient.flatten() for gradient in found])
    dist.all_reduce(whole)
    pieces = (whole / ranks()).split([gradient.numel() for gradient in found])
    for gradient, piece in zip(found, pieces):
        gradient.copy_(piece.view_as(gradient))


def over_ranks(value):
    """The mean over ranks of a scalar tensor, as a number."""
    if ranks() == 1:
        return value.item()
    told = value.detach().clone()
    dist.all_reduce(told)
    return told.item() / ranks()


def agreed(choice):
    """What rank 0 chose, told to all ranks."""
    told = [choice]
    if ranks() > 1:
        dist.broadcast_object_list(told)
    return told[0]


def place(*models):
    """Prepare `WanDiT`s to train as `setup` says, the frozen ones too: blocks computed anew, and
    weights split over the ranks, which one process keeps whole."""
    for model in models:
        for block in model.blocks:
            block.recomputes = setup.checkpoint_blocks
        if sharded():
            from torch.distributed.device_mesh import init_device_mesh
            from torch.distributed.fsdp import fully_shard

            kind = "cuda" if dist.get_backend() == "nccl" else "cpu"
            mesh = init_device_mesh(kind, (ranks(),))
            for block in model.blocks:
                fully_shard(block, mesh=mesh)
            # The rest, too, is gathered anew for each pass: weights move between passes.
            fully_shard(model, mesh=mesh, reshard_after_forward=True)


def sharded():
    """True where models are split over ranks."""
    return setup.shard and ranks() > 1


def is_sharded(tensor):
    """True for a tensor of which each rank holds a piece."""
    return hasattr(tensor, "placements")


def whole(tensor):
    """All of a tensor, gathered on every rank if it is sharded."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor


def pieces(live, tensor):
    """This rank's rows of a sharded tensor, a view, and of a whole one of its shape, cut alike;
    of a `live` one that is not sharded all of both."""
    if not is_sharded(live):
        return live, tensor
    cut = tensor.chunk(ranks())             # the last may be shorter, or not there
    return live.to_local(), cut[rank()] if rank() < len(cut) else tensor[:0]


def gathered(tensors):
    """Whole tensors of a dict, one after the other: on rank 0 in the host's memory; elsewhere
    an empty dict."""
    found = {}
    for name, tensor in tensors.items():
        tensor = whole(tensor)
        if rank() == 0:
            found[name] = tensor.cpu()
    return found


def save_pieces(folder, tensors):
    """Write a dict of tensors, each rank its pieces, as safetensors files of a folder that is not
    there yet and that all ranks see."""
    from torch.distributed import checkpoint
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter

    try:
        checkpoint.save(tensors, storage_writer=HuggingFaceStorageWriter(str(folder),
                                                                         save_distributed=True))
    except checkpoint.CheckpointException as error:
        raise UserError(f"Could not write all of {folder}: make room, or choose a place that all "
                        f"processes can write to.") from error


def fill(live, source):
    """Fill a dict of tensors in place, from whole ones or from a folder that any number of ranks
    wrote. KeyError or RuntimeError where it lacks one, or holds it in another shape."""
    if isinstance(source, dict):
        for name, tensor in live.items():
            rows, given = pieces(tensor, source[name])
            rows.copy_(given)
        return
    from torch.distributed import checkpoint
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader

    try:
        with warnings.catch_warnings():     # of one process, which is what was asked for
            warnings.simplefilter("ignore", UserWarning)
            checkpoint.load(live, no_dist=ranks() == 1,
                            storage_reader=HuggingFaceStorageReader(str(source)))
    except checkpoint.CheckpointException as error:
        raise KeyError(f"{source} holds other tensors") from error
