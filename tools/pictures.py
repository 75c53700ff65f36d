"""The pictures of the world in data/pictures.

    python tools/pictures.py contact      24 clips of the world on one sheet
    python tools/pictures.py banner       a spoken sentence as a filmstrip over its sound
"""

import io
import sys
from pathlib import Path

import torch
from PIL import Image, ImageDraw

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from livetalk_ref import DATA, viz  # noqa: E402
from livetalk_ref.errors import UserError, run_program  # noqa: E402
from livetalk_ref.files import blame, placed  # noqa: E402
from livetalk_ref.world.clips import speaking  # noqa: E402
from livetalk_ref.world.face import render_clip  # noqa: E402
from livetalk_ref.world.identity import sample_identities  # noqa: E402
from livetalk_ref.world.motion import motion  # noqa: E402
from livetalk_ref.world.speech import list_spoken, load_spoken  # noqa: E402
from livetalk_ref.world.visemes import visemes  # noqa: E402

PICTURES = DATA / "pictures"
CONTACT_SEED, COLUMNS, LARGE, SMALL = 13, 6, 152, 4     # SMALL pictures under each large one
BANNER = {"which": "05-us-f2", "seed": 3, "prompt": "a person smiles and nods while speaking"}
PROMPTS = ("smiles and nods, speaking", "very surprised, looking up", "speaks calmly",
           "frowns and shakes the head", "joyful, gesturing", "sad, looking down",
           "tilts the head, happy", "glances left while talking", "energetic, waving",
           "gloomy, motionless", "astonished, turning", "happy, leaning right")


def act(spoken, prompt, generator, frames=None):
    """How a face says a sentence: the state (T, S) of all or the first `frames` frames."""
    frames = frames or int(spoken.seconds * 16) + 1
    return motion(visemes(spoken.phones, frames), speaking(spoken.phones, frames),
                  [(0, prompt)], generator)                              # (T, S)


def contact():
    """24 faces, each with a large moment and five small ones, and what it was asked to do."""
    g = torch.Generator().manual_seed(CONTACT_SEED)
    identities, clips = sample_identities(24, g), len(list_spoken())
    strip = (LARGE - (SMALL - 1) * 2) // SMALL
    cell_w, cell_h, top = LARGE + 14, LARGE + strip + 36, 74
    image = Image.new("RGB", (COLUMNS * cell_w + 22, 24 // COLUMNS * cell_h + top + 8), viz.PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((18, 18), "24 people who do not exist", viz.INK, viz.font(25, True))
    draw.text((image.width - 18, 34), "drawn, moved and voiced by livetalk_ref.world", viz.SOFT,
              viz.font(13), "rm")
    for i in range(24):
        x, y = 18 + i % COLUMNS * cell_w, top + i // COLUMNS * cell_h
        prompt, who = PROMPTS[i * 7 % 12 if i < 12 else i * 5 % 12], identities[i:i + 1]
        state = act(load_spoken(i % clips), prompt, g, frames=49)
        at = torch.linspace(16, 46, SMALL).round().int().tolist()
        image.paste(viz.picture(render_clip(who, state[24:25], LARGE)[0], LARGE), (x, y))
        for k, frame in enumerate(render_clip(who, state[at], 2 * strip)):
            image.paste(viz.picture(frame, strip), (x + k * (strip + 2), y + LARGE + 2))
        draw.text((x, y + LARGE + strip + 6), prompt, viz.SOFT,
                  viz.font(11))
    return image


def banner(which, seed, prompt):
    """A figure: nine moments of a clip above its sound, its phones and the mouth they ask for."""
    spoken, g = load_spoken(which), torch.Generator().manual_seed(seed)
    who = sample_identities(1, g)
    state = act(spoken, prompt, g)
    mouth = visemes(spoken.phones, len(state))                           # (T, 3)
    title = f"\u201c{spoken.text}\u201d   {prompt}"
    return viz.speech(spoken.samples, spoken.phones, mouth, render_clip(who, state, 192),
                      title=title, width=12.5)


def main(words):
    if words == ["contact"]:
        path, sheet = PICTURES / "contact_sheet.jpg", contact().convert("RGB")
        with placed(path) as temporary, blame(path):
            sheet.save(temporary, "JPEG", quality=86, subsampling=0)
    elif words == ["banner"]:
        path, buffer = PICTURES / "banner.png", io.BytesIO()
        banner(**BANNER).savefig(buffer, dpi=96)
        with placed(path) as temporary, blame(path):        # 256 colours: a quarter of the bytes
            Image.open(buffer).convert("RGB").quantize(256).save(temporary, "PNG", optimize=True)
    else:
        raise UserError("Say which picture: contact or banner.")


if __name__ == "__main__":
    run_program(main, sys.argv[1:])
