"""What the convolution kernels must compute: their definitions, one tap of the filter at a time, in NumPy.

They are the tests' references, and what runs where no machine code can be made. Arguments and results are those of the
functions of conv.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .geometry import Padding, Pair, out_side
from .pool import scatter_windows

Array = np.ndarray[Any, Any]
Gradients = tuple[Array | None, Array | None, Array | None]


def _window(x: Array, u: int, v: int, out: tuple[int, ...], stride: Pair, dilation: Pair, channels: slice) -> Array:
    """The pixels of padded x that tap (u, v) meets: (N,H',W',C/groups)."""
    rows = slice(u * dilation[0], u * dilation[0] + (out[1] - 1) * stride[0] + 1, stride[0])
    cols = slice(v * dilation[1], v * dilation[1] + (out[2] - 1) * stride[1] + 1, stride[1])
    return x[:, rows, cols, channels]


def out_shape(x: tuple[int, ...], w: tuple[int, ...], stride: Pair, padding: Padding, dilation: Pair) -> Any:
    """(N,H',W',F)"""
    sides = map(out_side, x[1:3], w[:2], stride, padding, dilation)
    return x[0], *sides, w[3]


silently = np.errstate(over="ignore", invalid="ignore")  # as in the kernels


@silently
def reference(
    x: Array, w: Array, bias: Array | None, stride: Pair, padding: Padding, dilation: Pair, groups: int, relu: bool
) -> Array:
    """conv2d in NumPy."""
    kh, kw, Cg, F = w.shape
    Fg = F // groups
    shape = out_shape(x.shape, w.shape, stride, padding, dilation)
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


@silently
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


@silently
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


def reference_backward(
    g: Array, y: Any, index: Any, x: Array, w: Array, x_shape: Any, w_shape: Any, how: Any, pool: Any, needs: Any
) -> Gradients:
    """All gradients of a layer in NumPy: by x, w and bias, each where `needs` says so."""
    g = g if y is None else np.where(y > 0, g, g.dtype.type(0))
    db = g.sum((0, 1, 2)) if needs[2] else None
    if pool is not None:
        g = scatter_windows(g, index, out_shape(x_shape, w_shape, *how[:3]), *pool)
    return (
        reference_input_gradient(g, w, x_shape, *how) if needs[0] else None,
        reference_weight_gradient(x, g, w_shape, *how) if needs[1] else None,
        db,
    )
