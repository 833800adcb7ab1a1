r"""Scaled dot-product attention without the T x S matrix of weights: the contract in NumPy, and the way to the kernels.

    y[n,t,a] = Sum(s, p[n,a,t,s] v[n,s,b]),   p[n,a,t,:] = dropout(softmax(scale q[n,t,a] . k[n,:,b] + bias[n,a,t,:]))

q (N,T,h,d), k (N,S,g,d), v (N,S,g,e); head a reads the keys and values of group b = a // (h/g). Any strides will do as
long as the last axis is contiguous, so heads are cut out of a product (N,T,h*d) without a copy. `bias` (floats) and
`mask` (True takes part) broadcast to (N,h,T,S). `causal`: query t sees keys s <= t + S - T, so the last query sees all.
A query that sees no key gives zeros. Word ((n h + a) T + t) S + s of (seed, stream) drops p[n,a,t,s].

float32 runs tile by tile (`attention_tiles.py`), all else in NumPy, with all weights written out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.random import bernoulli

from .attention_tiles import attend, block_rows, pull
from .buffers import empty
from .jit import ENABLED
from .random import philox_bits
from .softmax import plain_peak, plain_softmax_gradient
from .threads import launch

Array = np.ndarray[Any, Any]


# --- NumPy: the contracts --------------------------------------------------------------------------------------------


@np.errstate(invalid="ignore")  # inf - inf is NaN here as in the kernels, silently
def plain_weights(q: Array, k: Array, bias: Array | None, mask: Array | None, causal: bool, scale: float) -> Any:
    """Softmax of the scores, (N,h,T,S), and the logarithm of its denominators, (N,h,T); +inf where no key is seen."""
    T, S = q.shape[1], k.shape[1]
    k = np.repeat(k, q.shape[2] // k.shape[2], 2)  # (N,S,g,d) -> (N,S,h,d)
    scores = q.swapaxes(1, 2) @ k.transpose(0, 2, 3, 1) * q.dtype.type(scale)  # (N,h,T,d) @ (N,h,d,S) -> (N,h,T,S)
    if bias is not None:
        scores = scores + bias
    if mask is not None:
        scores = np.where(mask, scores, q.dtype.type(-np.inf))
    if causal:
        scores = np.where(np.tri(T, S, S - T, dtype=bool), scores, q.dtype.type(-np.inf))
    m = plain_peak(scores, -1)
    e = np.exp(scores - m)
    total = e.sum(-1, keepdims=True)
    none = total == 0
    p = np.divide(e, total, out=np.zeros_like(e), where=~none)
    return p, np.where(none, np.inf, m + np.log(np.where(none, 1, total)))[..., 0].astype(q.dtype)


def plain_kept(shape: tuple[int, ...], rate: float, seed: int, stream: int, dtype: Any) -> Array:
    """What dropout multiplies the weights with: 1 / (1 - rate), or 0."""
    words = philox_bits(seed, stream, 0, int(np.prod(shape)))
    kept: Array = bernoulli(words, 1 - rate).reshape(shape) * dtype.type(1 / (1 - rate) if rate < 1 else 0)
    return kept


def plain_attention(
    q: Array, k: Array, v: Array, bias: Any, mask: Any, causal: bool, scale: float, rate: float, seed: int, stream: int
) -> tuple[Array, Array]:
    """y (N,T,h,e), and the logarithms of the softmax's denominators (N,h,T), from which the gradient starts."""
    p, denominators = plain_weights(q, k, bias, mask, causal, scale)
    if rate:
        p = p * plain_kept(p.shape, rate, seed, stream, q.dtype)
    v = np.repeat(v, q.shape[2] // v.shape[2], 2).swapaxes(1, 2)  # (N,S,g,e) -> (N,h,S,e)
    return np.ascontiguousarray((p @ v).swapaxes(1, 2)), denominators  # (N,h,T,S) @ (N,h,S,e) -> (N,T,h,e)


def plain_attention_gradient(
    g: Array, q: Array, k: Array, v: Array, bias: Any, mask: Any, causal: bool, scale: float, rate: float, seed: int,
    stream: int,
) -> tuple[Array, Array, Array, Array]:  # fmt: skip
    """Cotangents of q, k, v and of the scores, (N,h,T,S): that of a bias before broadcasting is undone."""
    groups, each = k.shape[2], q.shape[2] // k.shape[2]
    p, _ = plain_weights(q, k, bias, mask, causal, scale)
    kept = plain_kept(p.shape, rate, seed, stream, q.dtype) if rate else q.dtype.type(1)
    g, q = g.swapaxes(1, 2), q.swapaxes(1, 2)  # (N,h,T,e), (N,h,T,d)
    k, v = (np.repeat(x, each, 2).swapaxes(1, 2) for x in (k, v))  # (N,h,S,d), (N,h,S,e)
    s = plain_softmax_gradient(g @ v.mT * kept, p, -1)  # (N,h,T,e) @ (N,h,e,S) -> (N,h,T,S)
    dq = s @ k * q.dtype.type(scale)  # (N,h,T,S) @ (N,h,S,d) -> (N,h,T,d)
    dk, dv = s.mT @ q * q.dtype.type(scale), (p * kept).mT @ g  # (N,h,S,T) @ (N,h,T,d) -> (N,h,S,d)
    dk, dv = (x.reshape(x.shape[0], groups, each, *x.shape[2:]).sum(2) for x in (dk, dv))  # -> (N,g,S,d)
    return dq.swapaxes(1, 2), dk.swapaxes(1, 2), dv.swapaxes(1, 2), s


# --- the two functions -----------------------------------------------------------------------------------------------


def attention(
    q: Array, k: Array, v: Array, bias: Any, mask: Any, causal: bool, scale: float, rate: float, seed: int, stream: int
) -> tuple[Array, Array]:
    """As `plain_attention`."""
    if not fits(q, k, v, scale, rate):
        return plain_attention(q, k, v, bias, mask, causal, scale, rate, seed, stream)
    (N, T, h, _), e = q.shape, v.shape[3]
    q, k, v = map(rows_together, (q, k, v))
    bias, mask, plan, place = _plan(q, k, v, bias, mask, causal, rate, seed, stream)
    y, denominators = empty((N, T, h, e), np.float32), empty((N, h, T), np.float32)
    parts = N * h * -(-T // block_rows(T))
    launch(attend, parts, q, k, v, bias, mask, plan, place, float(scale), y, denominators)
    return y, denominators


def attention_gradient(
    g: Array, y: Array, denominators: Array, q: Array, k: Array, v: Array, bias: Any, mask: Any, causal: bool,
    scale: float, rate: float, seed: int, stream: int,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Cotangents of q, k and v from g, that of y. The weights are made again, tile by tile."""
    if not fits(q, k, v, scale, rate):
        return plain_attention_gradient(g, q, k, v, bias, mask, causal, scale, rate, seed, stream)[:3]
    q, k, v = map(rows_together, (q, k, v))
    bias, mask, plan, place = _plan(q, k, v, bias, mask, causal, rate, seed, stream)
    g, y = np.ascontiguousarray(g), np.ascontiguousarray(y)
    dq, dk, dv = (empty(x.shape, np.float32) for x in (q, k, v))
    parts = k.shape[0] * k.shape[2]
    launch(pull, parts, q, k, v, bias, mask, plan, place, float(scale), y, denominators, g, dq, dk, dv)
    return dq, dk, dv


def fits(q: Array, k: Array, v: Array, scale: float, rate: float) -> bool:
    """Does this go to the kernels? They take float32, something to do, and a scale that keeps the order of scores."""
    work = q.size and k.size and v.size
    return bool(ENABLED and q.dtype == np.float32 and work and scale > 0 and round((1 - rate) * 2**32) > 0)


def rows_together(x: Array) -> Array:
    """The numbers of one row are neighbours in memory; rows may lie anywhere."""
    return x if x.shape[-1] == 1 or x.strides[-1] == x.itemsize else np.ascontiguousarray(x)


NOTHING = np.zeros(1, np.float32)


def _plan(
    q: Array, k: Array, v: Array, bias: Any, mask: Any, causal: bool, rate: float, seed: int, stream: int
) -> tuple[Array, Array, Array, Array]:
    """Sides and steps (bytes) for the kernels, and where the words of the dropout are."""
    (N, T, h, d), (S, groups, e) = q.shape, v.shape[1:]
    full = (N, h, T, S)
    biases, masks = (_spread(x, full) for x in (bias, mask))
    steps = [*(s for x in (q, k, v) for s in x.strides[:3]), *biases.strides[:3], *masks.strides[:3]]
    plan = [N, T, h, d, S, groups, e, int(causal), int(bias is not None), int(mask is not None), int(rate > 0), *steps]
    place = [seed, stream, round((1 - rate) * 2**32) - 1]
    return biases, masks, np.array(plan, np.int64), np.array(place, np.uint64)


def _spread(x: Array | None, full: tuple[int, ...]) -> Array:
    """Broadcast to (N,h,T,S), without a copy unless along the keys."""
    if x is None:
        return np.broadcast_to(NOTHING, full)
    return np.broadcast_to(rows_together(np.broadcast_to(x, (*x.shape[:-1], full[-1]))), full)
