"""Answers to the exercises of notebook 04, in place of the line that sets them to None."""

SOLUTION = """
my_frames = generate.KEPT.sinks + generate.KEPT.window + BLOCK
my_mask = torch.ones(21, 21).tril().bool()


def my_fix(x, sigma, v):
    return x - sigma * v


my_leak = mask.clone()
my_leak[0, BLOCK] = True            # block 0 reads block 1 ..
my_leak[BLOCK, -1] = True           # .. and block 1 reads block 6
"""

WRONG = """
my_frames = generate.KEPT.window + BLOCK
my_mask = torch.ones(21, 21).triu().bool()


def my_fix(x, sigma, v):
    return x + v


my_leak = mask.clone()
my_leak[0, BLOCK] = True
"""
