"""Answers to the exercises of notebook 00, in place of the line that sets them to None."""

SOLUTION = """
my_prompt = "a very surprised person gasps"
my_samples = short.repeat(6)
my_quiet = short / 10_000
"""

WRONG = """
my_prompt = "a sad person is still"
my_samples = short.repeat(5)
my_quiet = short / 2
"""
