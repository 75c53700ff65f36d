"""Talking-head videos of your own as training clips, in WebDataset tar shards.

A video becomes segments of 105 frames at 16 a second: a square around the face, in latents; 16 kHz
sound, as audio rows; a prompt; scores by which clips can be chosen. A shard covers 16 videos and
is written whole, so an interrupted call goes on; what cannot be used is listed with its reason.
"""

import io
import json
import math
import re
import tarfile
import time
from functools import cache, partial
from pathlib import Path
from statistics import median

import av
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_safetensors

from livetalk_ref.errors import UserError
from livetalk_ref.files import blame, placed, write_json
from livetalk_ref.judge.metrics import brightness, change, sharpness
from livetalk_ref.loading import load
from livetalk_ref.media import address, central_square, fit, load_audio
from livetalk_ref.real.text import SavedText
from livetalk_ref.world import latents, shards, text
from livetalk_ref.world.clips import LONG_FRAMES, draw
from livetalk_ref.world.identity import CATEGORICAL, CONTINUOUS, Identity
from livetalk_ref.world.state import FPS, SAMPLES_PER_FRAME, S

VIDEOS = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".flv", ".wmv"}
VIDEOS_A_SHARD = 16
LARGEST = 720               # pixels of a picture's shorter side that are kept
MADE = 4                    # clips of the world by which their making is timed
LONGEST = 600               # seconds of a video that are read at most


def prepare_clips(folder, out, model="teacher", weights=None, whole=False, workers=None):
    """Make shards of all videos in a folder, yielding the path of each; last that of index.json.

    model: whose codec and audio encoder; one of `load`, with `weights` for the released ones.
    whole: take the central square of each picture and seek no face. UserError for a folder
    without videos, and when none of them can be used.
    """
    videos = sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in VIDEOS)
    if not videos:
        raise UserError(f"{folder} holds no videos; they end in {', '.join(sorted(VIDEOS))}.")
    parts = [(number, videos[first:first + VIDEOS_A_SHARD])
             for number, first in enumerate(range(0, len(videos), VIDEOS_A_SHARD))]
    made = []
    for path in shards.run(partial(make_shard, folder, Path(out), model, weights, whole), parts,
                           workers):
        made.append(json.loads(path.with_suffix(".json").read_text()))
        yield path
    segments = [row for facts in made for row in facts["segments"]]
    broken = {name: reason for facts in made for name, reason in facts["broken"].items()}
    yield write_json(Path(out) / "index.json", {
        "model": model, "videos": len(videos), "shards": len(parts), "broken": broken,
        "segments": segments})
    if not segments:
        raise UserError(f"None of {len(videos)} videos can be used; {out}/index.json says why.")


def make_shard(folder, out, model, weights, whole, part):
    """A tar of some videos' segments and a JSON file about them, unless they are there."""
    number, videos = part
    path = out / f"clips-{number:05d}.tar"
    names = [video.relative_to(folder).as_posix() for video in videos]
    asked, report = {"videos": names, "model": model, "whole": whole}, path.with_suffix(".json")
    if path.is_file() and report.is_file():
        if asked.items() <= json.loads(report.read_text()).items():
            return path
    facts = asked | {"broken": {}, "segments": []}
    with placed(path) as temporary, blame(path), tarfile.open(temporary, "w") as tar:
        for at, (video, name) in enumerate(zip(videos, names), number * VIDEOS_A_SHARD):
            try:
                for key, tensors, row in segments_of(video, avatar_of(model, weights), whole):
                    key, row = f"{at:05d}-{key}", {"video": name} | row     # no other has it
                    add(tar, f"{key}.safetensors", to_safetensors(tensors))
                    add(tar, f"{key}.json", json.dumps(row).encode())
                    facts["segments"].append({"key": key, "shard": path.name} | row)
            except UserError as error:
                facts["broken"][name] = str(error)
    write_json(report, facts)
    return path


@cache
def avatar_of(model, weights):
    """The avatar whose codec and ears are used, once in each process."""
    return load(model, "cpu", weights) if weights else load(model)


def add(tar, name, content):
    """Put bytes into a tar, with nothing of this machine's or today's about them."""
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


