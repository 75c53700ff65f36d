"""Scripted dialogues as three systems perform them, after LiveTalk's table 2: multiturn.

One stream is ours: one session, one cache, an interruption rolls it back. The restarted student
begins anew at every turn. The teacher makes a fresh clip for each reply, as large video models
do, and stands still while the user speaks. All get the same portrait, words, sound and prompts.
Of the paper's nine dimensions four have numbers here: coherence across turns, emotional fit,
behaviour while listening, lips; the others judge words. T frames of a dialogue.
"""

import json
import statistics
import time
from dataclasses import dataclass, field
from functools import cached_property, partial
from types import SimpleNamespace

import torch

from livetalk_ref import DATA, generate
from livetalk_ref.judge.distances import with_interval
from livetalk_ref.judge.metrics import LEVELS, change, expressions_right, mouth_correlation
from livetalk_ref.live.systems import best_student, streaming
from livetalk_ref.live.think import LISTENING
from livetalk_ref.loading import load
from livetalk_ref.nets.syncnet import sync
from livetalk_ref.portrait import portrait_of
from livetalk_ref.stream import SAMPLES_PER_FRAME, AvatarSession
from livetalk_ref.studies.work import Job, Study, mean_row
from livetalk_ref.world.speech import say
from livetalk_ref.world.state import FPS
from livetalk_ref.world.visemes import visemes

PAUSE = 2_400       # samples behind a sentence
UNDO = 64           # blocks: a whole answer is made before it is known where it was broken off
EDGE = 8            # frames on each side of a seam whose face is compared
POSE = ("turn", "nod", "tilt")
CLOSED = 0.15       # of the mouth's opening
OURS, RESTARTED, CLIPS = "one stream", "restarted each turn", "teacher, a clip each turn"
WAIT = "seconds to a reply's first picture"
NUMBERS = ("identity across turns", "colour step", "pose step", "step over usual",
           "expression right", "mouth closed listening", "mouth correlation", "Sync-C")


def read_scenarios():
    """The version of data/scenarios.json and its dialogues: of each the id, kind, identity (a
    face's seed), voice and turns; of a turn what the user says, for how many seconds, the reply,
    and after how many seconds of it they break in (cut, or None); of each of its lines the text,
    the prompt to perform it with and the emotion asked for."""
    found = json.loads((DATA / "scenarios.json").read_text(encoding="utf-8"),
                       object_hook=lambda facts: SimpleNamespace(**facts))
    return found.version, found.scenarios


class Dialogues(Study):
    """A job a dialogue and system."""

    sizes = {"count": (30, 2), "steps": (None, 2)}         # steps of the teacher; None: its own

    @cached_property
    def systems(self):
        """{name: scenario -> Film}, of a student and a teacher."""
        student, guide = streaming(load(best_student())), load("teacher")
        return {OURS: partial(stream_turns, student),
                RESTARTED: partial(stream_turns, student, restart=True),
                CLIPS: partial(clip_each_turn, guide, steps=self.steps)}

    def key(self):
        student, guide = load(best_student()), load("teacher")
        weights = self.judges.key(student.model, student.codec, guide.model)
        return f"{weights}-{read_scenarios()[0]}"

    def jobs(self):
        return [Job(f"{name.replace(',', '').replace(' ', '-')}-{scenario.id}", "multiturn",
                    partial(self.hold, name, scenario))
                for name in (OURS, RESTARTED, CLIPS)
                for scenario in read_scenarios()[1][:self.count]]

    def hold(self, name, scenario):
        """One dialogue by one system, judged."""
        film = self.systems[name](scenario)
        yield
        return [{"system": name, "numbers": judge_dialogue(film, self.judges),
                 "seconds": film.seconds}]

    def combine(self, result, rows):
        """Means over dialogues, and the median wait of every system."""
        made, cost = [], {}
        for name in (OURS, RESTARTED, CLIPS):
            some = [row for row in rows if row["system"] == name]
            made.append({"name": name, "dialogues": len(some)})
            for key in NUMBERS:
                made[-1] |= with_interval(key, [row["numbers"].get(key) for row in some])
            waits = [wait for row in some for wait in row["seconds"]]
            cost[f"{name}: {WAIT}"] = round(statistics.median(waits), 3)
        return made, cost


