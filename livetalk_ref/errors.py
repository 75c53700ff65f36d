"""One exception for everything a user can put right: its message is one clear sentence."""

import signal
import sys


class UserError(ValueError):
    """Bad input. A command line prints the message alone and ends with exit status 2."""


def run_program(main, *given):
    """A program's main function, and how the program ends: after bad input with exit status 2 and
    one sentence, after Ctrl-C with 130."""
    signal.signal(signal.SIGTERM, stop)
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
