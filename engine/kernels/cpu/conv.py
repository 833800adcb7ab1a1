r"""Convolution of channels-last images, and its two gradients, without im2col.

    y[n,i,j,f] = Sum((u,v,c), x[n, s*i + d*u - p, s*j + d*v - p, c] * w[u,v,c,f]) + bias[f]

Both gradients follow from the sum's being linear in x and in w: each product x * w is met three times.

    dx[n,h,q,c] = Sum((i,j,u,v,f), g[n,i,j,f] * w[u,v,c,f])     over s*i + d*u - p = h,  s*j + d*v - p = q
    dw[u,v,c,f] = Sum((n,i,j), x[n, s*i + d*u - p, s*j + d*v - p, c] * g[n,i,j,f])

All three are matrix products with the im2col matrix X[pixel, tap], which is never built (see geometry.py). Work is cut
into strips of pixels; x, w, g and y are (N,H,W,C), (kh,kw,C/groups,F), (N,H',W',F) and (N,H',W',F).

What often follows, a rectifier and max-pooling, is done while a strip is still in the cache; and all the gradients of
such a layer come from one walk over its strips, so that the cotangent of the convolution itself is never stored.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from engine.errors import DTypeError, ShapeError

from . import conv_backward, conv_forward, conv_pooled, depthwise, winograd
from .bias import bias_gradient, rectified_gradient
from .buffers import empty
from .conv_plain import Gradients, out_shape, reference, reference_backward
from .geometry import Padding, Pair, Pool
from .jit import ENABLED
from .pool import max_pool2d, scatter_windows
from .threads import run

Array = np.ndarray[Any, Any]


# --- forward ---------------------------------------------------------------------------------------------------------


def conv2d(
    x: Array,
    w: Array,
    bias: Array | None,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
    relu: bool = False,
) -> Array:
    """x:(N,H,W,C), w:(kh,kw,C/groups,F), bias:(F,) or None -> y:(N,H',W',F); `relu` makes it max(y, 0) on the way out.

    stride and dilation are (height, width), padding is ((top, bottom), (left, right)). float32 or float64.
    Raises ShapeError where channels, groups or sides don't fit, DTypeError for other or mixed dtypes.
    """
    return _forward(x, w, bias, stride, padding, dilation, groups, None, relu)[0]


def conv2d_max_pool(
    x: Array,
    w: Array,
    bias: Array | None,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
    pool: tuple[Pair, Pair, Padding, Pair],
) -> tuple[Array, Array]:
    """max_pool2d(relu(conv2d(x, w) + bias)): y and the number of the largest pixel of each window, as max_pool2d's.

    pool is (size, stride, padding, (H', W')), the windows on the convolution's output, which is not stored.
    """
    windows, how = Pool(*pool), (stride, padding, dilation, groups)
    in_tiles = winograd.fits(x.shape, w.shape, *how, x.itemsize)
    if winograd.pools(windows) if in_tiles else pool[0][0] * pool[0][1] < 256:  # a byte numbers the pixels
        return _forward(x, w, bias, *how, windows, True)
    return max_pool2d(conv2d(x, w, bias, stride, padding, dilation, groups, True), *pool)


def _forward(
    x: Array,
    w: Array,
    bias: Array | None,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
    pool: Pool | None,
    relu: bool,
) -> Any:
    _check_dtypes("conv2d", x=x, w=w, bias=w if bias is None else bias)
    plan = conv_forward.plan(x.shape, w.shape, stride, padding, dilation, groups, pool, relu, x.itemsize)
    F = w.shape[3]
    if bias is not None and bias.shape != (F,):
        raise ShapeError(f"conv2d: bias is {bias.shape}; it must be (F,) = ({F},), one number per filter")
    if not ENABLED or not x.size or not w.size:
        y = reference(x, w, bias, stride, padding, dilation, groups, relu)
        return (y, None) if pool is None else max_pool2d(y, *pool)
    x, w = np.ascontiguousarray(x), np.ascontiguousarray(w)
    start = np.zeros(F, x.dtype) if bias is None else np.ascontiguousarray(bias)
    if depthwise.fits(x.shape, w.shape, groups):
        out = out_shape(x.shape, w.shape, stride, padding, dilation)
        y = depthwise.depthwise(x, w, start, out, stride, padding, dilation, relu)
        return (y, None) if pool is None else max_pool2d(y, *pool)
    y = empty(plan.geometry.out_shape, x.dtype)
    index = y if pool is None else empty(y.shape, np.uint8)
    panels, scratch = empty(plan.panels, x.dtype), empty(plan.scratch, x.dtype)
    run(plan.pack, w, panels)
    run(plan.job, x, panels, start, y, index, scratch, w)
    return y, index


# --- backward --------------------------------------------------------------------------------------------------------


def conv2d_backward(
    g: Array,
    y: Array | None,
    index: Array | None,
    x: Array,
    w: Array,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
    pool: tuple[Pair, Pair, Padding, Pair] | None,
    needs: tuple[bool, bool, bool],
) -> Gradients:
    """The gradients of a layer by (x, w, bias), each where `needs` says so, from the gradient g by its result.

    That is conv2d + bias; with y, its result, relu(conv2d + bias); with y, index and pool what conv2d_max_pool does.
    """
    how = stride, padding, dilation, groups
    if pool is not None and index is not None and index.dtype != np.uint8:
        g = g if y is None else np.where(y > 0, g, g.dtype.type(0))
        g, y, pool = scatter_windows(g, index, out_shape(x.shape, w.shape, *how[:3]), *pool), None, None
    windows = None if pool is None else Pool(*pool)
    return _backward("conv2d_backward", g, y, index, x, w, x.shape, w.shape, how, windows, needs)


def conv2d_input_gradient(
    g: Array, w: Array, x_shape: tuple[int, ...], stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> Array:
    """g:(N,H',W',F), w:(kh,kw,C/groups,F) -> dx:(N,H,W,C), the gradient of Sum(g * conv2d(x, w)) by x."""
    how, needs = (stride, padding, dilation, groups), (True, False, False)
    return _backward("conv2d_input_gradient", g, None, None, g, w, tuple(x_shape), w.shape, how, None, needs)[0]


def conv2d_weight_gradient(
    x: Array, g: Array, w_shape: tuple[int, ...], stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> Array:
    """x:(N,H,W,C), g:(N,H',W',F) -> dw:(kh,kw,C/groups,F), the gradient of Sum(g * conv2d(x, w)) by w."""
    how, needs = (stride, padding, dilation, groups), (False, True, False)
    return _backward("conv2d_weight_gradient", g, None, None, x, x, x.shape, tuple(w_shape), how, None, needs)[1]


def _backward(
    op: str,
    g: Array,
    y: Array | None,
    index: Array | None,
    x: Array,
    w: Array,
    x_shape: tuple[int, ...],
    w_shape: tuple[int, ...],
    how: conv_pooled.How,
    pool: Pool | None,
    needs: tuple[bool, bool, bool],
) -> Any:
    """All gradients. x or w may be any array of its dtype where no gradient reads it."""
    _check_dtypes(op, x=x, g=g, w=w)
    plan = conv_backward.plan(x_shape, w_shape, *how, pool, y is not None, needs, g.itemsize)
    if g.shape != plan.geometry.out_shape:
        shape = plan.geometry.out_shape
        raise ShapeError(f"{op}: g is {g.shape}; it must have the shape of the output, (N,H',W',F) = {shape}")
    if not ENABLED or not g.size or not math.prod(x_shape) or not math.prod(w_shape):
        return reference_backward(g, y, index, x, w, x_shape, w_shape, how, pool, needs)
    g, x, w = np.ascontiguousarray(g), np.ascontiguousarray(x), np.ascontiguousarray(w)
    if depthwise.fits(x_shape, w_shape, how[3]):
        return _depthwise_backward(g, y, index, x, w, x_shape, w_shape, how, pool, needs)
    if needs[0] and pool is None and (turned := _turned(w, g.shape, how)) is not None:
        g, db = _passed(g, y, needs[2])
        by_w = False, needs[1], False
        dw = _backward(op, g, None, None, x, w, x_shape, w_shape, how, None, by_w)[1] if needs[1] else None
        return conv2d(g, *turned), dw, db
    if pool is not None and y is not None and conv_pooled.fits(x_shape, w_shape, how, pool, g.itemsize):
        return _pooled_backward(g, y, index, x, w, how, pool, needs)
    y, index = (np.ascontiguousarray(g if a is None else a) for a in (y, index))
    dx = empty(x_shape, g.dtype) if needs[0] else None
    dw = empty((plan.partials, *w_shape), g.dtype) if needs[1] else None
    db = empty((plan.partials, w_shape[3]), g.dtype) if needs[2] else None
    panels, scratch = empty(plan.panels if needs[0] else 0, g.dtype), empty(plan.scratch, g.dtype)
    if needs[0]:
        run(plan.pack, w, panels)
    arrays = g, y, index, x, panels, dx, dw, db, scratch
    run(plan.job, *arrays)
    return dx, _added(dw), _added(db)


def _depthwise_backward(
    g: Array, y: Any, index: Any, x: Array, w: Array, x_shape: Any, w_shape: Any, how: Any, pool: Any, needs: Any
) -> Gradients:
    """_backward where each channel has a filter of its own."""
    g, db = _passed(g, y, needs[2])
    if pool is not None:
        g = scatter_windows(g, index, out_shape(x_shape, w_shape, *how[:3]), *pool)
    dx = depthwise.input_gradient(g, w, x_shape, *how[:3]) if needs[0] else None
    dw = _added(depthwise.weight_gradient(x, g, w_shape, *how[:3])) if needs[1] else None
    return dx, dw, db


def _passed(g: Array, y: Array | None, summed: bool) -> tuple[Array, Array | None]:
    """What relu lets through of g, where there is one, and its sums over the pixels, if wanted."""
    if y is None:
        return g, bias_gradient(g) if summed else None
    passed, sums = rectified_gradient(g, y)
    return passed, sums if summed else None


def _turned(w: Array, g_shape: tuple[int, ...], how: conv_pooled.How) -> Any:
    """What to convolve g with, and how, to get the input gradient; None where winograd.py can't."""
    (stride, padding, dilation, groups), (kh, kw, C, F) = how, w.shape
    (top, bottom), (left, right) = padding
    border = (kh - 1 - top, kh - 1 - bottom), (kw - 1 - left, kw - 1 - right)
    if min(map(min, border)) < 0 or not winograd.fits(
        g_shape, (kh, kw, F, C), stride, border, dilation, groups, w.itemsize
    ):
        return None
    return np.ascontiguousarray(w[::-1, ::-1].swapaxes(2, 3)), None, stride, border, dilation, groups  # (kh,kw,F,C)


