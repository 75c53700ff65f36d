"""The multi-turn benchmark: 100 scripted dialogues, three systems, the dimensions we can measure.

After LiveTalk's Table 2, whose nine dimensions a vision-language model judges. Four of them have
a measured counterpart here: coherence across turns (identity, colour, pose), emotional fit,
behaviour while listening, and, instead of conversational naturalness, sync and latency. The
content dimensions judge words, which all systems share: they stay empty.
"""

import json
import statistics
from pathlib import Path

import torch

from livetalk_ref.errors import UserError
from livetalk_ref.flow import TEACHER_STEPS
from livetalk_ref.judge import dialogues, stats
from livetalk_ref.judge.metrics import SETTLED, change, mouth_correlation
from livetalk_ref.judge.panel import Judges
from livetalk_ref.judge.results import write_json
from livetalk_ref.judge.sync import sync
from livetalk_ref.live import scenarios
from livetalk_ref.live.commands import best_student
from livetalk_ref.live.systems import streaming
from livetalk_ref.load import load
from livetalk_ref.world.state import EXPRESSIONS, SAMPLES_PER_FRAME

EDGE = 8            # frames on each side of a seam whose face is compared
POSE = ("turn", "nod", "tilt")
CLOSED = 0.15       # of the mouth's opening
OURS, RESTARTED, CLIPS = "one stream", "restarted each turn", "teacher, a clip each turn"
FOLDER = Path("runs/multiturn")
WAIT = "seconds to a reply's first picture"
HIGHER, LOWER = "higher", "lower"
BETTER = {"identity across turns": HIGHER, "colour step": LOWER, "pose step": LOWER,
          "step over usual": LOWER, "expression right": HIGHER, "listening motion": "close to ours",
          "mouth closed listening": HIGHER, "mouth correlation": HIGHER, "Sync-C": HIGHER}


def judge(film, judges):
    """The numbers of one dialogue: {name in BETTER: value or None}."""
    frames = torch.cat(film.frames)                                     # (T, 3, H, W)
    reading = judges.reader.read(frames)
    return coherence(frames, reading, film.seams[1:]) | \
        {"expression right": expression(reading, film.marks)} | \
        listening(frames, reading, film.listening) | \
        lips(frames, reading, film, judges)


def coherence(frames, reading, seams):
    """What happens at the seams between turns; the usual change is the median of the frames that
    change at all: a clip's last picture stands while the user speaks."""
    alike, colour, pose, step = [], [], [], []
    steps = change(frames)                                              # (T - 1,)
    moving = steps[steps > 0]
    usual = moving.median().item() if len(moving) else 0.0
    for s in seams:
        before, after = (reading.identity[part].mean(0) for part in
                         (slice(max(0, s - EDGE), s), slice(s, s + EDGE)))
        alike.append(torch.cosine_similarity(before, after, dim=0).item())
        means = [frames[i].mean((1, 2)) for i in (s - 1, s)]
        colour.append((means[0] - means[1]).abs().mean().item() * 127.5)
        poses = torch.stack([reading.column(name)[s - 1:s + 1] for name in POSE])   # (3, 2)
        pose.append(poses.diff(dim=1).norm().item())
        step.append(steps[s - 1].item() / max(usual, 1e-3))
    names = ("identity across turns", "colour step", "pose step", "step over usual")
    return {name: statistics.fmean(values) if values else None
            for name, values in zip(names, (alike, colour, pose, step))}


def expression(reading, marks):
    """Share of lines in most of whose settled frames the asked expression is read."""
    shown, right = reading.expression(), []
    for first, end, emotion in joined(marks):
        part = shown[first + SETTLED:end]
        if len(part) >= 4:
            right.append((part == EXPRESSIONS.index(emotion)).float().mean().item() > 0.5)
    return sum(right) / len(right) if right else None


