r"""Products of vectors and tensors, down to `matmul`: each says which axes meet and which stay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ArgumentError, ShapeError
from ..integers import whole
from ..op import composite
from ..samples import Draw
from ..shapes import normalize_axis, prod
from ..tensor import Tensor
from .arithmetic import multiply
from .matmul import matmul
from .shape import broadcast_to, moveaxis, permute_dims, reshape, swapaxes
from .summed import sum_of


# ------------------------------------------------------------------------------------------------ transpose
@composite(
    "matrix_transpose",
    shapes="x:(*B,N,M) -> y:(*B,M,N)",
    definition="y[j,i] = x[i,j]",
    samples=lambda d: ([d.array(d.shape(2, 4))], {}),
    errors=[
        (lambda f: f(np.zeros(3)), r"matrix_transpose: x has 1 dimensions \(3,\), but x:\(\*B,N,M\) needs at least 2")
    ],
)
def matrix_transpose(x: Tensor) -> Tensor:
    """Each matrix transposed: (*B,N,M) -> (*B,M,N). Raises ShapeError for a vector."""
    matrix_transpose.signature.check("matrix_transpose", [x.shape])  # type: ignore[union-attr]
    return swapaxes(x, axis1=-1, axis2=-2)


# ------------------------------------------------------------------------------------------------ vectors
def _sample_vecdot(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    shape = draw.shape(1, 3)
    if draw.integer(0, 1):
        return [draw.array(shape), draw.array(shape)], {"axis": draw.axis(len(shape))}
    return [draw.array(shape), draw.array(shape[draw.integer(0, len(shape) - 1) :])], {"axis": -1}


@composite(
    "vecdot",
    shapes="x1:(*B) -> y:(*R)",
    definition=r"y = \sum_i x_{1,i} \, x_{2,i}",
    samples=_sample_vecdot,
    reference=lambda x1, x2, axis: np.sum(np.moveaxis(x1, axis, -1) * np.moveaxis(x2, axis, -1), -1),
    errors=[
        (
            lambda f: f(np.zeros((2, 3)), np.zeros((2, 4))),
            r"vecdot: x1 \(2, 3\) has 3 elements along axis -1, x2 \(2, 4\) has 4; they must be equal",
        )
    ],
)
def vecdot(x1: Tensor, x2: Tensor, *, axis: int = -1) -> Tensor:
    r"""Dot products along `axis`: :math:`y = \sum_i x_{1,i} x_{2,i}`; the other axes broadcast. (N,D), (N,D) -> (N,).

    Raises ShapeError where the axis is missing or differs in length.
    """
    k1, k2 = normalize_axis("vecdot", axis, x1.ndim), normalize_axis("vecdot", axis, x2.ndim)
    if x1.shape[k1] != x2.shape[k2]:
        raise ShapeError(
            f"vecdot: x1 {x1.shape} has {x1.shape[k1]} elements along axis {axis}, "
            f"x2 {x2.shape} has {x2.shape[k2]}; they must be equal"
        )
    x1, x2 = (x if k == x.ndim - 1 else moveaxis(x, source=k, destination=-1) for x, k in ((x1, k1), (x2, k2)))
    return sum_of(multiply, x1, x2, axis=-1)


@composite(
    "outer",
    shapes="x1:(N), x2:(M) -> y:(N,M)",
    definition="y[i,j] = x1[i] * x2[j]",
    samples=lambda d: ([d.array(d.shape(1, 1)), d.array(d.shape(1, 1))], {}),
    errors=[(lambda f: f(np.zeros((2, 3)), np.zeros(3)), r"outer: x1 has 2 dimensions \(2, 3\), but x1:\(N\) needs 1")],
)
def outer(x1: Tensor, x2: Tensor) -> Tensor:
    """All products of two vectors' elements: (N), (M) -> (N,M). Raises ShapeError for anything but vectors."""
    outer.signature.check("outer", [x1.shape, x2.shape])  # type: ignore[union-attr]
    rows = broadcast_to(reshape(x1, shape=(x1.size, 1)), shape=(x1.size, x2.size))  # (N,1) -> (N,M), in no more memory
    return multiply(rows, x2)  # (N,M) * (M,) -> (N,M)


