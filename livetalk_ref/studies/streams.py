"""Streams judged over time: ten minutes under every policy of the cache, and a minute of six faces.

Two drawn people talk under each policy; then one budget of five blocks is split between sinks
and window in every way. There is no rendered truth of such a stream, so the pictures are compared
with the reference and with their own first ten seconds. Six people talk for a minute each, with
the policy of `generate`, and the judge of melting looks. LiveTalk section 4. T frames.
"""

from functools import cached_property, partial

import torch
import torch.nn.functional as F

from livetalk_ref.cache import BLOCK, FULL, TABLE_END, Policy
from livetalk_ref.errors import UserError
from livetalk_ref.files import blame, placed
from livetalk_ref.judge import metrics
from livetalk_ref.loading import load
from livetalk_ref.media import floats_of, to_bytes
from livetalk_ref.nets.syncnet import sync
from livetalk_ref.nets.whole_faces import whole_share
from livetalk_ref.options import PROMPT
from livetalk_ref.portrait import portrait_of
from livetalk_ref.runs import read, save
from livetalk_ref.stream import FRAMES, AvatarSession
from livetalk_ref.studies.work import Job, Study, mean_row
from livetalk_ref.world.speech import list_spoken, load_spoken
from livetalk_ref.world.state import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME
from livetalk_ref.world.visemes import visemes

SPLIT = 0.3                     # share of a stream that a split's lasts
BUDGET = 5                      # blocks that all splits keep
MARKS = (0, 10, 60, 300, 600)   # seconds of the filmstrips
STREAMS = {
    "full": FULL,
    "window only": Policy(window=BUDGET * BLOCK),
    "AHIS 3 + 2": Policy(3 * BLOCK, 2 * BLOCK),
    "AHIS 3 + 2, absolute": Policy(3 * BLOCK, 2 * BLOCK, relative=False),
    "released 3 + 1": Policy(3 * BLOCK, BLOCK),
    "released 3 + 1, absolute": Policy(3 * BLOCK, BLOCK, relative=False)}
SPLITS = {f"{sinks} + {BUDGET - sinks}": Policy(sinks * BLOCK, (BUDGET - sinks) * BLOCK)
          for sinks in range(BUDGET + 1)}
PART = 10                       # seconds that one line of numbers stands for
PAUSE = (0.4, 1.6)              # seconds between two sentences, from .. to
REACH = 1.0                     # seconds around a part whose phones still shape the mouth
FACES = range(1, 7)             # who talks for a minute
BORDER = 0.12                   # of the picture: the rim at the top and the sides, where no face is


class Streams(Study):
    """All streams of the shipped student, a job each."""

    sizes = {"seconds": (600.0, 12.0), "seeds": ((0, 1), (0,))}         # of a stream; people

    @cached_property
    def avatar(self):
        return load("student")

    def key(self):
        return self.judges.key(self.avatar.model, self.avatar.codec)

    def jobs(self):
        made = []
        for identity in self.seeds:
            for kind, policies, share in (("stream", STREAMS, 1), ("split", SPLITS, SPLIT)):
                seconds = share * self.seconds
                made += [Job(f"{kind}-{file_label(name)}-{seconds:.0f}s-{identity}", "policies",
                             partial(self.stream, kind, name, policy, seconds, identity))
                         for name, policy in policies.items()]
        return [*made, Job("filmstrips", None, self.draw), Job("faces", "stream_faces", self.faces)]

    def shown(self, name, identity=0):
        """Where the moments of a stream are kept."""
        return self.folder / "shown" / f"{file_label(name)}-{identity}.safetensors"

    def stream(self, kind, name, policy, seconds, identity):
        """Run one stream, holding ten seconds of pictures at a time."""
        talk, picture = long_talk(seconds, identity), portrait_of(identity)
        rows, marks, first = [], {}, 0
        for frames in stream_parts(self.avatar, picture, talk[0], policy, identity):
            yield
            if not rows:
                usual, marks["0"] = metrics.movement(frames).median(), to_bytes(frames[0])
            rows.append(part_row(self.judges, picture, talk, frames, first, usual))
            first += len(frames)
            if round(first / FPS) in MARKS:
                marks[f"{first / FPS:.0f}"] = to_bytes(frames[-1])
        if kind == "stream":
            save(self.shown(name, identity), marks)
        ends = None if policy.relative or seconds < TABLE_END / 4 else TABLE_END / 4    # seconds
        return [{"study": kind, "policy": name, "ends": ends, "parts": rows}]

    def faces(self):
        """How many faces are whole in a minute of each person's stream."""
        rows = []
        for identity in FACES:
            yield
            seconds, picture = min(60.0, self.seconds), portrait_of(identity)
            sound, _ = long_talk(seconds, identity)
            frames = torch.cat([picture[None], *stream_parts(self.avatar, picture, sound,
                                                             self.avatar.policy, identity)])
            share, longest = whole_share(self.judges.wholeness.broken(frames))
            rows.append({"identity": identity, "seconds": seconds, "whole faces": round(share, 4),
                         "longest break": round(longest / FPS, 4)})
        return rows

    def combine(self, result, rows):
        """Means over people."""
        if result != "policies":
            return rows, {}
        found = {}
        for row in rows:
            found.setdefault((row["study"], row["policy"]), []).append(row)
        return [policy_row(*some) for some in found.values()], {}

    def draw(self):
        """The filmstrips of the first person, a row a policy; white where a stream has ended."""
        from livetalk_ref import viz

        marks = [mark for mark in MARKS if mark <= self.seconds]
        white = torch.full((3, 8, 8), 255, dtype=torch.uint8)
        strips = [read(self.shown(name))[0] for name in STREAMS]
        tiles = [floats_of(strip.get(str(mark), white)) for strip in strips for mark in marks]
        sheet = viz.sheet(tiles, len(marks), 96, list(STREAMS), [f"{mark} s" for mark in marks])
        picture = self.results.parent / "pictures" / "policies.png"
        with placed(picture) as temporary, blame(picture):
            sheet.save(temporary, "PNG", optimize=True)


