"""One side of a diagonal, zeros on the other: (N,M) matrices, any number of them.

for some of the rows, in parallel:
    the part that stays is copied, the rest is zeros
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from .buffers import empty
from .jit import ENABLED, Kernel, array_at, kernel, number_at
from .threads import launch

Array = np.ndarray[Any, Any]

PART = 1 << 15  # numbers in a part


@functools.cache
def _kernel(size: int) -> Kernel:
    """For elements of `size` bytes, whatever they mean: zero is no bit set."""
    dtype = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}[size]

    def triangle(block, part):  # type: ignore[no-untyped-def]
        x, y, N, M = array_at(block, 0, dtype), array_at(block, 2, dtype), number_at(block, 4), number_at(block, 5)
        k, lower, rows = number_at(block, 6), number_at(block, 7), number_at(block, 8)
        for r in range(part * rows, min(y.size // M, (part + 1) * rows)):
            here = min(M, max(0, r % N + k + lower))  # where the lower triangle ends, or the upper one begins
            first, behind = (0, here) if lower else (here, M)
            a, b = x[r * M : (r + 1) * M], y[r * M : (r + 1) * M]
            for j in range(first):
                b[j] = dtype(0)
            for j in range(first, behind):
                b[j] = a[j]
            for j in range(behind, M):
                b[j] = dtype(0)

    return kernel(triangle, f"triangle_{size}")


def tril(x: Array, k: int) -> Array:
    """0 above the k-th diagonal: (..,N,M) -> (..,N,M)"""
    return _triangle(x, k, 1) if _fits(x) else np.tril(x, k)


def triu(x: Array, k: int) -> Array:
    """0 below the k-th diagonal: (..,N,M) -> (..,N,M)"""
    return _triangle(x, k, 0) if _fits(x) else np.triu(x, k)


def _fits(x: Array) -> bool:
    return ENABLED and x.itemsize <= 8 and x.size > 0


def _triangle(x: Array, k: int, lower: int) -> Array:
    (N, M), y = x.shape[-2:], empty(x.shape, x.dtype)
    rows = max(1, PART // M)
    launch(_kernel(x.itemsize), -(-x.size // (M * rows)), np.ascontiguousarray(x), y, N, M, k, lower, rows)
    return y
