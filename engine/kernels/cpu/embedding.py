"""Rows of a table, and sums of rows that go to the same place."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from .buffers import empty
from .jit import ENABLED, Kernel, array_at, kernel, number_at
from .threads import launch

Array = np.ndarray[Any, Any]

BLOCK = 256  # rows that are added one after the other to one place: an id with more is summed in blocks
LEAST, PART = 1 << 16, 1 << 14  # numbers: where cores share the copying of rows; of a part
WORDS: dict[int, Any] = {4: np.uint32, 8: np.uint64}
COLUMNS = 32  # of a part: it owns them in every row of the table, so sums are made in the order of ids


def embedding(ids: Array, table: Array) -> Array:
    """(*B), (V,D) -> (*B,D)"""
    D = table.shape[1]
    y = empty((*ids.shape, D), table.dtype)
    if not ENABLED or y.size < LEAST or table.itemsize not in WORDS or not table.flags.c_contiguous:
        return np.take(table, ids, axis=0, out=y, mode="clip")  # the op has refused ids outside; "raise" would copy
    rows = max(1, PART // D)
    launch(_rows(table.itemsize), -(-ids.size // rows), table, np.ascontiguousarray(ids, np.int64), y, D, rows)
    return y


@functools.cache
def _rows(size: int) -> Kernel:
    """For numbers of `size` bytes, whatever they mean."""
    dtype = WORDS[size]

    def embedding(block, part):  # type: ignore[no-untyped-def]
        table, ids, y = array_at(block, 0, dtype), array_at(block, 2, np.int64), array_at(block, 4, dtype)
        D, rows = number_at(block, 6), number_at(block, 7)
        for i in range(part * rows, min(ids.size, (part + 1) * rows)):
            source, target = table[ids[i] * D : ids[i] * D + D], y[i * D : i * D + D]
            for c in range(D):
                target[c] = source[c]

    return kernel(embedding, f"embedding_{size}")


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
    """table[ids] += g: (V,D), (*B), (*B,D). Equal ids add up in their order, block by block.

    The table is C-contiguous, the ids lie in it.
    """
    D, ids = g.shape[-1], np.ascontiguousarray(ids, np.int64)
    if ids.size > BLOCK and g.dtype.kind == "f" and np.bincount(ids.reshape(-1)).max() > BLOCK:
        blocks, places = _blocks(ids.reshape(-1))
        sums = np.zeros((len(blocks), D), g.dtype)
        add_rows(sums, places, g.reshape(-1, D))
        add_rows(table, blocks, sums)
    elif not ENABLED or g.dtype.char not in "fd" or g.dtype != table.dtype or g.size == 0:
        np.add.at(table, ids, g)
    else:
        launch(_kernel(g.itemsize), -(-D // COLUMNS), np.ascontiguousarray(g), ids, table, D)


def _blocks(ids: Array) -> tuple[Array, Array]:
    """At most BLOCK places of one id are a block: the id of each block (P,), and the block of each place (N,)."""
    order = np.argsort(ids, kind="stable")
    places = np.arange(len(ids))
    first = np.diff(ids[order], prepend=-1) != 0  # of an id
    rank = places - np.maximum.accumulate(np.where(first, places, 0))  # among equal ids
    starts = rank % BLOCK == 0
    blocks = np.empty(len(ids), np.int64)
    blocks[order] = np.cumsum(starts) - 1
    return ids[order[starts]], blocks


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
