"""A generator with its encoders and codec: what `load` makes, whatever the weights."""

from dataclasses import dataclass

import torch

from livetalk_ref.cache import Policy
from livetalk_ref.flow import STUDENT_STEPS, Guidance
from livetalk_ref.generate import GUIDANCE, KEPT
from livetalk_ref.world import text
from livetalk_ref.world.ear import AudioFeatures
from livetalk_ref.world.state import SIZE

SAMPLERS = ("euler", "rollout")     # of teachers, of students: the fact "sampler" of their files


def drawn_audio(clip=None, frames=None):
    """Audio features of a new stream; that its clip is known beforehand changes nothing."""
    return AudioFeatures()


@dataclass(frozen=True)
class Avatar:
    """A generator with all it needs: DiT, codec, encoders, and how it is sampled."""

    model: torch.nn.Module
    codec: torch.nn.Module
    name: str
    sampler: str = "euler"              # one of SAMPLERS
    text: callable = text.encode        # prompts -> (B, L, D)
    audio: callable = drawn_audio       # (clip=None, frames=None) -> features, see stream.py
    size: int = SIZE                    # pixels a side
    guidance: Guidance = GUIDANCE       # of a teacher
    policy: Policy = KEPT               # of a student's cache
    student_steps: int = STUDENT_STEPS  # of a student, a block

    @property
    def is_student(self):
        """True where it makes block after block in few steps, not windows with a guided Euler."""
        return self.sampler == "rollout"
