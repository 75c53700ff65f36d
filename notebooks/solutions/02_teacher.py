"""Answers to the exercises of notebook 02, in place of the line that sets them to None."""

SOLUTION = """
def heun(x, sigma, following):
    ahead = x + velocity(x, sigma) * (following - sigma).float()
    if following == 0:
        return ahead
    both = velocity(x, sigma) + velocity(ahead, following)
    return x + both / 2 * (following - sigma).float()


my_steps = next(n for n in range(1, 49) if crisp(n) >= 0.9 * blunt[48])
my_step = heun
my_cond = next(generate.conditions(avatar, frames[0], torch.zeros(FRAMES * 1000), PROMPT))
"""

WRONG = """
my_steps = 47
my_step = lambda x, sigma, following: x + velocity(x, sigma) * (following - sigma).float()
my_cond = cond.drop("audio")
"""