def file_label(name):
    """A policy's name as a file's."""
    return "".join(c if c.isalnum() else "_" for c in name)


def policy_row(first, *others):
    """One policy: for every part the mean over people, and each one's likeness at the end."""
    streams = [first.pop("parts"), *(one["parts"] for one in others)]
    policy, parts = (STREAMS | SPLITS)[first["policy"]], list(map(mean_row, zip(*streams)))
    last = max(1, min(60 // PART, len(parts) // 3))         # of a short one the last third
    return first | {"sinks": policy.sinks, "window": policy.window, "relative": policy.relative,
                    "last minute": [mean_row(one[-last:])["identity"] for one in streams]} | {
        key: [part.get(key) for part in parts] for key in streams[0][0]}


def long_talk(seconds, seed):
    """Speech of so many seconds: samples (N,), and phones [(IPA symbol, start s, end s)]; seed: of
    the sentences' order and of the pauses."""
    g, pieces, phones, at = torch.Generator().manual_seed(seed), [], [], 0
    clips = [i for i, clip in enumerate(list_spoken()) if clip["split"] == "held_out"]
    while at < seconds * SAMPLE_RATE:
        for i in torch.randperm(len(clips), generator=g).tolist():
            spoken, (low, high) = load_spoken(clips[i]), PAUSE
            pause = low + (high - low) * torch.rand((), generator=g).item()
            pieces.append(F.pad(spoken.samples, (0, round(pause * SAMPLE_RATE))))
            begin = at / SAMPLE_RATE
            phones += [(p, begin + start, begin + end) for p, start, end in spoken.phones]
            at += len(pieces[-1])
            phones.append(("", phones[-1][2], at / SAMPLE_RATE))
    return torch.cat(pieces)[:round(seconds * SAMPLE_RATE)], phones


def asked_mouth(phones, first, frames):
    """The mouth's opening that phones ask for, from a frame on: (T,)."""
    begin, end = first / FPS, (first + frames) / FPS
    near = [(p, start - begin, stop - begin) for p, start, stop in phones
            if stop > begin - REACH and start < end + REACH]
    return visemes(near, frames)[:, 0]


def stream_parts(avatar, picture, sound, policy, seed):
    """Yield the frames (160, 3, H, W) of every ten seconds of a stream, and the rest at its end,
    or where absolute positions end."""
    session = AvatarSession(avatar, picture, PROMPT, torch.Generator().manual_seed(seed), policy,
                            undo=0)
    waiting, size = torch.zeros(0, *picture.shape), PART * FPS
    for samples in sound.split(FRAMES * SAMPLES_PER_FRAME):
        try:
            waiting = torch.cat([waiting, session.push(samples).pictures])
        except UserError:
            if policy.relative:
                raise
            break
        if len(waiting) >= size:
            yield waiting[:size]
            waiting = waiting[size:].clone()
    if len(waiting) >= FPS:                         # less would say nothing
        yield waiting


@torch.inference_mode()
def part_row(judges, picture, talk, frames, first, usual):
    """The numbers of a stream's frames (T, 3, H, W) from the frame `first` on, a dict; talk: see
    `long_talk`; usual: the median of the `movement` at its beginning. A part that is not whole has
    no "sync"."""
    samples, phones = talk
    reading = judges.reader.read(torch.cat([picture[None], frames]))
    alike, mouth = reading.identity[1:] @ reading.identity[0], reading.column("mouth_open")[1:]
    moves = metrics.movement(frames)
    row = {"seconds": first / FPS, "identity": alike.mean().item(),
           "colour drift": rim_drift(frames, picture),
           "sharpness": metrics.sharpness(frames),
           "mouth": metrics.mouth_correlation(mouth, asked_mouth(phones, first, len(frames))),
           "freeze": metrics.freeze_rate(moves, usual.expand_as(moves))}
    if judges.syncnet is not None and len(frames) == PART * FPS:
        heard = samples[first * SAMPLES_PER_FRAME:][:len(frames) * SAMPLES_PER_FRAME]
        row["sync"] = sync(judges.syncnet, frames, heard).confidence
    return row


def rim_drift(frames, picture):
    """How far the usual colour of the rim has gone from the reference's, see `colour_drift`."""
    rim = torch.zeros(picture.shape[1:], dtype=torch.bool)
    width = round(BORDER * picture.shape[-1])
    rim[:width] = rim[:2 * len(rim) // 3, :width] = rim[:2 * len(rim) // 3, -width:] = True
    return metrics.colour_drift(torch.cat([picture.expand_as(frames), frames]), rim)
