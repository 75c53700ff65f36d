"""A pass of the DiT as one CUDA graph: no launch from Python, for shapes that come again.

A session with a window sees few shapes: a cache of 0, 3, .. 15 latent frames. Each is captured
once, with inputs of its own that the next call overwrites.
"""

from dataclasses import replace

import torch
from torch import nn

from livetalk_ref.cache import KVCache


def parts(cond):
    """Every tensor of a `Cond`, the text's keys and values last."""
    own = [v for v in vars(cond).values() if torch.is_tensor(v)]
    return own, [t for pair in cond.text_keys or () for t in pair]


class Captured:
    """The graph of one shape, with the memory of its inputs and outputs."""

    def __init__(self, model, x, sigma, cond, cache):
        keys = cond.text_keys and tuple(tuple(t.clone() for t in pair) for pair in cond.text_keys)
        self.cond, self.read = replace(cond.map(torch.clone), text_keys=keys), cond.text_keys
        self.x, self.sigma = x.clone(), sigma.clone()
        layers = tuple(tuple(t.clone() for t in pair) for pair in cache.layers)
        self.cache, self.last = KVCache(cache.policy, layers, cache.frames, cache.now), cache
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):               # libraries set themselves up outside
            for _ in range(2):
                self.model_pass(model)
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            self.v, self.new = self.model_pass(model)

    def model_pass(self, model):
        return model(self.x, self.sigma, self.cond, cache=self.cache)

    def __call__(self, x, sigma, cond, cache):
        self.x.copy_(x)
        self.sigma.copy_(sigma)
        (mine, my_keys), (theirs, keys) = parts(self.cond), parts(cond)
        for to, source in zip(mine, theirs):
            to.copy_(source)
        if cond.text_keys is not self.read:         # another prompt
            for to, source in zip(my_keys, keys):
                to.copy_(source)
            self.read = cond.text_keys
        if cache is not self.last:                  # once a block, not once a step
            for mine, theirs in zip(self.cache.layers, cache.layers):
                for to, source in zip(mine, theirs):
                    to.copy_(source)
            self.last = cache
        self.graph.replay()
        return self.v.clone(), [[t.clone() for t in pair] for pair in self.new]


class Graphed(nn.Module):
    """A `WanDiT` that runs as CUDA graphs behind a cache with relative positions, and else plainly.

    The same numbers as the model, in the same memory for every call of a shape.
    """

    def __init__(self, model):
        super().__init__()
        self.model, self.config, self.made = model, model.config, {}
        self.read_text = model.read_text

    @torch.inference_mode()         # inputs that were captured in it can be written in it alone
    def forward(self, x, sigma, cond, cache=None, mask=None):
        if cache is None or mask is not None or not cache.policy.relative:
            return self.model(x, sigma, cond, cache=cache, mask=mask)
        key = tuple(x.shape), len(cache.frames), tuple(cond.text.shape), cond.text_keys is None
        if key not in self.made:
            self.made[key] = Captured(self.model, x, sigma, cond, cache)
        return self.made[key](x, sigma, cond, cache)
