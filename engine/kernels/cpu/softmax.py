"""Rows of scores to rows of probabilities: float32 rows in three passes over the first cache, all else in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from .buffers import empty
from .jit import ENABLED, Kernel, device, kernel, number_at, stack, view
from .threads import launch
from .vector import exp, fill, larger, largest, load, log, store, total

Array = np.ndarray[Any, Any]

L = 16  # lanes of a vector of float32
SIZE = 4
PART = 1 << 15  # numbers in a part
NOTHING = np.float32(-np.inf)
buffer_memory = stack(L * SIZE)


# --- NumPy: the contracts --------------------------------------------------------------------------------------------


@np.errstate(invalid="ignore")  # inf - inf is NaN here as in the kernels, silently
def plain_softmax(x: Array, axis: int) -> Array:
    """softmax; a row of nothing but -inf gives zeros."""
    e = np.exp(x - plain_peak(x, axis))
    total = e.sum(axis, keepdims=True)
    return np.divide(e, total, out=np.zeros_like(e), where=total != 0)


@np.errstate(invalid="ignore")
def plain_log_softmax(x: Array, axis: int) -> Array:
    """x - ln Sum(r, exp(x_r)); a row of nothing but -inf stays so."""
    shifted = x - plain_peak(x, axis)
    sums = np.exp(shifted).sum(axis, keepdims=True)
    y: Array = shifted - np.log(np.where(sums == 0, x.dtype.type(1), sums))
    return y


def plain_softmax_gradient(g: Array, p: Array, axis: int) -> Array:
    """p (g - Sum(r, g_r p_r))"""
    return p * (g - (g * p).sum(axis, keepdims=True))


def plain_log_softmax_gradient(g: Array, log_p: Array, axis: int) -> Array:
    """g - p Sum(r, g_r)"""
    return g - np.exp(log_p) * g.sum(axis, keepdims=True)


def plain_peak(x: Array, axis: int) -> Array:
    """The maximum of each row, which is subtracted; 0 where it is -inf, because -inf - -inf is NaN."""
    m = x.max(axis, keepdims=True, initial=-np.inf)
    return np.where(m == -np.inf, x.dtype.type(0), m)


# --- words for rows --------------------------------------------------------------------------------------------------


@device
def copy(source, target, n):  # type: ignore[no-untyped-def]
    """n numbers from one address to another."""
    a, b = view(source, n, np.float32), view(target, n, np.float32)
    for i in range(n):
        b[i] = a[i]


@device
def tail(row, n, rest, buffer):  # type: ignore[no-untyped-def]
    """The last n < L numbers of a row that ends at row + n, as a vector filled up with `rest`."""
    empty = fill(rest, load(buffer, np.float32))
    store(buffer, empty)
    copy(row, buffer, n)
    return load(buffer, np.float32)


@device
def peak(row, n, buffer):  # type: ignore[no-untyped-def]
    """The largest of n numbers; 0 if that is -inf, because -inf - -inf is NaN."""
    whole = n - n % L
    best = tail(row + whole * SIZE, n - whole, NOTHING, buffer)
    for i in range(0, whole, L):
        best = larger(best, load(row + i * SIZE, np.float32))
    m = largest(best)
    return np.float32(0) if m == NOTHING else m


@device
def sum_exp(row, n, m, buffer):  # type: ignore[no-untyped-def]
    """Sum(r, exp(x_r - m))"""
    whole = n - n % L
    last = tail(row + whole * SIZE, n - whole, NOTHING, buffer)
    sums = exp(last - fill(m, last))
    for i in range(0, whole, L):
        v = load(row + i * SIZE, np.float32)
        sums = sums + exp(v - fill(m, v))
    return total(sums)


# --- kernels ---------------------------------------------------------------------------------------------------------


@device
def mine(block, slot, part):  # type: ignore[no-untyped-def]
    """A part's share: numbers in a row, those in whole vectors, the first of its rows, and the one behind the last."""
    n, rows, count = number_at(block, slot), number_at(block, slot + 1), number_at(block, slot + 2)
    return n, n - n % L, part * rows, min(count, (part + 1) * rows)


@kernel
def softmax_rows(block, part):  # type: ignore[no-untyped-def]
    n, whole, first, behind = mine(block, 4, part)
    buffer = buffer_memory()
    for r in range(first, behind):
        a, b = number_at(block, 0) + r * n * SIZE, number_at(block, 2) + r * n * SIZE
        m = peak(a, n, buffer)
        last = tail(a + whole * SIZE, n - whole, NOTHING, buffer)
        last = exp(last - fill(m, last))
        sums = last
        for i in range(0, whole, L):
            v = load(a + i * SIZE, np.float32)
            e = exp(v - fill(m, v))
            store(b + i * SIZE, e)
            sums = sums + e
        s = total(sums)
        scale = fill(np.float32(0) if s == 0 else np.float32(1) / s, last)
        for i in range(0, whole, L):
            store(b + i * SIZE, load(b + i * SIZE, np.float32) * scale)
        store(buffer, last * scale)
        copy(buffer, b + whole * SIZE, n - whole)


