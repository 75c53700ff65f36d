"""livetalk_ref: LiveTalk (arXiv 2512.23576) at a size you can train, stop, open and break.

`from livetalk_ref import load, AvatarSession, viz`: what notebooks need most is here by name, all
else in the modules. A name's module is imported when the name is asked for, and not before.
"""

from importlib import import_module
from pathlib import Path

__version__ = "0.1.0"
REPOSITORY = "https://github.com/livetalk-ref/livetalk_ref"  # the one place for the public address
HOME = Path(__file__).resolve().parent
DATA = HOME / "data" if (HOME / "data").is_dir() else HOME.parent / "data"    # wheel, repository

MODULE_OF = {
    "UserError": "errors", "read_result": "files", "read_metrics": "files",
    "Cond": "flow", "Guidance": "flow", "BLOCK": "cache", "KVCache": "cache", "Policy": "cache",
    "Config": "wan", "TINY": "wan", "LIVETALK_1P3B": "wan", "WanDiT": "wan", "Codec": "codec",
    "TrainConfig": "train", "Trajectories": "trajectories",
    "AvatarSession": "stream", "Pipeline": "generate", "Avatar": "generate",
    "load": "loading", "load_module": "loading", "load_audio": "media",
    "portrait_of": "portrait", "load_spoken": "world.speech", "AudioFeatures": "world.ear",
    "sample_identities": "world.identity", "motion": "world.motion",
    "visemes": "world.visemes", "render_clip": "world.draw",
}
__all__ = ["__version__", *MODULE_OF]


def __getattr__(name):
    """Import what is asked for by name."""
    if name not in MODULE_OF:
        raise AttributeError(f"module 'livetalk_ref' has no attribute '{name}'")
    value = getattr(import_module(f"livetalk_ref.{MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *__all__})
