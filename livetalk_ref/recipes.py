"""The recipes of Self Forcing with multimodal conditions; notebook 06 has the paper's beside them.

LiveTalk's table 3 goes from a baseline to its final recipe in four steps, one knob each. `ROWS`
has these, and what shows why they are needed: students of fewer steps, for whom more is left to
do; a critic that keeps up and an anchor, the ODE loss that goes on besides, both beyond the
paper; and references without light under a student that learns too fast. Ratios are the
paper's. The ablation is made on 4 rollouts of 3 blocks an update; the student that ships, on 8.
LiveTalk sections 3.3 and 5.4.
"""

from dataclasses import dataclass, fields, replace

from livetalk_ref.cache import BLOCK
from livetalk_ref.errors import UserError
from livetalk_ref.flow import STUDENT_STEPS, Guidance

FRAMES = 3 * BLOCK              # latent frames of an ablation's rollout
WEAK, STRONG = Guidance(2.0, 2.0), Guidance(8 / 3, 8 / 3)       # w - 1 is 1, and 5 / 3
MILD = Guidance(1.0, 2.0)       # the teacher's own when it samples, and that of its paths


@dataclass(frozen=True)
class Recipe:
    """One row of the paper's table 3: only these knobs differ between runs."""

    start: str = "student_ode"          # or "student_ode_short": how converged the ODE start is
    conditions: str = "curated"         # one of `curation.KINDS`
    lr: float = 2e-4                    # of the student
    critic_lr: float = 4e-5
    guidance: Guidance = STRONG         # of the real score
    anchor: float = 0.0                 # weight of the ODE loss, which goes on besides
    updates: int = 200                  # of the student
    ratio: int = 5                      # critic updates for each of them
    warmup: int = 20                    # critic updates before the first one
    ema: float = 0.99                   # averages the student ...
    ema_from: float = 0.2               # ... from this share of the run on
    clip: float = 10.0
    betas: tuple = (0.0, 0.999)
    weight_decay: float = 0.01
    batch: int = 8
    frames: int = 21                    # latent frames of a rollout
    student_steps: int = STUDENT_STEPS  # 1, 2 or 4
    seed: int = 0


BASELINE = Recipe(start="student_ode_short", conditions="raw", lr=1e-4, critic_lr=2e-5,
                  guidance=WEAK, batch=4, frames=FRAMES)
CURATED = replace(BASELINE, conditions="curated")
CONVERGED = replace(CURATED, start="student_ode")
AGGRESSIVE = replace(CONVERGED, lr=2e-4, critic_lr=4e-5)
FINAL = replace(AGGRESSIVE, guidance=STRONG)
QUICK = replace(FINAL, critic_lr=4e-4, warmup=100)      # the critic twice as fast as the student
TWO, ONE = (replace(QUICK, student_steps=steps, start=f"runs/ode-{steps}/ema.safetensors")
            for steps in (2, 1))
MILD_4, MILD_2, MILD_1 = (replace(row, guidance=MILD) for row in (QUICK, TWO, ONE))
MILD_ANCHORED = replace(MILD_1, anchor=1.0)
DARK = replace(FINAL, conditions="dark", lr=1e-3)


@dataclass(frozen=True)
class Row:
    """A recipe of the table: what it is called there, and from which row it differs in what."""

    title: str
    recipe: Recipe
    like: str | None = None     # the row it is compared with
    knob: str | None = None     # one of KNOBS, the only thing that differs
    seeds: int = 3
    updates: int = 100          # two rows are compared at the last update that both have


KNOBS = {"conditions": ("conditions",), "start": ("start",), "rates": ("lr", "critic_lr"),
         "guidance": ("guidance",), "critic": ("critic_lr", "warmup"), "anchor": ("anchor",),
         "steps": ("student_steps", "start"),
         "lag and dark": ("conditions", "lr")}                  # and the fields they turn
ROWS = {
    "baseline": Row("baseline", BASELINE),
    "curated": Row("+ curated conditions", CURATED, "baseline", "conditions"),
    "converged": Row("+ converged ODE start", CONVERGED, "curated", "start"),
    "aggressive": Row("+ aggressive learning rates", AGGRESSIVE, "converged", "rates"),
    "final": Row("+ stronger guidance = final", FINAL, "aggressive", "guidance"),
    "final-raw": Row("final without curation", replace(FINAL, conditions="raw"), "final",
                     "conditions"),
    "quick-critic": Row("final with a quick critic", QUICK, "final", "critic"),
    "mild": Row("quick critic, mild guidance", MILD_4, "quick-critic", "guidance", updates=200),
    "mild-short": Row("mild, short start", replace(MILD_4, start=BASELINE.start), "mild", "start"),
    "two-steps": Row("quick critic, 2 steps", TWO, "quick-critic", "steps", 1),
    "two-steps-mild": Row("2 steps, mild guidance", MILD_2, "two-steps", "guidance", updates=200),
    "one-step": Row("quick critic, 1 step", ONE, "quick-critic", "steps", 1, 200),
    "one-step-mild": Row("1 step, mild guidance", MILD_1, "one-step", "guidance", updates=200),
    "one-step-anchored": Row("and an anchor", MILD_ANCHORED, "one-step-mild", "anchor", 1, 200),
    "dark": Row("half of the references dark, a fast student", DARK, "final", "lag and dark"),
    "dark-quick": Row("dark, with a quick critic", replace(DARK, critic_lr=2e-3, warmup=100),
                      "dark", "critic"),
    "dark-curated": Row("dark, curated", replace(DARK, conditions="curated dark"), "dark",
                        "conditions"),
}
# `student`: what helped most, and an anchor: its paths of 7 blocks show what 3 blocks never do.
SHIPPED = replace(MILD_4, anchor=1.0, batch=8)
NAMES = (*ROWS, "student")


def recipe(name, seed=0, updates=None):
    """The recipe of a row, or of the `student` that ships. UserError for another name."""
    if name not in NAMES:
        raise UserError(f"There is no recipe '{name}'; choose one of {', '.join(NAMES)}.")
    found, own = (SHIPPED, SHIPPED.updates) if name == "student" else \
        (ROWS[name].recipe, ROWS[name].updates)
    return replace(found, seed=seed, updates=updates or own)


def differences(one, other):
    """The names of the fields in which two recipes differ."""
    return {f.name for f in fields(Recipe) if getattr(one, f.name) != getattr(other, f.name)}
