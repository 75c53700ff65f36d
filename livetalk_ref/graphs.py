"""Passes of the DiT as CUDA graphs: the host no longer launches every kernel anew."""

from dataclasses import replace

import torch
from torch import nn

from livetalk_ref.cache import KVCache


class Captured:
    """A graph of one shape of pass, with the memory of its inputs and outputs."""

    def __init__(self, model, x, sigma, cond, cache):
        keys = cond.text_keys and tuple(tuple(t.clone() for t in pair) for pair in cond.text_keys)
        self.cond, self.read = replace(cond.map(torch.clone), text_keys=keys), cond.text_keys
        self.x, self.sigma = x.clone(), sigma.float().clone()
        layers = tuple(tuple(t.clone() for t in pair) for pair in cache.layers)
        self.cache, self.last = KVCache(cache.policy, layers, cache.frames, cache.now), cache
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):               # libraries set themselves up outside
            for _ in range(2):
                self.run(model)
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            self.v, self.new = self.run(model)

    def run(self, model):
        """The pass that is captured, on the graph's own inputs."""
        return model(self.x, self.sigma, self.cond, cache=self.cache)

    def __call__(self, x, sigma, cond, cache):
        pairs = [(self.x, x), (self.sigma, sigma)]
        pairs += [(to, vars(cond)[k]) for k, to in vars(self.cond).items() if torch.is_tensor(to)]
        if cond.text_keys is not self.read:         # another prompt
            pairs += [p for both in zip(self.cond.text_keys, cond.text_keys) for p in zip(*both)]
            self.read = cond.text_keys
        if cache is not self.last:                  # once a block, not once a step
            pairs += [p for both in zip(self.cache.layers, cache.layers) for p in zip(*both)]
            self.last = cache
        for to, source in pairs:
            to.copy_(source)
        self.graph.replay()
        return self.v.clone(), [[t.clone() for t in pair] for pair in self.new]


class Graphed(nn.Module):
    """A `WanDiT` that runs as CUDA graphs behind a cache with relative positions, and else plainly.

    A session with a window sees few shapes, a cache of 0, 3, .. 15 latent frames: each is captured
    once. The numbers are the model's.
    """

    def __init__(self, model):
        super().__init__()
        self.model, self.config, self.made = model, model.config, {}
        self.read_text = model.read_text

    @torch.inference_mode()         # inputs that were captured in it can be written in it alone
    def forward(self, x, sigma, cond, cache=None, mask=None):
        if cache is None or mask is not None or not cache.policy.relative:
            return self.model(x, sigma, cond, cache=cache, mask=mask)
        key = x.shape, len(cache.frames), cond.text.shape, cond.text_keys is None
        if key not in self.made:
            self.made[key] = Captured(self.model, x, sigma, cond, cache)
        return self.made[key](x, sigma, cond, cache)
