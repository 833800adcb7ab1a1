r"""Convolution of channels-last images, and its two gradients, as products with the matrix of its taps.

    columns = im2col(x)                                    (G, P, K): P pixels of the result, K = kh kw C/G taps
    y  = columns w                                         (G, P, K) @ (G, K, F/G) -> (G, P, F/G)
    dw = columnsᵀ g                                        (G, K, P) @ (G, P, F/G) -> (G, K, F/G)
    dx = col2im(g wᵀ)                                      (G, P, F/G) @ (G, F/G, K) -> (G, P, K)

Images go through it some at a time, so that the matrix has at most `ROOM` numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from engine.backends import concatenate

from .bias import add_bias, rectified_gradient
from .launch import elements, product, run, xp
from .pool import max_pool2d, scatter_windows
from .reduce import total
from .window import Padding, Pair, window

Array = Any
Gradients = tuple[Array | None, Array | None, Array | None]
Shape = tuple[int, ...]
How = tuple[Pair, Padding, Pair, int]  # stride, padding, dilation, groups

ROOM = 1 << 26  # numbers of the matrix: 256 MiB of float32


def conv2d(
    x: Array, w: Array, bias: Array | None, stride: Pair, padding: Padding, dilation: Pair, groups: int,
    relu: bool = False,
) -> Array:  # fmt: skip
    """x:(N,H,W,C), w:(kh,kw,C/groups,F), bias:(F,) or None -> y:(N,H',W',F); `relu` makes it max(y, 0)."""
    how = stride, padding, dilation, groups
    out, filters = _out(x.shape, w.shape, how), _grouped(w, groups)
    parts = [
        _channels_last(product(im2col(x[some], w.shape, how), filters), (len(x[some]), *out, w.shape[3]))
        for some in _images(x.shape, w.shape, out)
    ]
    y = parts[0] if len(parts) == 1 else concatenate(parts, 0)
    return add_bias(y, bias, relu)


def conv2d_max_pool(
    x: Array, w: Array, bias: Array | None, stride: Pair, padding: Padding, dilation: Pair, groups: int,
    pool: tuple[Pair, Pair, Padding, Pair],
) -> tuple[Array, Array]:  # fmt: skip
    """max_pool2d(relu(conv2d(x, w) + bias)): y and the number of the largest pixel of each window, as max_pool2d's."""
    return max_pool2d(conv2d(x, w, bias, stride, padding, dilation, groups, True), *pool)


def conv2d_backward(
    g: Array, y: Array | None, index: Array | None, x: Array, w: Array, stride: Pair, padding: Padding, dilation: Pair,
    groups: int, pool: tuple[Pair, Pair, Padding, Pair] | None, needs: tuple[bool, bool, bool],
) -> Gradients:  # fmt: skip
    """The gradients of a layer by (x, w, bias), each where `needs` says so, from the gradient g by its result.

    That is conv2d + bias; with y, its result, relu(conv2d + bias); with y, index and pool what conv2d_max_pool does.
    """
    how = stride, padding, dilation, groups
    if y is None:
        db = total(g, (0, 1, 2)) if needs[2] else None
    else:
        g, db = rectified_gradient(g, y)
    if pool is not None:
        g = scatter_windows(g, index, (x.shape[0], *_out(x.shape, w.shape, how), w.shape[3]), *pool)
    dx = conv2d_input_gradient(g, w, x.shape, *how) if needs[0] else None
    dw = conv2d_weight_gradient(x, g, w.shape, *how) if needs[1] else None
    return dx, dw, db if needs[2] else None


