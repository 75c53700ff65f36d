"""The released 1.3B weights: their layout, their encoders, and the speed of a GPU on them."""

REAL = ("livetalk-1.3b", "omniavatar-1.3b")         # models whose weights do not ship