def _pooled_backward(
    g: Array, y: Array, index: Any, x: Array, w: Array, how: Any, pool: Pool, needs: tuple[bool, bool, bool]
) -> Gradients:
    """_backward where each window of each filter lets one pixel through."""
    plan = conv_pooled.plan(x.shape, w.shape, *how[:3], pool, needs, g.itemsize)
    y, index = np.ascontiguousarray(y), np.ascontiguousarray(index)
    filters = np.ascontiguousarray(w.transpose(3, 0, 1, 2)) if needs[0] else None  # (F,kh,kw,C)
    dx = empty(x.shape, g.dtype) if needs[0] else None
    dw = empty((plan.partials, w.shape[3], *w.shape[:3]), g.dtype) if needs[1] else None
    db = empty((plan.partials, w.shape[3]), g.dtype) if needs[2] else None
    arrays = g, y, index, x, filters, dx, dw, db, empty(plan.scratch, g.dtype)
    run(plan.job, *arrays)
    dw = _added(dw)
    return dx, None if dw is None else np.ascontiguousarray(dw.transpose(1, 2, 3, 0)), _added(db)


def _added(partial: Array | None) -> Array | None:
    """Partial sums, added in order."""
    if partial is None or len(partial) == 1:
        return None if partial is None else partial[0]
    return np.add.reduce(partial, axis=0, out=empty(partial.shape[1:], partial.dtype))


def _check_dtypes(op: str, **arrays: Array) -> None:
    found = {name: array.dtype for name, array in arrays.items()}
    if len(set(found.values())) > 1 or next(iter(found.values())).char not in "fd":
        listed = ", ".join(f"{name} is {dtype}" for name, dtype in found.items())
        raise DTypeError(f"{op}: {listed}; cast all to float32 or all to float64")
