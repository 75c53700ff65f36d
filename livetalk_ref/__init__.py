"""livetalk_ref: LiveTalk (arXiv 2512.23576) at a size you can train, stop, open and break."""

from pathlib import Path

__version__ = "0.1.0"
REPOSITORY = "https://github.com/livetalk-ref/livetalk_ref"  # the one place for the public address
HOME = Path(__file__).resolve().parent
DATA = HOME / "data" if (HOME / "data").is_dir() else HOME.parent / "data"    # wheel, repository
