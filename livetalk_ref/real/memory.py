"""What the released model needs in memory at 512x512, computed.

`python -m livetalk_ref.real.memory` writes data/results/real_memory.json.

Everything runs on the meta device, where tensors have shapes and no content, and a meter adds up
what is alive after every operation: nothing is estimated. The total is that of an `AvatarSession`
that streams there. Attention counts as a fused kernel, which stores no scores; the libraries' own
work space is left out.
"""

import weakref
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from livetalk_ref.cache import BLOCK, FULL, KVCache
from livetalk_ref.errors import run_program
from livetalk_ref.flow import ROWS_PER_LATENT, Cond
from livetalk_ref.judge import results
from livetalk_ref.real.text import ROWS
from livetalk_ref.real.vae import PATCH, STRIDE, WanCodec
from livetalk_ref.real.wav2vec import WINDOW, Speech, SpeechStream
from livetalk_ref.rollout import remember
from livetalk_ref.stream import (AHIS, FRAMES, SAMPLES_PER_FRAME, UNDO, AvatarSession,
                                 samples_for)
from livetalk_ref.wan import LIVETALK_1P3B, WanDiT, rope_table

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SIZE = 512                          # pixels a side
GIB = 2 ** 30
CARDS = {"T4": ("fp16", 14.7), "L4, RTX 4090": ("bf16", 22.0), "A100 40 GB": ("bf16", 39.4),
         "A100, H100 80 GB": ("bf16", 79.0)}        # GiB that PyTorch finds on them
RESERVE = 1.0                       # GiB that CUDA and fragments take of a card
BLOCKS = {"6 s": 8, "60 min": 4800}         # of 12 frames, 0.75 s
STEADY = 2 * BLOCK + 1              # blocks after which a stream that keeps no past grows no more
NOT = "not measured"


class Fused(TorchFunctionMode):
    """Attention as the fused kernels see memory: only its result is stored. Pictures that leave
    the meta device are black."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is F.scaled_dot_product_attention:
            query, _, value = args[:3]
            return query.new_empty(*query.shape[:-1], value.shape[-1])
        if function is torch.Tensor.cpu and args[0].is_meta:
            return torch.zeros(args[0].shape)
        return function(*args, **(kwargs or {}))


class Meter(TorchDispatchMode):
    """Bytes of all tensors made inside that are alive, and the most there have been.

    What exists before (`known`: modules and tensors) does not count, nor do views of it, nor
    what is elsewhere than on a device that is named.
    """

    def __init__(self, *known, device=None):
        super().__init__()
        self.device = device
        self.now = self.peak = 0
        self.seen = set()
        for thing in known:
            tensors = thing.state_dict().values() if isinstance(thing, torch.nn.Module) else \
                [t for t in tree_leaves(thing) if isinstance(t, torch.Tensor)]
            self.seen |= {t.untyped_storage()._cdata for t in tensors}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor) and self.device in (None, tensor.device.type):
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
def peak(work, *known, device=None):
    """The most bytes that `work()` holds at a time beside what is known."""
    with Fused(), Meter(*known, device=device) as meter:
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


def stream_peak(model, codec, ears, size, undo=0, device="meta"):
    """The most bytes that a session holds beside its weights on a device, None for everywhere,
    its sound pushed block by block."""
    def text(prompts):
        return torch.empty(len(prompts), ROWS, model.config.text_dim, dtype=codec.dtype,
                           device=ears.device)

    def stream():
        avatar = SimpleNamespace(model=model, codec=codec, text=text,
                                 audio=lambda: SpeechStream(ears))
        session = AvatarSession(avatar, torch.zeros(3, size, size), "", undo=undo)
        session.push(torch.zeros(samples_for(1, session.ahead)))
        for _ in range(STEADY + undo - 1):
            session.push(torch.zeros(FRAMES * SAMPLES_PER_FRAME))
        assert session.state.blocks == STEADY + undo

    rope_table.cache_clear()                                # of earlier work, or it would be free
    return peak(stream, model, codec, ears.model, device=device)


def without_content(config, dtype, vae, speech):
    """A session's parts on the meta device: DiT, codec, speech."""
    with torch.device("meta"):
        return WanDiT(config).to(dtype), WanCodec(vae().to(dtype)), Speech(speech(), dtype)


def measure(model, codec, ears, size):
    """Bytes of a session's parts in steady state: what is held, and what each phase adds."""
    dtype = codec.dtype
    with torch.device("meta"):
        x, cond, cache = example(model.config, dtype, size)
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


def measured(name):
    """The most that a session really held on a GPU, in GiB, if real/gpu.py has run on one and its
    file is in data/results."""
    if name != "bf16" or not (results.RESULTS / "real_gpu.json").is_file():
        return NOT
    stages = results.read_result("real_gpu")["cost"]["stages"]
    return next((stage["peak_gib"] for stage in stages
                 if stage["stage"] == "session" and "peak_gib" in stage), NOT)


def row(name, held, phases, stream):
    """A line of the table, in GiB. The total is a session that can take nothing back; `each undo`
    is what every block adds that can be: a cache, and a state of the autoencoder."""
    total = held["dit"] + held["vae"] + held["speech"] + stream
    return {"dtype": name, "size": SIZE, **{key: gib(value) for key, value in held.items()},
            **{f"+ {key}": gib(value) for key, value in phases.items()},
            "working": gib(total - sum(held.values())), "total": gib(total),
            "each undo": gib(held["cache"] + held["vae_state"]), "measured": measured(name)}


def cards(table):
    """For every card the most blocks that a session can take back there, None if none fits."""
    rows = []
    for card, (dtype, size) in CARDS.items():
        line = next(line for line in table if line["dtype"] == dtype)
        room = size - RESERVE - line["total"]
        rows.append({"card": card, "GiB": size, "reserve": RESERVE, "dtype": dtype, "total":
                     line["total"], "fits": room >= 0,
                     "undo": int(min(room // line["each undo"], UNDO)) if room >= 0 else None})
    return rows


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
    table = []
    for name, dtype in DTYPES.items():
        parts = without_content(LIVETALK_1P3B, dtype, full_vae, full_speech)
        table.append(row(name, *measure(*parts, SIZE), stream_peak(*parts, SIZE)))
        print(table[-1], flush=True)
    rows = [*table, *lengths(LIVETALK_1P3B, SIZE, torch.float16), *cards(table),
            {"text encoder": "umT5-xxl in bf16, not needed with a saved prompt",
             "GiB": gib(2 * umt5_parameters())}]
    print(results.write_result("real_memory", "python -m livetalk_ref.real.memory", rows))


if __name__ == "__main__":
    run_program(main)
