"""What one core does for the max-pooling windows of one image: words for the kernels of pool.py and of conv.py.

    for row of windows:
        for window in the row:
            for some channels:                            # as many as a vector holds, in registers
                for pixel of the window that lies on the image:
                    keep the largest, and its number      # or give its share back to that pixel
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .jit import device, view
from .vector import BYTES, beats, choose, equal, fill, fill_integers, load, load_bytes, store, store_bytes

# The numbers that say where windows lie, in this order. `tiled`: each pixel lies in just one window.
PLACE = 12
H, W, C, KH, KW, SH, SW, TOP, LEFT, OH, OW, TILED = range(PLACE)

Pair = tuple[int, int]


def place(image: tuple[int, int, int], size: Pair, stride: Pair, padding: tuple[Pair, Pair], out: Pair) -> list[int]:
    """These numbers, for windows on an image of (H,W,C)."""
    tiled = size == stride and padding == ((0, 0), (0, 0)) and (out[0] * size[0], out[1] * size[1]) == image[:2]
    return [*image, *size, *stride, padding[0][0], padding[1][0], *out, int(tiled)]


@dataclass(frozen=True)
class Words:
    """The device functions of one dtype, which kernels are written in."""

    max_windows: Callable[..., Any]
    scatter_windows: Callable[..., Any]
    clear: Callable[..., Any]


@functools.cache
def words(size: int) -> Words:
    """For numbers of `size` bytes."""
    dtype = np.float32 if size == 4 else np.float64
    L = BYTES // size

    @device
    def max_windows(x, p, first, rows, y, index):  # type: ignore[no-untyped-def]
        """The largest number, and its place, of each window in so many rows of windows; x is the image's address."""
        H_, W_, C_, kh, kw, sh, sw, top, left = p[H], p[W], p[C], p[KH], p[KW], p[SH], p[SW], p[TOP], p[LEFT]
        OW_ = p[OW]
        for i in range(rows):
            h = (first + i) * sh - top
            u0, u1 = max(0, -h), min(kh, H_ - h)
            for j in range(OW_):
                w = j * sw - left
                v0, v1 = max(0, -w), min(kw, W_ - w)
                corner = x + (h * W_ + w) * C_ * size  # perhaps in the padding, where nothing is read
                out = (i * OW_ + j) * C_
                for c in range(0, C_ - C_ % L, L):
                    best = load(corner + ((u0 * W_ + v0) * C_ + c) * size, dtype)
                    number = fill_integers(u0 * kw + v0, best)
                    for u in range(u0, u1):
                        for v in range(v0 + 1 if u == u0 else v0, v1):
                            value = load(corner + ((u * W_ + v) * C_ + c) * size, dtype)
                            better = beats(value, best)
                            best = choose(better, value, best)
                            number = choose(better, fill_integers(u * kw + v, best), number)
                    store(y + (out + c) * size, best)
                    store_bytes(index + out + c, number)
                for c in range(C_ - C_ % L, C_):
                    one, at = view(corner + ((u0 * W_ + v0) * C_ + c) * size, 1, dtype)[0], u0 * kw + v0
                    for u in range(u0, u1):
                        for v in range(v0 + 1 if u == u0 else v0, v1):
                            other = view(corner + ((u * W_ + v) * C_ + c) * size, 1, dtype)[0]
                            if other > one or (other != other and one == one):
                                one, at = other, u * kw + v
                    view(y + (out + c) * size, 1, dtype)[0] = one
                    view(index + out + c, 1, np.uint8)[0] = at

    @device
    def scatter_windows(g, index, p, first, rows, dx):  # type: ignore[no-untyped-def]
        """Each number of g, added to the pixel that the index names; written, where windows tile the image."""
        H_, W_, C_, kh, kw, sh, sw, top, left = p[H], p[W], p[C], p[KH], p[KW], p[SH], p[SW], p[TOP], p[LEFT]
        OW_, tiled = p[OW], p[TILED] != 0
        for i in range(rows):
            h = (first + i) * sh - top
            u0, u1 = max(0, -h), min(kh, H_ - h)
            for j in range(OW_):
                w = j * sw - left
                v0, v1 = max(0, -w), min(kw, W_ - w)
                corner, out = dx + (h * W_ + w) * C_ * size, (i * OW_ + j) * C_
                for c in range(0, C_ - C_ % L, L):
                    value = load(g + (out + c) * size, dtype)
                    number, zero = load_bytes(index + out + c, value), fill(dtype(0), value)
                    for u in range(u0, u1):
                        for v in range(v0, v1):
                            at = corner + ((u * W_ + v) * C_ + c) * size
                            here = choose(equal(number, fill_integers(u * kw + v, value)), value, zero)
                            store(at, here if tiled else load(at, dtype) + here)
                for c in range(C_ - C_ % L, C_):
                    one, place = view(g + (out + c) * size, 1, dtype)[0], view(index + out + c, 1, np.uint8)[0]
                    for u in range(u0, u1):
                        for v in range(v0, v1):
                            pixel = view(corner + ((u * W_ + v) * C_ + c) * size, 1, dtype)
                            share = one if place == u * kw + v else dtype(0)
                            pixel[0] = share if tiled else pixel[0] + share

    @device
    def clear(address, n):  # type: ignore[no-untyped-def]
        numbers = view(address, n, dtype)
        for i in range(n):
            numbers[i] = dtype(0)

    return Words(max_windows, scatter_windows, clear)
