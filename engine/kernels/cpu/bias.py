"""The gradient of a bias, and of a bias that is followed by relu: sums over all pixels of each channel.

Parts are rows of pixels. Each adds up its own sums; these are added in the order of parts, so threads change no bit.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from .jit import ENABLED, Kernel, array_at, kernel, number_at
from .threads import launch

Array = np.ndarray[Any, Any]

PART = 1 << 15  # numbers in a part


def plain_bias_gradient(g: Array) -> Array:
    """(..,F) -> (F,)"""
    return g.reshape(-1, g.shape[-1]).sum(0)


def plain_rectified_gradient(g: Array, y: Array) -> tuple[Array, Array]:
    """g where y = relu(..) is positive, else 0, and its sum over the pixels: (..,F), (..,F) -> (..,F), (F,)"""
    passed = np.where(y > 0, g, g.dtype.type(0))
    return passed, plain_bias_gradient(passed)


@functools.cache
def _kernels(size: int) -> tuple[Kernel, Kernel]:
    dtype = np.float32 if size == 4 else np.float64

    def bias(block, part):  # type: ignore[no-untyped-def]
        g, sums, F, rows = (
            array_at(block, 0, dtype),
            array_at(block, 2, dtype),
            number_at(block, 4),
            number_at(block, 5),
        )
        mine, g = sums[part * F : (part + 1) * F], g[part * rows * F : (part + 1) * rows * F]
        for f in range(F):
            mine[f] = dtype(0)
        for r in range(0, g.size, F):
            row = g[r : r + F]
            for f in range(F):
                mine[f] += row[f]

    def rectified(block, part):  # type: ignore[no-untyped-def]
        g, y, passed, sums = (
            array_at(block, 0, dtype),
            array_at(block, 2, dtype),
            array_at(block, 4, dtype),
            array_at(block, 6, dtype),
        )
        F, rows = number_at(block, 8), number_at(block, 9)
        mine, start, behind = sums[part * F : (part + 1) * F], part * rows * F, min(g.size, (part + 1) * rows * F)
        for f in range(F):
            mine[f] = dtype(0)
        for r in range(start, behind, F):
            a, b, c = g[r : r + F], y[r : r + F], passed[r : r + F]
            for f in range(F):
                here = a[f] if b[f] > 0 else dtype(0)
                c[f] = here
                mine[f] += here

    return kernel(bias, f"bias_gradient_float{8 * size}"), kernel(rectified, f"rectified_gradient_float{8 * size}")


def bias_gradient(g: Array) -> Array:
    """(..,F) -> (F,)"""
    if not _fits(g):
        return plain_bias_gradient(g)
    rows, sums = _parts(g)
    launch(_kernels(g.itemsize)[0], len(sums), np.ascontiguousarray(g), sums, g.shape[-1], rows)
    return sums.sum(0)


def rectified_gradient(g: Array, y: Array) -> tuple[Array, Array]:
    """g where y = relu(..) is positive, else 0, and its sum over the pixels: (..,F), (..,F) -> (..,F), (F,)"""
    if not _fits(g) or g.dtype != y.dtype:
        return plain_rectified_gradient(g, y)
    rows, sums = _parts(g)
    passed = np.empty(g.shape, g.dtype)
    g, y = np.ascontiguousarray(g), np.ascontiguousarray(y)
    launch(_kernels(g.itemsize)[1], len(sums), g, y, passed, sums, g.shape[-1], rows)
    return passed, sums.sum(0)


def _fits(g: Array) -> bool:
    return ENABLED and g.dtype.char in "fd" and g.size > 0


def _parts(g: Array) -> tuple[int, Array]:
    """Pixels of a part, and room for each part's sums: (parts,F)."""
    F = g.shape[-1]
    rows = max(1, PART // F)
    return rows, np.empty((-(-g.size // (rows * F)), F), g.dtype)
