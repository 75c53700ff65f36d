"""Answers to the exercises of notebook 10, and typical wrong ones."""

SOLUTION = """
sizes = [cache_bytes(LIVETALK_1P3B, 1024, n, torch.float16) for n in range(40)]
my_frames = max(n for n, size in enumerate(sizes) if size <= 2 * 2 ** 30)
my_scale = 64 / 128
my_undo = int((31 - by_type["bf16"]["total"]) / by_type["bf16"]["each undo"])
"""

WRONG = """
my_frames = 15
my_scale = 128 / 64
my_undo = 6
"""
