"""AvatarSession: sound in, pictures out, for as long as you like.

A stream is a `State`, a value that every block replaces by a newer one: an old one kept is the
undo. Blocks come from the functions of rollout.py, whatever the sound's chunks, so a stream is
the offline rollout bit for bit. A block needs the sound of all its frames and the look-ahead
of their audio rows, `ahead` video frames (1, 62.5 ms, for those of `world.ear`), no more:

    N samples give b = (N // 1000 - (ahead - 1) + 3) // 12 blocks, and 12 b - 3 frames (b > 0);
    frame i is shown while samples 1000 i .. 1000 i + 999 are heard.

An avatar has `model` (with `read_text`) and `codec`, `text(prompts)` -> (B, L, D), and `audio()`,
which makes the features of a new stream: `ahead`, `push(samples)` -> rows, and a `copy.copy`
that goes its own way. Letters as in flow.py; n audio rows, A audio features. LiveTalk section 4.
"""

from copy import copy
from dataclasses import dataclass, field, replace
from itertools import groupby

import torch

from livetalk_ref.cache import BLOCK, POLICIES, KVCache
from livetalk_ref.errors import UserError
from livetalk_ref.flow import ROWS_PER_LATENT, STUDENT_STEPS, Cond, group_audio
from livetalk_ref.rollout import Block, denoise, draw, remember

AHIS = POLICIES["ahis"]
SAMPLES_PER_FRAME = 1000                    # 16 kHz over 16 frames a second
FRAMES = BLOCK * ROWS_PER_LATENT            # video frames a block, but for the first:
MISSING = ROWS_PER_LATENT - 1               # its first latent frame is one picture
UNDO = 6        # blocks that can be taken back; each costs the memory of one cache


def frames_of(blocks):
    """Video frames in the first so many blocks."""
    return max(0, FRAMES * blocks - MISSING)