@torch.inference_mode()
def segments_of(video, avatar, whole=False):
    """Yield a key, tensors and facts of every segment of a video. UserError if it has none."""
    samples = load_audio(video, warn=lambda words: None)
    stem = re.sub(r"[^\w-]+", "_", video.stem)              # a dot would end a WebDataset key
    made, reason = 0, f"It is shorter than {LONG_FRAMES / FPS:.1f} s."
    spoken = samples.split(LONG_FRAMES * SAMPLES_PER_FRAME)
    for part, (pictures, heard) in enumerate(zip(read_pictures(video), spoken)):
        if len(heard) < LONG_FRAMES * SAMPLES_PER_FRAME:
            break
        try:
            top, left, side = central_square(pictures[0]) if whole else face_square(pictures)
        except UserError as error:
            reason = str(error)
            continue
        squares = [torch.from_numpy(p[top:top + side, left:left + side]) for p in pictures]
        frames = torch.stack([fit(square, avatar.size) for square in squares])  # (105, 3, H, W)
        features = avatar.audio(heard, LONG_FRAMES)
        beyond = (features.ahead - 1) * SAMPLES_PER_FRAME       # silence, for the last rows
        rows = features.push(F.pad(heard, (0, beyond)))[:LONG_FRAMES]
        tensors = {"latents": avatar.codec.encode(frames[None])[0].half().contiguous(),
                   "audio": rows.half()}
        made += 1
        yield f"{stem}-{part:03d}", tensors, {
            "seconds": round(part * LONG_FRAMES / FPS, 3), "box": [top, left, side],
            "prompt": prompt_of(video, frames)} | scores(frames)
    if not made:
        raise UserError(reason)


def read_pictures(video):
    """Yield the pictures of a video file in lists of 105, bytes (H, W, 3), 16 a second by their
    time stamps. What stands before a broken place is used. UserError if nothing can be read."""
    pictures, start, made = [], None, 0
    try:
        with av.open(address(video)) as file:
            if not file.streams.video:
                raise UserError("It holds no pictures.")
            for frame in file.decode(video=0):
                start = frame.time if start is None else start
                shrink = max(1, min(frame.width, frame.height) / LARGEST)
                picture = frame.to_ndarray(format="rgb24", width=round(frame.width / shrink),
                                           height=round(frame.height / shrink))
                # A picture stands until the next; of a faster video some are left out.
                while made <= ((frame.time or 0) - start) * FPS < LONGEST * FPS:
                    pictures.append(picture)
                    made += 1
                    if len(pictures) == LONG_FRAMES:
                        yield pictures
                        pictures = []
    except (av.FFmpegError, OSError) as error:
        if made == 0:
            raise UserError("It is broken or no video.") from error


def face_square(pictures):
    """The square around the one face of a segment: top, left, side, in pixels. It stands still,
    as a camera does. UserError where no face is found, or several in most pictures."""
    looked = [pictures[i] for i in np.linspace(0, len(pictures) - 1, 7).astype(int)]
    found = [find_faces(picture) for picture in looked]
    if sum(len(faces) > 1 for faces in found) > sum(len(faces) == 1 for faces in found):
        raise UserError("It shows more than one face.")
    alone = [faces[0] for faces in found if len(faces) == 1]
    if not alone:
        raise UserError("No face was found in it.")
    top, left, width = (median(face[i] for face in alone) for i in range(3))
    height, span = pictures[0].shape[:2]
    side = int(min(2 * width, height, span))
    middle = left + width / 2, top + 0.55 * width           # chins and shoulders below the face
    return [int(min(max(middle[1] - side / 2, 0), height - side)),
            int(min(max(middle[0] - side / 2, 0), span - side)), side]


