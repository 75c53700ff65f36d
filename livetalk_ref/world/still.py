"""A still of a person: the state of frame 0, which knows nothing of speech or prompt."""

import torch

from livetalk_ref.world.jumps import Dice
from livetalk_ref.world.lights import draw_light
from livetalk_ref.world.state import COLUMNS, EXPRESSIONS, STATE

MOUTH = ("mouth_open", "mouth_width", "mouth_round")
LIGHTS = [tuple(f"light{i}_{part}" for part in ("x", "y", "on")) for i in (1, 2, 3)]
BREATH = 0.8


def reference_state(generator):
    """A still of a person with any expression, mouth, pose and light -> (S,) float32."""
    return tensor({name: [value] for name, value in draw_still(Dice(generator)).items()})[0]


def draw_still(dice):
    """The columns of a random still as {name: value}."""
    still = dict.fromkeys(STATE, 0.0)
    still |= weights(dice.pick(EXPRESSIONS), dice.uniform(0.4, 1.0))
    if dice.chance(0.6):                                # else the mouth is closed
        still |= dict(zip(MOUTH, (dice.uniform(0, 0.9), dice.uniform(-0.7, 0.7),
                                  dice.uniform(0, 0.6))))
    for name, most in (("turn", 0.8), ("tilt", 0.7), ("nod", 0.4), ("sway_x", 0.5),
                       ("sway_y", 0.3), ("breath", BREATH)):
        still[name] = dice.uniform(-most, most)
    if dice.chance(0.5):
        still |= {"gaze_x": dice.uniform(-1, 1), "gaze_y": dice.uniform(-0.7, 0.7)}
    for side in "lr":
        raised = dice.uniform(0.7, 1.0) if dice.chance(0.2) else 0.0
        still |= {f"hand_{side}_up": raised, f"hand_{side}_x": dice.uniform(-1, 1),
                  f"hand_{side}_spread": dice.uniform()}
    for names in LIGHTS:
        still |= dict(zip(names, draw_light(dice)))
    strongest = dice.pick((0.2, 0.6, 0.6, 1.0))
    return still | {"key_x": dice.uniform(-1, 1), "key_y": dice.uniform(-1, 0.6),
                    "key_strength": dice.uniform(0.4, 1.0) * strongest}


def weights(expression, intensity):
    """The columns of an expression as {name: value}; neutral has none."""
    return {name: intensity * (name == expression) for name in EXPRESSIONS[1:]}


def tensor(tracks):
    """{name: values} of every column -> (T, S) float32, clamped to the columns' ranges."""
    columns = torch.tensor([tracks[name] for name in STATE])            # (S, T)
    low, high = (torch.tensor([float(COLUMNS[name][i]) for name in STATE]) for i in (0, 1))
    return columns.T.clamp(low, high).contiguous()                      # (T, S)