# ------------------------------------------------------------------------------------------------ tensordot
def _sample_tensordot(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    meet = draw.shape(0, 2, max_side=3)
    x1, x2 = draw.shape(0, 2, max_side=3) + meet, meet + draw.shape(0, 2, max_side=3)
    if draw.integer(0, 1):
        return [draw.array(x1), draw.array(x2)], {"axes": len(meet)}
    first, second = list(range(len(x1) - len(meet), len(x1))), list(range(len(meet)))
    return [draw.array(x1), draw.array(x2)], {"axes": (tuple(first[::-1]), tuple(i - len(x2) for i in second[::-1]))}


@composite(
    "tensordot",
    shapes="x1:(*B) -> y:(*R)",
    definition=r"y_{i,k} = \sum_j x_{1,i,j} \, x_{2,j,k}",
    samples=_sample_tensordot,
    reference=lambda x1, x2, axes: np.tensordot(x1, x2, axes),
    errors=[
        (
            lambda f: f(np.zeros((2, 3)), np.zeros((4, 2)), axes=1),
            r"tensordot: axis 1 of x1 \(2, 3\) has length 3, axis 0 of x2 \(4, 2\) length 4; they must be equal",
        ),
        (lambda f: f(np.zeros(2), np.zeros(2), axes=2), "tensordot: axes=2, but x1 has 1 and x2 1 axes"),
        (lambda f: f(np.zeros(2), np.zeros(2), axes=((0,), ())), "tensordot: 1 axes of x1 for 0 of x2"),
    ],
)
def tensordot(x1: Tensor, x2: Tensor, *, axes: int | Sequence[Any] = 2) -> Tensor:
    """Sum of products over pairs of axes: the last `axes` of x1 with the first of x2, or (axes of x1, axes of x2).

    The axes that stay: first those of x1, then those of x2. Raises ShapeError where a pair differs in length.
    """
    count = whole(axes)
    if count is not None:
        if not 0 <= count <= min(x1.ndim, x2.ndim):
            raise ShapeError(f"tensordot: axes={count}, but x1 has {x1.ndim} and x2 {x2.ndim} axes")
        first, second = list(range(x1.ndim - count, x1.ndim)), list(range(count))
    elif isinstance(axes, (tuple, list)) and len(axes) == 2:
        first, second = (list(a) if isinstance(a, (tuple, list)) else [a] for a in axes)
    else:
        raise ArgumentError(f"tensordot: axes is {axes!r}; give how many axes, or the pair (axes of x1, axes of x2)")
    if len(first) != len(second):
        raise ShapeError(f"tensordot: {len(first)} axes of x1 for {len(second)} of x2; they meet in pairs")
    first = [normalize_axis("tensordot", a, x1.ndim) for a in first]
    second = [normalize_axis("tensordot", a, x2.ndim) for a in second]
    for a, b in zip(first, second, strict=True):
        if x1.shape[a] != x2.shape[b]:
            raise ShapeError(
                f"tensordot: axis {a} of x1 {x1.shape} has length {x1.shape[a]}, "
                f"axis {b} of x2 {x2.shape} length {x2.shape[b]}; they must be equal"
            )
    left = [a for a in range(x1.ndim) if a not in first]
    right = [b for b in range(x2.ndim) if b not in second]
    n, j, k = (prod([x.shape[a] for a in group]) for x, group in ((x1, left), (x1, first), (x2, right)))
    m1 = reshape(permute_dims(x1, axes=(*left, *first)), shape=(n, j))
    m2 = reshape(permute_dims(x2, axes=(*second, *right)), shape=(j, k))
    y = matmul(m1, m2)  # (N,J) @ (J,K) -> (N,K)
    return reshape(y, shape=(*(x1.shape[i] for i in left), *(x2.shape[i] for i in right)))
