"""Answers to the exercises of notebook 06, in place of the line that sets them to None."""

SOLUTION = """
my_w = 6
my_recipe = replace(recipes.FINAL, guidance=flow.Guidance(11 / 3, 11 / 3))


def my_gradient(x, x0_real, x0_fake):
    return x0_fake - x0_real


def my_stop(scores, patience):
    best = 0
    for index, score in enumerate(scores):
        if score < scores[best]:
            best = index
        if index - best == patience:
            break
    return best
"""

WRONG = """
my_w = 5
my_recipe = replace(recipes.FINAL, guidance=flow.Guidance(9.0, 9.0))


def my_gradient(x, x0_real, x0_fake):
    return x0_real - x0_fake


def my_stop(scores, patience):
    return scores.index(min(scores))
"""
