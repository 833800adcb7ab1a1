r"""Scaled dot-product attention without the T x S matrix of weights. See engine/kernels/cpu/attention.py.

    y[n,t,a] = Sum(s, p[n,a,t,s] v[n,s,b]),   p[n,a,t,:] = dropout(softmax(scale q[n,t,a] . k[n,:,b] + bias[n,a,t,:]))
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .dropout import dropout
from .launch import Grid, place_of_mask, product, rows, run, wide, xp
from .softmax import softmax, softmax_gradient

Array = Any

TILE, WARPS = 32, 8  # as in attention.cu
PLAN = np.dtype(
    [(name, np.int64) for name in ("N", "T", "h", "d", "S", "groups", "e", "causal")]
    + [(name, np.int64, (3,)) for name in ("q", "k", "v")]
    + [(name, np.int64, (4,)) for name in ("bias", "mask")]
)
DROP = np.dtype([("seed", np.uint64), ("stream", np.uint64), ("last", np.int64), ("on", np.int64)])


def attention(
    q: Array, k: Array, v: Array, bias: Any, mask: Any, causal: bool, scale: float, rate: float, seed: int, stream: int
) -> tuple[Array, Array]:
    """y (N,T,h,e), and the logarithms of the softmax's denominators (N,h,T), from which the gradient starts."""
    (q, k, v), (N, T, h, _), e = map(_rows_together, (q, k, v)), q.shape, v.shape[3]
    bias, mask, plan = _plan(q, k, v, bias, mask, causal)
    y, lse = xp().empty((N, T, h, e), q.dtype), xp().empty((N, h, T), wide(q.dtype))
    arrays = q, k, v, bias, mask, y, lse, plan, *_drop(rate, seed, stream)
    run("attention", "attention", q.dtype, _tiles(T, N * h, e, q.dtype), *arrays, float(scale))
    return y, lse


def attention_gradient(
    g: Array, y: Array, lse: Array, q: Array, k: Array, v: Array, bias: Any, mask: Any, causal: bool, scale: float,
    rate: float, seed: int, stream: int,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Cotangents of q, k and v from g, that of y. The weights are made again, tile by tile."""
    (q, k, v), (N, T, h, d), (_, S, groups, e) = map(_rows_together, (q, k, v)), q.shape, v.shape
    bias, mask, plan = _plan(q, k, v, bias, mask, causal)
    g, y, dtype = xp().ascontiguousarray(g), xp().ascontiguousarray(y), q.dtype
    products = xp().empty(lse.shape, lse.dtype)
    run("attention", "row_products", dtype, rows(lse.size, e), g, y, products, lse.size, T, h, e)
    dq, dk, dv = (xp().empty(x.shape, dtype) for x in (q, k, v))
    inputs, rest = (q, k, v, bias, mask, g, lse, products), (plan, *_drop(rate, seed, stream), float(scale))
    run("attention", "queries_gradient", dtype, _tiles(T, N * h, d, dtype), *inputs, dq, *rest)
    run("attention", "keys_gradient", dtype, _tiles(S, N * groups, max(d, e), dtype), *inputs, dk, dv, *rest)
    return dq, dk, dv


def plain_attention_gradient(
    g: Array, q: Array, k: Array, v: Array, bias: Any, mask: Any, causal: bool, scale: float, rate: float, seed: int,
    stream: int,
) -> tuple[Array, Array, Array, Array]:  # fmt: skip
    """Cotangents of q, k, v and of the scores, (N,h,T,S), which are written out: a bias wants them."""
    (N, T), (S, groups), dtype, each = q.shape[:2], k.shape[1:3], q.dtype, q.shape[2] // k.shape[2]
    g, q = g.swapaxes(1, 2), q.swapaxes(1, 2)  # (N,h,T,e), (N,h,T,d)
    k, v = (xp().repeat(x, each, 2).swapaxes(1, 2) for x in (k, v))  # (N,h,S,d), (N,h,S,e)
    z = product(q, k.swapaxes(2, 3)) * dtype.type(scale)  # (N,h,T,d) @ (N,h,d,S) -> (N,h,T,S)
    z = z if bias is None else (z + bias).astype(dtype, copy=False)
    if mask is not None:
        z = xp().where(mask, z, dtype.type(-np.inf))
    if causal:
        z = xp().where(xp().tri(T, S, S - T, dtype=bool), z, dtype.type(-np.inf))
    p = softmax(z, 3)
    kept = dropout(xp().ones(p.shape, dtype), rate, seed, stream) if rate else dtype.type(1)
    s = softmax_gradient(product(g, v.swapaxes(2, 3)) * kept, p, 3)  # (N,h,T,e) @ (N,h,e,S) -> (N,h,T,S)
    dq = product(s, k) * dtype.type(scale)  # (N,h,T,S) @ (N,h,S,d) -> (N,h,T,d)
    dk = product(s.swapaxes(2, 3), q) * dtype.type(scale)  # (N,h,S,T) @ (N,h,T,d) -> (N,h,S,d)
    dv = product((p * kept).swapaxes(2, 3), g)
    dk, dv = (x.reshape(N, groups, each, *x.shape[2:]).sum(2).swapaxes(1, 2) for x in (dk, dv))  # -> (N,S,g,d)
    return dq.swapaxes(1, 2), dk, dv, s


def _tiles(length: int, heads: int, width: int, dtype: Any) -> Grid:
    """A block for each tile of queries or keys, of each head, for as many columns as threads can hold."""
    columns = 64 if dtype == np.float64 else 128
    return (-(-length // TILE) * heads, max(1, -(-width // columns))), (TILE, WARPS)


def _rows_together(x: Array) -> Array:
    """The numbers of one row are neighbours in memory; rows may lie anywhere."""
    return x if x.shape[-1] == 1 or x.strides[-1] == x.itemsize else xp().ascontiguousarray(x)


def _plan(q: Array, k: Array, v: Array, bias: Any, mask: Any, causal: bool) -> tuple[Any, Any, Any]:
    """Bias and mask, and sides and steps for the kernels; in numbers, 0 along what is broadcast."""
    (N, T, h, d), (S, groups, e) = q.shape, v.shape[1:]
    full = (N, h, T, S)
    bias = None if bias is None else xp().ascontiguousarray(bias).astype(q.dtype, copy=False)
    mask = None if mask is None else xp().ascontiguousarray(mask)
    steps = [[s // x.itemsize for s in x.strides[:3]] for x in (q, k, v)]
    spread = [[0] * 4 if x is None else _broadcast_steps(x, full) for x in (bias, mask)]
    record = (N, T, h, d, S, groups, e, int(causal), *map(tuple, steps), *map(tuple, spread))
    return bias, mask, np.array(record, PLAN)


def _broadcast_steps(x: Array, full: tuple[int, ...]) -> list[int]:
    """How far it is to the next number along each axis that x is broadcast to."""
    steps = [0 if n == 1 else s // x.itemsize for n, s in zip(x.shape, x.strides, strict=True)]
    return [0] * (len(full) - x.ndim) + steps


def _drop(rate: float, seed: int, stream: int) -> tuple[Any, Array | None, float]:
    """Which words keep a weight, where their stream lies in a replayed step, and what a weight is then multiplied with:
    at rate 1 none is kept.
    """
    threshold = round((1 - rate) * 2**32)
    *key, now = place_of_mask(seed, stream)
    drop = np.array((*key, threshold - 1, int(rate > 0)), DROP)
    return drop, now, 1 / (1 - rate) if threshold else 0.0
