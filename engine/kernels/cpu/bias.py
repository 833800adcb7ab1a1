"""The gradient of a bias, and of a bias that is followed by relu: sums over all pixels of each channel.

Parts are rows of pixels. Each adds up its own sums; these are added in the order of parts, so threads change no bit.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from .buffers import empty
from .jit import ENABLED, Kernel, kernel, number_at, view
from .threads import launch
from .vector import BYTES, choose, fill, load, positive, store

Array = np.ndarray[Any, Any]

PART = 1 << 13  # numbers in a part: few enough to stay in the cache while each group of channels is summed


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
    L = BYTES // size

    def bias(block, part):  # type: ignore[no-untyped-def]
        g, sums, F = number_at(block, 0), number_at(block, 2) + part * number_at(block, 4) * size, number_at(block, 4)
        first, behind = part * number_at(block, 5), min(number_at(block, 6), (part + 1) * number_at(block, 5))
        for f in range(0, F - F % L, L):
            total = load(g + (first * F + f) * size, dtype)
            for r in range(first + 1, behind):
                total = total + load(g + (r * F + f) * size, dtype)
            store(sums + f * size, total)
        for f in range(F - F % L, F):
            one = dtype(0)
            for r in range(first, behind):
                one += view(g + (r * F + f) * size, 1, dtype)[0]
            view(sums + f * size, 1, dtype)[0] = one

    def rectified(block, part):  # type: ignore[no-untyped-def]
        g, y, passed, F = number_at(block, 0), number_at(block, 2), number_at(block, 4), number_at(block, 8)
        sums = number_at(block, 6) + part * F * size
        first, behind = part * number_at(block, 9), min(number_at(block, 10), (part + 1) * number_at(block, 9))
        for f in range(0, F - F % L, L):
            zero = fill(dtype(0), load(g, dtype))
            total = zero
            for i in range((first * F + f) * size, (behind * F + f) * size, F * size):
                here = choose(positive(load(y + i, dtype)), load(g + i, dtype), zero)
                store(passed + i, here)
                total = total + here
            store(sums + f * size, total)
        for f in range(F - F % L, F):
            one = dtype(0)
            for i in range((first * F + f) * size, (behind * F + f) * size, F * size):
                here = view(g + i, 1, dtype)[0] if view(y + i, 1, dtype)[0] > 0 else dtype(0)
                view(passed + i, 1, dtype)[0] = here
                one += here
            view(sums + f * size, 1, dtype)[0] = one

    return kernel(bias, f"bias_gradient_float{8 * size}"), kernel(rectified, f"rectified_gradient_float{8 * size}")


def bias_gradient(g: Array) -> Array:
    """(..,F) -> (F,)"""
    if not _fits(g):
        return plain_bias_gradient(g)
    rows, sums = _parts(g)
    launch(_kernels(g.itemsize)[0], len(sums), np.ascontiguousarray(g), sums, g.shape[-1], rows, g.size // g.shape[-1])
    return sums.sum(0)


def rectified_gradient(g: Array, y: Array) -> tuple[Array, Array]:
    """g where y = relu(..) is positive, else 0, and its sum over the pixels: (..,F), (..,F) -> (..,F), (F,)"""
    if not _fits(g) or g.dtype != y.dtype:
        return plain_rectified_gradient(g, y)
    rows, sums = _parts(g)
    passed = empty(g.shape, g.dtype)
    g, y = np.ascontiguousarray(g), np.ascontiguousarray(y)
    launch(_kernels(g.itemsize)[1], len(sums), g, y, passed, sums, g.shape[-1], rows, g.size // g.shape[-1])
    return passed, sums.sum(0)


def _fits(g: Array) -> bool:
    return ENABLED and g.dtype.char in "fd" and g.size > 0


def _parts(g: Array) -> tuple[int, Array]:
    """Pixels of a part, and room for each part's sums: (parts,F)."""
    F = g.shape[-1]
    rows = max(1, PART // F)
    return rows, empty((-(-g.size // (rows * F)), F), g.dtype)
