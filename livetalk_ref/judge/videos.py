"""Videos of other programs, and the conditions that those programs need.

`export` writes for clip 7 of studio the picture studio-007.png, the sound studio-007.wav and the
prompt studio-007.txt, and studio.json with all of them. Another program turns them into
studio-007.mp4: 81 frames or more at 16 a second, frame 0 being the picture, of any size (judged
at 96x96 after a cut to the central square). Its sound is not read: lips are judged by the clip's.
"""

import json
from pathlib import Path

import av
import soundfile

from livetalk_ref.errors import UserError
from livetalk_ref.files import blame, placed, write_text
from livetalk_ref.judge import sets
from livetalk_ref.judge.evaluate import noise_seed
from livetalk_ref.media import read_video
from livetalk_ref.portrait import save_portrait
from livetalk_ref.world import clips
from livetalk_ref.world.clips import FRAMES
from livetalk_ref.world.state import FPS, SAMPLE_RATE


def clip_name(name, number):
    """What the files of a clip are called, without their endings."""
    return f"{name}-{number:03d}"


def export(name, folder, count=sets.CLIPS, seed=0, watch=None):
    """Write picture, sound and prompt of a set's first `count` clips; returns the index's path.

    The index also names a seed for each, with which `generate` makes what `evaluate --seed` does.
    watch is called after every clip. UserError for a place that cannot be written.
    """
    folder, rows = Path(folder), []
    for number in range(count):
        clip, stem = sets.script(name, number), clip_name(name, number)
        save_portrait(clips.film(clip)[0], folder / f"{stem}.png")
        with placed(folder / f"{stem}.wav") as temporary, blame(folder):
            soundfile.write(temporary, sets.sixteen_bits(clip.heard).numpy(), SAMPLE_RATE,
                            format="WAV")
        prompt = clip.prompts[0][1]
        write_text(folder / f"{stem}.txt", prompt + "\n")
        rows.append({"image": f"{stem}.png", "audio": f"{stem}.wav", "prompt": prompt,
                     "seed": noise_seed(seed, number), "video": f"{stem}.mp4"})
        if watch:
            watch()
    index = {"set": name, "version": sets.VERSION, "frames": FRAMES, "frames_per_second": FPS,
             "clips": rows}
    return write_text(folder / f"{name}.json", json.dumps(index, indent=1) + "\n")


def find(folder, name, count=sets.CLIPS):
    """The videos of a set's first `count` clips. UserError for missing or unfit ones."""
    paths = [Path(folder) / f"{clip_name(name, i)}.mp4" for i in range(count)]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise UserError(f"{folder} lacks {len(missing)} of {count} videos, such as {missing[0]}; "
                        f"make them from what 'evaluate --set {name} --export DIR' writes, or "
                        f"judge fewer with --clips.")
    for path in paths:
        check(path)
    return paths


def check(path):
    """Look at a video's header alone. UserError for what cannot be judged."""
    try:
        with av.open(path) as file:
            stream = next(iter(file.streams.video), None)
            frames, rate = (stream.frames, stream.average_rate) if stream else (0, None)
    except av.FFmpegError:
        raise UserError(f"{path} is broken or is not a video file.") from None
    if rate is None:
        raise UserError(f"{path} holds no pictures.")
    if frames:                                      # not every file says how many it holds
        enough(path, frames)
    if rate != FPS:
        raise UserError(f"{path} has {rate} frames a second; convert it to {FPS}.")


def enough(path, frames):
    if frames < FRAMES:
        raise UserError(f"{path} has {frames} frames; a clip needs {FRAMES}.")


def read(paths):
    """Clip by clip the first 81 frames, (81, 3, 96, 96)."""
    for path in paths:
        frames = read_video(path)
        enough(path, len(frames))
        yield frames[:FRAMES]