def count_blocks(samples, ahead):
    """Blocks that so many samples complete."""
    return max(0, (samples // SAMPLES_PER_FRAME - (ahead - 1) + MISSING) // FRAMES)


def samples_for(blocks, ahead):
    """Samples that complete so many blocks (at least 1)."""
    return (frames_of(blocks) + ahead - 1) * SAMPLES_PER_FRAME


def sound(samples):
    """Any (N,) floats as float32 in [-1, 1] on the CPU. UserError for other shapes and types.

    NaN and infinity become silence, loud samples are cut, each by itself: chunks do not matter.
    """
    samples = torch.as_tensor(samples)
    if samples.ndim != 1 or not samples.is_floating_point():
        raise UserError(f"Sound must be (N,) floats in [-1, 1], 16 kHz mono, not "
                        f"{tuple(samples.shape)} of {samples.dtype}; convert it first.")
    return samples.detach().cpu().float().nan_to_num(0.0, 0.0, 0.0).clamp(-1, 1)


def face(image):
    """Any (3, H, W) floats in [-1, 1] as float32. UserError for all else, NaN and 0 .. 1 too."""
    x = torch.as_tensor(image) if hasattr(image, "dtype") else torch.zeros(0)
    if x.ndim != 3 or len(x) != 3 or not x.numel() or not x.is_floating_point() \
            or not x.abs().max() <= 1 or x.min() >= 0 and 0 < x.mean() < 0.9:
        found = f"{x.dtype} {[*x.shape]}, {x.min():g} .. {x.max():g}" if x.numel() else type(image)
        raise UserError(f"The picture must be (3, H, W) floats in [-1, 1], of which -1 is black, "
                        f"not {found}; portrait.load_portrait makes one of a file.")
    return x.detach().float()


@dataclass(frozen=True)
class Frames:
    """Consecutive video frames, ready to be shown."""

    first: int                  # the number of the first of them
    pictures: torch.Tensor      # in [-1, 1]                                (T, 3, H, W)

    def __len__(self):
        return len(self.pictures)


@dataclass(frozen=True)
class State:
    """Where a stream stands. Nothing in it is ever changed."""

    features: object            # the audio features behind all samples
    rows: torch.Tensor          # audio rows of the block that has begun    (n, A)
    noise: torch.Tensor         # state of the generator
    cache: KVCache
    text: torch.Tensor          # of the latest block                       (1, L, D)
    samples: int = 0            # heard so far, counting silence added by `idle` and `flush`
    spoken: int = 0             # up to the last pushed one
    blocks: int = 0             # made so far
    clean: dict = field(default_factory=dict)   # cached frame: its latent and its audio


@torch.no_grad()
def recache(model, clean, cond, cache):
    """Make the cached frames' keys and values anew under another text (LongLive, Yang et al.
    2025). clean: {frame: (latent (1, 1, C, h, w), audio (1, 1, 4A))}, in order."""
    new = KVCache(cache.policy)
    # Keys hold the old text, for it passed the layers below them: all are made anew,
    # block after block, as the rollout made them, each at its own frame number.
    for _, frames in groupby(clean, key=lambda frame: frame // BLOCK):
        frames = list(frames)
        x0, audio = (torch.cat(parts, dim=1) for parts in zip(*(clean[f] for f in frames)))
        known = torch.tensor([[f == 0 for f in frames]], device=x0.device)
        new = remember(model, x0, replace(cond, audio=audio, known=known),
                       replace(new, now=frames[0]))
    return replace(new, now=cache.now)


class AvatarSession:
    """A talking avatar: `push(samples)` -> `Frames`, in constant memory if the policy has a window.

    image (see `face`) is the reference; generator is the session's own from now on, None for
    seed 0; undo: blocks that an interruption can take back. A call either returns or leaves all
    as it was. UserError for bad pictures, unknown words, and where absolute positions end.
    """

    def __init__(self, avatar, image, prompt, generator=None, policy=AHIS, undo=UNDO):
        image = face(image)
        self.model, self.codec, self.encode = avatar.model, avatar.codec, avatar.text
        # An avatar that says nothing makes 4 steps.
        self.steps = getattr(avatar, "student_steps", STUDENT_STEPS)
        self.device = next(avatar.model.parameters()).device
        self.change_prompt(prompt)
        # The identity: one latent of the image, read by every block (section 3).
        with torch.inference_mode():
            self.ref = self.codec.encode(image[None, None].to(self.device))[:, 0]
        self.no_text = self.read("")
        self.generator = generator or torch.Generator().manual_seed(0)
        self.undo, self.nothing = undo, image[None][:0].float().cpu()
        features = avatar.audio()
        self.ahead, rows = features.ahead, features.push(torch.zeros(0))
        self.state = State(features, rows, self.generator.get_state(), KVCache(policy), self.text)
        self.borders, self.memories = {0: self.state}, {0: None}    # after so many blocks

    def push(self, samples):
        """Hear (N,) samples, see `sound`, and return the frames that are now complete."""
        return self.show(self.hear(sound(samples)))

    def idle(self):
        """Complete the block that has begun with silence: one more block of listening."""
        return self.show(self.rest())

    def flush(self):
        """Silence up to the end of the block in which speech ends; nothing if all is shown."""
        return self.show(self.remainder())

    def change_prompt(self, prompt, recache=False):
        """Another prompt, from the next block on; with `recache` the past is seen under it too."""
        self.use(self.read(prompt), recache)

    def interrupt(self, shown):
        """Take back all that lies behind the block of the last shown frame, sound and pictures.

        shown: how many frames have been shown. Returns how many stay, to the end of that block:
        the next frame has this number, and goes with the next samples. The prompt stays too.
        """
        if not 0 <= shown <= frames_of(self.state.blocks):
            raise UserError(f"{shown} frames cannot have been shown: "
                            f"{frames_of(self.state.blocks)} are made.")
        blocks = -(-(shown + MISSING) // FRAMES) if shown else 0
        if blocks not in self.borders:
            raise UserError(f"Frame {shown} lies too far back: {self.undo} blocks can be taken "
                            f"back; interrupt sooner, or start the session with a larger undo.")
        # A state is a value: going back is taking an older one.
        self.state = self.borders[blocks]
        return frames_of(blocks)

    # What a pipeline does elsewhere and at another time: read, hear, decode.

    def read(self, prompt):
        """A prompt's embedding. UserError for unknown words."""
        return self.encode([prompt]).to(self.device)                     # (1, L, D)

    @torch.inference_mode()
    def use(self, text, recache):
        self.text, self.recache = text, recache
        self.text_keys = self.model.read_text(text)         # once, and not in every pass

    def hear(self, samples, speech=True):
        """Yield a `Block` of clean latents whenever one is complete.

        It counts as made when the next one is asked for: then its clean pass is due.
        """
        while len(samples):
            state = self.state
            end = samples_for(state.blocks + 1, self.ahead)
            n = min(end - state.samples, len(samples))
            # As much sound as completes the block, no more (section 4: 3 latents, 12 frames).
            # Rows are made once, as sound comes: nothing recomputes the past.
            part, samples, heard = samples[:n], samples[n:], state.samples + n
            features = copy(state.features)
            rows = torch.cat([state.rows, features.push(part)])
            state = replace(state, features=features, rows=rows, samples=heard,
                            spoken=heard if speech else state.spoken)
            if heard == end:
                yield from self.make(state)
            else:
                self.state = state

    def rest(self):
        """`hear` silence to the end of the block that has begun."""
        end = samples_for(self.state.blocks + 1, self.ahead)
        yield from self.hear(torch.zeros(end - self.state.samples), speech=False)

    def remainder(self):
        """`hear` silence until every pushed sample has its frame."""
        while frames_of(self.state.blocks) * SAMPLES_PER_FRAME < self.state.spoken:
            yield from self.rest()

    @torch.inference_mode()
    def make(self, state):
        """Yield the block whose rows are complete; then remember it, and so move on."""
        cond, text, cache = self.cond(state), self.text, state.cache
        if self.recache and text is not state.text:
            cache = recache(self.model, state.clean, cond, cache)
        # The noise goes with the state, so a block made again after an undo is the same one.
        self.generator.set_state(state.noise)
        # Four steps without guidance, as in training (section 3.1).
        x0 = denoise(self.model, draw(cond, self.generator, self.steps), cond, cache)
        noise = self.generator.get_state()
        yield Block(state.blocks, x0, cache)
        # Its pictures can be decoded meanwhile (LiveTalk section 4): the clean pass comes last.
        new = zip(x0.split(1, dim=1), cond.audio.split(1, dim=1))
        clean = state.clean | dict(enumerate(new, cache.now))
        cache = remember(self.model, x0, cond, cache)
        self.state = replace(state, rows=state.rows[:0], noise=noise, cache=cache, text=text,
                             blocks=state.blocks + 1, clean={f: clean[f] for f in cache.frames})
        # Old states are the undo; each holds a cache, so only the latest few stay.
        self.borders[self.state.blocks] = self.state
        self.borders.pop(self.state.blocks - self.undo - 1, None)

    def cond(self, state):
        """The condition of the block that has begun: (9 or 12, A) rows, 3 latent frames."""
        # The very first latent frame is the reference: given, one picture, three rows fewer.
        first = state.blocks == 0
        rows = state.rows.to(self.device)
        audio = group_audio(rows[None]) if first else rows.reshape(1, BLOCK, -1)
        known = torch.tensor([[first, *[False] * (BLOCK - 1)]], device=self.device)
        return Cond(self.ref, audio, self.text, known, self.no_text, text_keys=self.text_keys)

    def decode(self, block):
        """All frames of a block."""
        parts = list(self.decode_parts(block))
        return Frames(parts[0].first, torch.cat([p.pictures.float().cpu() for p in parts]))

    def decode_parts(self, block):
        """Yield frames as soon as they are decoded, on the codec's device: the first block latent
        frame by latent frame, for it is waited for. The decoder's state is looked up by the
        block's number, so a block made anew goes on where it began."""
        # The decoder goes on from where the block before left it: a stream has no seams.
        memory, first = self.memories[block.index], frames_of(block.index)
        for z in block.x0.split(getattr(self.codec, "at_once", 1) if block.index else 1, dim=1):
            with torch.inference_mode():
                frames, memory = self.codec.decode_step(z, memory)       # (1, 4F or 1, 3, H, W)
            yield Frames(first, frames[0])
            first += frames.shape[1]
        self.memories[block.index + 1] = memory
        self.memories.pop(block.index - self.undo - 1, None)

    def show(self, blocks):
        """Decode blocks as they come, all or nothing."""
        before = self.state, dict(self.borders), dict(self.memories)
        try:
            pictures = [self.decode(block).pictures for block in blocks]
        except BaseException:
            self.state, self.borders, self.memories = before
            raise
        return Frames(frames_of(before[0].blocks), torch.cat([self.nothing, *pictures]))
