"""The k largest of a row, the largest first: arrays are (outer, n, inner), rows (o, :, j).

for some of the rows, in parallel:
    for i in 0 .. n-1:
        if i < k or x[i] > the last of the k so far: it is inserted, and those that are smaller move one place back

What is compared is a whole number for each element, so that NaN counts as the largest, -0 equals 0 and no float is
flushed to zero. Of equal elements the first comes first.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from .buffers import empty
from .jit import ENABLED, Kernel, array_at, device, kernel, number_at
from .threads import launch

Array = np.ndarray[Any, Any]

PART = 1 << 14  # numbers in a part
MOST = 128  # elements that are inserted one by one: for more, a row is sorted
BITS: dict[str, Any] = {"float32": np.int32, "float64": np.int64, "int32": np.int32, "int64": np.int64}  # of the rows


# --- NumPy: the contract ---------------------------------------------------------------------------------------------


def argsort(x: Array, axis: int, descending: bool) -> Array:
    """The order that sorts the axis, int64. Equal elements keep their order, NaN counts as the largest."""
    if not descending:
        return np.argsort(x, axis=axis, kind="stable")
    return x.shape[axis] - 1 - np.flip(np.argsort(np.flip(x, axis), axis=axis, kind="stable"), axis)


# --- the kernel ------------------------------------------------------------------------------------------------------


@device
def insert(keys, places, last, key, place):  # type: ignore[no-untyped-def]
    """Put an element among those that are sorted: keys[last] is free, or goes."""
    while last > 0 and keys[last - 1] < key:
        keys[last], places[last] = keys[last - 1], places[last - 1]
        last -= 1
    keys[last], places[last] = key, place


@functools.cache
def _kernel(name: str) -> Kernel:
    dtype, is_float = BITS[name], name[0] == "f"
    nan_above = dtype(0x7F800000 if dtype == np.int32 else 0x7FF0000000000000)  # the bits of infinity
    magnitude, most = dtype(np.iinfo(dtype).max), np.int64(np.iinfo(np.int64).max)

    @device
    def key_of(bits, largest):  # type: ignore[no-untyped-def]
        """A whole number that is greater where the element comes earlier."""
        key = np.int64(bits)
        if is_float:
            size = bits & magnitude
            key = most if size > nan_above else np.int64(size if bits >= 0 else -size)
        return key if largest else ~key

    def topk(block, part):  # type: ignore[no-untyped-def]
        x, order = array_at(block, 0, dtype), array_at(block, 2, np.int64)
        all_keys, all_places = array_at(block, 4, np.int64), array_at(block, 6, np.int64)
        n, k, inner, rows = number_at(block, 8), number_at(block, 9), number_at(block, 10), number_at(block, 11)
        largest = number_at(block, 12) != 0
        keys, places = all_keys[part * k : (part + 1) * k], all_places[part * k : (part + 1) * k]
        for r in range(part * rows, min(x.size // n, (part + 1) * rows)):
            start = r // inner * n * inner + r % inner
            for i in range(k):
                insert(keys, places, i, key_of(x[start + i * inner], largest), i)
            for i in range(k, n):
                key = key_of(x[start + i * inner], largest)
                if key > keys[k - 1]:
                    insert(keys, places, k - 1, key, i)
            start = r // inner * k * inner + r % inner
            for i in range(k):
                order[start + i * inner] = places[i]

    return kernel(topk, f"topk_{name}")


# --- the functions ---------------------------------------------------------------------------------------------------


def topk(x: Array, k: int, axis: int, largest: bool) -> Array:
    """Where the k largest (or smallest) elements of the axis are, in their order: int64."""
    if not ENABLED or x.dtype.name not in BITS or x.size == 0 or not 0 < k <= MOST:
        return argsort(x, axis, largest)[(slice(None),) * axis + (slice(0, k),)]
    n, inner = x.shape[axis], math.prod(x.shape[axis + 1 :])
    order, rows = empty((*x.shape[:axis], k, *x.shape[axis + 1 :]), np.int64), max(1, PART // n)
    parts = -(-(x.size // n) // rows)
    keys, places = empty((parts, k), np.int64), empty((parts, k), np.int64)
    name, x = x.dtype.name, np.ascontiguousarray(x).view(BITS[x.dtype.name])
    launch(_kernel(name), parts, x, order, keys, places, n, k, inner, rows, int(largest))
    return order


def one_hot(indices: Array, num_classes: int, dtype: Any) -> Array:
    """(*B) -> (*B,C)"""
    y = empty((indices.size, num_classes), dtype)
    y[...] = 0
    y[np.arange(indices.size), indices.reshape(-1)] = 1
    return y.reshape(*indices.shape, num_classes)
