"""Weights in the forms in which they ship: 16 bits, or 8 bits a number and a scale for every row.

A matrix row is rounded to 127 steps of its largest number, so each weight is off by less than
1 % of the row's size. Vectors and everything small stay in 16 bits.
"""

import torch

SCALE = ".row_scale"        # what the scales of a packed tensor are called
LEAST = 4096                # numbers of a tensor that is worth packing


def half(tensors):
    """Floating tensors as fp16."""
    return {k: v.half() if v.is_floating_point() else v for k, v in tensors.items()}


def eight_bits(tensors):
    """Large matrices as int8 and fp16 scales of their rows (n,), all else as fp16."""
    packed = {}
    for name, value in half(tensors).items():
        if value.is_floating_point() and value.dim() > 1 and value.numel() >= LEAST:
            rows = value.float().flatten(1)                              # (n, m)
            scale = (rows.abs().amax(1) / 127).half().clamp(min=1e-7)    # (n,)
            whole = (rows / scale.float()[:, None]).round().clamp(-127, 127)
            packed[name], packed[name + SCALE] = whole.to(torch.int8).view(value.shape), scale
        else:
            packed[name] = value
    return packed


def unpacked(tensors):
    """Float32 tensors of what `half` or `eight_bits` made; others stay as they are."""
    found = {}
    for name, value in tensors.items():
        if name.endswith(SCALE):
            continue
        found[name] = value.float()
        if name + SCALE in tensors:
            rows = found[name].flatten(1) * tensors[name + SCALE].float()[:, None]
            found[name] = rows.view(value.shape)
    return found
