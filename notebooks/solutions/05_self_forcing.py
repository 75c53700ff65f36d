"""Answers to the exercises of notebook 05, in place of the line that sets them to None."""

SOLUTION = """
def streaming(model, cond, generator):
    cache, made = EMPTY, []
    for part in rollout.split(cond):
        made.append(rollout.denoise(model, rollout.draw(part, generator), part, cache))
        cache = rollout.remember(model, made[-1], part, cache)
    return torch.cat(made, dim=1)


def matching(x, real, fake):
    gradient = (fake - real) / (x - real).abs().mean(dim=1, keepdim=True)
    return (x * gradient.detach()).sum(1).mean()


my_passes = 3 * 3 + 2                       # three blocks; nobody reads the last one's clean pass
my_gradient, my_rollout, my_loss = 0, streaming, matching
"""

WRONG = """
my_passes = 3 * (3 + 1)
my_gradient, my_rollout = 1, alone
my_loss = lambda x, real, fake: (
    x * (fake - real) / (x - real).abs().mean(dim=1, keepdim=True)).sum(1).mean()
"""
