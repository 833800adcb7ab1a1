"""Running sums along one axis, in stretches; other scans in log2 n rounds of CuPy's whole-array operations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .launch import dtypes, elements, run, wide, xp

Array = Any
STRETCH, THREADS = 1024, 256  # as in scan.cu


def cumulative_sum(x: Array, axis: int, include_initial: bool) -> Array:
    """Running sums along an axis of any array; with `include_initial`, a 0 before them."""
    if x.dtype.name not in dtypes("scan"):  # other integers, truth values: counted in 64 bits
        y = cumulative_sum(x.astype(np.int64), axis, include_initial)
        return y.view(np.uint64) if x.dtype.kind == "u" else y
    outer, n, inner = math.prod(x.shape[:axis]), x.shape[axis], math.prod(x.shape[axis + 1 :])
    y = xp().empty((*x.shape[:axis], n + include_initial, *x.shape[axis + 1 :]), x.dtype)
    x = xp().ascontiguousarray(x).reshape(outer, n, inner)
    stretches, dtype = -(-n // STRETCH), x.dtype if x.dtype.kind == "i" else wide(x.dtype)
    sums, totals = xp().empty((outer, n, inner), dtype), xp().empty((outer * inner, stretches), dtype)
    run("scan", "scan_stretches", x.dtype, ((totals.size,), (THREADS,)), x, sums, totals, n, inner, stretches)
    before = cumulative_sum(totals, 1, False) if stretches > 1 else None
    skip = int(include_initial)
    run("scan", "add_before", x.dtype, elements(y.size), sums, before, y, y.size, n, inner, stretches, skip)
    return y


def cumulative_prod(x: Array, axis: int, include_initial: bool) -> Array:
    """Running products along an axis; with `include_initial`, a 1 before them."""
    return xp().cumulative_prod(x, axis=axis, include_initial=include_initial)


def cumulative_logsumexp(x: Array, axis: int) -> Array:
    """Running log-sum-exps along an axis; -inf after nothing but -inf."""
    y, step = xp().moveaxis(x, axis, 0), 1
    while step < len(y):  # each element joined with the one 1, 2, 4 .. places before it
        y, step = xp().concatenate([y[:step], xp().logaddexp(y[step:], y[:-step])]), 2 * step
    return xp().ascontiguousarray(xp().moveaxis(y, 0, axis))


def tails(a: Array, b: Array, axis: int) -> Array:
    """y_t = b_t + a_(t+1) y_(t+1) along an axis; the last one is b's."""
    y, a, step = xp().moveaxis(b, axis, 0), xp().moveaxis(a, axis, 0)[1:], 1
    while step < len(y):  # y_t holds the terms up to t + step, a_t the product of as many factors
        y = xp().concatenate([y[:-step] + a[: len(y) - step] * y[step:], y[-step:]])
        a, step = a[:-step] * a[step:], 2 * step
    return xp().ascontiguousarray(xp().moveaxis(y, 0, axis))
