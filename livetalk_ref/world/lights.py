"""The three lights of the background: still, blinking, hopping or flying."""

from livetalk_ref.world.jumps import jumps

STILL_SHARE = 0.25      # of the clips: all lights stand still, so that stillness can be judged
MODES = ("blink", "hop", "fly", "fly and blink")


def draw_light(dice):
    """A light at rest: [x, y, on]; one in eight is out."""
    on = 0.0 if dice.chance(0.125) else dice.uniform(0.6, 1.0)
    return [dice.uniform(-1, 1), dice.uniform(-1, 1), on]


def move_lights(frames, starts, dice):
    """Tracks of all lights from their places in frame 0 -> one list of `frames` (x, y, on) each.
    """
    if dice.chance(STILL_SHARE):
        return [[tuple(start)] * frames for start in starts]
    return [_move_light(frames, start, dice.pick(MODES), dice) for start in starts]


def _move_light(frames, start, mode, dice):
    x, y, on = start
    places = [(x, y)] * frames
    if mode == "hop":
        places = jumps(frames, (x, y), dice.frames(0.1, 1.0), lambda frame, place: (
            (dice.uniform(-1, 1), dice.uniform(-1, 1)), 1, dice.frames(0.4, 1.3)))
    if "fly" in mode:
        places = _fly(frames, x, y, dice)
    shine = [(on,)] * frames
    if "blink" in mode:
        shine = jumps(frames, (on,), dice.frames(0.1, 1.0), lambda frame, value: (
            (0.0 if value[0] else dice.uniform(0.6, 1.0),), 1, dice.frames(0.3, 1.3)))
    return [(*place, light) for place, (light,) in zip(places, shine)]


def _fly(frames, x, y, dice):
    """Straight fast flight that bounces at the borders and now and then picks a new course."""
    track, course = [(x, y)], 0
    while len(track) < frames:
        if course == 0:
            speed_x = dice.sign() * dice.uniform(0.03, 0.12)
            speed_y = dice.sign() * dice.uniform(0.0, 0.08)
            course = dice.frames(0.8, 2.5)
        course -= 1
        x, y = x + speed_x, y + speed_y
        if abs(x) > 1:
            x, speed_x = max(-1.0, min(1.0, x)), -speed_x
        if abs(y) > 1:
            y, speed_y = max(-1.0, min(1.0, y)), -speed_y
        track.append((x, y))
    return track
