"""One exception for everything a user can put right: its message is one clear sentence."""

import signal
import sys
from contextlib import suppress


class UserError(ValueError):
    """Bad input. A command line prints the message alone and ends with exit status 2."""


def unreadable(path, error):
    """The sentence about a safetensors file that cannot be opened, and why."""
    with suppress(OSError), open(path, "rb") as file:
        if file.read(24) == b"version https://git-lfs.":
            return (f"{path} is only the pointer that Git LFS puts in a file's place: fetch the "
                    f"file itself, with 'git lfs pull' or by a download.")
    return f"{path} is not a readable safetensors checkpoint: {error}."


def run_program(main, *given):
    """A program's main function, and how the program ends: after bad input with exit status 2 and
    one sentence, after Ctrl-C with 130."""
    signal.signal(signal.SIGTERM, stop)
    for stream in (sys.stdout, sys.stderr):     # names of files may hold what a terminal has not
        with suppress(AttributeError):
            stream.reconfigure(errors="backslashreplace")
    try:
        main(*given)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        sys.exit(130)


def stop(*_):
    """What a polite kill does: as Ctrl-C, so that temporary files are removed."""
    raise KeyboardInterrupt
