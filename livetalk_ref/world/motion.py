"""How a face moves: speech, prompts and chance -> the state of every frame.

Speech decides the mouth, the prompt decides expression and style, and chance the rest: when the
head turns and where to, the eyes, the blinks, the brows. Frame 0 is a still of the same person
whose expression, mouth and pose know nothing of the prompt; everything starts from there.
"""

import math

import torch

from livetalk_ref.errors import UserError
from livetalk_ref.world.chance import Dice, jumps, oscillation, pulses, ramps
from livetalk_ref.world.prompts import parse
from livetalk_ref.world.state import COLUMNS, EXPRESSIONS, FPS, STATE

MOUTH = ("mouth_open", "mouth_width", "mouth_round")
LIGHT = ("key_x", "key_y", "key_strength")
BREATH = 0.8
SETTLED = 12            # frames after which an asked expression is reached
MOUTH_BLEND = 3         # from this frame on the mouth is the speech's alone
MOVES = (4, 5, 6)       # frames that a head takes to another pose


def motion(visemes, speaking, prompts, generator, reference=None):
    """The state of every frame of a clip -> (T, S) float32, within the ranges of COLUMNS.

    visemes: (T, 3) mouth opening, width, rounding; exact from frame 3 on. speaking: (T,) bool.
    prompts: [(start_frame, prompt), ..] in order, the first at frame 0. reference: (S,) state of
    frame 0, drawn if None. UserError for an unknown word or a first prompt that starts late.
    """
    if not prompts or prompts[0][0] != 0:
        raise UserError("The first prompt must start at frame 0.")
    dice = Dice(generator)
    still = draw_still(dice) if reference is None else dict(zip(STATE, reference.tolist()))
    scene = Scene(visemes, speaking, prompts, still, dice)
    tracks = {name: [still[name]] * scene.frames for name in LIGHT}
    for part in (move_mouth, change_expression, move_head, move_body, move_eyes):
        tracks |= part(scene)
    return stack(tracks)                                                # (T, S)


def reference_state(generator):
    """A still of a person with any expression, mouth, pose and light -> (S,) float32."""
    return stack({name: [value] for name, value in draw_still(Dice(generator)).items()})[0]


def draw_still(dice):
    """The columns of a random still as {name: value}."""
    still = dict.fromkeys(STATE, 0.0)
    still |= expression_weights(dice.pick(EXPRESSIONS), dice.uniform(0.4, 1.0))
    if dice.chance(0.6):                                # else the mouth is closed
        still |= dict(zip(MOUTH, (dice.uniform(0, 0.9), dice.uniform(-0.7, 0.7),
                                  dice.uniform(0, 0.6))))
    for name, most in (("turn", 0.7), ("tilt", 0.6), ("nod", 0.4), ("sway_x", 0.5),
                       ("sway_y", 0.3), ("breath", BREATH)):
        still[name] = dice.uniform(-most, most)
    if dice.chance(0.5):
        still |= {"gaze_x": dice.uniform(-1, 1), "gaze_y": dice.uniform(-0.7, 0.7)}
    strongest = dice.pick((0.2, 0.6, 0.6, 1.0))
    return still | {"key_x": dice.uniform(-1, 1), "key_y": dice.uniform(-1, 0.6),
                    "key_strength": dice.uniform(0.4, 1.0) * strongest}


def expression_weights(expression, intensity):
    """The columns of an expression as {name: value}; neutral has none."""
    return {name: intensity * (name == expression) for name in EXPRESSIONS[1:]}


def stack(tracks):
    """{name: values} of every column -> (T, S) float32, clamped to the columns' ranges."""
    columns = torch.tensor([tracks[name] for name in STATE])            # (S, T)
    low, high = (torch.tensor([float(COLUMNS[name][i]) for name in STATE]) for i in (0, 1))
    return columns.T.clamp(low, high).contiguous()                      # (T, S)


