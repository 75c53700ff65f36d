"""A module of diffusers or transformers from a folder: complete, or one sentence says why not.

The libraries draw what a file lacks at random and only report it; here that is an error.
"""

import logging
from contextlib import contextmanager

from safetensors import SafetensorError

from livetalk_ref.errors import UserError
from livetalk_ref.real.weights import Misfit

LONGEST = 200           # characters of a library's own words


def brief(error):
    """An error's words in one line."""
    words = " ".join(str(error).split())
    return words if len(words) <= LONGEST else f"{words[:LONGEST]} .."


@contextmanager
def quiet():
    """Without the libraries' reports of keys, which `from_folder` replaces."""
    loggers = [logging.getLogger(name) for name in ("diffusers", "transformers")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)


def from_folder(kind, folder, what, may_lack=(), **options):
    """`kind.from_pretrained(folder)`, safetensors only, in evaluation mode, on the CPU.

    what: the module in words; may_lack: keys that it does without. Keys that it does not use are
    none of its business (a file may hold more). UserError names what is missing or misshapen.
    """
    try:
        with quiet():
            module, found = kind.from_pretrained(
                folder, use_safetensors=True, local_files_only=True, output_loading_info=True,
                ignore_mismatched_sizes=True, **options)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise UserError(f"{folder} holds no {what}: {brief(error)}") from error
    misfit = Misfit(tuple(sorted(set(found["missing_keys"]) - set(may_lack))), (),
                    tuple(sorted((key, tuple(got), tuple(want))
                                 for key, got, want in found["mismatched_keys"])))
    if misfit:
        raise UserError(f"{folder} does not hold the whole {what}: {misfit}.")
    return module.eval().requires_grad_(False)
