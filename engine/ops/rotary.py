r"""Rotary positions: pairs of channels of a query or key are turned by an angle that grows with its position.

The product of a query at t and a key at s then depends on t − s alone: each pair gives q k cos((t − s) θ).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backends import Array, concatenate
from ..errors import ShapeError
from ..op import op
from ..samples import Draw
from .join import concat


def _sample(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    N, T, h, pairs = (draw.integer(0, 3) for _ in range(4))
    turns = (N, T, pairs) if draw.integer(0, 1) else (T, pairs)
    return [draw.array((N, T, h, 2 * pairs)), draw.array(turns), draw.array(turns)], {}


def _reference(x: Any, cos: Any, sin: Any) -> Any:
    """Pair by pair."""
    y, pairs = np.empty_like(x), x.shape[-1] // 2
    for i in range(pairs):
        c, s = cos[..., i, None], sin[..., i, None]  # (N,T,1)
        y[..., i] = x[..., i] * c - x[..., i + pairs] * s
        y[..., i + pairs] = x[..., i] * s + x[..., i + pairs] * c
    return y


@op(
    "rotary",
    shapes="x:(N,T,h,d), cos:(*C,T,p), sin:(*C,T,p) -> y:(N,T,h,d)",
    definition=r"\begin{pmatrix} y_i \\ y_{i+p} \end{pmatrix} = "
    r"\begin{pmatrix} \cos\theta_i & -\sin\theta_i \\ \sin\theta_i & \cos\theta_i \end{pmatrix} "
    r"\begin{pmatrix} x_i \\ x_{i+p} \end{pmatrix}, \quad p = d / 2",
    source="Su et al., 'RoFormer', 2021, equation 34; channel i is paired with i + d/2 as in LLaMA",
    samples=_sample,
    reference=_reference,
    errors=[
        (
            lambda f: f(np.zeros((1, 2, 1, 6)), np.zeros((2, 2)), np.zeros((2, 2))),
            r"rotary: x has 6 channels in a head, that is 3 pairs, but cos and sin have 2",
        )
    ],
)
def rotary(x: Array, cos: Array, sin: Array) -> Array:
    r"""Turn each pair of channels (i, i + d/2): x (N,T,h,d), cos and sin (T,d/2) or (N,T,d/2) -> (N,T,h,d).

    .. math:: y_i = x_i \cos\theta_i - x_{i+p} \sin\theta_i, \quad y_{i+p} = x_i \sin\theta_i + x_{i+p} \cos\theta_i

    Raises ShapeError where there is not one angle for each pair.
    """
    pairs = cos.shape[-1]
    if x.shape[-1] != 2 * pairs:
        raise ShapeError(
            f"rotary: x has {x.shape[-1]} channels in a head, that is {x.shape[-1] / 2:g} pairs, but cos and sin have "
            f"{pairs}; d must be even, with one angle for two channels"
        )
    a, b = x[..., :pairs], x[..., pairs:]  # (N,T,h,p)
    c, s = cos[..., None, :], sin[..., None, :]  # (*C,T,1,p)
    return concatenate([a * c - b * s, a * s + b * c], -1)


@rotary.vjp
def _(g, y, aux, x, cos, sin, *, needs):  # type: ignore[no-untyped-def]
    p = cos.shape[-1]
    x_bar = rotary(g, cos, -sin) if needs[0] else None  # a rotation is undone by the opposite one
    if not (needs[1] or needs[2]):
        return x_bar, None, None
    both = g * x  # (N,T,h,d)
    crossed = g * concat([-x[..., p:], x[..., :p]], axis=-1)
    return x_bar, (both[..., :p] + both[..., p:]).sum(2), (crossed[..., :p] + crossed[..., p:]).sum(2)  # (N,T,p)
