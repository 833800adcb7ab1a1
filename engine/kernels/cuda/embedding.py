"""Rows of a table, and sums of rows that go to the same place: sorted first, so that sums have one order."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .launch import Grid, elements, is_float, run, wide, xp
from .scan import cumulative_sum

Array = Any

WINDOW, CHUNK, DIGITS = 64, 32, 16  # as in embedding.cu
COLUMNS = 128  # threads of a block, side by side


def embedding(ids: Array, table: Array) -> Array:
    """(*B), (V,D) -> (*B,D)"""
    V, D = table.shape
    if not is_float(table.dtype) or not V:
        return table[ids]
    y, ids, table = xp().empty((*ids.shape, D), table.dtype), _integers(ids), xp().ascontiguousarray(table)
    run("embedding", "embedding", table.dtype, elements(y.size), ids, table, y, y.size, V, D)
    return y


def embedding_gradient(g: Array, ids: Array, rows: int) -> Array:
    """(*B,D), (*B) -> (rows,D)"""
    table = xp().zeros((rows, g.shape[-1]), g.dtype)
    add_rows(table, ids, g)
    return table


def add_rows(table: Array, ids: Array, g: Array) -> None:
    """table[ids] += g: (V,D), (*B), (*B,D). Equal ids add up in their order, window by window.

    The table is C-contiguous, the ids lie in it.
    """
    (V, D), n, dtype = table.shape, ids.size, g.dtype
    if 0 in (n, D, V):
        return
    windows, (g, ids) = -(-n // WINDOW), (xp().ascontiguousarray(g), _integers(ids).reshape(-1))
    firsts, lasts = (xp().empty((windows, D), wide(dtype)) for _ in range(2))
    threads = min(COLUMNS, -(-D // 32) * 32)
    grid: Grid = (windows * -(-D // threads),), (threads,)
    order = order_of(ids, V)
    run("embedding", "window_sums", dtype, grid, g, ids, order, table, firsts, lasts, n, V, D)
    run("embedding", "spanning_sums", dtype, grid, ids, order, table, firsts, lasts, n, V, D)


def order_of(ids: Array, rows: int) -> Array:
    """The places of ids 0 .. rows - 1, sorted by id, equal ones in their order: (n,) -> (n,)"""
    n, order = ids.size, None
    threads = -(-n // CHUNK)
    for shift in range(0, max(1, (rows - 1).bit_length()), DIGITS.bit_length() - 1):
        counts, ordered = xp().empty((DIGITS, threads), np.int64), xp().empty((n,), np.int64)
        how = n, rows, shift, threads
        run("embedding", "count_digits", np.float32, elements(threads), ids, order, counts, *how)
        starts = cumulative_sum(counts.reshape(-1), 0, True)
        run("embedding", "place_digits", np.float32, elements(threads), ids, order, starts, ordered, *how)
        order = ordered
    return order


def add_at(target: Array, index: Any, values: Array) -> None:
    """target[index] += values, where equal indices add up in their order. Integers for the first axes name rows."""
    arrays = index if isinstance(index, tuple) else (index,)
    if not is_float(target.dtype):
        xp().add.at(target, index, values)  # integers add up to the same in any order
    elif arrays and all(_names_rows(i) for i in arrays) and target.flags.c_contiguous:
        sides, rest = target.shape[: len(arrays)], target.shape[len(arrays) :]
        _add_rows(target.reshape(math.prod(sides), math.prod(rest)), _ravelled(arrays, sides), values, rest)
    else:  # any index: the places that it names
        places = xp().arange(target.size).reshape(target.shape)[index]
        flat = xp().ascontiguousarray(target).reshape(-1, 1)
        _add_rows(flat, places, values, ())
        if not target.flags.c_contiguous:
            target[...] = flat.reshape(target.shape)


def _add_rows(table: Array, ids: Array, values: Array, rest: tuple[int, ...]) -> None:
    g = xp().broadcast_to(xp().asarray(values, table.dtype), ids.shape + rest)
    add_rows(table, ids, g.reshape(*ids.shape, table.shape[1]))


def _names_rows(i: Any) -> bool:
    return isinstance(i, int | np.integer) or (hasattr(i, "dtype") and i.dtype.kind in "iu")


def _ravelled(arrays: Any, sides: tuple[int, ...]) -> Array:
    """Several indices as one, (-1 is the last one): int64 of their common shape."""
    found: Any = 0
    for i, n in zip(arrays, sides, strict=True):
        found = found * n + (i % n if isinstance(i, int) else _integers(i) % n)
    return xp().asarray(found, np.int64)


def _integers(ids: Array) -> Array:
    return xp().ascontiguousarray(ids).astype(np.int64, copy=False)
