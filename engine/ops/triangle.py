"""Triangles and diagonals of matrices; leading axes are carried along."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backends import Array, backend_of
from ..op import composite, op
from ..samples import Draw
from ..shapes import Shape
from ..tensor import Tensor
from .index import set_at, zeros_for
from .reduce import sum as sum_
from .shape import reshape


def _sample(name: str) -> Any:
    def draw_one(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
        return [draw.array(draw.shape(2, 4))], {name: draw.integer(-3, 3)}

    return draw_one


_VECTOR = (lambda f: f(np.zeros(3)), r"x has 1 dimensions \(3,\), but x:\(\*B,N,M\) needs at least 2")


def _within(k: int, shape: Shape) -> int:
    """The diagonal's number; what lies beyond the matrix is the same as what lies just beyond it."""
    return max(-shape[-2], min(k, shape[-1]))


@op(
    "tril",
    shapes="x:(*B,N,M) -> y:(*B,N,M)",
    definition="y[i,j] = where(j <= i + k, x[i,j], 0)",
    dtype="any",
    samples=_sample("k"),
    errors=[_VECTOR],
)
def tril(x: Array, *, k: int = 0) -> Array:
    """The lower triangle: 0 above the k-th diagonal (0: the main one, above it positive).

    Raises ShapeError for a vector, ArgumentError for a k that is no integer.
    """
    return backend_of(x).kernel("triangle", "tril")(x, _within(k, x.shape))


@tril.vjp(saves=())
def _(g, y, aux, x, *, k, needs):  # type: ignore[no-untyped-def]
    return tril(g, k=k)


@op(
    "triu",
    shapes="x:(*B,N,M) -> y:(*B,N,M)",
    definition="y[i,j] = where(j >= i + k, x[i,j], 0)",
    dtype="any",
    samples=_sample("k"),
    errors=[_VECTOR],
)
def triu(x: Array, *, k: int = 0) -> Array:
    """The upper triangle: 0 below the k-th diagonal (0: the main one, above it positive).

    Raises ShapeError for a vector, ArgumentError for a k that is no integer.
    """
    return backend_of(x).kernel("triangle", "triu")(x, _within(k, x.shape))


@triu.vjp(saves=())
def _(g, y, aux, x, *, k, needs):  # type: ignore[no-untyped-def]
    return triu(g, k=k)


@op(
    "diagonal",
    shapes="x:(*B,N,M) -> y:(*B,D')",
    definition="y[i] = x[i + max(-offset, 0), i + max(offset, 0)]",
    dtype="any",
    view=True,
    samples=_sample("offset"),
    errors=[_VECTOR],
)
def diagonal(x: Array, *, offset: int = 0) -> Array:
    """The diagonal `offset` places right of the main one, of every matrix: (N,M) -> (D,). A view.

    Raises ShapeError for a vector.
    """
    return backend_of(x).kernel("arrange", "diagonal")(x, _within(offset, x.shape))


@diagonal.vjp(saves=())
def _(g, y, aux, x, *, offset, needs):  # type: ignore[no-untyped-def]
    # row by row, the next number of a diagonal stands M + 1 places on
    (N, M), k = x.shape[-2:], _within(offset, x.shape)
    start, step = max(-k, 0) * M + max(k, 0), M + 1
    places = (..., slice(start, start + step * g.shape[-1], step))
    x_bar = set_at(zeros_for(g, (*x.shape[:-2], N * M)), g, index=places)  # (*B,D) -> (*B,NM)
    return reshape(x_bar, shape=x.shape)


@composite(
    "trace",
    shapes="x:(*B,N,M) -> y:(*B)",
    definition="y = Sum(i, x[i, i + offset])",
    samples=_sample("offset"),
    errors=[_VECTOR],
)
def trace(x: Tensor, *, offset: int = 0) -> Tensor:
    """The sum of the diagonal, of every matrix: (N,M) -> (). Raises ShapeError for a vector."""
    return sum_(diagonal(x, offset=offset), axis=-1)
