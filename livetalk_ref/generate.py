"""Speech, a picture and a prompt to video: a model at work, window after window; `Pipeline`.

A teacher's window is 21 latent frames. The first one starts from the reference picture, every
later one from the last 4 latent frames of the window before, given clean. A student's window is
a block of 3 latent frames behind the cache of those before. Sound, noise and decoding go forward
only, so memory does not grow with the length and a longer sound leaves the windows before its
end as they were. Letters as in flow.py; A audio features.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain
from queue import SimpleQueue

import torch

from livetalk_ref.cache import BLOCK, Policy
from livetalk_ref.errors import UserError
from livetalk_ref.flow import (ROWS_PER_LATENT, STUDENT_STEPS, TEACHER_STEPS, Cond, Guidance, euler,
                               group_audio)
from livetalk_ref.media import SCALE, movie
from livetalk_ref.stream import FRAMES, MISSING, AvatarSession, face, frames_of, sound
from livetalk_ref.world import text
from livetalk_ref.world.ear import AudioFeatures
from livetalk_ref.world.latents import OVERLAP, WINDOW
from livetalk_ref.world.prompts import keep_known_words, list_words
from livetalk_ref.world.state import FPS, SAMPLES_PER_FRAME, SIZE

TEXT_WEIGHT, AUDIO_WEIGHT = 1.0, 2.0    # more for text shows in faces that melt
GUIDANCE = Guidance(TEXT_WEIGHT, AUDIO_WEIGHT)
PLAIN = Guidance()
SAMPLERS = ("euler", "rollout")     # of teachers, of students: the fact "sampler" of their files
FRESH = WINDOW - OVERLAP       # latent frames that a later window adds
KEPT = Policy(BLOCK, WINDOW - 2 * BLOCK)    # a student reads no more frames than in training


def drawn_audio(clip=None, frames=None):
    """Audio features of a new stream; that its clip is known beforehand changes nothing."""
    return AudioFeatures()


def known_words(prompt):
    """What of a prompt the drawn world's text encoder can read."""
    return keep_known_words(prompt)[0]


@dataclass(frozen=True)
class Avatar:
    """A generator with all it needs: DiT, codec, encoders, and how it is sampled."""

    model: torch.nn.Module
    codec: torch.nn.Module
    name: str
    sampler: str = "euler"              # one of SAMPLERS
    text: callable = text.encode        # prompts -> (B, L, D)
    audio: callable = drawn_audio       # (clip=None, frames=None) -> features, see stream.py
    size: int = SIZE                    # pixels a side
    guidance: Guidance = GUIDANCE       # of a teacher
    policy: Policy = KEPT               # of a student's cache
    student_steps: int = STUDENT_STEPS  # of a student, a block
    known: callable = known_words       # any prompt -> the nearest one that `text` can read
    words: callable = list_words        # () -> what a prompt may hold, as text

    @property
    def is_student(self):
        """True where it makes block after block in few steps, not windows with a guided Euler."""
        return self.sampler == "rollout"


@dataclass(frozen=True)
class Window:
    """A finished window: its number of how many, its latents, and the pictures it adds."""

    index: int
    count: int
    latents: torch.Tensor      # with the known ones in front        (1, 21 or 3, C, h, w)
    frames: torch.Tensor       # in [-1, 1], on the CPU                   (n, 3, H, W)


