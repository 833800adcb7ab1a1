"""Products of rows of float32, in float64: what over- or underflows on the way does so far later.

for block of BLOCK numbers of a row, in parallel:
    a vector of lanes takes every 16th of them; then its lanes are multiplied, in their order
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .jit import ENABLED, array_at, kernel, number_at, stack, view
from .scan_turns import widen
from .strip import every, read, write, zeros
from .threads import launch
from .vector import BYTES

Array = np.ndarray[Any, Any]
Axes = tuple[int, ...]

BLOCK = 1 << 14  # numbers of a row that are multiplied in one go
PART = 1 << 16  # numbers in a part
L = BYTES // 4
lanes_memory = stack(8 * L)


@kernel
def products_of_rows(block, part):  # type: ignore[no-untyped-def]
    """x (rows,n) -> y (rows,blocks)"""
    x, y, n = number_at(block, 0), array_at(block, 2, np.float64), number_at(block, 4)
    blocks, mine = number_at(block, 5), number_at(block, 6)
    zero, buffer = zeros(np.float32), lanes_memory()
    lanes = view(buffer, L, np.float64)
    for item in range(part * mine, min(y.size, (part + 1) * mine)):
        row, first = item // blocks, item % blocks * BLOCK
        i, end = x + (row * n + first) * 4, x + (row * n + min(n, first + BLOCK)) * 4
        p = every(1.0, widen(zero))
        while i + BYTES <= end:
            p = p * widen(read(i, zero))
            i += BYTES
        write(buffer, p)
        product = lanes[0]
        for lane in range(1, L):
            product *= lanes[lane]
        while i < end:
            product *= np.float64(read(i, np.float32(0)))
            i += 4
        y[item] = product


def product(x: Array, axes: Axes, keepdims: bool = False) -> Array:
    """x.prod(axes, keepdims)"""
    rank = x.ndim - len(axes)
    if not ENABLED or x.dtype != np.float32 or x.size == 0 or sorted(axes) != list(range(rank, x.ndim)):
        return x.prod(axis=axes, keepdims=keepdims)
    n, shape = math.prod(x.shape[rank:]), x.shape[:rank]
    blocks, mine = -(-n // BLOCK), max(1, PART // min(n, BLOCK))
    y = np.empty((x.size // n, blocks))
    launch(products_of_rows, -(-y.size // mine), np.ascontiguousarray(x), y, n, blocks, mine)
    with np.errstate(over="ignore", invalid="ignore"):
        y = y.prod(axis=1).astype(np.float32)
    return y.reshape(shape + (1,) * len(axes) if keepdims else shape)
