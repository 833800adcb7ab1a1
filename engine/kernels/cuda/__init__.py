"""Kernels in CUDA C++, and what launches them. The functions are those of `engine.kernels.cpu`, name for name."""
