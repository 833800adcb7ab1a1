r"""Attention: each query takes the mean of the values, weighted by how well their keys match it.

    p = softmax(scale q kᵀ + bias),   y = dropout(p) v

Heads are an axis beside the channels, (N,T,h,d), as the product with the weights of all heads gives them: none is
copied. A key that a mask hides scores −inf, so its weight is exactly 0; a query that sees no key gives zeros, not NaN.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..backends import Array, backend_of
from ..errors import ArgumentError, DTypeError, ShapeError
from ..op import composite, op
from ..samples import Draw
from ..shapes import broadcast_shapes
from ..tensor import Tensor, asarray
from .comparison import where
from .dropout import dropout
from .matmul import matmul
from .shape import permute_dims, reshape
from .softmax import softmax

SHAPES = "q:(N,T,h,d), k:(N,S,g,d), v:(N,S,g,e), mask:(*M), bias:(*B) -> y:(N,T,h,e)"
SOURCE = "Vaswani et al., 'Attention Is All You Need', 2017, equation 1; groups: Ainslie et al., 'GQA', 2023"


# ------------------------------------------------------------------------------------------------ what must fit
def _checked(op: str, q: Any, k: Any, mask: Any, bias: Any, scale: float | None) -> float:
    """The scale, if heads, mask and bias fit."""
    (N, T, h, d), (S, groups) = q.shape, k.shape[1:3]
    if groups == 0 or h % groups:
        raise ShapeError(
            f"{op}: q has {h} heads, k and v have {groups}; each of these serves a group of h / g heads, so h must be "
            "a multiple of g"
        )
    for name, x in (("mask", mask), ("bias", bias)):
        if x is not None and not _broadcasts(x.shape, (N, h, T, S)):
            raise ShapeError(
                f"{op}: {name} has shape {x.shape}, which does not broadcast to (N,h,T,S) = {(N, h, T, S)}; a mask of "
                "keys (N,S) goes in as mask[:, None, None, :]"
            )
    if mask is not None and mask.dtype.kind not in "biu":
        raise DTypeError(
            f"{op}: mask is {mask.dtype}; it holds truth values, True where a key takes part: what is added to the "
            "scores is given as bias="
        )
    return (1 / math.sqrt(d) if d else 1.0) if scale is None else float(scale)


def _broadcasts(shape: tuple[int, ...], full: tuple[int, ...]) -> bool:
    try:
        return broadcast_shapes(shape, full) == full
    except ShapeError:
        return False


# ------------------------------------------------------------------------------------------------ the weights
def _sample(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    N, groups, each = draw.integer(0, 2), draw.integer(1, 2), draw.integer(1, 2)
    T, S, d, e = draw.integer(0, 4), draw.integer(0, 4), draw.integer(0, 3), draw.integer(0, 3)
    h = groups * each
    inputs = [draw.array((N, T, h, d)), draw.array((N, S, groups, d)), draw.array((N, S, groups, e))]
    shapes = [(N, h, T, S), (N, 1, 1, S), (T, S), (h, 1, 1), ()]
    for i in range(draw.integer(0, 2)):  # a mask, and a bias
        shape = draw.choice(shapes)
        inputs.append(draw.array(shape) if i else draw.array(shape) > -2)
    return inputs, {"causal": draw.choice([False, True]), "scale": draw.choice([None, 0.5])}


def _sample_weights(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    (q, k, _, *rest), params = _sample(draw)
    return [q, k, *rest], params


def _weights_by_loops(
    q: Any, k: Any, mask: Any = None, bias: Any = None, *, causal: bool = False, scale: float | None = None
) -> Any:
    """Row by row, in plain NumPy."""
    (N, T, h, d), (S, groups) = q.shape, k.shape[1:3]
    scale = (1 / math.sqrt(d) if d else 1.0) if scale is None else scale
    p = np.zeros((N, h, T, S))
    seen = np.broadcast_to(True if mask is None else mask, p.shape)
    extra = np.broadcast_to(0.0 if bias is None else bias, p.shape)
    for n, a, t in np.ndindex(N, h, T):
        some = [s for s in range(S) if seen[n, a, t, s] and (not causal or s <= t + S - T)]
        scores = [scale * q[n, t, a] @ k[n, s, a // (h // groups)] + extra[n, a, t, s] for s in some]
        e = np.exp(np.array(scores) - max(scores, default=0.0))
        p[n, a, t, some] = e / e.sum() if some else 0
    return p


@composite(
    "attention_weights",
    shapes="q:(N,T,h,d), k:(N,S,g,d), mask:(*M), bias:(*B) -> p:(N,h,T,S)",
    definition=r"p_{nats} = \frac{e^{z_{nats}}}{\sum_r e^{z_{natr}}}, \quad "
    r"z_{nats} = \lambda \sum_i q_{ntai} \, k_{nsbi} + \beta_{nats}, \quad b = \lfloor a g / h \rfloor",
    source=SOURCE,
    samples=_sample_weights,
    reference=_weights_by_loops,
)
def attention_weights(
    q: Tensor,
    k: Tensor,
    mask: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    r"""How much each query takes of each key: (N,T,h,d), (N,S,g,d) -> (N,h,T,S). Arguments as of `attention`.

    .. math:: p_{nats} = \frac{e^{z_{nats}}}{\sum_r e^{z_{natr}}}, \quad z = \lambda q k^\top + \beta
    """
    q, k = asarray(q), asarray(k)
    scale = _checked("attention_weights", q, k, mask, bias, scale)
    (N, T, h, d), (S, groups) = q.shape, k.shape[1:3]
    q = permute_dims(reshape(q, shape=(N, T, groups, h // groups, d)), axes=(0, 2, 3, 1, 4))  # -> (N,g,h/g,T,d)
    k = permute_dims(reshape(k, shape=(N, S, groups, 1, d)), axes=(0, 2, 3, 4, 1))  # -> (N,g,1,d,S)
    z = reshape(matmul(q, k), shape=(N, h, T, S)) * scale  # (N,g,h/g,T,d) @ (N,g,1,d,S) -> (N,h,T,S)
    if bias is not None:
        z = z + bias
    if mask is not None:
        z = where(asarray(mask).astype("bool"), z, -math.inf)
    if causal:
        z = where(np.tri(T, S, S - T, dtype=bool), z, -math.inf)
    return softmax(z)


def _composition(
    q: Any, k: Any, v: Any, mask: Any, bias: Any, *, causal: bool, scale: Any, rate: float, seed: int, stream: int
) -> Any:
    """With all weights written out."""
    p = attention_weights(q, k, mask, bias, causal=causal, scale=scale)
    (N, h, T, S), (groups, e) = p.shape, v.shape[2:]
    p = dropout(p, rate=rate, seed=seed, stream=stream) if rate else p
    v = reshape(permute_dims(v, axes=(0, 2, 1, 3)), shape=(N, groups, 1, S, e))  # (N,S,g,e) -> (N,g,1,S,e)
    p = reshape(p, shape=(N, groups, h // groups, T, S))
    y = reshape(matmul(p, v), shape=(N, h, T, e))  # (N,g,h/g,T,S) @ (N,g,1,S,e) -> (N,h,T,e)
    return permute_dims(y, axes=(0, 2, 1, 3))


# ------------------------------------------------------------------------------------------------ fused
def _sample_dropping(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    inputs, params = _sample(draw)
    dropping = {"rate": draw.choice([0.0, 0.5, 1.0]), "seed": draw.integer(0, 2**20), "stream": draw.integer(0, 5)}
    return inputs, params | dropping


def _by_loops(
    q: Any, k: Any, v: Any, mask: Any = None, bias: Any = None, *, rate: float, seed: int, stream: int, **how: Any
) -> Any:
    from ..random import bernoulli

    p = _weights_by_loops(q, k, mask, bias, **how)
    N, h, T, _ = p.shape
    kept = bernoulli(backend_of(q).random_bits(seed, stream, 0, p.size), 1 - rate).reshape(p.shape)
    p = np.where(kept, p, 0) / (1 - rate if rate < 1 else 1)
    y = np.zeros((N, T, h, v.shape[3]))
    for n, t, a in np.ndindex(N, T, h):
        y[n, t, a] = p[n, a, t] @ v[n, :, a // (h // v.shape[2])]
    return y


@op(
    "attention",
    autocast="half",
    shapes=SHAPES,
    definition=r"y_{ntae} = \sum_s p_{nats} \, v_{nsbe}, \quad p_{nats} = \operatorname{softmax}_s \Bigl( "
    r"\lambda \sum_i q_{ntai} \, k_{nsbi} + \beta_{nats} \Bigr), \quad b = \lfloor a g / h \rfloor",
    composition=_composition,
    indices=("mask",),
    why="the weights are made tile by tile with a running maximum and sum, and again in backward: none of the N h T S "
    "of them is ever written",
    source=SOURCE + "; tiles: Dao et al., 'FlashAttention', 2022",
    samples=_sample_dropping,
    reference=_by_loops,
    errors=[
        (
            lambda f: f(np.zeros((1, 2, 3, 4)), np.zeros((1, 5, 2, 4)), np.zeros((1, 5, 2, 4))),
            r"attention: q has 3 heads, k and v have 2; .* h must be a multiple of g",
        ),
        (
            lambda f: f(np.zeros((1, 2, 3, 4)), np.zeros((1, 5, 3, 6)), np.zeros((1, 5, 3, 6))),
            r"attention: k.shape\[3\] is 6, but d is 4 from q.shape\[3\]",
        ),
        (
            lambda f: f(*[np.zeros((2, 5, 3, 4))] * 3, np.ones((2, 5), bool)),
            r"mask has shape \(2, 5\), which does not broadcast to .* \(2, 3, 5, 5\); .* mask\[:, None, None, :\]",
        ),
        (lambda f: f(*[np.zeros((1, 2, 3, 4))] * 3, np.zeros((2, 2))), r"mask is float64; .* given as bias="),
        (lambda f: f(*[np.zeros((1, 2, 3, 4))] * 3, rate=1.5), r"attention: rate is 1.5, but it is a probability"),
    ],
)
def attention(
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None = None,
    bias: Array | None = None,
    *,
    causal: bool = False,
    scale: float | None = None,
    rate: float = 0.0,
    seed: int = 0,
    stream: int = 0,
) -> Any:
    r"""Scaled dot-product attention: queries (N,T,h,d), keys (N,S,g,d), values (N,S,g,e) -> (N,T,h,e).

    .. math:: y = \operatorname{dropout}\bigl(\operatorname{softmax}(\lambda q k^\top + \beta)\bigr) \, v

    Head a of h uses the keys and values a g // h of g: with g = h each has its own, with g = 1 all share one.

    mask    truth values that broadcast to (N,h,T,S): True where a key takes part. What is masked is multiplied by 0, so
            it must be finite
    bias    β, floats that broadcast to (N,h,T,S). Where it wants a gradient, backward writes all weights out
    causal  query t sees keys s <= t + S − T: the last query sees all, as when keys of earlier ones are kept
    scale   λ, by default 1/√d
    rate    of dropout on the weights, whose mask is a function of (seed, stream), as of `dropout`

    Raises ShapeError and DTypeError for what does not fit, ArgumentError for a rate outside of 0 to 1.
    """
    if not 0 <= rate <= 1:
        raise ArgumentError(f"attention: rate is {rate}, but it is a probability, 0 <= rate <= 1")
    scale = _checked("attention", q, k, mask, bias, scale)
    kernel = backend_of(q).kernel("attention", "attention")
    mask = None if mask is None else mask.astype(bool)
    return kernel(q, k, v, bias, mask, causal, scale, rate, seed, stream)  # y, logarithms of the denominators


@attention.vjp
def _(g, y, aux, q, k, v, mask, bias, *, needs, causal, scale, rate, seed, stream):  # type: ignore[no-untyped-def]
    q, k, v, mask, bias = (x if x is None else x.data for x in (q, k, v, mask, bias))
    scale = _checked("attention", q, k, mask, bias, scale)
    how = (q, k, v, bias, None if mask is None else mask.astype(bool), causal, scale, rate, seed, stream)
    if needs[4]:
        dq, dk, dv, dz = backend_of(q).kernel("attention", "plain_attention_gradient")(g.data, *how)
        return dq, dk, dv, None, dz
    dq, dk, dv = backend_of(q).kernel("attention", "attention_gradient")(g.data, y.data, aux, *how)
    return dq, dk, dv, None, None
