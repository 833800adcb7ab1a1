"""Elements picked along one axis, and added back: arrays are (outer, n, inner), indices (outer, K, inner).

take_along_axis    for some of the rows (o, k), in parallel:
                       for j: y[o,k,j] = x[o, indices[o,k,j], j]

scatter_add        for each o, and some of the columns j, in parallel:      # a part owns what it adds to
                       sums = x[o, :, some]                                 # in 64 bits
                       for k: for j: sums[indices[o,k,j], j] += values[o,k,j]
                       y[o, :, some] = sums                                 # rounded once

Equal indices add up in their order. The op has refused indices outside of the axis; -1 is the last element.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from .buffers import empty
from .embedding import add_at
from .jit import ENABLED, Kernel, array_at, device, kernel, number_at
from .threads import launch

Array = np.ndarray[Any, Any]

PART = 1 << 15  # numbers in a part
SUMS = 1 << 15  # numbers that are summed at a time: they stay in the second cache
MOST = 64  # parts that sum, each of which has memory for that
NARROW = 16  # numbers: a shorter slice is added number by number
WIDE: dict[str, Any] = {"float32": np.float64, "float64": np.float64, "int32": np.int64, "int64": np.int64}  # of sums


# --- NumPy: the contracts --------------------------------------------------------------------------------------------


def plain_scatter_add(x: Array, indices: Array, values: Array, axis: int) -> Array:
    """y = x, then each value is added to the element that its index names along the axis."""
    y = np.array(x, order="C")
    grid = [np.arange(n).reshape([-1 if i == a else 1 for i in range(x.ndim)]) for a, n in enumerate(indices.shape)]
    grid[axis] = indices
    add_at(y, tuple(grid), values)
    return y


# --- kernels ---------------------------------------------------------------------------------------------------------


@device
def placed(i, n):  # type: ignore[no-untyped-def]
    """-1 is the last one."""
    return i + n if i < 0 else i


@functools.cache
def _take_kernel(size: int) -> Kernel:
    """For elements of `size` bytes, whatever they mean."""
    dtype = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}[size]

    def take_along_axis(block, part):  # type: ignore[no-untyped-def]
        x, ids, y = array_at(block, 0, dtype), array_at(block, 2, np.int64), array_at(block, 4, dtype)
        n, K, inner, rows = number_at(block, 6), number_at(block, 7), number_at(block, 8), number_at(block, 9)
        r, behind = part * rows, min(y.size // inner, (part + 1) * rows)
        while r < behind:
            start, last = r // K * n * inner, min(behind, (r // K + 1) * K)  # in x; behind the last row of this o
            if inner == 1:
                for i in range(r, last):
                    y[i] = x[start + placed(ids[i], n)]
            else:
                for i in range(r * inner, last * inner, inner):
                    for j in range(inner):
                        y[i + j] = x[start + placed(ids[i + j], n) * inner + j]
            r = last

    return kernel(take_along_axis, f"take_along_axis_{size}")


@functools.cache
def _scatter_kernel(name: str) -> Kernel:
    dtype, wide = np.dtype(name).type, WIDE[name]

    def scatter_add(block, part):  # type: ignore[no-untyped-def]
        x, ids, values = array_at(block, 0, dtype), array_at(block, 2, np.int64), array_at(block, 4, dtype)
        y, sums, n, K = array_at(block, 6, dtype), array_at(block, 8, wide), number_at(block, 10), number_at(block, 11)
        inner, columns, pieces, mine = (
            number_at(block, 12),
            number_at(block, 13),
            number_at(block, 14),
            number_at(block, 15),
        )
        sums = sums[part * n * columns : (part + 1) * n * columns]
        items = y.size // (n * inner) * pieces
        for item in range(part * mine, min(items, (part + 1) * mine)):
            o, left = item // pieces, item % pieces * columns
            width = min(inner, left + columns) - left
            rows, run = (1, n * inner) if width == inner else (n, width)  # neighbours in memory are copied in one go
            start = o * n * inner + left
            for i in range(rows):
                if x.size == 1:
                    for j in range(i * run, (i + 1) * run):
                        sums[j] = wide(x[0])
                else:
                    for j in range(run):
                        sums[i * run + j] = wide(x[start + i * inner + j])
            if width == 1:
                for k in range(o * K * inner + left, (o + 1) * K * inner + left, inner):
                    sums[placed(ids[k], n)] += wide(values[k])
            else:
                for k in range(o * K * inner + left, (o + 1) * K * inner + left, inner):
                    for j in range(width):
                        sums[placed(ids[k + j], n) * width + j] += wide(values[k + j])
            for i in range(rows):
                for j in range(run):
                    y[start + i * inner + j] = dtype(sums[i * run + j])

    return kernel(scatter_add, f"scatter_add_{name}")


# --- the functions ---------------------------------------------------------------------------------------------------


def take_along_axis(x: Array, indices: Array, axis: int) -> Array:
    """y[o,k,j] = x[o, indices[o,k,j], j]; sides of 1 broadcast."""
    if not ENABLED or _others(x, axis) != _others(indices, axis) or indices.size == 0 or x.itemsize > 8:
        return np.take_along_axis(x, indices, axis)
    n, K, inner = x.shape[axis], indices.shape[axis], math.prod(x.shape[axis + 1 :])
    y, rows = empty(indices.shape, x.dtype), max(1, PART // inner)
    x, indices = np.ascontiguousarray(x), np.ascontiguousarray(indices, np.int64)
    launch(_take_kernel(x.itemsize), -(-y.size // (inner * rows)), x, indices, y, n, K, inner, rows)
    return y


def scatter_add(x: Array, indices: Array, values: Array, axis: int) -> Array:
    """A copy of x with each value added to the element that its index names along the axis."""
    if not ENABLED or x.dtype.name not in WIDE or x.size == 0:
        return plain_scatter_add(x, indices, values, axis)
    n, K, inner = x.shape[axis], indices.shape[axis], math.prod(x.shape[axis + 1 :])
    columns = min(inner, max(16, SUMS // n))
    pieces = -(-inner // columns)
    items = x.size // (n * inner) * pieces
    mine = max(1, PART // (n * columns), -(-items // MOST))
    parts = -(-items // mine)
    y, sums = empty(x.shape, x.dtype), empty(parts * n * columns, WIDE[x.dtype.name])
    x = np.ascontiguousarray(x) if any(x.strides) else np.array([x.flat[0]])  # zeros may have no memory of their own
    indices, values = np.ascontiguousarray(indices, np.int64), np.ascontiguousarray(values)
    launch(_scatter_kernel(y.dtype.name), parts, x, indices, values, y, sums, n, K, inner, columns, pieces, mine)
    return y


def index_add(x: Array, indices: Array, values: Array, axis: int) -> Array:
    """A copy of x (.., n, ..) with slices of values (.., *I, ..) added to those that the indices name."""
    n, inner = x.shape[axis], math.prod(x.shape[axis + 1 :])
    outer = math.prod(x.shape[:axis])
    values = values.reshape(outer, indices.size, inner)
    if inner < NARROW < n:
        ids = np.broadcast_to(indices.reshape(-1, 1), values.shape)
        return scatter_add(x.reshape(outer, n, inner), ids, values, 1).reshape(x.shape)
    y = empty(x.shape, x.dtype)
    np.copyto(y, x)
    add_at(y.reshape(outer, n, inner), (np.arange(outer)[:, None], indices.reshape(-1)), values)
    return y


def _others(x: Array, axis: int) -> tuple[int, ...]:
    return (*x.shape[:axis], *x.shape[axis + 1 :])
