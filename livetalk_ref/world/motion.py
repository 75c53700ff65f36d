"""How a face moves: speech, prompts and chance -> the state of every frame.

Speech decides the mouth, the prompt decides expression and style, and chance the rest: when
the head jumps and where to, the eyes, the blinks, the hands, the lights. Frame 0 is a still of
the same person (still.py) whose expression, mouth and pose know nothing of the prompt;
everything starts from there.
"""

import math

from livetalk_ref.errors import UserError
from livetalk_ref.world.jumps import Dice, jumps, oscillation, pulses, ramps, spring
from livetalk_ref.world.lights import move_lights
from livetalk_ref.world.prompts import parse
from livetalk_ref.world.state import EXPRESSIONS, FPS, STATE
from livetalk_ref.world.still import BREATH, LIGHTS, MOUTH, draw_still, tensor, weights

SETTLED = 12            # frames after which an asked expression is reached
MOUTH_BLEND = 3         # from this frame on the mouth is the speech's alone


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
    tracks = {}
    for part in (_mouth, _expression, _head, _body, _eyes, _hands, _background):
        tracks |= part(scene)
    tracks |= _swing(scene, tracks)
    return tensor(tracks)                                               # (T, S)


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

    def jumps(self, names, next_jump, first=(0.05, 0.6), asks=lambda goal: False):
        """Jumps of some columns from their place in the still -> {name: values}."""
        start = tuple(self.still[name] for name in names)
        first_hold = self.dice.frames(*first)
        track = jumps(self.frames, start, first_hold, next_jump, self.changes(asks))
        return dict(zip(names, zip(*track)))


def _mouth(scene):
    rows = []
    for frame, row in enumerate(scene.visemes):
        w = min(frame / MOUTH_BLEND, 1.0)
        rows.append(row if w == 1 else
                    [(1 - w) * scene.still[name] + w * v for name, v in zip(MOUTH, row)])
    return dict(zip(MOUTH, zip(*rows)))


def _expression(scene):
    names = EXPRESSIONS[1:]
    goals = [(start, tuple(weights(goal.expression, goal.intensity).values()),
              scene.dice.pick(range(7, SETTLED + 1))) for start, goal in scene.goals]
    track = ramps(scene.frames, tuple(scene.still[name] for name in names), goals)
    return dict(zip(names, zip(*track)))


def _target(scene, value, side, amount, rest, reach):
    """Where a jump goes: to the asked side, else mostly across, and home once in a while."""
    dice = scene.dice
    if dice.chance(0.15 if side else rest):
        return dice.uniform(-0.2, 0.2) * reach
    low = 0.5 + 0.2 * amount
    across = (-1 if value[0] > 0 else 1) * (1 if dice.chance(0.75) else -1)
    return (side or across) * dice.uniform(low, 1.0) * reach


def _head(scene):
    dice = scene.dice

    def turn(frame, value):
        asked, reach = scene.asked(frame), scene.reach(frame)
        reach *= 0.5 if asked.shake and not asked.turn else 1.0     # leave room for the shake
        reach = max(reach, asked.turn)
        target = _target(scene, value, asked.turn_side, asked.turn, 0.25, reach)
        fast = 0.6 if asked.turn and not asked.turn_side else 1.0
        return (target,), dice.pick((2, 3)), scene.hold(0.4 * fast, 1.5 * fast, frame)

    def tilt(frame, value):
        asked = scene.asked(frame)
        reach = max(0.65 * scene.reach(frame), asked.tilt)
        target = _target(scene, value, asked.tilt_side, asked.tilt, 0.35, reach)
        return (target,), dice.pick((2, 3)), scene.hold(0.5, 1.6, frame)

    def nod(frame, value):
        target = dice.uniform(-0.45, 0.45) * scene.reach(frame)
        return (target,), dice.pick((2, 3)), scene.hold(0.5, 1.8, frame)

    tracks = scene.jumps(["turn"], turn, asks=lambda goal: goal.turn) \
        | scene.jumps(["tilt"], tilt, asks=lambda goal: goal.tilt) | scene.jumps(["nod"], nod)
    for name, word in (("nod", "nod"), ("turn", "shake")):
        added = _oscillations(scene, word)
        tracks[name] = [a + b for a, b in zip(tracks[name], added)]
    return tracks


def _oscillations(scene, word):
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
        rest = dice.frames(0.2, 0.9) if asked else dice.frames(1.5, 5.0)
        until = min([frame + rest] + [b for b in changes if frame < b])
        return until - frame

    def burst(frame):
        size = amount(frame) * dice.uniform(0.7, 1.0)
        shape = oscillation(dice.pick((1, 2, 3)), dice.uniform(1.5, 2.0), size * dice.sign())
        return shape if size else []

    return pulses(scene.frames, gap, burst)


