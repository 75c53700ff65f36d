"""Speed on a GPU: parts compiled, and passes of the DiT as CUDA graphs, so that the host no longer
launches every kernel anew."""

from dataclasses import replace
from itertools import chain

import torch
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map_only

from livetalk_ref.cache import KVCache
from livetalk_ref.wan import rope_table, rotate


def compile_parts(model, codec, **how):
    """Compile a DiT's blocks and the decoder of released weights at their first calls, which then
    take minutes; where there is no compiler they run as they are. how: of torch.compile."""
    torch._dynamo.config.recompile_limit = 32           # one for every length of the cache
    torch._dynamo.config.suppress_errors = True         # what does not compile stays
    for part in (*model.blocks, getattr(codec, "vae", codec).decoder):
        part.compile(**how)


def capture(run, pool):
    """The replay of run() as a CUDA graph, and what run returned, which each replay writes anew."""
    side, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):               # libraries set themselves up outside
        run(), run()
    torch.cuda.current_stream().wait_stream(side)
    with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
        made = run()
    return graph.replay, made


class Captured:
    """A graph of one shape of pass, with the memory of its inputs and outputs."""

    def __init__(self, model, x, sigma, cond, cache, pool):
        self.own = tree_map_only(torch.Tensor, torch.clone, [x, sigma.float(), vars(cond)])
        self.read = cond.text_keys
        x, sigma, fields = self.own
        c, (h, w) = model.config, (side // model.config.patch for side in x.shape[3:])
        self.tokens, self.place = x.shape[1] * h * w, (h, w, c.dim // c.heads, x.device)
        # A pass reads keys at their places and values alone: a cache's other keys have no copy.
        self.past = [[t.clone() for t in pair] for pair in self.look_back(cache)]
        layers = tuple((v.unflatten(2, (len(cache.frames), -1)),) * 2 for _, v in self.past)
        self.last, held = cache, KVCache(cache.policy, layers, cache.frames, cache.now)
        held.room.update({(i, self.tokens): k for i, (k, _) in enumerate(self.past)})
        cond = replace(cond, **fields)
        self.replay, (self.v, self.new) = capture(lambda: model(x, sigma, cond, cache=held), pool)

    def look_back(self, cache):
        """Yield a layer's keys, at their places, and values of a cache, layer by layer."""
        before = rope_table(cache.positions(self.own[0].shape[1]), *self.place)[:-self.tokens]
        for layer in range(len(cache.layers)):
            yield cache.read(layer, self.tokens, lambda keys: rotate(keys, before))
            cache.room.clear()              # a graph has a memory of its own

    def __call__(self, x, sigma, cond, cache):
        known = {"text_keys": None} if cond.text_keys is self.read else {}     # once a prompt
        pairs = zip(*(filter(torch.is_tensor, tree_leaves([x, sigma, fields | known]))
                      for x, sigma, fields in (self.own, (x, sigma, vars(cond)))))
        self.read = cond.text_keys
        if cache is not self.last:                  # once a block, not once a step
            held = zip(self.past, self.look_back(cache))
            pairs, self.last = chain(pairs, (p for both in held for p in zip(*both))), cache
        for to, source in pairs:
            to.copy_(source)
        self.replay()
        return self.v.clone(), [[t.clone() for t in pair] for pair in self.new]


class Graphed(nn.Module):
    """A `WanDiT` that runs as CUDA graphs behind a cache with relative positions, and else plainly.

    Two shapes of pass are captured: a stream's first block, and those behind a full cache, for the
    blocks between come once. The numbers are the model's.
    """

    def __init__(self, model):
        super().__init__()
        self.model, self.config, self.made, self.pool = model, model.config, {}, None
        self.read_text = model.read_text

    @torch.inference_mode()         # inputs that were captured in it can be written in it alone
    def forward(self, x, sigma, cond, cache=None, mask=None):
        policy, held = cache and cache.policy, cache and len(cache.frames)
        if cache is None or mask is not None or not policy.relative or policy.window is None \
                or held not in (0, policy.sinks + policy.window):
            return self.model(x, sigma, cond, cache=cache, mask=mask)
        key = x.shape, held, cond.text.shape, cond.text_keys is None
        if key not in self.made:
            self.pool = self.pool or torch.cuda.graph_pool_handle()         # of both
            self.made[key] = Captured(self.model, x, sigma, cond, cache, self.pool)
        return self.made[key](x, sigma, cond, cache)