def find_faces(picture):
    """Faces in a picture (H, W, 3): a list of (top, left, width), in pixels."""
    step = max(1, min(picture.shape[:2]) // 320)            # smaller pictures are enough
    small = np.ascontiguousarray(picture[::step, ::step])
    least = max(24, min(small.shape[:2]) // 6)
    boxes = detector().detect_multi_scale(small, scale_factor=1.1, step_ratio=1.0,
                                          min_size=(least, least), max_size=small.shape[:2])
    return [(step * box["r"], step * box["c"], step * box["width"]) for box in boxes]


@cache
def detector():
    """scikit-image's cascade for frontal faces, which comes with the package."""
    try:
        from skimage import data
        from skimage.feature import Cascade
    except ImportError as error:
        raise UserError("Finding faces needs scikit-image: pip install scikit-image, or give "
                        "--whole for videos that show a face in their central square.") from error
    return Cascade(data.lbp_frontal_face_cascade_filename())


def prompt_of(video, frames):
    """The words of VIDEO.txt (UserError unless UTF-8), or else how lively the picture is."""
    beside = video.with_suffix(".txt")
    try:                                                        # -sig: Windows marks UTF-8
        if beside.is_file() and (words := beside.read_text(encoding="utf-8-sig").strip()):
            return words
    except UnicodeDecodeError as error:
        raise UserError(f"Its text {beside.name} is not UTF-8.") from error
    moved = change(frames).mean().item()
    return "a person speaks" + (" calmly" if moved < 1.5 else " energetically"
                                if moved > 4 else "")


def scores(frames):
    """Numbers by which a clip may be chosen: sharpness, motion, share of well exposed frames."""
    light = brightness(frames)
    return {"sharpness": round(sharpness(frames), 3),
            "motion": round(change(frames).mean().item(), 3),
            "exposed": round(((light > 0.15) & (light < 0.9)).float().mean().item(), 3)}


def read_clips(folder, weights=None):
    """The segments of a folder of shards as `latents.LatentClips`, their truth unknown (zeros).

    weights: the folder whose text.safetensors holds their prompts, of a model of released size.
    UserError for a folder without shards, or with shards of several models.
    """
    paths = sorted(Path(folder).glob("clips-*.tar"))
    if not paths:
        raise UserError(f"{folder} holds no shards; make them with 'prepare --clips'.")
    rows, prompts = [], []
    for path in paths:
        with tarfile.open(path) as tar:
            for name in tar.getnames():
                content = tar.extractfile(name).read()
                if name.endswith(".json"):
                    prompts.append([json.loads(content)["prompt"]])
                else:
                    rows.append(from_bytes(content))
    if len({row["latents"].shape for row in rows}) != 1:
        raise UserError(f"The shards of {folder} are of several models; make them anew.")
    tensors = {key: torch.stack([row[key] for row in rows]) for key in rows[0]}
    n = len(rows)
    never = torch.tensor([0, latents.NEVER]).expand(n, -1)
    encode = SavedText(Path(weights) / "text.safetensors") if weights else text.encode
    return latents.LatentClips(tensors["latents"], tensors["audio"],
                               torch.zeros(n, LONG_FRAMES, S).half(),
                               Identity(torch.zeros(n, len(CONTINUOUS)),
                                        torch.zeros(n, len(CATEGORICAL), dtype=torch.long)),
                               never, torch.zeros(n, dtype=torch.bool), prompts, encode)


def time_reading(source, weights=None, batches=20, size=16):
    """How fast training gets its batches of clips: from a folder of shards, or from "world", whose
    clips are made once and cached. In seconds; clips and latent frames a second."""
    facts = {}
    if source == "world":
        codec, began = load("teacher").codec, time.perf_counter()
        for number in range(MADE):
            row, _ = latents.script_row("train", number)
            who = Identity(row["continuous"][None], row["categorical"][None])
            codec.encode(draw(who, row["state"], None)[None])
        facts["clips_made_per_second"] = MADE / (time.perf_counter() - began)
        paths = list(latents.build(codec, "train", shards.SHARD))
    began = time.perf_counter()
    data = latents.LatentClips.load(paths) if source == "world" else read_clips(source, weights)
    facts |= {"clips": len(data), "seconds_to_open": time.perf_counter() - began}
    drawn, generator = latents.Batches(data), torch.Generator().manual_seed(0)
    began = time.perf_counter()
    sizes = [drawn.draw(size * latents.WINDOW, generator)[0].shape[:2] for _ in range(batches)]
    seconds = time.perf_counter() - began
    return facts | {"clips_per_second": sum(count for count, _ in sizes) / seconds,
                    "latent_frames_per_second": sum(map(math.prod, sizes)) / seconds}