# What is shown.

@dataclass
class Film:
    """What was shown of a dialogue, and the sound and the true mouth that go with it."""

    frames: list = field(default_factory=list)          # (n, 3, H, W) of every turn
    heard: list = field(default_factory=list)           # (1000 n,)
    mouths: list = field(default_factory=list)          # (n, 3)
    listening: list = field(default_factory=list)       # (first frame, end)
    marks: list = field(default_factory=list)           # (first frame, end, emotion) of lines
    seams: list = field(default_factory=list)   # where the system began anew, or would have
    seconds: list = field(default_factory=list)         # from a reply's sound to its first picture
    shown: int = 0                                      # frames

    def add(self, turn, frames, waited):
        """Add the frames of a turn with what was heard and asked at each, up to their end. Lines
        in a row of one emotion get one mark, for most are too short for a face to settle."""
        start, count = self.shown, len(frames)
        mouth = torch.cat([torch.zeros(turn.quiet, 3), *(line.mouth for line in turn.lines)])
        self.seconds.append(waited)
        self.frames.append(frames)
        self.heard.append(fit(turn.sound, count * SAMPLES_PER_FRAME))
        self.mouths.append(fit(mouth, count))
        self.shown += count
        self.seams.append(start)
        self.listening.append((start, start + min(turn.quiet, count)))
        first = start + turn.quiet
        for line in turn.lines:
            end = min(first + len(line.mouth), self.shown)
            if self.marks and self.marks[-1][1:] == (first, line.emotion):
                first = self.marks.pop()[0]
            if end > first:
                self.marks.append((first, end, line.emotion))
            first = end


def fit(rows, count):
    """The first `count` rows of a tensor (n, ..), and zeros behind its end."""
    return torch.cat([rows, rows.new_zeros(max(0, count - len(rows)), *rows.shape[1:])])[:count]


