"""What a face does in one frame: the named columns of the state tensor (..., S).

Everything that moves is one of these numbers; everything that stays is an `Identity`
(identity.py). The renderer reads them, the motion generator writes them, and they are the
ground truth that every judge is measured against.
"""

import os

SIZE = int(os.environ.get("LIVETALK_SIZE", 96))     # pixels a side; `weights --quick` takes 64
WORLD = 2               # raise it when what a clip shows changes: it names every cache
FPS = 16                # video frames a second
SAMPLE_RATE = 16_000    # audio samples a second
SAMPLES_PER_FRAME = SAMPLE_RATE // FPS

# column: (low, high, meaning). 0 is the resting value of every column.
COLUMNS = {
    # speech drives these three (visemes.py)
    "mouth_open": (0, 1, "vertical opening between the lips"),
    "mouth_width": (-1, 1, "corner distance: pursed .. stretched"),
    "mouth_round": (0, 1, "lip rounding and protrusion"),
    # expression weights; all zero is neutral
    "happy": (0, 1, "smile, raised cheeks"),
    "sad": (0, 1, "inner brows up, corners down"),
    "angry": (0, 1, "brows down and together, narrowed eyes"),
    "surprised": (0, 1, "brows up, wide eyes"),
    # eyes and brows
    "blink": (0, 1, "0 open, 1 closed"),
    "gaze_x": (-1, 1, "looking to image left .. right"),
    "gaze_y": (-1, 1, "looking up .. down"),
    "brow": (-1, 1, "brow flash on top of the expression: lowered .. raised"),
    # head and body
    "turn": (-1, 1, "yaw, image left .. right, with parallax"),
    "nod": (-1, 1, "pitch, up .. down"),
    "tilt": (-1, 1, "roll, anticlockwise .. clockwise"),
    "sway_x": (-1, 1, "whole head and shoulders, left .. right"),
    "sway_y": (-1, 1, "whole head, up .. down"),
    "breath": (-1, 1, "shoulders, down .. up"),
    # uneven lighting of the face
    "key_x": (-1, 1, "key light from image left .. right"),
    "key_y": (-1, 1, "key light from above .. below"),
    "key_strength": (0, 1, "0 even light .. 1 strongly uneven"),
}
STATE = tuple(COLUMNS)
S = len(STATE)
COL = {name: i for i, name in enumerate(STATE)}
EXPRESSIONS = ("neutral", "happy", "sad", "angry", "surprised")