def count_frames(samples):
    """Video frames of (N,) samples: one per begun 1000."""
    return -(-len(samples) // SAMPLES_PER_FRAME)


def count_windows(frames):
    """Windows that cover so many video frames."""
    latent_frames = -(-(frames + ROWS_PER_LATENT - 1) // ROWS_PER_LATENT)
    return 1 + max(0, -(-(latent_frames - WINDOW) // FRESH))


def evaluations(windows, steps, guidance):
    """Times that the model is run on a window: steps times guidance branches."""
    return windows * steps * sum(weight != 0 for weight in guidance.weights())


def count_blocks(frames):
    """A student's blocks that cover so many video frames."""
    return -(-(frames + MISSING) // FRAMES)


def passes(blocks, steps=STUDENT_STEPS):
    """Times that a student is run on a block: the last one's clean pass is not needed."""
    return blocks * (steps + 1) - 1


def settle(avatar, steps=None, guidance=None):
    """(steps, guidance) to sample with: what was asked for, else the model's own. UserError where a
    student is asked for others than its own."""
    if not avatar.is_student:
        return steps or TEACHER_STEPS, guidance or avatar.guidance
    own = avatar.student_steps
    if steps not in (None, own) or guidance not in (None, PLAIN):
        raise UserError(f"{avatar.name} is a student: it always makes {own} steps a "
                        f"block, without guidance; leave steps and weights out.")
    return own, PLAIN


def frames_in(windows):
    """Video frames in a teacher's first so many windows."""
    return (WINDOW + (windows - 1) * FRESH) * ROWS_PER_LATENT - (ROWS_PER_LATENT - 1)


def audio_windows(samples, features=None):
    """Grouped audio rows (1, 21, 4A) of every window of (N,) samples, silence after the end."""
    features, heard, groups = features or AudioFeatures(), 0, None
    for index in range(count_windows(count_frames(samples))):
        frames = frames_in(index + 1)
        end = (frames + features.ahead - 1) * SAMPLES_PER_FRAME
        part = samples[heard:end]
        rows = features.push(torch.nn.functional.pad(part, (0, end - heard - len(part))))
        if groups is None:
            groups = group_audio(rows[None])                             # (1, 21, 4A)
        else:
            groups = torch.cat([groups[:, -OVERLAP:], rows.view(1, FRESH, -1)], dim=1)
        heard = end
        yield groups


def conditions(avatar, picture, samples, prompt):
    """The `Cond` of every window, one after the other.

    picture (3, H, W) in [-1, 1] is the reference; samples (N,) 16 kHz sound; prompt may be ''.
    Raises UserError for a picture that is none, see `stream.face`, and for unknown words.
    """
    device = next(avatar.model.parameters()).device
    with torch.no_grad():
        ref = avatar.codec.encode(face(picture)[None, None].to(device))[:, 0]    # (1, C, h, w)
    words, no_words = avatar.text([prompt]), avatar.text([""])
    features = avatar.audio(samples, frames_in(count_windows(count_frames(samples))))
    for index, audio in enumerate(audio_windows(samples, features)):
        known = torch.zeros(1, WINDOW, dtype=torch.bool)
        known[:, :OVERLAP if index else 1] = True
        yield Cond(ref, audio, words, known, no_words).to(device)


@torch.no_grad()
def stream(avatar, picture, samples, prompt, seed=0, steps=TEACHER_STEPS, guidance=GUIDANCE,
           watch=None):
    """Generate video for speech and yield a `Window` at a time, one frame per begun 1000 samples.

    Arguments as for `conditions`. `watch` is called with every `flow.Step` of the sampler.
    The same seed gives the same frames. A student has its own steps and no guidance, see `roll`.
    """
    if avatar.is_student:
        yield from roll(avatar, picture, samples, prompt, seed, watch)
        return
    generator = torch.Generator().manual_seed(seed)
    missing = count_frames(samples)
    windows, latents, memory = count_windows(missing), None, None
    for index, cond in enumerate(conditions(avatar, picture, samples, prompt)):
        clean = latents[:, -OVERLAP:] if index else cond.ref[:, None]    # (1, 4 or 1, C, h, w)
        noise = torch.randn(1, WINDOW, *clean.shape[2:], generator=generator).to(clean)
        for step in euler(avatar.model, noise, clean, cond, steps, guidance):
            if watch:
                watch(step)
        latents = step.x
        fresh = latents[:, OVERLAP if index else 0:]
        frames, memory = decode(avatar.codec, fresh, memory, missing)
        missing -= len(frames)
        yield Window(index, windows, latents, frames)


def roll(avatar, picture, samples, prompt, seed=0, watch=None):
    """Generate with a student: a `Window` is a block, made in few steps without guidance. `watch`
    is called with every `rollout.Block`."""
    missing = count_frames(samples)
    blocks = count_blocks(missing)
    whole = replace(avatar, audio=lambda: avatar.audio(samples, frames_of(blocks)))
    generator = torch.Generator().manual_seed(seed)
    session = AvatarSession(whole, picture, prompt, generator, avatar.policy, undo=0)
    for block in chain(session.hear(sound(samples)), session.remainder()):
        if watch:
            watch(block)
        frames = session.decode(block).pictures[:missing]
        missing -= len(frames)
        yield Window(block.index, blocks, block.x0, frames)
        if not missing:                             # nobody would read the last clean pass
            return


def decode(codec, latents, memory, most):
    """At most `most` pictures (n, 3, H, W) of latents (1, F, C, h, w), and the codec's state."""
    pictures, count = [], 0
    for z in latents.split(1, dim=1):
        if count >= most:
            break
        frames, memory = codec.decode_step(z, memory)                    # (1, 4 or 1, 3, H, W)
        pictures.append(frames[0, :most - count].float().cpu())
        count += len(pictures[-1])
    return torch.cat(pictures), memory


def make_video(avatar, picture, samples, prompt, path, seed=0, steps=None, guidance=None,
               scale=SCALE, watch=None, shown=None):
    """Generate an mp4 with sound and return what it took, as a dict.

    The file appears when it is complete. shown: a list that all pictures (n, 3, H, W) are added
    to. UserError when it cannot be written, and as `settle`.
    """
    started, first = time.perf_counter(), None
    steps, guidance = settle(avatar, steps, guidance)
    with movie(path, samples, picture.shape[-1], scale) as made:
        for window in stream(avatar, picture, samples, prompt, seed, steps, guidance, watch):
            first = first or time.perf_counter() - started
            made.add(window.frames)
            if shown is not None:
                shown.append(window.frames)
    seconds, frames = time.perf_counter() - started, count_frames(samples)
    runs = passes(window.count, steps) if avatar.is_student else \
        evaluations(window.count, steps, guidance)
    return {"out": str(path), "model": avatar.name, "prompt": prompt, "seed": seed,
            "steps": steps, "text_weight": guidance.text, "audio_weight": guidance.audio,
            "frames": frames, "video_seconds": frames / FPS, "windows": window.count,
            "evaluations": runs,
            "threads": torch.get_num_threads(), "seconds": seconds,
            "first_frame_seconds": first, "frames_per_second": frames / seconds,
            "real_time_factor": seconds * FPS / frames}


class Pipeline:
    """An `AvatarSession` in which a block is decoded while the next one is denoised: `push` sound
    from any thread, `end` it, and iterate over the `Frames` of one block each.

    Two threads; on CUDA the decoder also has a stream of its own. One block at most is made ahead
    of who iterates, and the pictures are those of the plain session bit for bit. The session
    belongs to the pipeline until it is closed: `with Pipeline(session) as live:`. What goes wrong
    in a thread is raised to who iterates, behind what is made. LiveTalk section 4.
    """

    def __init__(self, session):
        self.session, self.sounds = session, SimpleQueue()
        cuda = session.device.type == "cuda"
        self.stream = torch.cuda.Stream(session.device) if cuda else None

    def push(self, samples):
        """Hear (N,) samples, see `stream.sound`."""
        self.sounds.put(sound(samples))

    def end(self):
        """Flush the session, and let the iteration end behind the last frame."""
        self.sounds.put(None)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.end()

    def __iter__(self):
        """Wait for block after block of `Frames`."""
        blocks = self.blocks()
        with ThreadPoolExecutor(2) as threads:
            try:
                coming = threads.submit(self.denoise, blocks)
                while made := coming.result():
                    coming = threads.submit(self.denoise, blocks)
                    yield threads.submit(self.decode, *made).result()
            finally:
                self.end()                      # wakes a thread that waits for sound

    def blocks(self):
        """Yield the blocks of all that is pushed, and of the silence that completes the last."""
        for samples in iter(self.sounds.get, None):
            yield from self.session.hear(samples)
        yield from self.session.remainder()

    def denoise(self, blocks):
        """The next block, on CUDA with the event of its latents; None behind the last."""
        for block in blocks:
            made = self.stream and torch.cuda.current_stream(self.stream.device).record_event()
            return block, made

    def decode(self, block, made):
        """The frames of a block, once the event says that its latents are there."""
        with torch.cuda.stream(self.stream):                # without one this does nothing
            if made:
                made.wait(self.stream)
                block.x0.record_stream(self.stream)
            return self.session.decode(block)