def joined(marks):
    """Lines in a row of one emotion are judged together: most are too short to settle alone."""
    merged = []
    for first, end, emotion in marks:
        if merged and merged[-1][1] == first and merged[-1][2] == emotion:
            merged[-1] = merged[-1][0], end, emotion
        else:
            merged.append((first, end, emotion))
    return merged


def listening(frames, reading, stretches):
    """Motion, in 1/255 a frame, and the share of frames with a closed mouth while the user speaks;
    the first half second, in which an answer may fade, does not count."""
    motion, closed, opening = [], [], reading.column("mouth_open")
    for first, end in stretches:
        if end - first > EDGE + 1:
            motion.append(change(frames[first + EDGE:end]).mean().item())
            closed.append((opening[first + EDGE:end] < CLOSED).float().mean().item())
    return {"listening motion": statistics.fmean(motion) if motion else None,
            "mouth closed listening": statistics.fmean(closed) if closed else None}


def lips(frames, reading, film, judges):
    """Mouth against the true one of the phones, and the SyncNet's confidence where one ships."""
    mouth, heard = torch.cat(film.mouths), torch.cat(film.heard)
    row = {"mouth correlation": mouth_correlation(reading.column("mouth_open"), mouth[:, 0]),
           "Sync-C": None}
    if judges.syncnet is not None and len(heard) == len(frames) * SAMPLES_PER_FRAME:
        row["Sync-C"] = sync(judges.syncnet, frames, heard).confidence
    return row


def systems(student, guide, steps):
    """{name: scenario -> Film} of two `Avatar`s, a student and a teacher."""
    return {OURS: lambda s: dialogues.one_stream(student, s),
            RESTARTED: lambda s: dialogues.restarted(student, s),
            CLIPS: lambda s: dialogues.clip_each_turn(guide, s, steps)}


def kept(path, make, scenario, judges):
    """{"row": the numbers of a dialogue, "seconds": its waits}, made unless the file is there."""
    if not path.is_file():
        film = make(scenario)
        write_json(path, {"row": judge(film, judges), "seconds": film.seconds})
    return json.loads(path.read_text())


def line(name, rows):
    """A row of the result: means with 95 % intervals over dialogues; content stays empty."""
    found = {"name": name, "dialogues": len(rows)}
    for key in BETTER:
        values = [row[key] for row in rows if row[key] is not None]
        if values:
            mean, low, high = stats.bootstrap(values)
            found[key], found[f"{key} 95%"] = round(mean, 4), [round(low, 4), round(high, 4)]
        else:
            found[key] = None
    return found | dict.fromkeys(scenarios.CONTENT)


def measure(count=None, model=None, teacher="teacher", steps=None, watch=None, folder=FOLDER):
    """(rows, cost) of the first so many scenarios (all of them). model: the student, or any DiT;
    steps: the teacher's, for fewer than its own; watch is called after every dialogue.

    Every dialogue's numbers are kept in the folder, so that a run that was stopped goes on.
    """
    model, judges = model or best_student(), Judges.load()
    student, guide = streaming(load(model)), load(teacher)
    if guide.is_student:
        raise UserError(f"{teacher} is a student; name a teacher for the fresh clips.")
    place = Path(folder) / (f"{judges.key(student.model, student.codec, guide.model)}-"
                            f"{scenarios.VERSION}-{steps or TEACHER_STEPS}")
    chosen = scenarios.read()[:count]
    rows, cost = [], {"model": model, "teacher": teacher, "steps": steps}
    for name, make in systems(student, guide, steps).items():
        label, done = name.replace(",", "").replace(" ", "-"), []
        for scenario in chosen:
            done.append(kept(place / f"{label}-{scenario.id}.json", make, scenario, judges))
            if watch:
                watch()
        rows.append(line(name, [one["row"] for one in done]))
        seconds = [wait for one in done for wait in one["seconds"]]
        cost[f"{name}: {WAIT}"] = round(statistics.median(seconds), 3)
    return rows, cost
