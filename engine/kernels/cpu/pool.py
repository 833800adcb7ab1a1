"""Pooling of channels-last images: maxima with their places, means, and what goes back to the pixels.

The kernels hold some channels of one window in registers while they walk over it: (N,H,W,C) is read once, in order. All
go by rows of windows or by images, so nothing is shared between parts.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np

from . import pool_parts as at
from .buffers import empty
from .jit import ENABLED, Kernel, kernel, number_at, view
from .pool_parts import PLACE, words
from .threads import launch
from .vector import BYTES, fill, load, store

Array = np.ndarray[Any, Any]
Pair = tuple[int, int]
Padding = tuple[Pair, Pair]

PART = 1 << 15  # numbers in a part


# --- NumPy: the contracts, one element of the window at a time -------------------------------------------------------


def _elements(image: Pair, size: Pair, stride: Pair, padding: Padding, out: Pair) -> Iterator[tuple[int, Any, Any]]:
    """For each element of a window: its number, the windows in which it lies on the image, and its pixels there."""
    for k in range(size[0] * size[1]):
        windows, pixels = [], []
        for n, s, (before, _), m, u in zip(image, stride, padding, out, divmod(k, size[1]), strict=True):
            first = max(0, -((u - before) // s))  # the first window whose pixel s*i + u - before is not negative
            behind = max(first, min(m, (n - 1 - u + before) // s + 1))
            start = s * first + u - before
            windows.append(slice(first, behind))
            pixels.append(slice(start, start + (behind - first - 1) * s + 1 if behind > first else start, s))
        yield k, (slice(None), *windows), (slice(None), *pixels)


def plain_max_pool2d(x: Array, size: Pair, stride: Pair, padding: Padding, out: Pair) -> tuple[Array, Array]:
    """y and the number of the largest element of each window; the first of equals, and a NaN before all."""
    shape = (x.shape[0], *out, x.shape[3])
    none = size[0] * size[1]
    y, index = np.empty(shape, x.dtype), np.full(shape, none, _index_dtype(size))
    for k, windows, pixels in _elements(x.shape[1:3], size, stride, padding, out):
        best, number, value = y[windows], index[windows], x[pixels]
        better = (number == none) | ~(value <= best) & (best == best)
        best[better], number[better] = value[better], k
    return y, index


def plain_scatter_windows(
    g: Array, index: Array, shape: Any, size: Pair, stride: Pair, padding: Padding, out: Pair
) -> Array:
    """Each number of g to the element of its window that index names."""
    dx = np.zeros(shape, g.dtype)
    for k, windows, pixels in _elements(shape[1:3], size, stride, padding, out):
        dx[pixels] += np.where(index[windows] == k, g[windows], g.dtype.type(0))
    return dx


def gather_windows(x: Array, index: Array, size: Pair, stride: Pair, padding: Padding, out: Pair) -> Array:
    """Of each window the element that index names. Only second derivatives come here."""
    y = np.zeros((x.shape[0], *out, x.shape[3]), x.dtype)
    for k, windows, pixels in _elements(x.shape[1:3], size, stride, padding, out):
        y[windows] += np.where(index[windows] == k, x[pixels], x.dtype.type(0))
    return y


def plain_average_pool2d(x: Array, size: Pair, stride: Pair, padding: Padding, out: Pair) -> Array:
    """The sum of each window over the number of its elements on the image."""
    y = np.zeros((x.shape[0], *out, x.shape[3]), x.dtype)
    for _, windows, pixels in _elements(x.shape[1:3], size, stride, padding, out):
        y[windows] += x[pixels]
    return y / _counts(x.shape[1:3], size, stride, padding, out).astype(x.dtype)


def plain_spread_windows(g: Array, shape: Any, size: Pair, stride: Pair, padding: Padding, out: Pair) -> Array:
    """Each number of g in equal shares over its window."""
    share = g / _counts(shape[1:3], size, stride, padding, out).astype(g.dtype)
    dx = np.zeros(shape, g.dtype)
    for _, windows, pixels in _elements(shape[1:3], size, stride, padding, out):
        dx[pixels] += share[windows]
    return dx


def _counts(image: Pair, size: Pair, stride: Pair, padding: Padding, out: Pair) -> Array:
    """How many elements of each window lie on the image: (H',W',1)."""
    per_axis = []
    for n, k, s, (before, _), m in zip(image, size, stride, padding, out, strict=True):
        start = s * np.arange(m) - before
        per_axis.append(np.minimum(start + k, n) - np.maximum(start, 0))
    return np.outer(*per_axis)[..., None]


def _index_dtype(size: Pair) -> Any:
    """The smallest integers that can number a window's elements, and none."""
    return np.dtype(np.uint8 if size[0] * size[1] < 256 else np.int32)


