"""The released 1.3B weights: loading, encoders, memory and speed of the real thing."""
