"""Shipped generators still draw what they drew: fingerprints of 9 latent frames of each.

    PYTHONPATH=. python tests/test_golden.py --write    # when weights or the method have changed
"""

import json
import sys
from pathlib import Path

import pytest
import torch

from livetalk_ref import flow, rollout
from livetalk_ref.generate import conditions
from livetalk_ref.loading import load
from livetalk_ref.portrait import portrait_of
from livetalk_ref.world.speech import load_spoken

GOLDEN = Path(__file__).with_name("golden.json")
MODELS = ("teacher", "student", "student_ode")
FRAMES, STEPS, IDENTITY, SENTENCE, SEED = 9, 4, 2, 0, 11
PROMPT = "a happy person smiles and nods while speaking"


@torch.no_grad()
def latents(name):
    """The latents (1, 9, C, h, w) that a generator makes of one fixed condition."""
    avatar, g = load(name), torch.Generator().manual_seed(SEED)
    window = next(conditions(avatar, portrait_of(IDENTITY), load_spoken(SENTENCE).samples, PROMPT))
    cond = window.frames(0, FRAMES)
    if avatar.is_student:
        return rollout.sample(avatar.model, cond, g, avatar.policy)
    clean = cond.ref[:, None]
    noise = torch.randn(1, FRAMES, *clean.shape[2:], generator=g)
    return flow.sample(avatar.model, noise, clean, cond, steps=STEPS, guidance=avatar.guidance)


def fingerprint(x):
    """Mean, standard deviation and 8 values spread over the generated frames."""
    values = x[:, 1:].flatten()
    some = values[torch.linspace(0, len(values) - 1, 8).long()]
    return [values.mean().item(), values.std().item(), *some.tolist()]


@pytest.mark.parametrize("name", MODELS)
def test_a_shipped_generator_draws_what_it_drew(name):
    want = json.loads(GOLDEN.read_text())[name]
    assert fingerprint(latents(name)) == pytest.approx(want, abs=1e-4, rel=0)


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("Give --write to store what the shipped generators draw now.")
    found = {name: [round(v, 6) for v in fingerprint(latents(name))] for name in MODELS}
    GOLDEN.write_text(json.dumps(found, indent=1) + "\n")
