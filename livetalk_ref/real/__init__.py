"""The released 1.3B weights: their layout, their encoders, and the speed of a GPU on them."""

# Models whose weights do not ship, and how they are sampled.
REAL = {"livetalk-1.3b": "rollout", "omniavatar-1.3b": "euler"}
