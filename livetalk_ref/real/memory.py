"""What the released model needs in memory at 512x512, computed.

`python -m livetalk_ref.real.memory` writes data/results/real_memory.json.

Everything runs on the meta device, where tensors have shapes and no content, and a meter adds up
what is alive after every operation: the activations are counted, not estimated. Attention counts
as a fused kernel, which stores no scores; the libraries' own work space is left out.
"""

import weakref

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from livetalk_ref.cache import BLOCK, FULL, KVCache
from livetalk_ref.flow import ROWS_PER_LATENT, Cond
from livetalk_ref.judge.results import write_result
from livetalk_ref.real.text import ROWS
from livetalk_ref.real.vae import PATCH, STRIDE, WanCodec
from livetalk_ref.real.wav2vec import WINDOW, Speech
from livetalk_ref.rollout import remember
from livetalk_ref.stream import AHIS, SAMPLES_PER_FRAME, UNDO
from livetalk_ref.wan import LIVETALK_1P3B, WanDiT

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SIZE = 512                          # pixels a side
GIB = 2 ** 30
CARD, RESERVE = 15.0, 1.0           # GiB of a T4, and what CUDA and fragments take of it
BLOCKS = {"6 s": 8, "60 min": 4800}         # of 12 frames, 0.75 s


class Fused(TorchFunctionMode):
    """Attention as the fused kernels see memory: only its result is stored."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is F.scaled_dot_product_attention:
            query, _, value = args[:3]
            return query.new_empty(*query.shape[:-1], value.shape[-1])
        return function(*args, **(kwargs or {}))


class Meter(TorchDispatchMode):
    """Bytes of all tensors made inside that are alive, and the most there have been.

    What exists before (`known`: modules and tensors) does not count, nor do views of it.
    """

    def __init__(self, *known):
        super().__init__()
        self.now = self.peak = 0
        self.seen = set()
        for thing in known:
            tensors = thing.state_dict().values() if isinstance(thing, torch.nn.Module) else \
                [t for t in tree_leaves(thing) if isinstance(t, torch.Tensor)]
            self.seen |= {t.untyped_storage()._cdata for t in tensors}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self.add(tensor.untyped_storage())
        return out

    def add(self, storage):
        key, size = storage._cdata, storage.nbytes()
        if key not in self.seen:
            self.seen.add(key)
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self.forget, key, size)

    def forget(self, key, size):
        self.seen.discard(key)
        self.now -= size


@torch.no_grad()
def peak(work, *known):
    """The most bytes that `work()` holds at a time beside what is known."""
    with Fused(), Meter(*known) as meter:
        work()
    return meter.peak


def bytes_of(thing):
    """Of a module's state, or of all tensors in nested tuples."""
    tensors = thing.state_dict().values() if isinstance(thing, torch.nn.Module) else \
        tree_leaves(thing)
    return sum(t.numel() * t.element_size() for t in tensors if isinstance(t, torch.Tensor))


def kept_frames(policy, blocks):
    """The latent frames that a cache holds after so many blocks."""
    if policy.window is None:
        return BLOCK * blocks
    frames = []
    for block in range(blocks):
        now = BLOCK * (block + 1)
        frames = [f for f in [*frames, *range(now - BLOCK, now)] if policy.keeps(f, now)]
    return len(frames)


def cache_bytes(config, tokens, frames, dtype):
    """Keys and values of so many latent frames in every layer, one clip."""
    return config.layers * 2 * frames * tokens * config.dim * dtype.itemsize