def _body(scene):
    dice = scene.dice

    def sway_x(frame, value):
        asked = scene.asked(frame)
        reach = max(0.35 * scene.reach(frame), asked.sway, asked.lean)
        if asked.lean:                                          # a fast move and a long hold
            target = _target(scene, value, asked.lean_side, asked.lean, 0.1, reach)
            return (target,), 4, scene.hold(0.8, 1.8, frame)
        away = -1 if value[0] > 0 else 1                        # to and fro without a hold
        target = away * dice.uniform(0.5, 1.0) * reach
        slow = 0.5 if asked.sway else 1.0
        return (target,), scene.hold(1.0 * slow, 1.8 * slow, frame), 1

    def sway_y(frame, value):
        target = dice.uniform(-0.3, 0.3) * scene.reach(frame)
        return (target,), dice.pick((3, 4, 5)), scene.hold(0.5, 1.5, frame)

    start = math.asin(max(-1.0, min(1.0, scene.still["breath"] / BREATH)))
    speed = 2 * math.pi * dice.uniform(0.25, 0.4) / FPS
    breath = [BREATH * math.sin(start + speed * frame) for frame in range(scene.frames)]
    return scene.jumps(["sway_x"], sway_x, (0.05, 0.2), lambda goal: goal.sway or goal.lean) \
        | scene.jumps(["sway_y"], sway_y) | {"breath": breath}


def _eyes(scene):
    dice = scene.dice

    def gaze(frame, value):
        asked, hold = scene.asked(frame), scene.hold(0.3, 1.0, frame)
        if asked.gaze and dice.chance(0.85):
            x, y = (0.85 * side for side in asked.gaze)
            return (x + dice.uniform(-0.15, 0.15), y + dice.uniform(-0.15, 0.15)), 1, hold
        at_viewer = asked.gaze == (0, 0) or dice.chance(0.8 if scene.listens(frame) else 0.3)
        if at_viewer:
            return (dice.uniform(-0.1, 0.1), dice.uniform(-0.1, 0.1)), 1, hold
        return (dice.sign() * dice.uniform(0.4, 1.0), dice.uniform(-0.7, 0.7)), 1, hold

    def brow(frame, value):
        if value[0]:
            return (0.0,), 2, scene.hold(0.8, 3.0, frame)
        high = (-0.7 if dice.chance(0.25) else 1.0) * dice.uniform(0.5, 1.0)
        return (high,), dice.pick((1, 2)), dice.frames(0.15, 0.4)

    def lids_rest(frame):
        asked = scene.asked(frame).blink
        return dice.frames(0.3, 1.0) if asked > 0.6 else dice.frames(1.0, 4.0) if not asked \
            else dice.frames(3.0, 6.0)

    def lids(frame):
        return list(dice.pick(((0.6, 1.0), (1.0, 0.6), (0.5, 1.0, 0.5), (1.0, 1.0, 0.4))))

    return scene.jumps(["gaze_x", "gaze_y"], gaze, asks=lambda goal: goal.gaze) \
        | scene.jumps(["brow"], brow, (0.2, 2.5)) | {"blink": pulses(scene.frames, lids_rest, lids)}


def _hands(scene):
    sides = ["l", "r"] if scene.dice.chance(0.5) else ["r", "l"]
    return _hand(scene, sides[0], True) | _hand(scene, sides[1], False)


def _hand(scene, side, first):
    """One hand: up within three frames, there for a while and restless, down again."""
    dice = scene.dice

    def amount(frame):
        asked = scene.asked(frame)
        return asked.gesture if first or not asked.one_hand else 0.0

    def up(frame, value):
        if value[0] > 0.5:
            much = amount(frame)
            rest = scene.hold(0.2, 1.2 - 0.6 * much, frame) if much \
                else scene.hold(1.5, 6.0, frame)
            return (0.0,), dice.pick((2, 3)), rest
        return (dice.uniform(0.7, 1.0),), dice.pick((2, 3)), dice.frames(0.5, 1.5)

    def restless(frame, value):
        target = (dice.uniform(-1, 1), dice.uniform())
        return target, dice.pick((1, 2)), scene.hold(0.2, 0.6, frame)

    raised = scene.still[f"hand_{side}_up"] > 0.5
    rest = (0.05, 0.5) if amount(0) else (0.1, 1.2) if raised else (0.2, 5.0)
    return scene.jumps([f"hand_{side}_up"], up, rest, lambda goal: goal.gesture) \
        | scene.jumps([f"hand_{side}_x", f"hand_{side}_spread"], restless)


def _background(scene):
    starts = [[scene.still[name] for name in names] for names in LIGHTS]
    tracks = {name: [scene.still[name]] * scene.frames
              for name in ("key_x", "key_y", "key_strength")}
    for names, track in zip(LIGHTS, move_lights(scene.frames, starts, scene.dice)):
        tracks |= dict(zip(names, zip(*track)))
    return tracks


def _swing(scene, tracks):
    """Hair and earrings lag behind the head: the only motion here that follows from another."""
    driver = [0.6 * turn + 0.4 * tilt + 0.5 * sway
              for turn, tilt, sway in zip(tracks["turn"], tracks["tilt"], tracks["sway_x"])]
    return {name: spring(driver, scene.still[name], hertz, damping)
            for name, hertz, damping in (("hair_swing", 1.6, 0.25), ("earring_swing", 2.6, 0.12))}