class Scene:
    """What every part of the body looks at: the clip's conditions, its still and the dice."""

    def __init__(self, visemes, speaking, prompts, still, dice):
        self.frames = len(visemes)
        self.visemes = visemes.tolist()
        self.speaking = speaking.tolist()
        self.goals = [(start, parse(prompt)) for start, prompt in prompts]
        self.still, self.dice = still, dice

    def asked(self, frame):
        """The Behaviour that the prompt asks for at this frame."""
        return [goal for start, goal in self.goals if start <= frame][-1]

    def listens(self, frame):
        silent = not self.speaking[min(frame, self.frames - 1)]
        return silent or self.asked(frame).listen > 0.5

    def hold(self, low, high, frame):
        """Frames to hold a pose: a still person holds twice as long, an energetic one half."""
        pace = 4 ** (0.5 - self.asked(frame).energy) * (1.4 if self.listens(frame) else 1.0)
        return self.dice.frames(low * pace, high * pace)

    def reach(self, frame):
        """How far motion goes: 1 for an ordinary person, 0.3 when still, 1.3 when energetic."""
        return min(0.3 + 1.4 * self.asked(frame).energy, 1.3)

    def changes(self, asks):
        """Frames soon after a new prompt that asks for something: no hold outlasts them."""
        return [start + self.dice.frames(0.06, 0.4)
                for start, goal in self.goals[1:] if asks(goal)]

    def jumps(self, names, next_jump, first=(0.05, 0.8), asks=lambda goal: False):
        """Jumps of some columns from their place in the still -> {name: values}."""
        start = tuple(self.still[name] for name in names)
        first_hold = self.dice.frames(*first)
        track = jumps(self.frames, start, first_hold, next_jump, self.changes(asks))
        return dict(zip(names, zip(*track)))


def move_mouth(scene):
    """The speech's mouth, after a few frames' way from the still's."""
    rows = []
    for frame, row in enumerate(scene.visemes):
        w = min(frame / MOUTH_BLEND, 1.0)
        rows.append(row if w == 1 else
                    [(1 - w) * scene.still[name] + w * v for name, v in zip(MOUTH, row)])
    return dict(zip(MOUTH, zip(*rows)))


def change_expression(scene):
    """Smooth ways to the expression of each prompt."""
    names = EXPRESSIONS[1:]
    goals = [(start, tuple(expression_weights(goal.expression, goal.intensity).values()),
              scene.dice.pick(range(7, SETTLED + 1))) for start, goal in scene.goals]
    track = ramps(scene.frames, tuple(scene.still[name] for name in names), goals)
    return dict(zip(names, zip(*track)))


def draw_target(scene, value, side, amount, rest, reach):
    """Where a jump goes: to the asked side, else mostly across, and home once in a while."""
    dice = scene.dice
    if dice.chance(0.15 if side else rest):
        return dice.uniform(-0.2, 0.2) * reach
    low = 0.4 + 0.3 * amount
    across = (-1 if value[0] > 0 else 1) * (1 if dice.chance(0.75) else -1)
    return (side or across) * dice.uniform(low, 1.0) * reach


def move_head(scene):
    """Turns, tilts and nods: poses that are held, and bursts of nodding or shaking."""
    dice = scene.dice

    def turn(frame, value):
        asked, reach = scene.asked(frame), 0.75 * scene.reach(frame)
        reach *= 0.5 if asked.shake and not asked.turn else 1.0     # leave room for the shake
        reach = max(reach, asked.turn)
        target = draw_target(scene, value, asked.turn_side, asked.turn, 0.3, reach)
        fast = 0.6 if asked.turn and not asked.turn_side else 1.0
        return (target,), dice.pick(MOVES), scene.hold(0.7 * fast, 2.5 * fast, frame)

    def tilt(frame, value):
        asked = scene.asked(frame)
        reach = max(0.5 * scene.reach(frame), asked.tilt)
        target = draw_target(scene, value, asked.tilt_side, asked.tilt, 0.4, reach)
        return (target,), dice.pick(MOVES), scene.hold(0.8, 2.8, frame)

    def nod(frame, value):
        target = dice.uniform(-0.4, 0.4) * scene.reach(frame)
        return (target,), dice.pick(MOVES), scene.hold(0.8, 2.8, frame)

    tracks = scene.jumps(["turn"], turn, asks=lambda goal: goal.turn) \
        | scene.jumps(["tilt"], tilt, asks=lambda goal: goal.tilt) | scene.jumps(["nod"], nod)
    for name, word in (("nod", "nod"), ("turn", "shake")):
        added = bursts(scene, word)
        tracks[name] = [a + b for a, b in zip(tracks[name], added)]
    return tracks


