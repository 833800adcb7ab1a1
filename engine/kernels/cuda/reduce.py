"""Reductions over any axes. Floats go to our kernels, which add in stretches, in a fixed order; integers to CuPy's."""

from __future__ import annotations

import math
from typing import Any

from .launch import Grid, columns, is_float, rows, run, wide, xp

Array = Any
Axes = tuple[int, ...]

SUM, MAX, MIN, DIFFERENCES, SQUARES, EXPONENTIALS = range(6)
STRETCH, STRETCH_ROWS = 4096, 256  # as in reduce.cu


def total(x: Array, axes: Axes, keepdims: bool = False) -> Array:
    """Sum over the axes, which are 0 or more and distinct."""
    if not _fits(x, axes):
        return x.sum(axis=axes, keepdims=keepdims)
    return _shaped(_reduce(SUM, SUM, x, axes), x, axes, keepdims)


def largest(x: Array, axes: Axes, keepdims: bool = False) -> Array:
    """Maximum over the axes; a NaN wins."""
    if not _fits(x, axes):
        return x.max(axis=axes, keepdims=keepdims)
    return _shaped(_reduce(MAX, MAX, x, axes), x, axes, keepdims)


def smallest(x: Array, axes: Axes, keepdims: bool = False) -> Array:
    """Minimum over the axes; a NaN wins."""
    if not _fits(x, axes):
        return x.min(axis=axes, keepdims=keepdims)
    return _shaped(_reduce(MIN, MIN, x, axes), x, axes, keepdims)


def largest_magnitude(x: Array, axes: Axes, keepdims: bool = False) -> Array:
    """Maximum of |x| over the axes; a NaN wins, and of nothing it is 0."""
    if x.size == 0:
        return x.sum(axis=axes, keepdims=keepdims)
    return largest(xp().abs(x), axes, keepdims)


def differences(x: Array, centre: Array, axes: Axes, keepdims: bool = False) -> Array:
    """Sum of x - centre over the axes; `centre` keeps them with length 1."""
    if not _fits(x, axes):
        return (x - centre).sum(axis=axes, keepdims=keepdims)
    return _shaped(_reduce(DIFFERENCES, SUM, x, axes, centre), x, axes, keepdims)


def squares(x: Array, centre: Array, axes: Axes, keepdims: bool = False) -> Array:
    """Sum of (x - centre)^2 over the axes; `centre` keeps them with length 1."""
    if not _fits(x, axes):
        return ((x - centre) * (x - centre)).sum(axis=axes, keepdims=keepdims)
    return _shaped(_reduce(SQUARES, SUM, x, axes, centre), x, axes, keepdims)


def exponentials(x: Array, centre: Array, axes: Axes, keepdims: bool = False) -> Array:
    """Sum of exp(x - centre) over the axes; `centre` keeps them with length 1."""
    if not _fits(x, axes):
        return xp().exp(x - centre).sum(axis=axes, keepdims=keepdims)
    return _shaped(_reduce(EXPONENTIALS, SUM, x, axes, centre), x, axes, keepdims)


def _fits(x: Array, axes: Axes) -> bool:
    return is_float(x.dtype) and x.size > 0 and len(axes) > 0


def _shaped(y: Array, x: Array, axes: Axes, keepdims: bool) -> Array:
    shape = [1 if a in axes else n for a, n in enumerate(x.shape) if keepdims or a not in axes]
    return y.astype(x.dtype, copy=False).reshape(shape)


def _reduce(first: int, then: int, x: Array, axes: Axes, centre: Array | None = None) -> Array:
    """Those axes that lie side by side at once, the last group first; the rest later, by `then`. The result is in A."""
    behind = max(axes) + 1
    before = behind - 1
    while before - 1 in axes:
        before -= 1
    outer, n, inner = (math.prod(s) for s in (x.shape[:before], x.shape[before:behind], x.shape[behind:]))
    others = tuple(a for a in axes if a < before)
    if centre is not None:  # where more axes follow, each number of the next reduction needs its own
        kept = (*x.shape[:before], *[1] * (behind - before), *x.shape[behind:])
        centre = xp().ascontiguousarray(xp().broadcast_to(centre, kept)).astype(wide(x.dtype), copy=False)
    y = _one_axis(first, then, xp().ascontiguousarray(x).reshape(outer, n, inner), centre)
    return _reduce(then, then, y.reshape(*x.shape[:before], inner), others) if others else y


def _one_axis(first: int, then: int, x: Array, centre: Array | None) -> Array:
    """(outer,n,inner) -> (outer,inner)"""
    outer, n, inner = x.shape
    stretches = -(-n // (STRETCH if inner == 1 else STRETCH_ROWS))
    y = xp().empty((outer, stretches, inner), wide(x.dtype))
    _launch(first, x, centre, y, stretches)
    return y.reshape(outer, inner) if stretches == 1 else _one_axis(then, then, y, None)


def _launch(op: int, x: Array, centre: Array | None, y: Array, stretches: int) -> None:
    (outer, n, inner), step = x.shape, 0 if centre is None else 1
    if inner == 1:
        grid: Grid = rows(outer * stretches, min(n, STRETCH))
        run("reduce", "reduce_rows", x.dtype, grid, x, centre, y, outer * stretches, n, stretches, step, op)
    else:
        grid = columns(inner, outer * stretches)
        run("reduce", "reduce_columns", x.dtype, grid, x, centre, y, n, inner, stretches, step, op)
