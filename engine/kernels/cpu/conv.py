r"""Convolution of channels-last images, and its two gradients, without im2col.

    y[n,i,j,f] = Sum((u,v,c), x[n, s*i + d*u - p, s*j + d*v - p, c] * w[u,v,c,f]) + bias[f]

Both gradients follow from the sum's being linear in x and in w: each product x * w is met three times.

    dx[n,h,q,c] = Sum((i,j,u,v,f), g[n,i,j,f] * w[u,v,c,f])     over s*i + d*u - p = h,  s*j + d*v - p = q
    dw[u,v,c,f] = Sum((n,i,j), x[n, s*i + d*u - p, s*j + d*v - p, c] * g[n,i,j,f])

All three are matrix products with the im2col matrix X[pixel, tap], which is never built (see geometry.py). Work is cut
into strips of pixels; x, w, g and y are (N,H,W,C), (kh,kw,C/groups,F), (N,H',W',F) and (N,H',W',F).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.errors import DTypeError, ShapeError

from .conv_parts import kernels
from .geometry import WORTH, Geometry, Pair, geometry
from .jit import ENABLED
from .microkernel import tile_shape
from .threads import launch

Array = np.ndarray[Any, Any]
Padding = tuple[Pair, Pair]

STRIPS = 192, 16  # pixels of a strip, whose input and output stay in the second cache; strips at least
DEEP_STRIPS = 160, 4  # the same for the weight gradient, which sums over pixels: its panels stay in the first cache
GRADIENT_PARTS = 16  # of a weight gradient


# --- references: the contracts, one tap at a time --------------------------------------------------------------------


def _window(x: Array, u: int, v: int, out: tuple[int, ...], stride: Pair, dilation: Pair, channels: slice) -> Array:
    """The pixels of padded x that tap (u, v) meets: (N,H',W',C/groups)."""
    rows = slice(u * dilation[0], u * dilation[0] + (out[1] - 1) * stride[0] + 1, stride[0])
    cols = slice(v * dilation[1], v * dilation[1] + (out[2] - 1) * stride[1] + 1, stride[1])
    return x[:, rows, cols, channels]


def reference(
    x: Array, w: Array, bias: Array | None, stride: Pair, padding: Padding, dilation: Pair, groups: int, relu: bool
) -> Array:
    """conv2d in NumPy."""
    kh, kw, Cg, F = w.shape
    Fg = F // groups
    shape = geometry(x.shape, w.shape, stride, padding, dilation, groups, x.itemsize, *STRIPS).out_shape
    y = np.zeros(shape, x.dtype)
    xp = np.pad(x, ((0, 0), *padding, (0, 0)))
    for group in range(groups):
        f = slice(group * Fg, (group + 1) * Fg)
        for u in range(kh):
            for v in range(kw):
                met = _window(xp, u, v, shape, stride, dilation, slice(group * Cg, (group + 1) * Cg))
                y[..., f] += met @ w[u, v][:, f]  # (N,H',W',Cg) @ (Cg,Fg) -> (N,H',W',Fg)
    if bias is not None:
        y += bias
    return np.maximum(y, 0) if relu else y


def reference_input_gradient(
    g: Array, w: Array, x_shape: tuple[int, ...], stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> Array:
    """conv2d_input_gradient in NumPy."""
    kh, kw, Cg, F = w.shape
    Fg = F // groups
    (top, bottom), (left, right) = padding
    N, H, W, C = x_shape
    dx = np.zeros((N, H + top + bottom, W + left + right, C), g.dtype)
    for group in range(groups):
        f = slice(group * Fg, (group + 1) * Fg)
        for u in range(kh):
            for v in range(kw):
                met = _window(dx, u, v, g.shape, stride, dilation, slice(group * Cg, (group + 1) * Cg))
                met += g[..., f] @ w[u, v][:, f].T  # (N,H',W',Fg) @ (Fg,Cg) -> (N,H',W',Cg)
    return np.ascontiguousarray(dx[:, top : top + H, left : left + W])


def reference_weight_gradient(
    x: Array, g: Array, w_shape: tuple[int, ...], stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> Array:
    """conv2d_weight_gradient in NumPy."""
    kh, kw, Cg, F = w_shape
    Fg = F // groups
    dw = np.zeros(w_shape, x.dtype)
    xp = np.pad(x, ((0, 0), *padding, (0, 0)))
    for group in range(groups):
        f = slice(group * Fg, (group + 1) * Fg)
        for u in range(kh):
            for v in range(kw):
                met = _window(xp, u, v, g.shape, stride, dilation, slice(group * Cg, (group + 1) * Cg))
                dw[u, v][:, f] = np.tensordot(met, g[..., f], ((0, 1, 2), (0, 1, 2)))  # (Cg,NH'W') @ (NH'W',Fg)
    return dw


# --- the three functions ---------------------------------------------------------------------------------------------


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
    _check_dtypes("conv2d", x=x, w=w, bias=w if bias is None else bias)
    plan = geometry(x.shape, w.shape, stride, padding, dilation, groups, x.itemsize, *STRIPS)
    F = w.shape[3]
    if bias is not None and bias.shape != (F,):
        raise ShapeError(f"conv2d: bias is {bias.shape}; it must be (F,) = ({F},), one number per filter")
    if not ENABLED or not x.size or not w.size:
        return reference(x, w, bias, stride, padding, dilation, groups, relu)
    x, w = np.ascontiguousarray(x), np.ascontiguousarray(w)
    start = np.zeros(F, x.dtype) if bias is None else np.ascontiguousarray(bias)
    panels = _pack_filters(w, groups, transposed=False)
    y, scratch = np.empty(plan.out_shape, x.dtype), np.empty(plan.parts * plan.window, x.dtype)
    floor = 0.0 if relu else -np.inf
    launch(
        kernels(x.itemsize).forward, plan.parts, plan.numbers, plan.pixels, plan.taps, plan.rows, x, panels, start, y,
        scratch, plan.parts, floor,
    )  # fmt: skip
    return y


def conv2d_input_gradient(
    g: Array, w: Array, x_shape: tuple[int, ...], stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> Array:
    """g:(N,H',W',F), w:(kh,kw,C/groups,F) -> dx:(N,H,W,C), the gradient of Sum(g * conv2d(x, w)) by x."""
    _check_dtypes("conv2d_input_gradient", g=g, w=w)
    plan = geometry(tuple(x_shape), w.shape, stride, padding, dilation, groups, g.itemsize, *STRIPS)
    _check_cotangent("conv2d_input_gradient", g, plan)
    if not ENABLED or not g.size or not w.size:
        return reference_input_gradient(g, w, x_shape, stride, padding, dilation, groups)
    g, w = np.ascontiguousarray(g), np.ascontiguousarray(w)
    panels = _pack_filters(w, groups, transposed=True)
    parts = min(plan.parts, plan.image_blocks)
    dx, scratch = np.empty(x_shape, g.dtype), np.empty(parts * plan.image_window, g.dtype)
    launch(
        kernels(g.itemsize).input_gradient, parts, plan.numbers, plan.pixels, plan.taps, plan.rows, plan.channels, g,
        panels, dx, scratch, parts,
    )  # fmt: skip
    return dx


def conv2d_weight_gradient(
    x: Array, g: Array, w_shape: tuple[int, ...], stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> Array:
    """x:(N,H,W,C), g:(N,H',W',F) -> dw:(kh,kw,C/groups,F), the gradient of Sum(g * conv2d(x, w)) by w."""
    _check_dtypes("conv2d_weight_gradient", x=x, g=g)
    plan = geometry(x.shape, tuple(w_shape), stride, padding, dilation, groups, x.itemsize, *DEEP_STRIPS)
    _check_cotangent("conv2d_weight_gradient", g, plan)
    if not ENABLED or not x.size or not g.size:
        return reference_weight_gradient(x, g, w_shape, stride, padding, dilation, groups)
    x, g = np.ascontiguousarray(x), np.ascontiguousarray(g)
    tile = tile_shape(x.itemsize)
    wanted = max(1, min(GRADIENT_PARTS, plan.work // WORTH))
    # Cut the pixels (which costs partial sums of dw's size, added in order) or the rows of dw (each packs g again),
    # whichever costs less.
    N, OH, OW, _ = plan.out_shape
    tiles = -(-plan.taps.size // tile.rows)
    pixel_parts = min(plan.strips, wanted, 1 + N * OH * OW // (4 * plan.taps.size))
    row_parts = max(1, min(-(-wanted // pixel_parts), tiles // 8))
    rows = -(-tiles // row_parts) * tile.rows
    row_parts = -(-plan.taps.size // rows)
    partial = np.empty((pixel_parts, *w_shape), x.dtype)
    parts = pixel_parts * row_parts
    panel = plan.pixels.size * tile.columns
    scratch = np.empty(parts * (plan.window + panel), x.dtype)
    launch(
        kernels(x.itemsize).weight_gradient, parts, plan.numbers, plan.pixels, plan.taps, plan.filter_rows, x, g,
        partial, scratch, plan.window + panel, panel, pixel_parts, row_parts, rows,
    )  # fmt: skip
    return partial[0] if pixel_parts == 1 else np.add.reduce(partial, axis=0)


def _pack_filters(w: Array, groups: int, transposed: bool) -> Array:
    """w as panels: for each group a matrix (kh*kw*C/groups, F/groups); if transposed, (F/groups, C/groups) per tap."""
    kh, kw, Cg, F = w.shape
    Fg = F // groups
    columns = tile_shape(w.itemsize).columns
    if transposed:
        taps, tap_step, k_step, n_step, depth, n = kh * kw, Cg * F, 1, F, Fg, Cg
    else:
        taps, tap_step, k_step, n_step, depth, n = 1, 0, F, 1, kh * kw * Cg, Fg
    count = groups * taps * -(-n // columns)
    panels = np.empty(count * depth * columns, w.dtype)
    parts = min(count, 1 + w.size // WORTH)
    launch(
        kernels(w.itemsize).pack, parts, w, panels, count, parts, taps, Fg, tap_step, k_step, n_step, depth, n
    )  # fmt: skip
    return panels


def _check_dtypes(op: str, **arrays: Array) -> None:
    found = {name: array.dtype for name, array in arrays.items()}
    if len(set(found.values())) > 1 or next(iter(found.values())).char not in "fd":
        listed = ", ".join(f"{name} is {dtype}" for name, dtype in found.items())
        raise DTypeError(f"{op}: {listed}; cast all to float32 or all to float64")


def _check_cotangent(op: str, g: Array, plan: Geometry) -> None:
    if g.shape != plan.out_shape:
        raise ShapeError(f"{op}: g is {g.shape}; it must have the shape of the output, (N,H',W',F) = {plan.out_shape}")
