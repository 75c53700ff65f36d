"""A folder of released weights to an `Avatar` that `generate` and `AvatarSession` take.

    FOLDER/model.safetensors    LiveTalk-1.3B, or a merged OmniAvatar-1.3B of the same layout
    FOLDER/vae/                 Wan 2.1's autoencoder as diffusers keeps it
    FOLDER/wav2vec2/            wav2vec2-base-960h as transformers keeps it
    FOLDER/text.safetensors     prompts' embeddings, written by the `prepare` command; or else
    FOLDER/text_encoder/, tokenizer/    umT5-xxl, 11 GB in memory
"""

from pathlib import Path

import torch
import torch.nn.functional as F

from livetalk_ref.generate import Avatar
from livetalk_ref.cache import BLOCK, POLICIES
from livetalk_ref.errors import UserError, warn
from livetalk_ref.flow import Guidance
from livetalk_ref.graphs import compile_parts
from livetalk_ref.portrait import read_image
from livetalk_ref.real import REAL
from livetalk_ref.real.text import SavedText, load_text
from livetalk_ref.real.vae import load_light, load_vae
from livetalk_ref.real.wav2vec import AHEAD, LONGEST, SpeechClip, SpeechStream, load_speech
from livetalk_ref.real.weights import ALPHA, load_dit, to_int8
from livetalk_ref.world.state import FPS

SIZE = 512                          # pixels a side
GUIDANCE = Guidance(4.5, 4.5)       # of the teacher (OmniAvatar recommends 4 to 6)


def best_dtype(device):
    """bf16 where the device has it, fp16 on older GPUs (a T4), fp32 on a CPU."""
    if torch.device(device).type != "cuda":
        return torch.float32
    if torch.cuda.get_device_capability(device)[0] >= 8:
        return torch.bfloat16
    warn(f"the device {device} has no bf16, for which the weights were made, and takes fp16.")
    return torch.float16


def kept_frames(policy, blocks):
    """The latent frames that a cache holds after so many blocks."""
    now = BLOCK * blocks
    return sum(policy.keeps(frame, now) for frame in range(now))


def cache_bytes(config, tokens, frames, dtype):
    """Bytes of the keys and values of so many latent frames in every layer, one clip."""
    return config.layers * 2 * frames * tokens * config.dim * dtype.itemsize


class Hearing:
    """Makes the audio features of a new stream, or of a clip (N,) that is known as a whole."""

    def __init__(self, speech, ahead=AHEAD):
        self.speech, self.ahead = speech, ahead

    def __call__(self, clip=None, frames=None):
        if clip is None or frames > LONGEST * FPS:      # attention over more would not fit
            return SpeechStream(self.speech, self.ahead)
        return SpeechClip(self.speech, clip, frames)


def check_folder(folder, name):
    """UserError that names every part of a folder that is not there, before anything is read."""
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder} with the weights of {name}.")
    parts = [part for part in ("model.safetensors", "vae", "wav2vec2")
             if not (folder / part).exists()]
    if not (folder / "text.safetensors").exists() and not (folder / "text_encoder").is_dir():
        parts.append("text.safetensors (or text_encoder and tokenizer, from which the 'prepare' "
                     "command makes it)")
    if parts:
        raise UserError(f"The folder {folder} lacks {', '.join(parts)}; notebook 10 says where to "
                        f"get them.")


def assemble(name, path, device="cpu", dtype=None, lora=None, alpha=ALPHA, ahead=AHEAD, size=SIZE,
             policy="released", decoder=None, int8=False, compiled=False):
    """An `Avatar` of everything in a folder: `load("livetalk-1.3b", path=FOLDER)`.

    dtype None is the device's best; lora an adapter merged on loading; ahead the video frames of
    look-ahead of a stream. policy: "released" keeps 3 + 1 blocks at absolute positions, as the
    authors' code does, for 256 s; "ahis" 3 + 2 at relative ones, as their paper does, without end.
    decoder: the file of a light one, see real/vae.py; int8: smaller weights, see `to_int8`;
    compiled: on a GPU, see `compile_parts`. UserError says what is missing or misfit.
    """
    if path is None:
        raise UserError(f"The weights of {name} do not ship: give the folder that holds "
                        f"model.safetensors as path (on the command line: --weights).")
    if policy not in POLICIES:
        raise UserError(f"There is no cache policy '{policy}'; choose {', '.join(POLICIES)}.")
    folder, dtype = Path(path), dtype or best_dtype(device)
    check_folder(folder, name)
    model = load_dit(folder / "model.safetensors", device=device, dtype=dtype, lora=lora,
                     alpha=alpha)
    model = to_int8(model) if int8 else model
    speech = load_speech(folder / "wav2vec2", device, dtype)
    if speech.width != model.config.audio_dim:
        raise UserError(f"{folder / 'wav2vec2'} makes rows of {speech.width} numbers, and the "
                        f"model reads {model.config.audio_dim}: use wav2vec2-base-960h.")
    saved = folder / "text.safetensors"
    text = SavedText(saved, dtype, device) if saved.exists() else load_text(folder, device, dtype)
    codec = load_vae(folder / "vae", device, dtype)
    if decoder:
        codec = load_light(decoder, codec, device, dtype)
    if compiled and torch.device(device).type == "cuda":
        compile_parts(model, codec)
    return Avatar(model, codec, name, REAL[name], text, Hearing(speech, ahead), size, GUIDANCE,
                  POLICIES[policy], known=text.known, words=text.words)


def cover(pixels, height, width):
    """A picture of bytes (H, W, 3) fitted as the authors do -> (3, height, width) in [-1, 1].

    The larger of the two ratios makes it cover the target; "padding" by the difference of the
    sizes, which is negative, then cuts to the centre (an odd pixel goes on the far side).
    """
    have = pixels.shape[:2]
    ratio = max(height / have[0], width / have[1])
    size = [max(want, int(side * ratio)) for side, want in zip(have, (height, width))]
    x = pixels.permute(2, 0, 1)[None].float()
    if tuple(size) != tuple(have):
        x = F.interpolate(x, size, mode="bilinear", antialias=True)
    top, left = ((side - want) // 2 for side, want in zip(size, (height, width)))
    return x[0, :, top:top + height, left:left + width] / 127.5 - 1


def require_photo(name, image):
    """UserError where a released model is given no photograph."""
    if not image:
        raise UserError(f"{name} animates photographs: give one with --image.")


def load_photo(path, size=SIZE):
    """An image file -> (3, size, size) in [-1, 1]. UserError as of `portrait.read_image`, and for
    one whose square would have to be enlarged more than twice."""
    pixels = read_image(path)
    if min(pixels.shape[:2]) < size // 2:
        raise UserError(f"The photo '{path}' has {pixels.shape[1]}x{pixels.shape[0]} pixels, and a "
                        f"face needs a square of {size // 2} or more: take a larger picture.")
    return cover(pixels, size, size)
