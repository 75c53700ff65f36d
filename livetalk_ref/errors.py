"""Words to a user: errors that can be put right, warnings, and progress."""

import signal
import sys
from contextlib import suppress

from tqdm import tqdm


class UserError(ValueError):
    """Bad input. A command line prints the message alone and ends with exit status 2."""


def warn(text):
    """A warning on stderr."""
    print(f"warning: {text}", file=sys.stderr)


class Progress(tqdm):
    """`with Progress("denoising step", 96) as progress:`, then `progress()` after each of 96: a
    bar on stderr, or a line now and then where stderr is no terminal."""

    def __init__(self, name, total=None):
        super().__init__(desc=name, total=total, mininterval=0.2 if sys.stderr.isatty() else 15.0)

    def __call__(self, *_):
        """One step more; takes and ignores what a sampler hands over."""
        self.update()


def followed(label, states):
    """Pass a training loop's states on, showing loss and time left."""
    with Progress(label) as progress:
        for state in states:
            progress.set_postfix_str(f"loss {state.loss:.4f}, {state.seconds_left / 60:.0f} min "
                                     f"left", refresh=False)
            progress.update(state.step - progress.n)
            yield state


def device_fault(error, work="this"):
    """What an error of the device under some work means, as a sentence; None for any other."""
    first = next(iter(str(error).splitlines()), "")
    if "out of memory" in first or "allocate memory" in first:      # of a GPU, or of the host
        return (f"The device has not enough free memory for {work}: end other programs that use "
                f"it, or take a larger one.")
    if isinstance(error, RuntimeError) and "CUDA" in first:         # it computes nothing any more
        return f"The GPU is lost ({first.rstrip('.')}): end this program and start it again."


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
    # A polite kill is Ctrl-C, so that temporary files are removed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):     # names of files may hold what a terminal has not
        with suppress(AttributeError):
            stream.reconfigure(errors="backslashreplace")
    try:
        main(*given)
    except (UserError, RuntimeError) as error:
        if not (told := error if isinstance(error, UserError) else device_fault(error)):
            raise
        print(f"error: {told}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        sys.exit(130)
