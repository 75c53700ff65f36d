"""Answers to the exercises of notebook 11, and typical wrong ones."""

SOLUTION = """
counts = [2 ** k for k in range(10)]
rows = sizing.memory_rows("dmd", "omniavatar-14b", "omniavatar-14b", gpus=counts)
my_gpus = next(row["GPUs"] for row in rows if row["sum"] <= 180)
my_rows = [3, 11]
my_number = 3
"""

WRONG = """
my_gpus = 1
my_rows = [4, 5, 6, 7]
my_number = 8
"""
