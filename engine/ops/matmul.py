r"""Products of matrices: y_{nk} = Σ_j a_{nj} b_{jk}. Every dense layer, every attention score.

`matrix_product` is the op; `matmul` brings vectors and stacks of matrices into its form. `linear` and `linear_relu` are
a dense layer in one kernel.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backends import Array, backend_of
from ..dtypes import is_float
from ..errors import ShapeError
from ..op import composite, op
from ..samples import Draw
from ..shapes import Shape, broadcast_shapes, prod
from ..tensor import Tensor
from .activation import relu
from .shape import reshape


def _sample(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    n, j, k = (draw.integer(0, 4) for _ in range(3))
    lead_a, lead_b = draw.broadcastable(2, max_rank=2)
    return [draw.array((*lead_a, n, j)), draw.array((*lead_b, j, k))], {}


@op(
    "matrix_product",
    autocast="half",
    shapes="a:(*B,N,J), b:(*B,J,K) -> y:(*B,N,K)",
    definition="y[n,k] = Sum(j, a[n,j] * b[j,k])",
    dtype="number",
    equations=("E1",),
    samples=_sample,
    errors=[
        (lambda f: f(np.zeros((2, 3)), np.zeros((4, 2))), r"b.shape\[0\] is 4, but J is 3 from a.shape\[1\]"),
        (lambda f: f(np.zeros((2, 2, 3)), np.zeros((3, 3, 2))), "the leading axes do not broadcast"),
    ],
)
def matrix_product(a: Array, b: Array) -> Array:
    r"""Product of matrices :math:`y_{nk} = \sum_j a_{nj} b_{jk}`, over broadcast leading axes.

    Transposed operands are not copied.
    """
    xp = backend_of(a).xp
    if not is_float(a.dtype):
        return xp.matmul(a, b)
    product = backend_of(a).kernel("matmul", "matmul")
    if a.ndim == b.ndim == 2:
        return product(a, b)
    lead = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = (_stack_of_matrices(x, lead, xp) for x in (a, b))
    return product(a, b).reshape(*lead, a.shape[-2], b.shape[-1])


def _stack_of_matrices(x: Array, lead: Shape, xp: Any) -> Array:
    """(*lead, N, J) -> (B, N, J); one matrix for all stays one."""
    if prod(x.shape[:-2]) == 1 and prod(lead) != 1:
        return x.reshape(x.shape[-2:])
    return xp.broadcast_to(x, lead + x.shape[-2:]).reshape(prod(lead), *x.shape[-2:])


@matrix_product.vjp
def _(g, y, aux, a, b, *, needs):  # type: ignore[no-untyped-def]
    # ȳ (N,K) @ bᵀ (K,J) -> ā (N,J);  aᵀ (J,N) @ ȳ (N,K) -> b̄ (J,K)
    return (matrix_product(g, b.mT) if needs[0] else None, matrix_product(a.mT, g) if needs[1] else None)


def _sample_matmul(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    (a, b), _ = _sample(draw)
    kind, n = draw.integer(0, 3), draw.integer(0, 4)
    if kind == 1:
        a = draw.array(b.shape[-2:-1])  # (J) @ (*B,J,K)
    elif kind == 2:
        b = draw.array(a.shape[-1:])  # (*B,N,J) @ (J)
    elif kind == 3:
        a, b = draw.array((n,)), draw.array((n,))
    return [a, b], {}


@composite(
    "matmul",
    shapes="a:(*B) -> y:(*R)",
    definition=r"y_{nk} = \sum_j a_{nj} \, b_{jk}",
    equations=("E1",),
    samples=_sample_matmul,
    reference=lambda a, b: np.matmul(a, b),
    errors=[
        (
            lambda f: f(np.zeros((2, 3)), np.zeros((4, 2))),
            r"matmul: a \(2, 3\) has 3 columns, but b \(4, 2\) has 4 rows; they must be equal",
        ),
        (lambda f: f(np.zeros(3), np.zeros(4)), r"matmul: a \(3,\) has 3 columns, but b \(4,\) has 4 rows"),
        (lambda f: f(np.zeros(3), 2.0), r"matmul: b is a single number; write a \* b"),
        (
            lambda f: f(np.zeros((2, 2, 3)), np.zeros((3, 3, 2))),
            r"matmul: the leading axes of a \(2, 2, 3\) and b \(3, 3, 2\) do not broadcast",
        ),
    ],
)
def matmul(a: Tensor, b: Tensor) -> Tensor:
    r"""a @ b: :math:`y_{nk} = \sum_j a_{nj} b_{jk}` for matrices, stacks of them (leading axes broadcast), and vectors.

        (N,J) @ (J,K) -> (N,K)      (J) @ (J,K) -> (K)
        (N,J) @ (J) -> (N)          (J) @ (J) -> ()
        (*B,N,J) @ (J,K) -> (*B,N,K)

    Integers are multiplied exactly. Raises ShapeError, with both shapes, where they do not fit.
    """
    for name, x in (("a", a), ("b", b)):
        if x.ndim == 0:
            raise ShapeError(f"matmul: {name} is a single number; write a * b")
    rows = b.shape[-2] if b.ndim > 1 else b.shape[0]
    if a.shape[-1] != rows:
        raise ShapeError(
            f"matmul: a {a.shape} has {a.shape[-1]} columns, but b {b.shape} has {rows} rows; they must be equal "
            "(.mT transposes a matrix)"
        )
    if a.ndim == 1:  # (J) -> (1,J), and the row goes again
        return _without(matmul(reshape(a, shape=(1, -1) if a.size else (1, 0)), b), -2 if b.ndim > 1 else -1)
    if b.ndim == 1:  # (J) -> (J,1), and the column goes again
        return _without(matmul(a, reshape(b, shape=(b.size, 1))), -1)
    if b.ndim == 2 and a.ndim > 2:  # one tall product: (*B,N,J) -> (BN,J); so b̄ is one product too
        y = matrix_product(reshape(a, shape=(prod(a.shape[:-1]), rows)), b)
        return reshape(y, shape=(*a.shape[:-1], b.shape[1]))
    try:
        return matrix_product(a, b)
    except ShapeError:
        raise ShapeError(
            f"matmul: the leading axes of a {a.shape} and b {b.shape} do not broadcast; lengths must be equal, or 1"
        ) from None


def _without(x: Tensor, axis: int) -> Tensor:
    shape = list(x.shape)
    del shape[axis]
    return reshape(x, shape=tuple(shape))


# ------------------------------------------------------------------------------------------------ a dense layer
def _sample_linear(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    D, U = draw.integer(0, 4), draw.integer(1, 4)
    return [draw.array((*draw.shape(0, 2), D)), draw.array((D, U)), draw.array((U,))], {}


def _sample_rectified(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    """Each bias in the widest gap between its unit's sums, so that nothing lies near relu's kink."""
    (x, w, _), params = _sample_linear(draw)
    sums = np.sort(x.reshape(prod(x.shape[:-1]), x.shape[-1]) @ w, axis=0)  # (*B,D) @ (D,U) -> (N,U)
    edges = np.concatenate([sums[:1] - 1, sums, sums[-1:] + 1]) if len(sums) else np.zeros((2, w.shape[1]))
    at = np.diff(edges, axis=0).argmax(0)  # (U,)
    every = np.arange(w.shape[1])
    return [x, w, -(edges[at, every] + edges[at + 1, every]) / 2], params


@op(
    "linear",
    autocast="half",
    shapes="x:(*B,D), w:(D,U), b:(U) -> y:(*B,U)",
    definition="y[u] = b[u] + Sum(d, x[d] * w[d,u])",
    composition=lambda x, w, b: matmul(x, w) + b,
    why="the sum starts from the bias instead of from 0",
    equations=("E1",),
    samples=_sample_linear,
    errors=[
        (
            lambda f: f(np.zeros((2, 3)), np.zeros((4, 2)), np.zeros(2)),
            r"linear: w.shape\[0\] is 4, but D is 3 from x.shape\[1\]",
        ),
        (
            lambda f: f(np.zeros((2, 3)), np.zeros((3, 2)), np.zeros(3)),
            r"linear: b.shape\[0\] is 3, but U is 2 from w.shape\[1\]",
        ),
    ],
)
def linear(x: Array, w: Array, b: Array) -> Array:
    r"""x w + b, a dense layer without activation, in one kernel: (*B,D), (D,U), (U,) -> (*B,U).

    .. math:: y_u = b_u + \sum_d x_d w_{du}, \quad
        \bar x = \bar y \, w^\top, \; \bar w = x^\top \bar y, \; \bar b = \sum_B \bar y

    Raises ShapeError where a side differs.
    """
    return _affine(x, w, b, False)


@linear.vjp
def _(g, y, aux, x, w, b, *, needs):  # type: ignore[no-untyped-def]
    b_bar = backend_of(g.data).kernel("bias", "bias_gradient")(g.data) if needs[2] else None  # (*B,U) -> (U,)
    return *_affine_gradients(g.data, x, w, needs), b_bar


@op(
    "linear_relu",
    autocast="half",
    shapes="x:(*B,D), w:(D,U), b:(U) -> y:(*B,U)",
    definition="y[u] = max(0, b[u] + Sum(d, x[d] * w[d,u]))",
    composition=lambda x, w, b: relu(matmul(x, w) + b),
    why="bias and rectifier are applied while a tile of y is still in registers",
    equations=("E1", "E14"),
    samples=_sample_rectified,
)
def linear_relu(x: Array, w: Array, b: Array) -> Array:
    r"""max(0, x w + b), a dense layer with relu, in one kernel: (*B,D), (D,U), (U,) -> (*B,U).

    .. math:: y_u = \max\Bigl(0, b_u + \sum_d x_d w_{du}\Bigr)

    Raises ShapeError where a side differs.
    """
    return _affine(x, w, b, True)


@linear_relu.vjp
def _(g, y, aux, x, w, b, *, needs):  # type: ignore[no-untyped-def]
    # relu passes ȳ on where y > 0; every sample has the bias, so its cotangent is the sum over them
    passed, b_bar = backend_of(y.data).kernel("bias", "rectified_gradient")(g.data, y.data)
    return *_affine_gradients(passed, x, w, needs), b_bar


def _affine(x: Array, w: Array, b: Array, relu: bool) -> Array:
    rows = x.reshape(prod(x.shape[:-1]), x.shape[-1])  # (*B,D) -> (N,D)
    y = backend_of(x).kernel("matmul", "matmul")(rows, w, bias=b, relu=relu)  # (N,D) @ (D,U) -> (N,U)
    return y.reshape(*x.shape[:-1], w.shape[1])


def _affine_gradients(g: Array, x: Any, w: Any, needs: Any) -> tuple[Any, Any]:
    product = backend_of(g).kernel("matmul", "matmul")
    D, U = w.shape
    g = g.reshape(prod(x.shape[:-1]), U)  # (*B,U) -> (N,U)
    x_bar = product(g, w.data.T).reshape(x.shape) if needs[0] else None  # (N,U) @ (U,D) -> (N,D)
    w_bar = product(x.data.reshape(len(g), D).T, g) if needs[1] else None  # (D,N) @ (N,U) -> (D,U)
    return x_bar, w_bar