def bursts(scene, word):
    """Bursts of nodding or shaking: as asked while speaking, small and rare unasked."""
    dice = scene.dice
    changes = scene.changes(lambda goal: getattr(goal, word))

    def amount(frame):
        asked = scene.asked(frame)
        if getattr(asked, word):
            return getattr(asked, word)
        return 0.35 if word == "nod" and scene.listens(frame) else 0.0

    def gap(frame):
        asked = getattr(scene.asked(frame), word)
        rest = dice.frames(0.3, 1.2) if asked else dice.frames(2.0, 5.0)
        until = min([frame + rest] + [b for b in changes if frame < b])
        return until - frame

    def burst(frame):
        size = amount(frame) * dice.uniform(0.7, 1.0)
        shape = oscillation(dice.pick((1, 2)), dice.uniform(1.0, 1.4), size * dice.sign())
        return shape if size else []

    return pulses(scene.frames, gap, burst)


def move_body(scene):
    """Slow sway from side to side, up and down, and breath."""
    dice = scene.dice

    def sway_x(frame, value):
        asked = scene.asked(frame)
        reach = max(0.35 * scene.reach(frame), asked.sway)
        away = -1 if value[0] > 0 else 1                        # to and fro without a hold
        target = away * dice.uniform(0.5, 1.0) * reach
        slow = 0.6 if asked.sway else 1.0
        return (target,), scene.hold(1.2 * slow, 2.2 * slow, frame), 1

    def sway_y(frame, value):
        target = dice.uniform(-0.3, 0.3) * scene.reach(frame)
        return (target,), dice.pick(MOVES), scene.hold(0.8, 2.5, frame)

    start = math.asin(max(-1.0, min(1.0, scene.still["breath"] / BREATH)))
    speed = 2 * math.pi * dice.uniform(0.25, 0.4) / FPS
    breath = [BREATH * math.sin(start + speed * frame) for frame in range(scene.frames)]
    return scene.jumps(["sway_x"], sway_x, (0.05, 0.2), lambda goal: goal.sway) \
        | scene.jumps(["sway_y"], sway_y) | {"breath": breath}


def move_eyes(scene):
    """Gaze that jumps from frame to frame, brow flashes, blinks."""
    dice = scene.dice

    def gaze(frame, value):
        asked, hold = scene.asked(frame), scene.hold(0.4, 1.4, frame)
        if asked.gaze and dice.chance(0.85):
            x, y = (0.85 * side for side in asked.gaze)
            return (x + dice.uniform(-0.15, 0.15), y + dice.uniform(-0.15, 0.15)), 1, hold
        at_viewer = asked.gaze == (0, 0) or dice.chance(0.8 if scene.listens(frame) else 0.4)
        if at_viewer:
            return (dice.uniform(-0.1, 0.1), dice.uniform(-0.1, 0.1)), 1, hold
        return (dice.sign() * dice.uniform(0.4, 1.0), dice.uniform(-0.7, 0.7)), 1, hold

    def brow(frame, value):
        if value[0]:
            return (0.0,), 2, scene.hold(0.8, 3.0, frame)
        high = (-0.7 if dice.chance(0.25) else 1.0) * dice.uniform(0.5, 1.0)
        return (high,), 2, dice.frames(0.2, 0.5)

    def lids_rest(frame):
        asked = scene.asked(frame).blink
        return dice.frames(0.4, 1.2) if asked > 0.6 else dice.frames(1.2, 4.0) if not asked \
            else dice.frames(3.0, 6.0)

    def lids(frame):
        return list(dice.pick(((0.6, 1.0, 0.3), (0.5, 1.0, 0.5), (1.0, 1.0, 0.4))))

    return scene.jumps(["gaze_x", "gaze_y"], gaze, asks=lambda goal: goal.gaze) \
        | scene.jumps(["brow"], brow, (0.2, 2.5)) | {"blink": pulses(scene.frames, lids_rest, lids)}
