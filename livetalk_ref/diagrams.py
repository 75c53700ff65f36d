"""Drawings: mask and cache, and a rolling cache; figures in viz.py's style."""

from livetalk_ref import viz
from livetalk_ref.cache import block_causal_mask


def memory(frames, block, policy, at):
    """The mask of one pass beside the cache while it fills. -> figure

    frames: latent frames in all; at: the number of the block under work. Left: which frame may
    read which, the rows of this block framed. Right: what the cache holds when the block begins.
    """
    mask = block_causal_mask(frames, 1, block, policy)
    here, kept = at * block, [f for f in range(at * block) if policy.keeps(f, at * block)]
    made, (left, right) = viz.figure(12, 4.9, 1, 2, width_ratios=(1, 2.1))
    left.imshow(mask, cmap="Greys", vmin=0, vmax=2.2)
    left.grid(False)
    left.set(title=f"the mask: row {here} .. {here + block - 1} reads", xlabel="is read",
             ylabel="reads")
    left.add_patch(viz.plt.Rectangle((-0.5, here - 0.5), frames, block, fill=False,
                                     edgecolor=viz.CORAL, linewidth=2))
    shares = {"cached, clean": (kept, viz.TEAL), "this block, noisy": (
        range(here, here + block), viz.CORAL)}
    for name, (numbers, colour) in shares.items():
        right.bar(list(numbers), 1, 0.9, color=colour, label=name)
    later = [f for f in range(frames) if f not in kept and not here <= f < here + block]
    right.bar(later, 1, 0.9, color=viz.RULE, label="forgotten, or not there yet")
    right.set(xlim=(-0.6, frames - 0.4), ylim=(0, 1.6), yticks=[], xticks=range(0, frames, block),
              xlabel="latent frame", title=f"the cache before block {at}: {len(kept)} frames")
    right.legend(loc="upper left", ncols=3)
    return made


def rolling(policies, block, count):
    """How caches roll: one panel a policy, every row what a block reads. -> figure

    policies: {name: Policy}; block: latent frames of a block; count: blocks.
    """
    made, axes = viz.figure(12, 3.4, 1, len(policies), sharey=True)
    for ax, (name, policy) in zip(axes, policies.items()):
        for row in range(count):
            now = row * block
            kept = [f for f in range(now) if policy.keeps(f, now)]
            sinks = [f for f in kept if f < policy.sinks]
            for frames, colour in ((range(now), viz.RULE), (kept, viz.TEAL), (sinks, viz.AMBER),
                                   (range(now, now + block), viz.CORAL)):
                ax.bar(list(frames), 0.8, 0.9, row - 0.4, color=colour, linewidth=0)
        ax.set(title=name, xlabel="latent frame", ylim=(count - 0.4, -0.6))
        ax.grid(False)
    axes[0].set_ylabel("block")
    for label, colour in (("forgotten", viz.RULE), ("window", viz.TEAL), ("sinks", viz.AMBER),
                          ("this block", viz.CORAL)):
        axes[-1].bar(0, 0, color=colour, label=label)
    axes[-1].legend(loc="upper right", fontsize=9)
    return made