def example(config, dtype, size):
    """A block's latents and condition, and a cache that is full, without content."""
    side, frames = size // STRIDE, kept_frames(AHIS, 2 * BLOCK)
    tokens = (side // PATCH) ** 2
    empty = torch.empty
    cond = Cond(empty(1, 16, side, side, dtype=dtype),
                empty(1, BLOCK, ROWS_PER_LATENT * config.audio_dim, dtype=dtype),
                empty(1, ROWS, config.text_dim, dtype=dtype), empty(1, BLOCK, dtype=torch.bool),
                empty(1, ROWS, config.text_dim, dtype=dtype))
    shape = 1, config.heads, frames, tokens, config.dim // config.heads
    layers = tuple((empty(shape, dtype=dtype), empty(shape, dtype=dtype))
                   for _ in range(config.layers))
    cache = KVCache(AHIS, layers, (*range(AHIS.sinks), *range(300 - AHIS.window, 300)), 300)
    return empty(1, BLOCK, 16, side, side, dtype=dtype), cond, cache


def measure(config, dtype, size, vae, speech):
    """Bytes of one session's parts in steady state: what is held, and what each phase adds."""
    with torch.device("meta"):
        model = WanDiT(config).to(dtype)
        codec = WanCodec(vae().to(dtype))
        ears = Speech(speech(), dtype)
        x, cond, cache = example(config, dtype, size)
        sigma, picture = torch.empty(1, BLOCK, dtype=dtype), torch.empty(1, 1, 3, size, size)
        with torch.no_grad():
            _, memory = codec.decode_step(x[:, :1])
            _, memory = codec.decode_step(x[:, :1], memory)
            model(x, sigma, cond, cache=cache)              # its table of rotations is kept
        everything = model, codec, vars(cond), x, sigma, picture, cache.layers, memory
        sound = torch.empty((WINDOW - 1) * SAMPLES_PER_FRAME)
        phases = {
            "denoise": peak(lambda: model(x, sigma, cond, cache=cache), *everything),
            "remember": peak(lambda: remember(model, x, cond, cache), *everything),
            "decode": peak(lambda: codec.decode_step(x[:, :1], memory), *everything),
            "encode": peak(lambda: codec.encode(picture), *everything),
            "hear": peak(lambda: ears(sound, WINDOW), ears.model, sound)}
    held = {"dit": bytes_of(model), "vae": bytes_of(codec), "speech": bytes_of(ears.model),
            "text": bytes_of([cond.text, cond.no_text]), "cache": bytes_of(cache.layers),
            "vae_state": bytes_of(memory)}
    return held, phases


def full_vae():
    from diffusers import AutoencoderKLWan
    return AutoencoderKLWan().eval()


def full_speech():
    from transformers import Wav2Vec2Config, Wav2Vec2Model
    return Wav2Vec2Model(Wav2Vec2Config()).eval()


def umt5_parameters():
    """Of umT5-xxl's encoder, which a saved prompt leaves out."""
    from transformers import UMT5Config, UMT5EncoderModel
    with torch.device("meta"):
        model = UMT5EncoderModel(UMT5Config(vocab_size=256384, d_model=4096, d_kv=64, d_ff=10240,
                                            num_layers=24, num_heads=64))
    return sum(p.numel() for p in model.parameters())


def gib(value):
    return round(value / GIB, 3)


def row(name, held, phases):
    """A line of the table, in GiB. The total is one session without undo; `undo` is what each
    block that can be taken back adds."""
    most = max(phases, key=phases.get)
    total = sum(held.values()) + phases[most]
    return {"dtype": name, "size": SIZE, **{key: gib(value) for key, value in held.items()},
            **{f"+ {key}": gib(value) for key, value in phases.items()}, "worst phase": most,
            "total": gib(total), f"total, undo {UNDO}": gib(total + UNDO * held["cache"]),
            "measured": "not measured"}


def lengths(config, size, dtype):
    """A stream's cache after 6 seconds and after an hour, under the window and without one."""
    tokens = (size // STRIDE // PATCH) ** 2
    rows = []
    for name, policy in (("ahis", AHIS), ("full", FULL)):
        sizes = {label: cache_bytes(config, tokens, kept_frames(policy, blocks), dtype)
                 for label, blocks in BLOCKS.items()}
        rows.append({"policy": name} | {label: gib(value) for label, value in sizes.items()})
    return rows


def main():
    rows = []
    for name, dtype in DTYPES.items():
        rows.append(row(name, *measure(LIVETALK_1P3B, dtype, SIZE, full_vae, full_speech)))
        print(rows[-1], flush=True)
    t4 = rows[-1]["total"]
    rows += lengths(LIVETALK_1P3B, SIZE, torch.float16)
    rows.append({"card": "T4", "GiB": CARD, "reserve": RESERVE, "dtype": "fp16", "total": t4,
                 "fits": t4 <= CARD - RESERVE, "umT5 left out": gib(2 * umt5_parameters())})
    print(write_result("real_memory", "python -m livetalk_ref.real.memory", rows))


if __name__ == "__main__":
    main()
