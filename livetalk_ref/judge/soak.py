"""An hour of a session's life, good and bad, in as little time as the machine needs.

Chunks of any size, silence, idling, prompts that change with and without recaching, people who
interrupt, samples that are no numbers or far too loud. It happens twice from one seed: through
the plain session and through the pipeline with its threads, and both must show the same pictures.
Then the pipeline alone meets a consumer who stops reading and a producer who dies. Every frame
must have its number in turn, all must be finite, and memory must not grow.
"""

import hashlib
import time
from dataclasses import dataclass, field

import torch

from livetalk_ref.errors import UserError
from livetalk_ref.judge.cost import peak_memory, reset_peak_memory
from livetalk_ref.judge.overtime import Talk
from livetalk_ref.judge.results import write_result
from livetalk_ref.load import load
from livetalk_ref.media import to_bytes
from livetalk_ref.pipeline import CALLS, Pipeline
from livetalk_ref.portrait import portrait_of
from livetalk_ref.stream import FRAMES, MISSING, AvatarSession, frames_of
from livetalk_ref.world.state import FPS

PROMPTS = ("a happy person smiles and nods", "a sad person looks down", "an angry person",
           "a surprised person", "a person listens")
UNDO = 6
WHOLE = 3600.0          # seconds of a whole soak
EVENTS = {"speak": 60, "quiet": 8, "idle": 8, "flush": 4, "prompt": 6, "interrupt": 6, "spoilt": 4,
          "loud": 4}    # how often of 100
PATIENCE = 60.0         # seconds after which a thread that should have ended is stuck


def script(seconds, seed):
    """Yield (event, what) until about so many seconds of video are asked for.

    what: samples; or (prompt, recache); or how much of what can be taken back is, 0 .. 1.
    """
    g, talk = torch.Generator().manual_seed(seed), Talk.of(min(seconds, 120.0), seed)
    names, often = list(EVENTS), torch.tensor(list(EVENTS.values()), dtype=torch.float32)
    asked, end = 0.0, seconds * 16_000
    while asked < end:
        event = names[torch.multinomial(often, 1, generator=g).item()]
        size = int(10 ** (4.6 * torch.rand((), generator=g).item()))      # 1 .. 40 000 samples
        at = int(torch.randint(len(talk.samples), (), generator=g))
        samples = talk.samples.roll(-at)[:size]
        part = torch.rand((), generator=g).item()
        if event == "prompt":
            yield event, (PROMPTS[at % len(PROMPTS)], part < 0.5)
        elif event == "interrupt":
            yield event, part
            asked -= part * FRAMES * 1000
        elif event in ("idle", "flush"):
            yield event, None
            asked += FRAMES * 500
        else:
            if event == "quiet":
                samples = torch.zeros(len(samples))
            elif event == "spoilt":
                bad = torch.tensor([torch.nan, torch.inf, -torch.inf])
                samples = torch.where(torch.rand(len(samples), generator=g) < 0.1,
                                      bad[torch.randint(3, (len(samples),), generator=g)], samples)
            elif event == "loud":
                samples = 50 * samples
            yield event, samples
            asked += len(samples)


@dataclass
class Seen:
    """What came out: every shown frame, in order, as one checksum, and what went wrong."""

    digest: object = field(default_factory=hashlib.sha256)
    frames: int = 0             # shown and not taken back
    out: int = 0                # handed out in all
    furthest: int = 0           # the most that were shown
    wrong: list = field(default_factory=list)
    events: dict = field(default_factory=dict)

    def show(self, frames):
        """Look at the next frames."""
        if frames.first != self.frames:
            self.wrong.append(f"frame {frames.first} came where {self.frames} was due")
        if not frames.pictures.isfinite().all():
            self.wrong.append(f"frames from {frames.first} on are not finite")
        self.digest.update(to_bytes(frames.pictures).numpy().tobytes())
        self.frames, self.out = frames.first + len(frames), self.out + len(frames)
        self.furthest = max(self.furthest, self.frames)

    def row(self, name, blocks):
        """A line of the result; `blocks` is what the session says it has made."""
        if frames_of(blocks) != self.frames:
            self.wrong.append(f"{self.frames} frames of {blocks} blocks")
        return {"run": name, "frames": self.frames, "handed out": self.out, "wrong": self.wrong,
                "events": self.events, "checksum": self.digest.hexdigest()[:16]}


