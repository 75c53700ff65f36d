"""A scripted dialogue as three systems perform it: one stream, a restart, a clip each turn.

All get the same portrait, the same sound and the same prompts. One stream is ours: one session,
one cache, an interruption rolls it back. The restarted student begins anew at every turn. The
teacher makes a fresh clip for each reply, as large video models do, and stands still while the
user speaks. T frames of a dialogue.
"""

import time
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F

from livetalk_ref import generate
from livetalk_ref.live.think import LISTENING
from livetalk_ref.portrait import portrait_of
from livetalk_ref.stream import SAMPLES_PER_FRAME, AvatarSession
from livetalk_ref.world.speech import say
from livetalk_ref.world.visemes import visemes

RATE, PAUSE = 16_000, 2_400         # samples a second; behind a sentence
UNDO = 64       # blocks: a whole answer is made before it is known where it was broken off


@dataclass(frozen=True)
class Spoken:
    """A line's sound (n,), whole frames of it, its prompt, emotion and mouth (n / 1000, 3)."""

    samples: torch.Tensor
    prompt: str
    emotion: str
    mouth: torch.Tensor


@dataclass(frozen=True)
class Turn:
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


def speak(line, voice):
    """A scenario's line as `Spoken`."""
    spoken = say(line.text, voice)
    samples = F.pad(spoken.samples, (0, PAUSE))
    frames = -(-len(samples) // SAMPLES_PER_FRAME)
    samples = F.pad(samples, (0, frames * SAMPLES_PER_FRAME - len(samples)))
    return Spoken(samples, line.prompt, line.emotion, visemes(spoken.phones, frames))


def script(scenario):
    """The turns of a scenario as sound."""
    return [Turn(int(turn.seconds * RATE) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME,
                 [speak(line, scenario.voice) for line in turn.reply],
                 turn.cut and int(turn.cut * RATE)) for turn in scenario.turns]


def seeded(scenario, number=0):
    return torch.Generator().manual_seed(scenario.identity * 100 + number)


def one_stream(avatar, scenario):
    """Ours: one `AvatarSession` for the whole dialogue."""
    session, film = open_session(avatar, scenario, 0), Film()
    for turn in script(scenario):
        perform(session, turn, film, film.shown)
    return film


def restarted(avatar, scenario):
    """The same student, from the portrait at the beginning of every turn."""
    film = Film()
    for number, turn in enumerate(script(scenario)):
        began = time.perf_counter()
        session = open_session(avatar, scenario, number)
        opened = time.perf_counter() - began
        perform(session, turn, film, 0)
        film.seconds[-1] += opened
    return film


def open_session(avatar, scenario, number):
    return AvatarSession(avatar, portrait_of(scenario.identity, avatar.size), LISTENING,
                         seeded(scenario, number), avatar.policy, undo=UNDO)


@torch.inference_mode()
def perform(session, turn, film, before):
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
    place(film, turn, frames, start)


def place(film, turn, frames, start):
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
    for number, turn in enumerate(script(scenario)):
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
        place(film, turn, torch.cat([last[None].expand(quiet, -1, -1, -1), clip]), film.shown)
        film.seams[-1] += quiet             # it begins anew with the clip
        last = clip[-1]
    return film