def conv2d_input_gradient(
    g: Array, w: Array, x_shape: Shape, stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> Array:
    """g:(N,H',W',F), w:(kh,kw,C/groups,F) -> dx:(N,H,W,C), the gradient of Sum(g * conv2d(x, w)) by x."""
    how = stride, padding, dilation, groups
    filters = _grouped(w, groups).swapaxes(-1, -2)
    parts = [
        col2im(product(_grouped(g[some], groups), filters), (len(g[some]), *x_shape[1:]), w.shape, how)
        for some in _images(x_shape, w.shape, g.shape[1:3])
    ]
    return parts[0] if len(parts) == 1 else concatenate(parts, 0)


def conv2d_weight_gradient(
    x: Array, g: Array, w_shape: Shape, stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> Array:
    """x:(N,H,W,C), g:(N,H',W',F) -> dw:(kh,kw,C/groups,F), the gradient of Sum(g * conv2d(x, w)) by w."""
    how, dw = (stride, padding, dilation, groups), None
    for some in _images(x.shape, w_shape, g.shape[1:3]):
        part = product(im2col(x[some], w_shape, how).swapaxes(-1, -2), _grouped(g[some], groups))
        dw = part if dw is None else dw + part
    return _channels_last(dw, w_shape)


# --- the matrix ------------------------------------------------------------------------------------------------------


def im2col(x: Array, w_shape: Shape, how: How) -> Array:
    """(N,H,W,C) -> (G, N H' W', kh kw C/G)"""
    out, groups = _out(x.shape, w_shape, how), how[3]
    x, taps = xp().ascontiguousarray(x), math.prod(w_shape[:3])
    pixels = w_shape[:2] == how[0] == (1, 1) and out == x.shape[1:3]  # one by one: the images themselves
    if pixels and groups == 1:
        return x.reshape(1, len(x) * math.prod(out), taps)
    columns = xp().empty((groups, len(x) * math.prod(out), taps), x.dtype)
    at = _window(x.shape, w_shape, how, out)
    run("conv", "im2col", x.dtype, elements(columns.size), x, columns, at, len(x), groups, columns.size)
    return columns


def col2im(columns: Array, x_shape: Shape, w_shape: Shape, how: How) -> Array:
    """(G, N H' W', kh kw C/G) -> (N,H,W,C): each pixel the sum of what im2col would have made of it."""
    dx, out = xp().empty(x_shape, columns.dtype), _out(x_shape, w_shape, how)
    at, columns = _window(x_shape, w_shape, how, out), xp().ascontiguousarray(columns)
    run("conv", "col2im", dx.dtype, elements(dx.size), columns, dx, at, x_shape[0], how[3], dx.size)
    return dx


def _images(x_shape: Shape, w_shape: Shape, out: Pair) -> Iterator[slice]:
    """Stretches of the batch for which there is room; at least one."""
    each = math.prod(out) * math.prod(w_shape[:2]) * x_shape[3]
    step = max(1, ROOM // max(1, each))
    for first in range(0, max(1, x_shape[0]), step):
        yield slice(first, first + step)


def _grouped(a: Array, groups: int) -> Array:
    """(..,F) -> (G,..,F/G), all axes before the last as one"""
    F = a.shape[-1]
    a = xp().ascontiguousarray(a).reshape(math.prod(a.shape[:-1]), groups, F // groups)
    return xp().ascontiguousarray(a.swapaxes(0, 1))  # with one group, no copy


def _channels_last(a: Array, shape: Any) -> Array:
    """(G,P,F/G) -> (P,F), as this shape"""
    return xp().ascontiguousarray(a.swapaxes(0, 1)).reshape(shape)


def _out(x: Shape, w: Shape, how: How) -> Pair:
    """H' = (H + top + bottom - dilation (kh - 1) - 1) // stride + 1"""
    stride, padding, dilation, _ = how
    h, v = (
        (n + sum(p) - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(x[1:3], w[:2], stride, padding, dilation, strict=True)
    )
    return h, v


def _window(x_shape: Shape, w_shape: Shape, how: How, out: Pair) -> Any:
    stride, padding, dilation, _ = how
    return window((x_shape[1], x_shape[2], x_shape[3]), (w_shape[0], w_shape[1]), stride, padding, out, dilation)
