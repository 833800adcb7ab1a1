r"""A convolution in which each channel has a filter of its own: groups = C = F.

    y[n,i,j,c] = Sum((u,v), x[n, s*i + d*u - p, s*j + d*v - p, c] * w[u,v,c]) + bias[c]

There is no sum over channels, so there is no matrix product in it: each number of x meets kh*kw numbers of w, and the
loop over the channels, which lie side by side, is the one that fills the SIMD lanes.

    for row (n,i) of y:                                   # in parallel; a row stays in the first cache
        y[row, :, :] = bias
        for tap (u,v) that meets a row of x:
            for j in the columns where it meets a pixel:
                y[row, j, :] += x[pixel, :] * w[u,v,:]    # the loop over channels

The input gradient takes the same steps for each row of x, the weight gradient adds what a tap meets along a row of y.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from .buffers import empty
from .conv_parts import WORTH
from .geometry import Padding, Pair
from .jit import Kernel, array_at, device, kernel, view
from .threads import launch

Array = np.ndarray[Any, Any]

MAX_PARTS = 64
LEAST = 4  # channels: fewer leave the lanes empty
PARTIALS = 16  # partial sums of the weight gradient
N, H, W, C, OH, OW, KH, KW, SH, SW, DH, DW, TOP, LEFT, PARTS, RELU = range(16)  # the numbers behind a kernel's arrays


def fits(x_shape: tuple[int, ...], w_shape: tuple[int, ...], groups: int) -> bool:
    """Is this the way to do it?"""
    return groups == x_shape[3] == w_shape[3] >= LEAST and w_shape[2] == 1


@device
def columns(shift, step, width, out):  # type: ignore[no-untyped-def]
    """The columns j of y, from and to, for which j*step + shift is a column of x."""
    return max(0, -(shift // step)), min(out, (width - 1 - shift) // step + 1)


@functools.cache
def _kernels(size: int) -> tuple[Kernel, Kernel, Kernel]:
    """Forward and the gradients by x and by w, for numbers of `size` bytes."""
    dtype = np.float32 if size == 4 else np.float64

    def forward(block, part):  # type: ignore[no-untyped-def]
        x, w, bias, y = (array_at(block, 0, dtype), array_at(block, 2, dtype), array_at(block, 4, dtype),
                         array_at(block, 6, dtype))  # fmt: skip
        s = view(block + 64, 16, np.int64)
        channels, rows = s[C], s[N] * s[OH]
        for r in range(part * rows // s[PARTS], (part + 1) * rows // s[PARTS]):
            for j in range(s[OW]):
                out = (r * s[OW] + j) * channels
                for c in range(channels):
                    y[out + c] = bias[c]
            for u in range(s[KH]):
                h = r % s[OH] * s[SH] + u * s[DH] - s[TOP]
                if h < 0 or h >= s[H]:
                    continue
                for v in range(s[KW]):
                    shift, k = v * s[DW] - s[LEFT], (u * s[KW] + v) * channels
                    first, behind = columns(shift, s[SW], s[W], s[OW])
                    for j in range(first, behind):
                        out, pixel = (r * s[OW] + j) * channels, (r // s[OH] * s[H] + h) * s[W] + j * s[SW] + shift
                        for c in range(channels):
                            y[out + c] += x[pixel * channels + c] * w[k + c]
            if s[RELU]:
                for out in range(r * s[OW] * channels, (r + 1) * s[OW] * channels):
                    y[out] = dtype(0) if y[out] < dtype(0) else y[out]  # a NaN stays

    def by_input(block, part):  # type: ignore[no-untyped-def]
        g, w, dx, s = (array_at(block, 0, dtype), array_at(block, 2, dtype), array_at(block, 4, dtype),
                       view(block + 48, 16, np.int64))  # fmt: skip
        channels, rows = s[C], s[N] * s[H]
        for r in range(part * rows // s[PARTS], (part + 1) * rows // s[PARTS]):
            for pixel in range(r * s[W] * channels, (r + 1) * s[W] * channels):
                dx[pixel] = 0
            for u in range(s[KH]):
                down = r % s[H] + s[TOP] - u * s[DH]  # s*i, where tap u meets this row
                i = down // s[SH]
                if down % s[SH] != 0 or i < 0 or i >= s[OH]:
                    continue
                for v in range(s[KW]):
                    shift, k = v * s[DW] - s[LEFT], (u * s[KW] + v) * channels
                    first, behind = columns(shift, s[SW], s[W], s[OW])
                    for j in range(first, behind):
                        out, pixel = (r // s[H] * s[OH] + i) * s[OW] + j, r * s[W] + j * s[SW] + shift
                        for c in range(channels):
                            dx[pixel * channels + c] += g[out * channels + c] * w[k + c]

    def by_weights(block, part):  # type: ignore[no-untyped-def]
        x, g, sums, along = (array_at(block, 0, dtype), array_at(block, 2, dtype), array_at(block, 4, dtype),
                             array_at(block, 6, dtype))  # fmt: skip
        s = view(block + 64, 16, np.int64)
        channels, rows = s[C], s[N] * s[OH]
        own, row = part * s[KH] * s[KW] * channels, part * channels
        for k in range(own, own + s[KH] * s[KW] * channels):
            sums[k] = 0
        for r in range(part * rows // s[PARTS], (part + 1) * rows // s[PARTS]):
            for u in range(s[KH]):
                h = r % s[OH] * s[SH] + u * s[DH] - s[TOP]
                if h < 0 or h >= s[H]:
                    continue
                for v in range(s[KW]):
                    shift, k = v * s[DW] - s[LEFT], own + (u * s[KW] + v) * channels
                    first, behind = columns(shift, s[SW], s[W], s[OW])
                    for c in range(channels):
                        along[row + c] = 0
                    for j in range(first, behind):
                        out, pixel = (r * s[OW] + j) * channels, (r // s[OH] * s[H] + h) * s[W] + j * s[SW] + shift
                        for c in range(channels):
                            along[row + c] += x[pixel * channels + c] * g[out + c]
                    for c in range(channels):  # a sum of sums: its rounding error does not grow with the pixels
                        sums[k + c] += along[row + c]

    names = "depthwise_forward", "depthwise_input_gradient", "depthwise_weight_gradient"
    made = [
        kernel(f, f"{name}_float{8 * size}") for f, name in zip((forward, by_input, by_weights), names, strict=True)
    ]
    return made[0], made[1], made[2]


def _numbers(x_shape: Any, w_shape: Any, y_shape: Any, stride: Pair, padding: Padding, dilation: Pair) -> list[int]:
    (top, _), (left, _) = padding
    return [*x_shape, *y_shape[1:3], *w_shape[:2], *stride, *dilation, top, left]


def _parts(y_shape: tuple[int, ...], taps: int, rows: int, most: int) -> int:
    """Of so many rows: shapes alone decide."""
    products = y_shape[0] * y_shape[1] * y_shape[2] * y_shape[3] * taps
    return max(1, min(rows, most, 4 * products // WORTH))


def depthwise(
    x: Array,
    w: Array,
    bias: Array,
    y_shape: tuple[int, ...],
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    relu: bool,
) -> Array:
    """x (N,H,W,C), w (kh,kw,1,C), bias (C,) -> y (N,H',W',C)."""
    y = empty(y_shape, x.dtype)
    parts = _parts(y_shape, w.size // w.shape[3], y_shape[0] * y_shape[1], MAX_PARTS)
    numbers = _numbers(x.shape, w.shape, y_shape, stride, padding, dilation)
    launch(_kernels(x.itemsize)[0], parts, x, w, bias, y, *numbers, parts, int(relu))
    return y


def input_gradient(
    g: Array, w: Array, x_shape: tuple[int, ...], stride: Pair, padding: Padding, dilation: Pair
) -> Array:
    """g (N,H',W',C), w (kh,kw,1,C) -> dx (N,H,W,C)."""
    dx = empty(x_shape, g.dtype)
    parts = _parts(g.shape, w.size // w.shape[3], x_shape[0] * x_shape[1], MAX_PARTS)
    numbers = _numbers(x_shape, w.shape, g.shape, stride, padding, dilation)
    launch(_kernels(g.itemsize)[1], parts, g, w, dx, *numbers, parts, 0)
    return dx


def weight_gradient(
    x: Array, g: Array, w_shape: tuple[int, ...], stride: Pair, padding: Padding, dilation: Pair
) -> Array:
    """x (N,H,W,C), g (N,H',W',C) -> partial sums of dw, (parts,kh,kw,1,C)."""
    parts = _parts(g.shape, w_shape[0] * w_shape[1], g.shape[0] * g.shape[1], PARTIALS)
    sums, along = empty((parts, *w_shape), x.dtype), empty((parts, w_shape[3]), x.dtype)
    numbers = _numbers(x.shape, w_shape, g.shape, stride, padding, dilation)
    launch(_kernels(x.itemsize)[2], parts, x, g, sums, along, *numbers, parts, 0)
    return sums