def speak_turns(scenario):
    """The turns of a scenario as sound: quiet frames while the user speaks, lines (samples of
    whole frames, prompt, emotion, mouth (n, 3)), the sound of all, and the frame of the reply at
    which it is broken off, or None."""
    turns = []
    for turn in scenario.turns:
        lines, quiet = [], int(turn.seconds * FPS)
        for line in turn.reply:
            spoken = say(line.text, scenario.voice)
            frames = -(-(len(spoken.samples) + PAUSE) // SAMPLES_PER_FRAME)
            lines.append(SimpleNamespace(samples=fit(spoken.samples, frames * SAMPLES_PER_FRAME),
                                         mouth=visemes(spoken.phones, frames),
                                         prompt=line.prompt, emotion=line.emotion))
        sound = torch.cat([torch.zeros(quiet * SAMPLES_PER_FRAME),
                           *(line.samples for line in lines)])
        turns.append(SimpleNamespace(quiet=quiet, lines=lines, sound=sound,
                                     cut=turn.cut and int(turn.cut * FPS)))
    return turns


@torch.inference_mode()
def stream_turns(avatar, scenario, restart=False):
    """One `AvatarSession` for the whole dialogue, or, restarted, one for every turn."""
    film = Film()
    for number, turn in enumerate(speak_turns(scenario)):
        began = time.perf_counter()
        if restart or number == 0:
            picture = portrait_of(scenario.identity, avatar.size)
            generator = torch.Generator().manual_seed(scenario.identity * 100 + number)
            session = AvatarSession(avatar, picture, LISTENING, generator, avatar.policy, undo=UNDO)
        opened = time.perf_counter() - began if restart else 0.0
        frames, waited = perform_turn(session, turn, 0 if restart else film.shown)
        film.add(turn, frames, waited + opened)
    return film


def perform_turn(session, turn, before):
    """One turn of a session that has shown `before` frames: listen, answer, perhaps break off.
    -> frames (n, 3, H, W), and the seconds from the reply's sound to its first picture."""
    session.change_prompt(LISTENING)
    made = [session.push(torch.zeros(turn.quiet * SAMPLES_PER_FRAME)).pictures]
    began, waited = time.perf_counter(), None
    for line in turn.lines:
        session.change_prompt(line.prompt)
        for piece in line.samples.split(12 * SAMPLES_PER_FRAME):
            made.append(session.push(piece).pictures)
            if waited is None and len(made[-1]):
                waited = time.perf_counter() - began
    frames = torch.cat([*made, session.flush().pictures])
    if turn.cut:
        end = min(turn.quiet + turn.cut, len(frames))
        frames = frames[:session.interrupt(before + end) - before]
    return frames, waited


@torch.inference_mode()
def clip_each_turn(avatar, scenario, steps=None):
    """The bidirectional teacher: each reply is a clip of its own, under its first line's prompt."""
    film, picture = Film(), portrait_of(scenario.identity, avatar.size)
    steps, guidance = generate.settle(avatar, steps)
    last = picture
    for number, turn in enumerate(speak_turns(scenario)):
        sound = torch.cat([line.samples for line in turn.lines])
        began = time.perf_counter()
        windows = generate.stream(avatar, picture, sound, turn.lines[0].prompt,
                                  scenario.identity * 100 + number, steps, guidance)
        clip = torch.cat([window.frames for window in windows])[:turn.cut]
        waited = time.perf_counter() - began
        film.add(turn, torch.cat([last[None].expand(turn.quiet, -1, -1, -1), clip]), waited)
        film.seams[-1] += turn.quiet            # it begins anew with the clip
        last = clip[-1]
    return film


# What is judged.

@torch.inference_mode()
def judge_dialogue(film, judges):
    """The numbers of one dialogue: {name in NUMBERS: value}, without those that do not apply."""
    frames, mouth, heard = map(torch.cat, (film.frames, film.mouths, film.heard))
    reading = judges.reader.read(frames)
    row = {"expression right": expressions_right(reading, film.marks),
           "mouth correlation": mouth_correlation(reading.column("mouth_open"), mouth[:, 0])}
    if judges.syncnet is not None:
        row["Sync-C"] = sync(judges.syncnet, frames, heard).confidence
    return row | seam_numbers(frames, reading, film.seams[1:]) \
        | mouth_closed(reading, film.listening)


def seam_numbers(frames, reading, seams):
    """What happens at the seams between turns; the usual change is the median of the frames that
    change at all: a clip's last picture stands while the user speaks."""
    steps, rows = change(frames), []                                    # (T - 1,)
    usual = steps[steps > 0].median().nan_to_num(0.0).clamp(min=1e-3)
    pose = torch.stack([reading.column(name) for name in POSE])         # (3, T)
    for s in seams:
        before, after = (reading.identity[part].mean(0) for part in
                         (slice(max(0, s - EDGE), s), slice(s, s + EDGE)))
        colour = frames[s - 1:s + 1].mean((2, 3)).diff(dim=0).abs().mean()
        values = (torch.cosine_similarity(before, after, dim=0), colour * LEVELS,
                  (pose[:, s] - pose[:, s - 1]).norm(), steps[s - 1] / usual)
        rows.append(dict(zip(NUMBERS, map(float, values))))
    return mean_row(rows)


def mouth_closed(reading, stretches):
    """The share of frames with a closed mouth while the user speaks; the first half second, in
    which an answer may fade, does not count."""
    closed = (reading.column("mouth_open") < CLOSED).float()
    return mean_row([{"mouth closed listening": closed[first + EDGE:end].mean().item()}
                     for first, end in stretches if end - first > EDGE + 1])