def back(seen, part):
    """How many frames have been shown when somebody interrupts: up to three blocks fewer, but
    never so few that the session has forgotten how it stood."""
    least = frames_of(max(0, -(-(seen.furthest + MISSING) // FRAMES) - UNDO))
    return max(least, seen.frames - round(part * (3 * FRAMES - 1)), 0)


def drive(live, events, seen, made, watch=None):
    """Tell a session or a pipeline what happens; made(event, result) gives the frames it made."""
    for event, what in events:
        seen.events[event] = seen.events.get(event, 0) + 1
        if event == "prompt":
            result = live.change_prompt(*what)
        elif event == "interrupt":
            result = None
            seen.frames = live.interrupt(back(seen, what))
        else:
            result = getattr(live, event)() if event in ("idle", "flush") else live.push(what)
        for frames in made(event, result):
            seen.show(frames)
        if watch:
            watch(seen.frames)


def plain(session, events, watch=None):
    """Through the session itself: what is seen, and the blocks that stand after every event."""
    seen, stand = Seen(), []

    def made(event, result):
        stand.append(session.state.blocks)
        return [] if result is None else [result]

    drive(session, events, seen, made, watch)
    return seen, stand


def piped(session, events, stand, watch=None):
    """Through the pipeline. All that an event makes is taken before the next one, so that what
    an interruption takes back does not depend on the pace of the threads."""
    seen, due = Seen(), iter(stand)
    with Pipeline(session) as live:
        def made(event, result):
            end = frames_of(next(due))
            while seen.frames < end:
                yield next(live)

        drive(live, events, seen, made, watch)
    return seen


def idle_consumer(session, samples):
    """Nobody reads until every queue is full: then nothing more is made, and nothing is lost."""
    seen, patience = Seen(), time.monotonic() + PATIENCE
    with Pipeline(session) as live:
        live.feed(samples.split(FRAMES * 1000))
        while (len(live.calls.items), len(live.latents.items), len(live.frames.items)) != \
                (CALLS, 1, live.frames.size) and time.monotonic() < patience:
            time.sleep(0.01)
        ahead = session.state.blocks
        for frames in live:
            seen.show(frames)
    if ahead > live.frames.size + 3:
        seen.wrong.append(f"{ahead} blocks were made that nobody read")
    return seen


def dead_producer(session, samples):
    """The source of sound breaks in the middle: what is made comes out, and then its error."""
    def source():
        yield from samples[:len(samples) // 2].split(FRAMES * 1000)
        raise OSError("the microphone was unplugged")

    seen, told = Seen(), None
    with Pipeline(session) as live:
        live.feed(source())
        try:
            for frames in live:
                seen.show(frames)
        except OSError as error:
            told = str(error)
    if told is None or any(thread.is_alive() for thread in live.threads):
        seen.wrong.append("the producer's error did not come out, or a thread stayed")
    return seen


def run(model, seconds=WHOLE, seed=0, watch=None):
    """(rows, cost) of a soak of so many seconds; watch(run, frames) is told how far it is."""
    avatar = load(model)
    if not avatar.is_student:
        raise UserError(f"{model} is a teacher, which does not stream: give a student.")

    def session():
        return AvatarSession(avatar, portrait_of(seed), PROMPTS[0],
                             torch.Generator().manual_seed(seed), avatar.policy, UNDO)

    def say(name):
        return watch and (lambda frames: watch(name, frames))

    cost, rows, memory = {"hours": seconds / 3600}, [], []
    began, live = time.perf_counter(), session()
    reset_peak_memory()

    def look(frames):
        if not memory and frames >= seconds * FPS / 10:
            memory.append(peak_memory())
        if watch:
            watch("session", frames)

    seen, stand = plain(live, script(seconds, seed), look)
    rows.append(seen.row("session", live.state.blocks))
    cost |= {"session_seconds": time.perf_counter() - began,
             "memory_mib": {"after a tenth": memory[0] if memory else None, "end": peak_memory()}}
    live = session()
    rows.append(piped(live, script(seconds, seed), stand, say("pipeline"))
                .row("pipeline", live.state.blocks))
    samples = Talk.of(12.0, seed).samples
    for work in (idle_consumer, dead_producer):
        live = session()
        rows.append(work(live, samples).row(work.__name__.replace("_", " "), live.state.blocks))
    same = len({row["checksum"] for row in rows[:2]}) == 1
    rows.append({"run": "both", "same pictures": same,
                 "held": same and not any(row["wrong"] for row in rows)})
    return rows, cost | {"seconds": time.perf_counter() - began}


def keep(rows, cost, seconds, seed, command):
    """Write data/results/soak.json if it was a whole one; returns its path or None."""
    if seconds >= WHOLE:
        return write_result("soak", command, rows, [seed], cost)
    return None


def table(rows, cost):
    """The rows for people."""
    lines = [f"{row['run']:14} {row['frames'] / FPS:7.1f} s shown, "
             f"{row['handed out'] / FPS:7.1f} s made, "
             f"{'; '.join(row['wrong']) or 'nothing wrong'}" for row in rows[:-1]]
    memory = cost["memory_mib"]
    if memory["end"] and memory["after a tenth"]:
        lines.append(f"peak memory    {memory['after a tenth']:.0f} MiB after a tenth, "
                     f"{memory['end']:.0f} MiB at the end")
    lines.append("session and pipeline showed the same pictures" if rows[-1]["same pictures"]
                 else "session and pipeline showed DIFFERENT pictures")
    return "\n".join(lines)
