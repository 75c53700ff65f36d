"""A long stream of speech, and what becomes of its pictures: numbers for every ten seconds.

`Talk` says the shipped held-out clips one after the other with pauses, so that the mouth that
the sound asks for is known at every frame. There is no rendered truth of such a stream, so the
pictures are compared with the reference and with their own first ten seconds. T frames.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from livetalk_ref.errors import UserError
from livetalk_ref.judge import metrics
from livetalk_ref.judge.sync import sync
from livetalk_ref.stream import FRAMES, AvatarSession
from livetalk_ref.world.prompts import parse
from livetalk_ref.world.speech import list_spoken, load_spoken
from livetalk_ref.world.state import EXPRESSIONS, FPS, SAMPLE_RATE, SAMPLES_PER_FRAME
from livetalk_ref.world.visemes import visemes

PART = 10                       # seconds that one line of numbers stands for
PAUSE = (0.4, 1.6)              # seconds between two sentences, from .. to
REACH = 1.0                     # seconds around a part whose phones still shape the mouth
BORDER = 0.12                   # of the picture: the rim at the top and the sides, where no face is


@dataclass(frozen=True)
class Talk:
    """Speech without end: samples (N,), and phones [(IPA symbol, start s, end s)]."""

    samples: torch.Tensor
    phones: list

    @staticmethod
    def of(seconds, seed):
        """At least so many seconds; seed: of the order and of the pauses."""
        g, pieces, phones, at = torch.Generator().manual_seed(seed), [], [], 0
        clips = [i for i, clip in enumerate(list_spoken()) if clip["split"] == "held_out"]
        while at < seconds * SAMPLE_RATE:
            for i in torch.randperm(len(clips), generator=g).tolist():
                spoken = load_spoken(clips[i])
                low, high = PAUSE
                pause = low + (high - low) * torch.rand((), generator=g).item()
                samples = F.pad(spoken.samples, (0, round(pause * SAMPLE_RATE)))
                begin = at / SAMPLE_RATE
                phones += [(p, begin + start, begin + end) for p, start, end in spoken.phones]
                at += len(samples)
                phones.append(("", phones[-1][2], at / SAMPLE_RATE))
                pieces.append(samples)
        return Talk(torch.cat(pieces)[:round(seconds * SAMPLE_RATE)], phones)

    def mouth(self, first, frames):
        """The mouth's opening that the sound asks for, from a frame on: (T,)."""
        begin, end = first / FPS, (first + frames) / FPS
        near = [(p, start - begin, stop - begin) for p, start, stop in self.phones
                if stop > begin - REACH and start < end + REACH]
        return visemes(near, frames)[:, 0]


def parts(avatar, picture, prompt, talk, policy, seed, watch=None):
    """Yield the frames (160, 3, H, W) of every ten seconds of a stream, the rest at its end.

    UserError where the policy's positions end; what was made before it has come by then.
    """
    session = AvatarSession(avatar, picture, prompt, torch.Generator().manual_seed(seed), policy,
                            undo=0)
    waiting, end, size = torch.zeros(0, *picture.shape), None, PART * FPS
    for samples in talk.samples.split(FRAMES * SAMPLES_PER_FRAME):
        try:
            waiting = torch.cat([waiting, session.push(samples).pictures])
        except UserError as error:
            end = error
            break
        if watch:
            watch()
        if len(waiting) >= size:
            yield waiting[:size]
            waiting = waiting[size:].clone()
    if len(waiting) >= FPS:                         # less would say nothing
        yield waiting
    if end:
        raise end


class Watcher:
    """Judges the parts of one stream in their order."""

    def __init__(self, judges, picture, prompt, talk):
        self.judges, self.picture, self.talk = judges, picture, talk
        self.face = judges.reader.read(picture[None]).identity[0]
        self.asked = EXPRESSIONS.index(parse(prompt).expression)
        self.usual, self.first = None, 0

    @torch.inference_mode()
    def __call__(self, frames):
        """The numbers of the next frames (T, 3, H, W), a dict; None what does not apply."""
        reading, moves = self.judges.reader.read(frames), metrics.movement(frames)
        self.usual = moves.median() if self.usual is None else self.usual
        mouth = self.talk.mouth(self.first, len(frames))
        row = {"seconds": self.first / FPS,
               "identity": (reading.identity @ self.face).mean().item(),
               "colour drift": colour_drift(frames, self.picture),
               "sharpness": metrics.sharpness(frames),
               "mouth": metrics.mouth_correlation(reading.column("mouth_open"), mouth),
               "freeze": (moves < metrics.HELD * self.usual).float().mean().item(),
               "expression": (reading.expression() == self.asked).float().mean().item()}
        if self.judges.syncnet is not None and len(frames) == PART * FPS:
            start = self.first * SAMPLES_PER_FRAME
            heard = self.talk.samples[start:start + len(frames) * SAMPLES_PER_FRAME]
            row["sync"] = sync(self.judges.syncnet, frames, heard).confidence
        self.first += len(frames)
        return row


def colour_drift(frames, picture):
    """How far the usual colour of the rim has gone from the reference's, in 1/255.

    The median over time, so that a passing hand or lamp does not count, and the mean over the
    places, so that lost detail does not.
    """
    rim = torch.zeros(picture.shape[1:], dtype=torch.bool)
    width = round(BORDER * picture.shape[-1])
    rim[:width] = rim[:2 * len(rim) // 3, :width] = rim[:2 * len(rim) // 3, -width:] = True
    usual = frames.median(dim=0).values                                  # (3, H, W)
    return (usual - picture)[:, rim].mean(1).norm().item() * metrics.LEVELS
