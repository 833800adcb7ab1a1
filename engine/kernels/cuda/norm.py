"""Layer, RMS and batch normalisation, and their gradients. Group normalisation is layer normalisation of groups."""

from __future__ import annotations

import math
from typing import Any

from .launch import columns, elements, rows, run, wide, xp
from .reduce import total

Array = Any
Axes = tuple[int, ...]
Maybe = Array | None
Gradients = tuple[Maybe, Maybe, Maybe]

LEAST_ROWS = 64  # of a part of a table
PARTS = 64  # of a table, at most


def layer_norm(
    x: Array, gamma: Maybe, beta: Maybe, axes: Axes, eps: float, centred: bool = True
) -> tuple[Array, tuple[Array, Array]]:
    """y like x, and mean and 1 / standard deviation of each sample, (..,1). `axes` are the last ones.

    Not centred, the mean counts as 0: y = gamma x / sqrt(m(x^2) + eps) + beta.
    """
    lead, count, n = _samples(x, axes)
    y = xp().empty(x.shape, x.dtype)
    mean, scale = xp().empty(lead, wide(x.dtype)), xp().empty(lead, wide(x.dtype))
    arrays = (*map(_flat, (x, gamma, beta)), y, mean, scale)
    run("norm", "layer_norm", x.dtype, rows(count, n), *arrays, count, n, float(eps), centred)
    return y, (mean, scale)


def layer_norm_gradient(
    g: Array,
    x: Array,
    gamma: Maybe,
    statistics: tuple[Array, Array],
    axes: Axes,
    needs: tuple[bool, ...],
    centred: bool = True,
) -> Gradients:
    """The cotangents of x, gamma and beta."""
    (_, count, n), (g, x, gamma), x_bar = _samples(x, axes), map(_flat, (g, x, gamma)), None
    if needs[0]:
        x_bar = xp().empty(x.shape, x.dtype)
        arrays = g, x, gamma, *statistics, x_bar
        run("norm", "layer_norm_gradient", x.dtype, rows(count, n), *arrays, count, n, centred)
    gamma_bar = beta_bar = None
    if needs[1] or needs[2]:
        shape, sums = x.shape[x.ndim - len(axes) :], _weight_sums(g, x, statistics, count, n, True)
        gamma_bar, beta_bar = (w.astype(x.dtype, copy=False).reshape(shape) for w in sums)
    return x_bar, gamma_bar if needs[1] else None, beta_bar if needs[2] else None


def batch_norm(x: Array, gamma: Maybe, beta: Maybe, eps: float) -> tuple[Array, Array, Array, Array]:
    """y like x, and mean, variance and 1 / standard deviation of each channel, (C,)."""
    (count, C), dtype, (x, gamma, beta) = _table(x), wide(x.dtype), map(_flat, (x, gamma, beta))
    part, parts = _parts(count)
    means, squares = xp().empty((parts, C), dtype), xp().empty((parts, C), dtype)
    mean, variance, scale = (xp().empty((C,), dtype) for _ in range(3))
    run("norm", "moments", x.dtype, columns(C, parts), x, means, squares, count, C, part)
    arrays = means, squares, mean, variance, scale
    run("norm", "settle", x.dtype, elements(C), *arrays, count, C, part, parts, float(eps))
    y = xp().empty(x.shape, x.dtype)
    run("norm", "normalise", x.dtype, elements(x.size), x, mean, scale, gamma, beta, y, x.size, C)
    return y, mean, variance, scale


def batch_norm_gradient(
    g: Array, x: Array, gamma: Maybe, statistics: tuple[Array, Array], needs: tuple[bool, ...]
) -> Gradients:
    """The cotangents of x, gamma and beta."""
    (count, C), (g, x, gamma), x_bar = _table(x), map(_flat, (g, x, gamma)), None
    gamma_bar, beta_bar = _weight_sums(g, x, statistics, count, C, False)
    if needs[0]:
        x_bar = xp().empty(x.shape, x.dtype)
        arrays = g, x, *statistics, gamma, gamma_bar, beta_bar, x_bar
        run("norm", "batch_norm_gradient", x.dtype, elements(x.size), *arrays, x.size, C)
    gamma_bar, beta_bar = (w.astype(x.dtype, copy=False) for w in (gamma_bar, beta_bar))
    return x_bar, gamma_bar if needs[1] else None, beta_bar if needs[2] else None


def _weight_sums(g: Array, x: Array, statistics: Any, count: int, C: int, per_row: bool) -> tuple[Array, Array]:
    """Sums of g x_hat and of g over all rows, (C,) each: parts, then these in their order."""
    part, parts = _parts(count)
    gammas, betas = (xp().empty((parts, C), wide(x.dtype)) for _ in range(2))
    run("norm", "weight_sums", x.dtype, columns(C, parts), g, x, *statistics, gammas, betas, count, C, part, per_row)
    return total(gammas, (0,)), total(betas, (0,))


def _parts(count: int) -> tuple[int, int]:
    """Rows of a part, and how many parts."""
    part = max(LEAST_ROWS, -(-count // PARTS))
    return part, -(-count // part)


def _samples(x: Array, axes: Axes) -> tuple[tuple[int, ...], int, int]:
    """The shape of a number per sample, how many samples, and the numbers of one."""
    k = x.ndim - len(axes)
    return (*x.shape[:k], *[1] * len(axes)), math.prod(x.shape[:k]), math.prod(x.shape[k:])


def _table(x: Array) -> tuple[int, int]:
    return math.prod(x.shape[:-1]), x.shape[-1]


def _flat(a: Maybe) -> Maybe:
    return None if a is None else xp().ascontiguousarray(a)
