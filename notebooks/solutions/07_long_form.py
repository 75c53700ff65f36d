"""Answers to the exercises of notebook 07, in place of the line that sets them to None."""

SOLUTION = """
my_largest = 9 + 3 + BLOCK - 1
my_policy = Policy(sinks=BLOCK, window=4 * BLOCK)
my_end = 256
my_halt = 9
"""

WRONG = """
my_largest = 15
my_policy = Policy(sinks=1, window=4)
my_end = 1024
my_halt = 12
"""
