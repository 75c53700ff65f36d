"""Processes that work beside another: they end with it, and their failures are told."""

import os
import time
from multiprocessing import get_context

import pytest

from livetalk_ref.errors import UserError
from livetalk_ref.judge.jobs import beside


def process(work, *args):
    return get_context("spawn").Process(target=work, args=args)


def test_processes_end_with_an_exception_of_this_one():
    others, began = [process(time.sleep, 600) for _ in range(2)], time.monotonic()
    with pytest.raises(KeyboardInterrupt), beside(others):
        raise KeyboardInterrupt
    assert time.monotonic() - began < 300 and not any(one.is_alive() for one in others)


def test_a_process_that_fails_is_told_in_one_sentence():
    with beside([process(time.sleep, 0)]):
        pass
    with pytest.raises(UserError, match="1 of 2 processes beside this one failed"):
        with beside([process(time.sleep, 0), process(os._exit, 3)]):
            pass
