"""Numba kernels, one file per file of `engine/ops/`."""
