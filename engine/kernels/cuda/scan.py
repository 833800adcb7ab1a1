"""Running sums along one axis, in stretches."""

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
