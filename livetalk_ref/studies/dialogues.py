"""Scripted dialogues as three systems perform them, after LiveTalk's table 2: multiturn.

All systems get the same portrait, sound and prompts. One stream is ours: one session, one cache,
an interruption rolls it back. The restarted student begins anew at every turn. The teacher makes
a fresh clip for each reply, as large video models do, and stands still while the user speaks.
Of the paper's nine dimensions four have numbers here: coherence across turns, emotional fit,
behaviour while listening, lips. The content dimensions judge words, which all systems share: they
stay empty. Means have 95 % intervals over dialogues. T frames of a dialogue.
"""

import statistics
import time
from dataclasses import dataclass, field
from functools import cached_property, partial

import torch
import torch.nn.functional as F

from livetalk_ref import generate
from livetalk_ref.judge.distances import with_interval
from livetalk_ref.judge.lips import sync
from livetalk_ref.judge.metrics import SETTLED, change, mouth_correlation
from livetalk_ref.studies import scenarios
from livetalk_ref.live.systems import best_student
from livetalk_ref.live.systems import streaming
from livetalk_ref.live.think import LISTENING
from livetalk_ref.loading import load
from livetalk_ref.portrait import portrait_of
from livetalk_ref.stream import SAMPLES_PER_FRAME, AvatarSession
from livetalk_ref.studies.work import Job, Study
from livetalk_ref.world.speech import say
from livetalk_ref.world.state import EXPRESSIONS
from livetalk_ref.world.visemes import visemes

RATE, PAUSE = 16_000, 2_400         # samples a second; behind a sentence
UNDO = 64       # blocks: a whole answer is made before it is known where it was broken off
EDGE = 8            # frames on each side of a seam whose face is compared
POSE = ("turn", "nod", "tilt")
CLOSED = 0.15       # of the mouth's opening
OURS, RESTARTED, CLIPS = "one stream", "restarted each turn", "teacher, a clip each turn"
WAIT = "seconds to a reply's first picture"
NUMBERS = ("identity across turns", "colour step", "pose step", "step over usual",
           "expression right", "listening motion", "mouth closed listening", "mouth correlation",
           "Sync-C")


class Dialogues(Study):
    """A job a dialogue and system."""

    name = "dialogues"

    sizes = {"count": (100, 2), "steps": (None, 2)}         # steps of the teacher; None: its own

    @cached_property
    def systems(self):
        """{name: scenario -> Film}, of a student and a teacher."""
        student, guide = streaming(load(best_student())), load("teacher")
        return {OURS: partial(one_stream, student), RESTARTED: partial(restarted, student),
                CLIPS: partial(clip_each_turn, guide, steps=self.steps)}

    def key(self):
        student, guide = load(best_student()), load("teacher")
        return (f"{self.judges.key(student.model, student.codec, guide.model)}-"
                f"{scenarios.VERSION}")

    def jobs(self):
        return [Job(f"{name.replace(',', '').replace(' ', '-')}-{scenario.id}", ("multiturn",),
                    partial(self.hold, name, scenario))
                for name in (OURS, RESTARTED, CLIPS) for scenario in scenarios.read()[:self.count]]

    def hold(self, name, scenario):
        """One dialogue by one system, judged."""
        yield
        film = self.systems[name](scenario)
        yield
        return {"multiturn": [{"system": name, "numbers": judge_dialogue(film, self.judges),
                               "seconds": film.seconds}]}

    def combine(self, result, rows):
        return [dialogue_row(name, [row["numbers"] for row in rows if row["system"] == name])
                for name in (OURS, RESTARTED, CLIPS)]

    def costs(self, result, rows):
        """The median wait of every system."""
        return {f"{name}: {WAIT}": round(statistics.median(
            wait for row in rows if row["system"] == name for wait in row["seconds"]), 3)
            for name in (OURS, RESTARTED, CLIPS)}


# What is shown.


@dataclass(frozen=True)
class SpokenLine:
    """A line's sound (n,), whole frames of it, its prompt, emotion and mouth (n / 1000, 3)."""

    samples: torch.Tensor
    prompt: str
    emotion: str
    mouth: torch.Tensor


