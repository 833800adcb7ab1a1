"""Scans whose steps are taken in turn: a vector holds one number each of L rows, which are walked side by side.

    x as (outer, n, inner), a row is (o, :, j)

    for L rows, in parallel:
        for tile of T steps:
            the tile (T, L): row by row where inner = 1, else as it lies
            for t in the tile: state, y[t] = step(state, x[t])     # L rows at once, the state in float64

    products        p = p x[t]                         y[t] = p
    log-sum-exps    s = s e^(m - m') + e^(x[t] - m')   y[t] = m' + ln s        m' = max(m, x[t]); one of the two is e^0
    tails           r = b[t] + a[t+1] r                y[t] = r                from the end: t = n-1 .. 0
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from numba.core import types
from numba.extending import intrinsic

from .buffers import empty
from .jit import ENABLED, Kernel, device, kernel, number_at, stack, view
from .strip import every, read, write, zeros
from .threads import launch
from .vector import BYTES, Vector, choose, exp, log, positive

Array = np.ndarray[Any, Any]

T = 16  # steps of a tile
PART = 1 << 15  # numbers in a part
tile_memory = stack(T * BYTES)


# --- words -----------------------------------------------------------------------------------------------------------


@intrinsic
def widen(typing: Any, v: Any) -> Any:
    """The lanes in float64."""
    wide = Vector(types.float64, v.lanes)
    same = wide == v
    return wide(v), lambda _, builder, __, args: args[0] if same else builder.fpext(args[0], wide.ir)


@intrinsic
def narrow(typing: Any, v: Any, like: Any) -> Any:
    """Lanes of float64, rounded to the type of `like`."""
    same = like == v
    return like(v, like), lambda _, builder, __, args: args[0] if same else builder.fptrunc(args[0], like.ir)


@intrinsic
def alike(typing: Any, a: Any, b: Any) -> Any:
    """Where a == b, infinities too."""
    return a.truths(a, b), lambda _, builder, __, args: builder.fcmp_ordered("==", *args)


@functools.cache
def _words(size: int) -> tuple[Any, Any]:
    """`fetch` a tile, and `bring` it to its place, for numbers of `size` bytes."""
    dtype, L = np.float32 if size == 4 else np.float64, BYTES // size

    @device
    def fetch(x, first, rows, n, inner, start, count, tile):  # type: ignore[no-untyped-def]
        """tile[t, l] = number start + t of row first + l. Rows have n numbers, `inner` apart; the last one repeats."""
        target = view(tile, T * L, dtype)
        if first % inner + L <= inner:  # neighbours in memory
            source = view(x + (first // inner * n * inner + first % inner + start * inner) * size, count * inner, dtype)
            for t in range(count):
                for lane in range(L):
                    target[t * L + lane] = source[t * inner + lane]
        else:
            for lane in range(L):
                r = min(first + lane, rows - 1)
                source = view(x + (r // inner * n * inner + r % inner + start * inner) * size, count * inner, dtype)
                for t in range(count):
                    target[t * L + lane] = source[t * inner]

    @device
    def bring(tile, y, first, rows, n, inner, start, count):  # type: ignore[no-untyped-def]
        source = view(tile, T * L, dtype)
        if first % inner + L <= inner:
            target = view(y + (first // inner * n * inner + first % inner + start * inner) * size, count * inner, dtype)
            for t in range(count):
                for lane in range(L):
                    target[t * inner + lane] = source[t * L + lane]
        else:
            for lane in range(min(L, rows - first)):
                r = first + lane
                target = view(y + (r // inner * n * inner + r % inner + start * inner) * size, count * inner, dtype)
                for t in range(count):
                    target[t * inner] = source[t * L + lane]

    return fetch, bring


# --- kernels ---------------------------------------------------------------------------------------------------------


@functools.cache
def _products(size: int) -> Kernel:
    dtype, L = np.float32 if size == 4 else np.float64, BYTES // size
    fetch, bring = _words(size)

    def products(block, part):  # type: ignore[no-untyped-def]
        """x (outer,n,inner) -> y (outer,longer,inner), whose first `skip` numbers are left alone"""
        x, y, n, inner = number_at(block, 0), number_at(block, 2), number_at(block, 4), number_at(block, 5)
        rows, mine, skip = number_at(block, 6), number_at(block, 7), number_at(block, 8)
        zero, tile = zeros(dtype), tile_memory()
        for first in range(part * mine, min(rows, (part + 1) * mine), L):
            p = every(1.0, widen(zero))
            for start in range(0, n, T):
                count = min(T, n - start)
                fetch(x, first, rows, n, inner, start, count, tile)
                for t in range(tile, tile + count * BYTES, BYTES):
                    p = p * widen(read(t, zero))
                    write(t, narrow(p, zero))
                bring(tile, y, first, rows, n + skip, inner, start + skip, count)

    return kernel(products, f"running_products_float{8 * size}")


@functools.cache
def _log_sum_exps() -> Kernel:
    dtype, L = np.float32, BYTES // 4
    fetch, bring = _words(4)

    def log_sum_exps(block, part):  # type: ignore[no-untyped-def]
        """x (outer,n,inner) -> y"""
        x, y, n, inner = number_at(block, 0), number_at(block, 2), number_at(block, 4), number_at(block, 5)
        rows, mine = number_at(block, 6), number_at(block, 7)
        zero, tile = zeros(dtype), tile_memory()
        one = every(1.0, zero)
        for first in range(part * mine, min(rows, (part + 1) * mine), L):
            m, s = every(-np.inf, zero), widen(zero)
            for start in range(0, n, T):
                count = min(T, n - start)
                fetch(x, first, rows, n, inner, start, count, tile)
                for t in range(tile, tile + count * BYTES, BYTES):
                    v = read(t, zero)
                    gap = choose(alike(v, m), zero, v - m)  # inf - inf would be NaN
                    up = positive(gap)
                    e = exp(choose(up, zero - gap, gap))
                    s = s * widen(choose(up, e, one)) + widen(choose(up, one, e))
                    m = choose(up, v, m)
                    write(t, m + log(narrow(s, zero)))
                bring(tile, y, first, rows, n, inner, start, count)

    return kernel(log_sum_exps, "running_log_sum_exps")


@functools.cache
def _tails(size: int) -> Kernel:
    dtype, L = np.float32 if size == 4 else np.float64, BYTES // size
    fetch, bring = _words(size)

    def tails(block, part):  # type: ignore[no-untyped-def]
        """a, b (outer,n,inner) -> y"""
        a, b, y = number_at(block, 0), number_at(block, 2), number_at(block, 4)
        n, inner, rows, mine = number_at(block, 6), number_at(block, 7), number_at(block, 8), number_at(block, 9)
        zero, a_tile, b_tile = zeros(dtype), tile_memory(), tile_memory()
        for first in range(part * mine, min(rows, (part + 1) * mine), L):
            later = widen(zero)
            for start in range((n - 1) // T * T, -1, -T):
                count = min(T, n - start)
                fetch(a, first, rows, n, inner, start, count, a_tile)
                fetch(b, first, rows, n, inner, start, count, b_tile)
                for t in range((count - 1) * BYTES, -1, -BYTES):
                    r = widen(read(b_tile + t, zero)) + later
                    write(b_tile + t, narrow(r, zero))
                    later = widen(read(a_tile + t, zero)) * r
                bring(b_tile, y, first, rows, n, inner, start, count)

    return kernel(tails, f"tails_float{8 * size}")


# --- the functions, and their contracts in NumPy ---------------------------------------------------------------------


def cumulative_prod(x: Array, axis: int, include_initial: bool) -> Array:
    """Running products along an axis; with `include_initial`, a 1 before them."""
    if not ENABLED or x.dtype.char not in "fd" or x.size == 0:
        return np.cumulative_prod(x, axis=axis, include_initial=include_initial)
    y = empty((*x.shape[:axis], x.shape[axis] + include_initial, *x.shape[axis + 1 :]), x.dtype)
    if include_initial:
        y[(slice(None),) * axis + (0,)] = 1
    _walk(_products(x.itemsize), axis, (x, y), int(include_initial))
    return y


def cumulative_logsumexp(x: Array, axis: int) -> Array:
    """Running log-sum-exps along an axis; -inf after nothing but -inf."""
    if not ENABLED or x.dtype != np.float32 or x.size == 0:
        with np.errstate(invalid="ignore"):
            wide = np.logaddexp.accumulate(x.astype(np.float64, copy=False), axis=axis)
        return wide.astype(x.dtype, copy=False)
    y = empty(x.shape, x.dtype)
    _walk(_log_sum_exps(), axis, (x, y))
    return y


def tails(a: Array, b: Array, axis: int) -> Array:
    """y_t = b_t + a_(t+1) y_(t+1) along an axis; the last one is b's."""
    if not ENABLED or b.dtype.char not in "fd" or a.dtype != b.dtype or b.size == 0:
        return plain_tails(a, b, axis)
    y = empty(b.shape, b.dtype)
    _walk(_tails(b.itemsize), axis, (a, b, y))
    return y


def plain_tails(a: Array, b: Array, axis: int) -> Array:
    """y_t = b_t + a_(t+1) y_(t+1), one t after the other."""
    y = np.array(b)
    a, rows = np.moveaxis(a, axis, 0), np.moveaxis(y, axis, 0)
    for t in reversed(range(len(rows) - 1)):
        rows[t] += a[t + 1] * rows[t + 1]
    return y


def _walk(run: Kernel, axis: int, arrays: tuple[Array, ...], *numbers: int) -> None:
    """Along an axis of the first array; a part takes groups of as many rows as a vector has lanes."""
    shape, L = arrays[0].shape, BYTES // arrays[0].itemsize
    n, inner = shape[axis], math.prod(shape[axis + 1 :])
    rows, mine = math.prod(shape) // n, max(1, PART // (n * L)) * L
    launch(run, -(-rows // mine), *map(np.ascontiguousarray, arrays), n, inner, rows, mine, *numbers)
