"""What a video file loses: the same clips judged in memory, and as files that `generate` wrote.

Both roads begin with the same conditions and seeds: one takes them from a set's cache, in batches;
the other reads the exported picture, sound and prompt of each clip, writes an mp4 file, and has
it read back by `evaluate --videos`. What differs is what 8-bit pictures and compression lose.
"""

import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from livetalk_ref.generate import make_video
from livetalk_ref.judge import benchmark, videos
from livetalk_ref.judge.students import compare
from livetalk_ref.load import load
from livetalk_ref.media import load_audio
from livetalk_ref.portrait import load_portrait
from livetalk_ref.progress import Progress

MODEL, STEPS, SET = "teacher", 4, "studio"
MEMORY, FILES = "in memory", "as mp4 files"


def write(folder, name, count, model=MODEL, steps=STEPS):
    """Export a set's first `count` clips and generate an mp4 file of each beside them."""
    avatar, folder = load(model), Path(folder)
    index = json.loads(videos.export(name, folder, count).read_text())
    with Progress("writing videos: clip", count) as progress:
        for row in index["clips"]:
            make_video(avatar, load_portrait(folder / row["image"]),
                       load_audio(folder / row["audio"]), row["prompt"], folder / row["video"],
                       row["seed"], steps)
            progress()


def measure(count=24, name=SET, model=MODEL, steps=STEPS):
    """Rows of data/results/videos.json: both roads, and their difference clip by clip."""
    ground = benchmark.Ground.make(name, count)
    with TemporaryDirectory() as folder:
        write(folder, name, count, model, steps)
        makers = {MEMORY: benchmark.maker(model, steps),
                  FILES: benchmark.video_maker(folder, name, count)}
        found = {label: benchmark.evaluate(replace(made, name=label), ground)
                 for label, made in makers.items()}
    rows = [facts["rows"][0] | {"set": name} for facts, _ in found.values()]
    return rows + [row | {"set": name} for row in compare(
        f"{FILES} - {MEMORY}", found[FILES][1], found[MEMORY][1], ground.truth.rendered)], {}
