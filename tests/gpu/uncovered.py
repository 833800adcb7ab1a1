"""Ops that layer D can't run, because CuPy does them with machine code that lies compiled in it.

A test finds them anew by trying each op, and holds this list to be it. No training step needs one.
"""

UNCOVERED = ["argsort", "sort", "topk", "unique_counts", "unique_values"]