# --- kernels ---------------------------------------------------------------------------------------------------------


@functools.cache
def _kernels(size: int) -> dict[str, Kernel]:
    """The kernels for numbers of `size` bytes. Arguments: arrays, the place of the windows, rows (or images) of a part
    and how many there are.
    """
    dtype = np.float32 if size == 4 else np.float64
    L = BYTES // size
    parts = words(size)
    max_windows, scatter_windows, clear = parts.max_windows, parts.scatter_windows, parts.clear

    def max_rows(block, part):  # type: ignore[no-untyped-def]
        x, y, index = number_at(block, 0), number_at(block, 2), number_at(block, 4)
        p = view(block + 48, PLACE, np.int64)
        rows, count = number_at(block, 6 + PLACE), number_at(block, 7 + PLACE)
        for r in range(part * rows, min(count, (part + 1) * rows)):
            image, out = x + r // p[at.OH] * p[at.H] * p[at.W] * p[at.C] * size, r * p[at.OW] * p[at.C]
            max_windows(image, p, r % p[at.OH], 1, y + out * size, index + out)

    def scatter_images(block, part):  # type: ignore[no-untyped-def]
        g, index, dx = number_at(block, 0), number_at(block, 2), number_at(block, 4)
        p = view(block + 48, PLACE, np.int64)
        images, count = number_at(block, 6 + PLACE), number_at(block, 7 + PLACE)
        for n in range(part * images, min(count, (part + 1) * images)):
            pixels, out = p[at.H] * p[at.W] * p[at.C], n * p[at.OH] * p[at.OW] * p[at.C]
            clear(dx + n * pixels * size, 0 if p[at.TILED] else pixels)
            scatter_windows(g + out * size, index + out, p, 0, p[at.OH], dx + n * pixels * size)

    def average_rows(block, part):  # type: ignore[no-untyped-def]
        x, y, p = number_at(block, 0), number_at(block, 2), view(block + 32, PLACE, np.int64)
        H, W, C, kh, kw, sh, sw = p[at.H], p[at.W], p[at.C], p[at.KH], p[at.KW], p[at.SH], p[at.SW]
        top, left, OH, OW = p[at.TOP], p[at.LEFT], p[at.OH], p[at.OW]
        rows, count = number_at(block, 4 + PLACE), number_at(block, 5 + PLACE)
        for r in range(part * rows, min(count, (part + 1) * rows)):
            h = r % OH * sh - top
            u0, u1 = max(0, -h), min(kh, H - h)
            for j in range(OW):
                w = j * sw - left
                v0, v1 = max(0, -w), min(kw, W - w)
                elements = dtype((u1 - u0) * (v1 - v0))
                corner = x + ((r // OH * H + h) * W + w) * C * size
                out = y + (r * OW + j) * C * size
                for c in range(0, C - C % L, L):
                    sums = fill(dtype(0), load(corner + ((u0 * W + v0) * C + c) * size, dtype))
                    for u in range(u0, u1):
                        for v in range(v0, v1):
                            sums = sums + load(corner + ((u * W + v) * C + c) * size, dtype)
                    store(out + c * size, sums / fill(elements, sums))
                for c in range(C - C % L, C):
                    one = dtype(0)
                    for u in range(u0, u1):
                        for v in range(v0, v1):
                            one += view(corner + ((u * W + v) * C + c) * size, 1, dtype)[0]
                    view(out + c * size, 1, dtype)[0] = one / elements

    def spread_images(block, part):  # type: ignore[no-untyped-def]
        g, dx, p = number_at(block, 0), number_at(block, 2), view(block + 32, PLACE, np.int64)
        H, W, C, kh, kw, sh, sw = p[at.H], p[at.W], p[at.C], p[at.KH], p[at.KW], p[at.SH], p[at.SW]
        top, left, OH, OW, tiled = p[at.TOP], p[at.LEFT], p[at.OH], p[at.OW], p[at.TILED] != 0
        images, count = number_at(block, 4 + PLACE), number_at(block, 5 + PLACE)
        for n in range(part * images, min(count, (part + 1) * images)):
            clear(dx + n * H * W * C * size, 0 if tiled else H * W * C)
            for i in range(OH * OW):
                h, w = i // OW * sh - top, i % OW * sw - left
                u0, u1, v0, v1 = max(0, -h), min(kh, H - h), max(0, -w), min(kw, W - w)
                elements = dtype((u1 - u0) * (v1 - v0))
                corner, out = dx + ((n * H + h) * W + w) * C * size, g + (n * OH * OW + i) * C * size
                for c in range(0, C - C % L, L):
                    value = load(out + c * size, dtype)
                    value = value / fill(elements, value)
                    for u in range(u0, u1):
                        for v in range(v0, v1):
                            pixel = corner + ((u * W + v) * C + c) * size
                            store(pixel, value if tiled else load(pixel, dtype) + value)
                for c in range(C - C % L, C):
                    one = view(out + c * size, 1, dtype)[0] / elements
                    for u in range(u0, u1):
                        for v in range(v0, v1):
                            share = view(corner + ((u * W + v) * C + c) * size, 1, dtype)
                            share[0] = one if tiled else share[0] + one

    functions = {"max_pool2d": max_rows, "scatter_windows": scatter_images, "average_pool2d": average_rows,
                 "spread_windows": spread_images}  # fmt: skip
    return {name: kernel(f, f"{name}_float{8 * size}") for name, f in functions.items()}


# --- the functions ---------------------------------------------------------------------------------------------------


def max_pool2d(x: Array, size: Pair, stride: Pair, padding: Padding, out: Pair) -> tuple[Array, Array]:
    """x (N,H,W,C) -> the largest number of each window and its number in the window, both (N,H',W',C)."""
    if not _fits(x, size):
        return plain_max_pool2d(x, size, stride, padding, out)
    shape = (x.shape[0], *out, x.shape[3])
    y, index = empty(shape, x.dtype), empty(shape, np.uint8)
    _launch_rows("max_pool2d", x.shape, size, stride, padding, out, np.ascontiguousarray(x), y, index)
    return y, index


def scatter_windows(g: Array, index: Array, shape: Any, size: Pair, stride: Pair, padding: Padding, out: Pair) -> Array:
    """g and index (N,H',W',C) -> (N,H,W,C) = shape."""
    if not _fits(g, size) or index.dtype != np.uint8:
        return plain_scatter_windows(g, index, shape, size, stride, padding, out)
    dx, index = empty(shape, g.dtype), np.ascontiguousarray(index)
    _launch_images("scatter_windows", shape, size, stride, padding, out, np.ascontiguousarray(g), index, dx)
    return dx


def average_pool2d(x: Array, size: Pair, stride: Pair, padding: Padding, out: Pair) -> Array:
    """x (N,H,W,C) -> the mean of each window's elements on the image, (N,H',W',C)."""
    if not _fits(x, size):
        return plain_average_pool2d(x, size, stride, padding, out)
    y = empty((x.shape[0], *out, x.shape[3]), x.dtype)
    _launch_rows("average_pool2d", x.shape, size, stride, padding, out, np.ascontiguousarray(x), y)
    return y


def spread_windows(g: Array, shape: Any, size: Pair, stride: Pair, padding: Padding, out: Pair) -> Array:
    """g (N,H',W',C) -> (N,H,W,C) = shape."""
    if not _fits(g, size):
        return plain_spread_windows(g, shape, size, stride, padding, out)
    dx = empty(shape, g.dtype)
    _launch_images("spread_windows", shape, size, stride, padding, out, np.ascontiguousarray(g), dx)
    return dx


def _fits(x: Array, size: Pair) -> bool:
    """float32 and float64, and an index that fits a byte."""
    return ENABLED and x.dtype.char in "fd" and x.size > 0 and _index_dtype(size) == np.uint8


def _launch_rows(name: str, shape: Any, size: Pair, stride: Pair, padding: Padding, out: Pair, *arrays: Array) -> None:
    """Rows of windows, cut into parts."""
    N, H, W, C = shape
    rows = max(1, PART // (out[1] * size[0] * size[1] * C))
    place = at.place((H, W, C), size, stride, padding, out)
    launch(_kernels(arrays[0].itemsize)[name], -(-N * out[0] // rows), *arrays, *place, rows, N * out[0])


def _launch_images(
    name: str, shape: Any, size: Pair, stride: Pair, padding: Padding, out: Pair, *arrays: Array
) -> None:
    """Images, cut into parts."""
    N, H, W, C = shape
    images = max(1, PART // (H * W * C))
    place = at.place((H, W, C), size, stride, padding, out)
    launch(_kernels(arrays[0].itemsize)[name], -(-N // images), *arrays, *place, images, N)
