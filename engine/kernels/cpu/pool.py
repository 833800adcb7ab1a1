"""Pooling of channels-last images: maxima with their places, means, and what goes back to the pixels.

The kernels hold some channels of one window in registers while they walk over it: (N,H,W,C) is read once, in order. All
go by rows of windows or by images, so nothing is shared between parts.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np

from .jit import ENABLED, Kernel, device, kernel, number_at, view
from .threads import launch
from .vector import BYTES, beats, choose, equal, fill, fill_integers, load, load_bytes, store, store_bytes

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

GEOMETRY = 13  # numbers: H W C, kh kw, sh sw, top left, H' W', rows (or images) of a part, and how many there are


@device
def geometry_at(block, slot):  # type: ignore[no-untyped-def]
    n = view(block + 8 * slot, GEOMETRY, np.int64)
    return n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], n[9], n[10], n[11], n[12]


@functools.cache
def _kernels(size: int) -> dict[str, Kernel]:
    """The kernels for numbers of `size` bytes."""
    dtype = np.float32 if size == 4 else np.float64
    L = BYTES // size

    def max_rows(block, part):  # type: ignore[no-untyped-def]
        x, y, index = number_at(block, 0), number_at(block, 2), number_at(block, 4)
        H, W, C, kh, kw, sh, sw, top, left, OH, OW, rows, count = geometry_at(block, 6)
        for r in range(part * rows, min(count, (part + 1) * rows)):
            h = r % OH * sh - top
            u0, u1 = max(0, -h), min(kh, H - h)
            for j in range(OW):
                w = j * sw - left
                v0, v1 = max(0, -w), min(kw, W - w)
                corner = x + ((r // OH * H + h) * W + w) * C * size  # perhaps in the padding, where nothing is read
                out = (r * OW + j) * C
                for c in range(0, C - C % L, L):
                    best = load(corner + ((u0 * W + v0) * C + c) * size, dtype)
                    number = fill_integers(u0 * kw + v0, best)
                    for u in range(u0, u1):
                        for v in range(v0, v1):
                            value = load(corner + ((u * W + v) * C + c) * size, dtype)
                            better = beats(value, best)
                            best = choose(better, value, best)
                            number = choose(better, fill_integers(u * kw + v, best), number)
                    store(y + (out + c) * size, best)
                    store_bytes(index + out + c, number)
                for c in range(C - C % L, C):
                    first, place = view(corner + ((u0 * W + v0) * C + c) * size, 1, dtype)[0], u0 * kw + v0
                    for u in range(u0, u1):
                        for v in range(v0, v1):
                            one = view(corner + ((u * W + v) * C + c) * size, 1, dtype)[0]
                            if one > first or (one != one and first == first):
                                first, place = one, u * kw + v
                    view(y + (out + c) * size, 1, dtype)[0] = first
                    view(index + out + c, 1, np.uint8)[0] = place

    def scatter_images(block, part):  # type: ignore[no-untyped-def]
        g, index, dx = number_at(block, 0), number_at(block, 2), number_at(block, 4)
        tiled = number_at(block, 6)
        H, W, C, kh, kw, sh, sw, top, left, OH, OW, images, count = geometry_at(block, 7)
        for n in range(part * images, min(count, (part + 1) * images)):
            clear(dx + n * H * W * C * size, 0 if tiled else H * W * C)
            for p in range(OH * OW):
                h, w = p // OW * sh - top, p % OW * sw - left
                u0, u1, v0, v1 = max(0, -h), min(kh, H - h), max(0, -w), min(kw, W - w)
                corner, out = dx + ((n * H + h) * W + w) * C * size, (n * OH * OW + p) * C
                for c in range(0, C - C % L, L):
                    value = load(g + (out + c) * size, dtype)
                    number, zero = load_bytes(index + out + c, value), fill(dtype(0), value)
                    for u in range(u0, u1):
                        for v in range(v0, v1):
                            at = corner + ((u * W + v) * C + c) * size
                            here = choose(equal(number, fill_integers(u * kw + v, value)), value, zero)
                            store(at, here if tiled else load(at, dtype) + here)
                for c in range(C - C % L, C):
                    one, place = view(g + (out + c) * size, 1, dtype)[0], view(index + out + c, 1, np.uint8)[0]
                    for u in range(u0, u1):
                        for v in range(v0, v1):
                            pixel = view(corner + ((u * W + v) * C + c) * size, 1, dtype)
                            share = one if place == u * kw + v else dtype(0)
                            pixel[0] = share if tiled else pixel[0] + share

    def average_rows(block, part):  # type: ignore[no-untyped-def]
        x, y = number_at(block, 0), number_at(block, 2)
        H, W, C, kh, kw, sh, sw, top, left, OH, OW, rows, count = geometry_at(block, 4)
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
        g, dx, tiled = number_at(block, 0), number_at(block, 2), number_at(block, 4)
        H, W, C, kh, kw, sh, sw, top, left, OH, OW, images, count = geometry_at(block, 5)
        for n in range(part * images, min(count, (part + 1) * images)):
            clear(dx + n * H * W * C * size, 0 if tiled else H * W * C)
            for p in range(OH * OW):
                h, w = p // OW * sh - top, p % OW * sw - left
                u0, u1, v0, v1 = max(0, -h), min(kh, H - h), max(0, -w), min(kw, W - w)
                elements = dtype((u1 - u0) * (v1 - v0))
                corner, out = dx + ((n * H + h) * W + w) * C * size, g + (n * OH * OW + p) * C * size
                for c in range(0, C - C % L, L):
                    value = load(out + c * size, dtype)
                    value = value / fill(elements, value)
                    for u in range(u0, u1):
                        for v in range(v0, v1):
                            at = corner + ((u * W + v) * C + c) * size
                            store(at, value if tiled else load(at, dtype) + value)
                for c in range(C - C % L, C):
                    one = view(out + c * size, 1, dtype)[0] / elements
                    for u in range(u0, u1):
                        for v in range(v0, v1):
                            pixel = view(corner + ((u * W + v) * C + c) * size, 1, dtype)
                            pixel[0] = one if tiled else pixel[0] + one

    @device
    def clear(address, n):  # type: ignore[no-untyped-def]
        numbers = view(address, n, dtype)
        for i in range(n):
            numbers[i] = dtype(0)

    functions = {"max_pool2d": max_rows, "scatter_windows": scatter_images, "average_pool2d": average_rows,
                 "spread_windows": spread_images}  # fmt: skip
    return {name: kernel(f, f"{name}_float{8 * size}") for name, f in functions.items()}


# --- the functions ---------------------------------------------------------------------------------------------------


def max_pool2d(x: Array, size: Pair, stride: Pair, padding: Padding, out: Pair) -> tuple[Array, Array]:
    """x (N,H,W,C) -> the largest number of each window and its number in the window, both (N,H',W',C)."""
    if not _fits(x, size):
        return plain_max_pool2d(x, size, stride, padding, out)
    shape = (x.shape[0], *out, x.shape[3])
    y, index = np.empty(shape, x.dtype), np.empty(shape, np.uint8)
    _launch_rows("max_pool2d", x.shape, size, stride, padding, out, np.ascontiguousarray(x), y, index)
    return y, index


def scatter_windows(g: Array, index: Array, shape: Any, size: Pair, stride: Pair, padding: Padding, out: Pair) -> Array:
    """g and index (N,H',W',C) -> (N,H,W,C) = shape."""
    if not _fits(g, size) or index.dtype != np.uint8:
        return plain_scatter_windows(g, index, shape, size, stride, padding, out)
    dx, index = np.empty(shape, g.dtype), np.ascontiguousarray(index)
    _launch_images("scatter_windows", shape, size, stride, padding, out, np.ascontiguousarray(g), index, dx)
    return dx


def average_pool2d(x: Array, size: Pair, stride: Pair, padding: Padding, out: Pair) -> Array:
    """x (N,H,W,C) -> the mean of each window's elements on the image, (N,H',W',C)."""
    if not _fits(x, size):
        return plain_average_pool2d(x, size, stride, padding, out)
    y = np.empty((x.shape[0], *out, x.shape[3]), x.dtype)
    _launch_rows("average_pool2d", x.shape, size, stride, padding, out, np.ascontiguousarray(x), y)
    return y


