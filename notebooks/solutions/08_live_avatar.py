"""Answers to the exercises of notebook 08, in place of the line that sets them to None."""

SOLUTION = """
my_kept = 21


def my_think(dialogue):
    text = f"You said {len(dialogue.turn.text.split())} words."
    yield Sentence(text, perform(text), "counter")


my_reason = "threads"
"""

WRONG = """
my_kept = 20


def my_think(dialogue):
    yield Sentence(dialogue.turn.text, perform(dialogue.turn.text), "echo")


my_reason = "buffer"
"""