@dataclass(frozen=True)
class ScriptedTurn:
    """Silent samples while the user speaks, then lines; cut: the interruption's sample, or None."""

    silence: int
    lines: list
    cut: int | None


@dataclass
class Film:
    """What was shown of a dialogue. starts: where turns begin; seams: where the system began anew,
    or would have; marks: (first frame, end, emotion) of every line; mouth: the true one (T, 3)."""

    frames: list = field(default_factory=list)
    heard: list = field(default_factory=list)
    mouths: list = field(default_factory=list)
    listening: list = field(default_factory=list)       # (first frame, end)
    marks: list = field(default_factory=list)
    seams: list = field(default_factory=list)
    seconds: list = field(default_factory=list)         # from a reply's sound to its first picture
    shown: int = 0

    def add(self, frames, samples, mouth):
        """Frames (n, 3, H, W), samples (1000 n,), mouth (n, 3)."""
        self.frames.append(frames)
        self.heard.append(samples)
        self.mouths.append(mouth)
        self.shown += len(frames)


def speak_line(line, voice):
    """A scenario's line as `SpokenLine`."""
    spoken = say(line.text, voice)
    samples = F.pad(spoken.samples, (0, PAUSE))
    frames = -(-len(samples) // SAMPLES_PER_FRAME)
    samples = F.pad(samples, (0, frames * SAMPLES_PER_FRAME - len(samples)))
    return SpokenLine(samples, line.prompt, line.emotion, visemes(spoken.phones, frames))


def script_turns(scenario):
    """The turns of a scenario as sound."""
    return [ScriptedTurn(int(turn.seconds * RATE) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME,
                         [speak_line(line, scenario.voice) for line in turn.reply],
                         turn.cut and int(turn.cut * RATE)) for turn in scenario.turns]


def seeded(scenario, number=0):
    return torch.Generator().manual_seed(scenario.identity * 100 + number)


def one_stream(avatar, scenario):
    """Ours: one `AvatarSession` for the whole dialogue."""
    session, film = open_session(avatar, scenario, 0), Film()
    for turn in script_turns(scenario):
        perform_turn(session, turn, film, film.shown)
    return film


def restarted(avatar, scenario):
    """The same student, from the portrait at the beginning of every turn."""
    film = Film()
    for number, turn in enumerate(script_turns(scenario)):
        began = time.perf_counter()
        session = open_session(avatar, scenario, number)
        opened = time.perf_counter() - began
        perform_turn(session, turn, film, 0)
        film.seconds[-1] += opened
    return film


def open_session(avatar, scenario, number):
    return AvatarSession(avatar, portrait_of(scenario.identity, avatar.size), LISTENING,
                         seeded(scenario, number), avatar.policy, undo=UNDO)


@torch.inference_mode()
def perform_turn(session, turn, film, before):
    """One turn of a session that has shown `before` frames: listen, answer, perhaps break off."""
    start, made = film.shown, []
    session.change_prompt(LISTENING)
    made.append(session.push(torch.zeros(turn.silence)).pictures)
    began = time.perf_counter()
    for line in turn.lines:
        session.change_prompt(line.prompt)
        for piece in line.samples.split(12 * SAMPLES_PER_FRAME):
            made.append(session.push(piece).pictures)
            if len(film.seconds) < len(film.seams) + 1 and len(made[-1]):
                film.seconds.append(time.perf_counter() - began)
    made.append(session.flush().pictures)
    frames = torch.cat(made)
    if turn.cut:
        end = before + (turn.silence + turn.cut) // SAMPLES_PER_FRAME
        frames = frames[:session.interrupt(min(end, before + len(frames))) - before]
    note_turn(film, turn, frames, start)


def note_turn(film, turn, frames, start):
    """Note the frames of a turn with what was heard and asked at each."""
    quiet, count = turn.silence // SAMPLES_PER_FRAME, len(frames)
    samples = torch.cat([torch.zeros(turn.silence), *(line.samples for line in turn.lines)])
    mouth = torch.cat([torch.zeros(quiet, 3), *(line.mouth for line in turn.lines)])
    more = max(0, count - len(mouth))
    film.add(frames, F.pad(samples, (0, more * SAMPLES_PER_FRAME))[:count * SAMPLES_PER_FRAME],
             F.pad(mouth, (0, 0, 0, more))[:count])
    film.listening.append((start, start + min(quiet, count)))
    first = quiet
    for line in turn.lines:
        end = min(first + len(line.mouth), count)
        if end > first:
            film.marks.append((start + first, start + end, line.emotion))
        first = end
    film.seams.append(start)


@torch.inference_mode()
def clip_each_turn(avatar, scenario, steps=None):
    """The bidirectional teacher: each reply is a clip of its own, under its first line's prompt."""
    film, picture = Film(), portrait_of(scenario.identity, avatar.size)
    steps, guidance = generate.settle(avatar, steps)
    last = picture
    for number, turn in enumerate(script_turns(scenario)):
        sound = torch.cat([line.samples for line in turn.lines])
        began = time.perf_counter()
        seed = scenario.identity * 100 + number
        windows = generate.stream(avatar, picture, sound, turn.lines[0].prompt, seed, steps,
                                  guidance)
        clip = torch.cat([window.frames for window in windows])
        film.seconds.append(time.perf_counter() - began)
        quiet = turn.silence // SAMPLES_PER_FRAME
        if turn.cut:
            clip = clip[:turn.cut // SAMPLES_PER_FRAME]
        note_turn(film, turn, torch.cat([last[None].expand(quiet, -1, -1, -1), clip]), film.shown)
        film.seams[-1] += quiet             # it begins anew with the clip
        last = clip[-1]
    return film


# What is judged.


def judge_dialogue(film, judges):
    """The numbers of one dialogue: {name in NUMBERS: value or None}."""
    frames = torch.cat(film.frames)                                     # (T, 3, H, W)
    reading = judges.reader.read(frames)
    return seam_numbers(frames, reading, film.seams[1:]) | \
        {"expression right": lines_right(reading, film.marks)} | \
        listening_numbers(frames, reading, film.listening) | \
        lip_numbers(frames, reading, film, judges)


def seam_numbers(frames, reading, seams):
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


def lines_right(reading, marks):
    """Share of lines in most of whose settled frames the asked expression is read."""
    shown, right = reading.expression(), []
    for first, end, emotion in join_emotions(marks):
        part = shown[first + SETTLED:end]
        if len(part) >= 4:
            right.append((part == EXPRESSIONS.index(emotion)).float().mean().item() > 0.5)
    return sum(right) / len(right) if right else None


def join_emotions(marks):
    """Lines in a row of one emotion are judged together: most are too short to settle alone."""
    merged = []
    for first, end, emotion in marks:
        if merged and merged[-1][1] == first and merged[-1][2] == emotion:
            merged[-1] = merged[-1][0], end, emotion
        else:
            merged.append((first, end, emotion))
    return merged


def listening_numbers(frames, reading, stretches):
    """Motion, in 1/255 a frame, and the share of frames with a closed mouth while the user speaks;
    the first half second, in which an answer may fade, does not count."""
    motion, closed, opening = [], [], reading.column("mouth_open")
    for first, end in stretches:
        if end - first > EDGE + 1:
            motion.append(change(frames[first + EDGE:end]).mean().item())
            closed.append((opening[first + EDGE:end] < CLOSED).float().mean().item())
    return {"listening motion": statistics.fmean(motion) if motion else None,
            "mouth closed listening": statistics.fmean(closed) if closed else None}


def lip_numbers(frames, reading, film, judges):
    """Mouth against the true one of the phones, and the SyncNet's confidence where one ships."""
    mouth, heard = torch.cat(film.mouths), torch.cat(film.heard)
    row = {"mouth correlation": mouth_correlation(reading.column("mouth_open"), mouth[:, 0]),
           "Sync-C": None}
    if judges.syncnet is not None and len(heard) == len(frames) * SAMPLES_PER_FRAME:
        row["Sync-C"] = sync(judges.syncnet, frames, heard).confidence
    return row


def dialogue_row(name, rows):
    """A row of the result: means with 95 % intervals over dialogues; content stays empty."""
    found = {"name": name, "dialogues": len(rows)}
    for key in NUMBERS:
        found |= with_interval(key, [row[key] for row in rows]) or {key: None}
    return found | dict.fromkeys(scenarios.CONTENT)


STUDY = Dialogues
