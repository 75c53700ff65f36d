"""The rule-based baseline: loudness opens the mouth of a face that otherwise stays as it was.

No model and no training. Loud speech mostly has an open mouth, so this alone earns a correlation;
only what a model earns beyond it has anything to do with words.
"""

from dataclasses import replace

from livetalk_ref.judge.follow import loudness
from livetalk_ref.world import clips
from livetalk_ref.world.state import COL, SIZE
from livetalk_ref.world.motion import MOUTH


def opening(samples, frames):
    """Mouth opening of every frame from samples (N,): 0 where quietest .. 1 where loudest, (T,)."""
    track = loudness(samples, frames)
    low, high = track.aminmax()
    return (track - low) / (high - low).clamp(min=1e-6)


def act(clip):
    """The rule's states of a `Clip`, (T, S): frame 0 is the clip's own, as every model is given.

    Everything that moves holds the reference's place; the mouth is opened by loudness alone.
    """
    state = clip.state[:1].repeat(len(clip.state), 1)                   # (T, S)
    state[1:, [COL[name] for name in MOUTH]] = 0
    state[1:, COL["mouth_open"]] = opening(clip.heard, len(state))[1:]
    return state


def film(clip, size=SIZE):
    """The rule's pictures of a `Clip`, drawn by the world's renderer: (T, 3, size, size)."""
    return clips.film(replace(clip, state=act(clip)), size)
