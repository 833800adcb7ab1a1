"""Layer, RMS and batch normalisation, and their gradients. Squares are summed around the mean: m(x^2) - m(x)^2 cancels.

Layer normalisation goes row by row. Batch normalisation first takes the mean and the squares of each block of rows,
while it is in the cache, and then adds these up by

    M = Sum(p, n_p m_p) / n,    S = Sum(p, S_p + n_p (m_p - M)^2)        [Chan, Golub and LeVeque, 1983]
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from .buffers import empty
from .columns import kernels as column_kernels
from .jit import ENABLED, Kernel, array_at, kernel, number_at, real_at
from .reduce import plain_total
from .threads import launch
from .vector import BYTES, fill, load, total

Array = np.ndarray[Any, Any]
Axes = tuple[int, ...]
Maybe = Array | None
Gradients = tuple[Maybe, Maybe, Maybe]

PART = 1 << 16  # numbers in a part, or more: waking another thread takes as long as half of one
PARTS = 32  # of a table at most: each leaves its sums


# --- NumPy: the contracts --------------------------------------------------------------------------------------------


def plain_layer_norm(
    x: Array, gamma: Maybe, beta: Maybe, axes: Axes, eps: float, centred: bool = True
) -> tuple[Array, tuple[Array, Array]]:
    """y, and mean and 1 / standard deviation of each sample, (..,1). Not centred, the mean counts as 0."""
    mean = x.mean(axes, keepdims=True) * x.dtype.type(centred)
    scale = 1 / np.sqrt(np.square(x - mean).mean(axes, keepdims=True) + x.dtype.type(eps))
    return _affine((x - mean) * scale, gamma, beta), (mean, scale)


def plain_batch_norm(x: Array, gamma: Maybe, beta: Maybe, eps: float) -> tuple[Array, Array, Array, Array]:
    """y, and mean, variance and 1 / standard deviation of each channel, (C,)."""
    axes = tuple(range(x.ndim - 1))
    n = x.dtype.type(math.prod(x.shape[:-1]))
    mean = plain_total(x, axes) / n
    mean = mean + plain_total(x - mean, axes) / n  # what rounding left, where the mean is large
    variance = plain_total(np.square(x - mean), axes) / n
    scale = 1 / np.sqrt(variance + x.dtype.type(eps))
    return _affine((x - mean) * scale, gamma, beta), mean, variance, scale


def plain_gradient(
    g: Array,
    x: Array,
    gamma: Maybe,
    statistics: tuple[Array, Array],
    over: Axes,
    samples: Axes,
    needs: tuple[bool, ...],
    centred: bool = True,
) -> Gradients:
    """The cotangents of x, gamma and beta; x was normalised over the axes `over`, gamma serves all of `samples`.

    x_bar = (h - m(h) - x_hat m(h x_hat)) scale,  h = gamma g, with the mean m over what was normalised together; m(h)
    comes from the mean, and is 0 where that counts as 0
    """
    mean, scale = statistics
    x_hat = (x - mean) * scale
    x_bar = None
    if needs[0]:
        h = g if gamma is None else g * gamma
        level = h.mean(over, keepdims=True) * x.dtype.type(centred)
        x_bar = (h - level - x_hat * (h * x_hat).mean(over, keepdims=True)) * scale
    return x_bar, (g * x_hat).sum(samples) if needs[1] else None, g.sum(samples) if needs[2] else None


def _affine(x_hat: Array, gamma: Maybe, beta: Maybe) -> Array:
    y = x_hat if gamma is None else x_hat * gamma
    return y if beta is None else y + beta


# --- kernels over rows: the numbers of one sample are neighbours -----------------------------------------------------


@functools.cache
def _row_kernels(size: int) -> tuple[Kernel, Kernel]:
    dtype = np.float32 if size == 4 else np.float64
    L = BYTES // size

    def forward(block, part):  # type: ignore[no-untyped-def]
        x, gamma, beta, y = (
            array_at(block, 0, dtype),
            array_at(block, 2, dtype),
            array_at(block, 4, dtype),
            array_at(block, 6, dtype),
        )
        means, scales, eps = array_at(block, 8, dtype), array_at(block, 10, dtype), dtype(real_at(block, 12))
        n, rows, a, centred = number_at(block, 13), number_at(block, 14), number_at(block, 0), number_at(block, 15)
        whole = n - n % L
        for r in range(part * rows, min(means.size, (part + 1) * rows)):
            start = r * n
            sums, rest = fill(dtype(0), load(number_at(block, 2), dtype)), dtype(0)
            for i in range(start, start + whole, L):
                sums = sums + load(a + i * size, dtype)
            for i in range(start + whole, start + n):
                rest += x[i]
            m = (total(sums) + rest) / dtype(n) * dtype(centred)  # 0 or 1: does the mean count?
            squares, rest, middle = fill(dtype(0), sums), dtype(0), fill(m, sums)
            for i in range(start, start + whole, L):
                v = load(a + i * size, dtype) - middle
                squares = squares + v * v
            for i in range(start + whole, start + n):
                rest += (x[i] - m) * (x[i] - m)
            s = dtype(1) / dtype(math.sqrt((total(squares) + rest) / dtype(n) + eps))
            means[r], scales[r] = m, s
            row, out = x[start : start + n], y[start : start + n]
            for i in range(n):
                out[i] = (row[i] - m) * s * gamma[i] + beta[i]

    def backward(block, part):  # type: ignore[no-untyped-def]
        g, x, gamma = array_at(block, 0, dtype), array_at(block, 2, dtype), array_at(block, 4, dtype)
        means, scales, dx = array_at(block, 6, dtype), array_at(block, 8, dtype), array_at(block, 10, dtype)
        gammas, betas = array_at(block, 12, dtype), array_at(block, 14, dtype)
        n, rows, centred = number_at(block, 16), number_at(block, 17), number_at(block, 18)
        g_at, x_at, gamma_at, whole = number_at(block, 0), number_at(block, 2), number_at(block, 4), n - n % L
        d_gamma, d_beta = gammas[part * n : (part + 1) * n], betas[part * n : (part + 1) * n]
        for i in range(n):
            d_gamma[i] = dtype(0)
            d_beta[i] = dtype(0)
        for r in range(part * rows, min(means.size, (part + 1) * rows)):
            start, m, s = r * n, means[r], scales[r]
            sums = fill(dtype(0), load(gamma_at, dtype))
            products, middle, scale, rest, rest_products = sums, fill(m, sums), fill(s, sums), dtype(0), dtype(0)
            for i in range(0, whole, L):
                h = load(g_at + (start + i) * size, dtype) * load(gamma_at + i * size, dtype)
                sums = sums + h
                products = products + h * ((load(x_at + (start + i) * size, dtype) - middle) * scale)
            for i in range(whole, n):
                one = g[start + i] * gamma[i]
                rest += one
                rest_products += one * ((x[start + i] - m) * s)
            mean, slope = (total(sums) + rest) / dtype(n) * dtype(centred), (total(products) + rest_products) / dtype(n)
            a, b, c = g[start : start + n], x[start : start + n], dx[start : start + n]
            for i in range(n):
                hat = (b[i] - m) * s
                c[i] = (a[i] * gamma[i] - mean - hat * slope) * s
                d_gamma[i] += a[i] * hat
                d_beta[i] += a[i]

    return kernel(forward, f"layer_norm_float{8 * size}"), kernel(backward, f"layer_norm_gradient_float{8 * size}")


# --- the functions ---------------------------------------------------------------------------------------------------


def layer_norm(
    x: Array, gamma: Maybe, beta: Maybe, axes: Axes, eps: float, centred: bool = True
) -> tuple[Array, tuple[Array, Array]]:
    """y like x, and mean and 1 / standard deviation of each sample, (..,1). `axes` are the last ones.

    Not centred, the mean counts as 0: y = gamma x / sqrt(m(x^2) + eps) + beta.
    """
    if not _fits(x):
        return plain_layer_norm(x, gamma, beta, axes, eps, centred)
    lead, n, rows, parts = _rows(x, x.ndim - len(axes))
    y, mean, scale = empty(x.shape, x.dtype), empty(lead, x.dtype), empty(lead, x.dtype)
    weights = _flat(gamma, 1, n, x.dtype), _flat(beta, 0, n, x.dtype)
    launch(_row_kernels(x.itemsize)[0], parts, np.ascontiguousarray(x), *weights, y, mean, scale, eps, n, rows, centred)
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
    k = x.ndim - len(axes)
    if not _fits(x) or g.dtype != x.dtype:
        return plain_gradient(g, x, gamma, statistics, axes, tuple(range(k)), needs, centred)
    _, n, rows, parts = _rows(x, k)
    dx, gammas, betas = empty(x.shape, x.dtype), empty((parts, n), x.dtype), empty((parts, n), x.dtype)
    launch(
        _row_kernels(x.itemsize)[1], parts,
        np.ascontiguousarray(g), np.ascontiguousarray(x), _flat(gamma, 1, n, x.dtype),
        *statistics, dx, gammas, betas, n, rows, centred,
    )  # fmt: skip
    return (
        dx,
        gammas.sum(0).reshape(x.shape[k:]) if needs[1] else None,
        betas.sum(0).reshape(x.shape[k:]) if needs[2] else None,
    )


def batch_norm(x: Array, gamma: Maybe, beta: Maybe, eps: float) -> tuple[Array, Array, Array, Array]:
    """y like x, and mean, variance and 1 / standard deviation of each channel, (C,)."""
    if not _fits(x):
        return plain_batch_norm(x, gamma, beta, eps)
    table, parts = _table(x)
    C, rows, count = table
    x, run = np.ascontiguousarray(x), column_kernels(x.itemsize)
    (means, squares), (mean, variance) = np.empty((2, parts, C), x.dtype), np.empty((2, C), x.dtype)
    launch(run["moments"], parts, *table, x, means, squares)
    launch(run["settle"], 1, C, 1, 1, means, squares, mean, variance, rows, count)
    scale = 1 / np.sqrt(variance + x.dtype.type(eps))
    slope = scale if gamma is None else scale * gamma
    y = empty(x.shape, x.dtype)
    launch(run["normalise"], parts, *table, x, mean, slope, _flat(beta, 0, C, x.dtype), y)
    return y, mean, variance, scale


def batch_norm_gradient(
    g: Array, x: Array, gamma: Maybe, statistics: tuple[Array, Array], needs: tuple[bool, ...]
) -> Gradients:
    """The cotangents of x, gamma and beta."""
    if not _fits(x) or g.dtype != x.dtype:
        samples = tuple(range(x.ndim - 1))
        return plain_gradient(g, x, gamma, statistics, samples, samples, needs)
    table, parts = _table(x)
    C, _, count = table
    (mean, scale), run = statistics, column_kernels(x.itemsize)
    g, x = np.ascontiguousarray(g), np.ascontiguousarray(x)
    gammas, betas = np.empty((2, parts, C), x.dtype)
    launch(run["sums"], parts, *table, g, x, mean, scale, gammas, betas)
    d_gamma, d_beta, dx = gammas.sum(0), betas.sum(0), None
    if needs[0]:
        n, slope, dx = x.dtype.type(count), scale if gamma is None else scale * gamma, empty(x.shape, x.dtype)
        launch(run["gradient"], parts, *table, g, x, mean, d_beta / n, d_gamma * scale / n, slope, dx)
    return dx, d_gamma if needs[1] else None, d_beta if needs[2] else None


def _table(x: Array) -> tuple[tuple[int, int, int], int]:
    """x as a table (rows, C): C, rows of a part, rows in all; and how many parts, by its shape."""
    C = x.shape[-1]
    count = x.size // C
    rows = max(1, PART // C, -(-count // PARTS))
    return (C, rows, count), -(-count // rows)


def _fits(x: Array) -> bool:
    return ENABLED and x.dtype.char in "fd" and x.size > 0


def _rows(x: Array, k: int) -> tuple[tuple[int, ...], int, int, int]:
    """x as rows of its axes from k on: the shape of a number per row, numbers in a row, rows in a part, parts."""
    n = math.prod(x.shape[k:])
    rows = max(1, PART // n)
    return (*x.shape[:k], *[1] * (x.ndim - k)), n, rows, -(-x.size // (n * rows))


def _flat(weights: Maybe, default: int, n: int, dtype: Any) -> Array:
    return np.full(n, default, dtype) if weights is None else np.ascontiguousarray(weights)
