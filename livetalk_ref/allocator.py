"""The C library's memory, kept between the steps of a long run."""

import ctypes
import sys


def keep_memory():
    """Let the C library keep freed memory: asking anew at every step costs a quarter of it."""
    if sys.platform == "linux":
        mmap_max, top_pad, trim_threshold = -4, -2, -1                   # of <malloc.h>
        for option, value in ((mmap_max, 0), (top_pad, 1 << 28), (trim_threshold, 2**31 - 1)):
            ctypes.CDLL(None).mallopt(option, value)