def spread_windows(g: Array, shape: Any, size: Pair, stride: Pair, padding: Padding, out: Pair) -> Array:
    """g (N,H',W',C) -> (N,H,W,C) = shape."""
    if not _fits(g, size):
        return plain_spread_windows(g, shape, size, stride, padding, out)
    dx = np.empty(shape, g.dtype)
    _launch_images("spread_windows", shape, size, stride, padding, out, np.ascontiguousarray(g), dx)
    return dx


def _fits(x: Array, size: Pair) -> bool:
    """float32 and float64, and an index that fits a byte."""
    return ENABLED and x.dtype.char in "fd" and x.size > 0 and _index_dtype(size) == np.uint8


def _launch_rows(name: str, shape: Any, size: Pair, stride: Pair, padding: Padding, out: Pair, *arrays: Array) -> None:
    """Rows of windows, cut into parts."""
    N, H, W, C = shape
    rows = max(1, PART // (out[1] * size[0] * size[1] * C))
    place = H, W, C, *size, *stride, padding[0][0], padding[1][0], *out, rows, N * out[0]
    launch(_kernels(arrays[0].itemsize)[name], -(-N * out[0] // rows), *arrays, *place)


def _launch_images(
    name: str, shape: Any, size: Pair, stride: Pair, padding: Padding, out: Pair, *arrays: Array
) -> None:
    """Images, cut into parts. `tiled`: each pixel lies in just one window, so it can be written without adding."""
    N, H, W, C = shape
    images = max(1, PART // (H * W * C))
    tiled = size == stride and padding == ((0, 0), (0, 0)) and (out[0] * size[0], out[1] * size[1]) == (H, W)
    place = H, W, C, *size, *stride, padding[0][0], padding[1][0], *out, images, N
    launch(_kernels(arrays[0].itemsize)[name], -(-N // images), *arrays, int(tiled), *place)