@kernel
def log_softmax_rows(block, part):  # type: ignore[no-untyped-def]
    n, whole, first, behind = mine(block, 4, part)
    buffer = buffer_memory()
    for r in range(first, behind):
        a, b = number_at(block, 0) + r * n * SIZE, number_at(block, 2) + r * n * SIZE
        m = peak(a, n, buffer)
        s = sum_exp(a, n, m, buffer)
        last = tail(a + whole * SIZE, n - whole, NOTHING, buffer)
        shift, ln = fill(m, last), log(fill(s if s != 0 else np.float32(1), last))  # a masked row stays -inf
        store(buffer, last - shift - ln)
        copy(buffer, b + whole * SIZE, n - whole)
        for i in range(0, whole, L):
            store(b + i * SIZE, load(a + i * SIZE, np.float32) - shift - ln)


@kernel
def softmax_gradient_rows(block, part):  # type: ignore[no-untyped-def]
    g, p, y = number_at(block, 0), number_at(block, 2), number_at(block, 4)
    n, whole, first, behind = mine(block, 6, part)
    buffer = buffer_memory()
    for r in range(first, behind):
        start = r * n * SIZE
        g_last = tail(g + start + whole * SIZE, n - whole, np.float32(0), buffer)
        p_last = tail(p + start + whole * SIZE, n - whole, np.float32(0), buffer)
        sums = g_last * p_last
        for i in range(start, start + whole * SIZE, L * SIZE):
            sums = sums + load(g + i, np.float32) * load(p + i, np.float32)
        dot = fill(total(sums), sums)
        for i in range(start, start + whole * SIZE, L * SIZE):
            store(y + i, load(p + i, np.float32) * (load(g + i, np.float32) - dot))
        store(buffer, p_last * (g_last - dot))
        copy(buffer, y + start + whole * SIZE, n - whole)


@kernel
def log_softmax_gradient_rows(block, part):  # type: ignore[no-untyped-def]
    g, log_p, y = number_at(block, 0), number_at(block, 2), number_at(block, 4)
    n, whole, first, behind = mine(block, 6, part)
    buffer = buffer_memory()
    for r in range(first, behind):
        start = r * n * SIZE
        log_last = tail(log_p + start + whole * SIZE, n - whole, NOTHING, buffer)
        g_last = tail(g + start + whole * SIZE, n - whole, np.float32(0), buffer)
        sums = g_last
        for i in range(start, start + whole * SIZE, L * SIZE):
            sums = sums + load(g + i, np.float32)
        s = fill(total(sums), sums)
        for i in range(start, start + whole * SIZE, L * SIZE):
            store(y + i, load(g + i, np.float32) - exp(load(log_p + i, np.float32)) * s)
        store(buffer, g_last - exp(log_last) * s)
        copy(buffer, y + start + whole * SIZE, n - whole)


# --- the functions ---------------------------------------------------------------------------------------------------


def softmax(x: Array, axis: int) -> Array:
    """Any shape; probabilities along `axis`."""
    return _on_rows(softmax_rows, x) if fits(x, axis) else plain_softmax(x, axis)


def log_softmax(x: Array, axis: int) -> Array:
    """Any shape; logarithms of the probabilities along `axis`."""
    return _on_rows(log_softmax_rows, x) if fits(x, axis) else plain_log_softmax(x, axis)


def softmax_gradient(g: Array, p: Array, axis: int) -> Array:
    """The cotangent of softmax's input from that of its result p."""
    return _on_rows(softmax_gradient_rows, g, p) if fits(p, axis) else plain_softmax_gradient(g, p, axis)


def log_softmax_gradient(g: Array, log_p: Array, axis: int) -> Array:
    """The cotangent of log_softmax's input from that of its result log_p."""
    kept = fits(log_p, axis)
    return _on_rows(log_softmax_gradient_rows, g, log_p) if kept else plain_log_softmax_gradient(g, log_p, axis)


def fits(x: Array, axis: int) -> bool:
    """Are these rows that the kernels take: float32, and neighbours in memory?"""
    return ENABLED and x.dtype == np.float32 and axis == x.ndim - 1 and x.size > 0


def _on_rows(kernel: Kernel, *xs: Array) -> Array:
    y = empty(xs[0].shape, np.float32)
    launch_rows(kernel, y.shape[-1], y.size // y.shape[-1], *map(np.ascontiguousarray, xs), y)
    return y


def launch_rows(kernel: Kernel, n: int, count: int, *args: Any) -> None:
    """`count` rows of n numbers, cut into parts of about the same size."""
    rows = max(1, PART // n)
    launch(kernel, -(-count // rows), *args, n, rows, count)
