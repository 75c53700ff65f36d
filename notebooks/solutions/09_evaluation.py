"""Answers to the exercises of notebook 09, and typical wrong ones."""

SOLUTION = """
my_strength = 5 / 8


def my_cheat(frames):
    return torch.cat([frames[:1], torch.lerp(frames[:1], frames[1:], 0.3)])


def my_longest(frames):
    longest = count = 0
    for a, b in zip(frames, frames[1:]):
        count = count + 1 if torch.equal(a, b) else 0
        longest = max(longest, count)
    return longest
"""

WRONG = """
my_strength = 0.5


def my_cheat(frames):
    return frames[:1].expand_as(frames)


def my_longest(frames):
    return sum(torch.equal(a, b) for a, b in zip(frames, frames[1:]))
"""
