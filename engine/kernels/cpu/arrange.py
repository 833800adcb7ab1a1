"""Elements that move along an axis, or stand several times in a row: (outer, n, inner) -> (outer, n r, inner).

for some of the rows (o, i), in parallel:
    r times: its `inner` numbers are copied
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from .buffers import empty
from .jit import ENABLED, Kernel, array_at, kernel, number_at
from .threads import launch

Array = np.ndarray[Any, Any]

PART = 1 << 15  # numbers in a part


@functools.cache
def _kernel(size: int) -> Kernel:
    """For elements of `size` bytes, whatever they mean."""
    dtype = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}[size]

    def repeat(block, part):  # type: ignore[no-untyped-def]
        x, y, inner = array_at(block, 0, dtype), array_at(block, 2, dtype), number_at(block, 4)
        r, rows = number_at(block, 5), number_at(block, 6)
        for row in range(part * rows, min(x.size // inner, (part + 1) * rows)):
            if inner == 1:
                for q in range(row * r, (row + 1) * r):
                    y[q] = x[row]
            else:
                source = x[row * inner : (row + 1) * inner]
                for q in range(row * r, (row + 1) * r):
                    for j in range(inner):
                        y[q * inner + j] = source[j]

    return kernel(repeat, f"repeat_{size}")


def repeat(x: Array, counts: tuple[int, ...], axis: int) -> Array:
    """Each element of the axis so many times: one count for all, or one each."""
    if not ENABLED or len(counts) != 1 or x.size * counts[0] == 0 or x.itemsize > 8:
        return np.repeat(x, np.array(counts, np.int64), axis)
    r, inner = counts[0], math.prod(x.shape[axis + 1 :])
    y, rows = empty((*x.shape[:axis], x.shape[axis] * r, *x.shape[axis + 1 :]), x.dtype), max(1, PART // (r * inner))
    launch(_kernel(x.itemsize), -(-x.size // (inner * rows)), np.ascontiguousarray(x), y, inner, r, rows)
    return y


def roll(x: Array, pairs: list[tuple[int, int]]) -> Array:
    """For each (axis, shift): the elements so many places on; those that fall off come in again. Always a copy."""
    if not pairs:
        return x.copy()
    for axis, shift in pairs:
        y, ahead = empty(x.shape, x.dtype), (slice(None),) * axis
        k = shift % max(1, x.shape[axis])
        y[*ahead, k:], y[*ahead, :k] = x[*ahead, : x.shape[axis] - k], x[*ahead, x.shape[axis] - k :]
        x = y
    return x
