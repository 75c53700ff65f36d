"""Answers to the exercises of notebook 01, in place of the line that sets them to None."""

SOLUTION = """
my_prompt = "a person is still"
my_phones = [("m", 0.0, 0.1), ("ɑ", 0.1, 0.4), ("p", 0.4, 0.6)]
my_clip = torch.cat([frames[:1], spoil("blur")[1:]])
"""

WRONG = """
my_prompt = "an energetic person"
my_phones = [("s", 0.0, 0.1), ("ɑ", 0.1, 0.5)]
my_clip = spoil("blur")
"""
