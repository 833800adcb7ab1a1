"""Where the largest number of each column is: (outer, n, inner) -> (outer, inner). Rows, inner = 1, are NumPy's.

for some of the o, and some of the columns j, in parallel:
    for i in 0 .. n-1: for j: if x[o,i,j] > best[j]: best[j], y[o,j] = x[o,i,j], i

What is compared is a whole number for each element, so that NaN wins, -0 equals 0 and no float is flushed to zero.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from .buffers import empty
from .jit import ENABLED, Kernel, array_at, device, kernel, number_at
from .sorting import BITS
from .threads import launch

Array = np.ndarray[Any, Any]

COLUMNS = 512  # of a part
PART = 1 << 15  # numbers in a part


@functools.cache
def _kernel(name: str, largest: bool) -> Kernel:
    dtype, is_float = BITS[name], name[0] == "f"
    infinity = dtype(0x7F800000 if dtype == np.int32 else 0x7FF0000000000000)
    most = dtype(np.iinfo(dtype).max)

    @device
    def key_of(bits):  # type: ignore[no-untyped-def]
        """A whole number that is greater where the element wins."""
        if not is_float:
            return bits if largest else dtype(~bits)
        size = dtype(bits & most)
        if size > infinity:
            return most
        return size if (bits >= 0) == largest else dtype(-size)

    def argreduce(block, part):  # type: ignore[no-untyped-def]
        x, y, best = array_at(block, 0, dtype), array_at(block, 2, np.int64), array_at(block, 4, dtype)
        n, inner, pieces = number_at(block, 6), number_at(block, 7), number_at(block, 8)
        columns, mine = number_at(block, 9), number_at(block, 10)
        best = best[part * columns : (part + 1) * columns]
        for item in range(part * mine, min(y.size // inner * pieces, (part + 1) * mine)):
            o, first = item // pieces, item % pieces * columns
            width = min(columns, inner - first)
            where = y[o * inner + first : o * inner + first + width]
            for i in range(n):
                row = x[(o * n + i) * inner + first : (o * n + i) * inner + first + width]
                for j in range(width):
                    key = key_of(row[j])
                    better = i == 0 or key > best[j]
                    best[j] = key if better else best[j]
                    where[j] = i if better else where[j]

    return kernel(argreduce, f"arg{'max' if largest else 'min'}_{name}")


def argmax(x: Array, axis: Any, keepdims: bool) -> Array:
    """Where the largest element is; the first of equals, a NaN wins."""
    return _argreduce(x, axis, keepdims, True) if _fits(x, axis) else x.argmax(axis=axis, keepdims=keepdims)


def argmin(x: Array, axis: Any, keepdims: bool) -> Array:
    """Where the smallest element is; the first of equals, a NaN wins."""
    return _argreduce(x, axis, keepdims, False) if _fits(x, axis) else x.argmin(axis=axis, keepdims=keepdims)


def _fits(x: Array, axis: Any) -> bool:
    return ENABLED and axis is not None and x.dtype.name in BITS and x.size > 0 and axis % x.ndim < x.ndim - 1


def _argreduce(x: Array, axis: Any, keepdims: bool, largest: bool) -> Array:
    axis, name = axis % x.ndim, x.dtype.name
    n, outer, inner = x.shape[axis], math.prod(x.shape[:axis]), math.prod(x.shape[axis + 1 :])
    y = empty((*x.shape[:axis], *[1] * keepdims, *x.shape[axis + 1 :]), np.int64)
    columns = min(inner, COLUMNS)
    pieces = -(-inner // columns)
    items, mine = outer * pieces, max(1, PART // (n * columns))
    parts = -(-items // mine)
    best, x = empty(parts * columns, BITS[name]), np.ascontiguousarray(x).view(BITS[name])
    launch(_kernel(name, largest), parts, x, y, best, n, inner, pieces, columns, mine)
    return y
