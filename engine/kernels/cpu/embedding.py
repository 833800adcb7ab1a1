"""Rows of a table, and sums of rows that go to the same place."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from .jit import ENABLED, Kernel, array_at, kernel, number_at
from .threads import launch

Array = np.ndarray[Any, Any]

COLUMNS = 32  # of a part: it owns them in every row of the table, so sums are made in the order of ids


def embedding(ids: Array, table: Array) -> Array:
    """(*B), (V,D) -> (*B,D)"""
    return np.take(table, ids, axis=0)


@functools.cache
def _kernel(size: int) -> Kernel:
    dtype = np.float32 if size == 4 else np.float64

    def embedding_gradient(block, part):  # type: ignore[no-untyped-def]
        g, ids, table, D = (
            array_at(block, 0, dtype),
            array_at(block, 2, np.int64),
            array_at(block, 4, dtype),
            number_at(block, 6),
        )
        first, behind = part * COLUMNS, min(D, (part + 1) * COLUMNS)
        for i in range(ids.size):
            source, target = g[i * D + first : i * D + behind], table[ids[i] * D + first : ids[i] * D + behind]
            for c in range(source.size):
                target[c] += source[c]

    return kernel(embedding_gradient, f"embedding_gradient_float{8 * size}")


def embedding_gradient(g: Array, ids: Array, rows: int) -> Array:
    """(*B,D), (*B) -> (rows,D)"""
    table = np.zeros((rows, g.shape[-1]), g.dtype)
    add_rows(table, ids, g)
    return table


def add_rows(table: Array, ids: Array, g: Array) -> None:
    """table[ids] += g, equal ids add up in their order: (V,D), (*B), (*B,D). The table is C-contiguous, ids in it."""
    if not ENABLED or g.dtype.char not in "fd" or g.dtype != table.dtype or g.size == 0:
        np.add.at(table, ids, g)
        return
    D = g.shape[-1]
    ids = np.ascontiguousarray(ids, np.int64)
    launch(_kernel(g.itemsize), -(-D // COLUMNS), np.ascontiguousarray(g), ids, table, D)


def add_at(target: Array, index: Any, values: Array) -> None:
    """target[index] += values, where equal indices add up in their order. Integers for the first axes name rows."""
    arrays = index if isinstance(index, tuple) else (index,)
    rows = all(isinstance(i, int) or (isinstance(i, np.ndarray) and i.dtype.kind in "iu") for i in arrays)
    if not arrays or not rows or not target.flags.c_contiguous:
        np.add.at(target, index, values)
        return
    sides, rest = target.shape[: len(arrays)], target.shape[len(arrays) :]
    ids = np.asarray(np.ravel_multi_index(arrays, sides, mode="wrap"))  # -1 is the last one
    D = math.prod(rest)
    g = np.broadcast_to(values, ids.shape + rest).reshape(*ids.shape, D)
    add_rows(target.reshape(math.prod(sides), D), ids, g)
