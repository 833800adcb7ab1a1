r"""Scans: y_t depends on x_0 .. x_t along one axis. The definitions speak of one row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..backends import Array, backend_of
from ..op import op
from ..samples import Draw
from ..shapes import normalize_axis
from ..tensor import Tensor
from .arrange import flip
from .comparison import where
from .exponential import exp, log
from .index import getitem
from .join import concat, cut, pad

_SHAPES = "x:(*B) -> y:(*R)"


def _sample(initial: bool = True) -> Callable[[Draw], tuple[list[Any], dict[str, Any]]]:
    def draw_one(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
        shape = draw.shape(1, 4)
        return [draw.array(shape)], {"axis": draw.axis(len(shape))} | (
            {"include_initial": bool(draw.integer(0, 1))} if initial else {}
        )

    return draw_one


def _axis_of(name: str, axis: int | None, rank: int) -> int:
    """`axis` may be left out of a vector."""
    from ..errors import ArgumentError

    if axis is None and rank > 1:
        raise ArgumentError(f"{name}: axis= is missing: x has {rank} axes")
    return normalize_axis(name, 0 if axis is None else axis, rank)


def _errors(name: str) -> list[tuple[Callable[..., Any], str]]:
    return [
        (lambda f: f(np.zeros((2, 3))), f"{name}: axis= is missing: x has 2 axes"),
        (lambda f: f(np.zeros((2, 3)), axis=2), f"{name}: axis 2 is out of range for 2 dimensions"),
    ]


# ------------------------------------------------------------------------------------------------ sum
@op(
    "cumulative_sum",
    autocast="float32",
    shapes=_SHAPES,
    definition="y[t] = Sum(r, where(r <= t - include_initial, x[r], 0))",
    dtype="number",
    samples=_sample(),
    errors=_errors("cumulative_sum"),
)
def cumulative_sum(x: Array, *, axis: int | None = None, include_initial: bool = False) -> Array:
    r"""Running sum along `axis`: :math:`y_t = \sum_{r \le t} x_r`; with `include_initial` a 0 before it.

    `axis` may be left out of a vector. Raises ShapeError for an axis that x does not have.
    """
    k = _axis_of("cumulative_sum", axis, x.ndim)
    return backend_of(x).kernel("scan", "cumulative_sum")(x, k, include_initial)


@cumulative_sum.vjp(saves=())
def _(g, y, aux, x, *, axis, include_initial, needs):  # type: ignore[no-untyped-def]
    # x̄_r = Σ_{t ≥ r} ȳ_t: a running sum from the end
    k = (axis or 0) % x.ndim
    g = getitem(g, index=cut(x.ndim, k, int(include_initial), None))
    return flip(cumulative_sum(flip(g, axis=k), axis=k), axis=k)


# ------------------------------------------------------------------------------------------------ product
def _doubling(x: Tensor, axis: int, combine: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Each element joined with the one 1, 2, 4 ... places before it: after log₂ T rounds all earlier ones are in.

    [Hillis and Steele 1986, "Data parallel algorithms", CACM 29(12), p. 1173]
    """
    n, step = x.shape[axis], 1
    while step < n:
        head = getitem(x, index=cut(x.ndim, axis, None, step))
        tail = combine(
            getitem(x, index=cut(x.ndim, axis, step, None)), getitem(x, index=cut(x.ndim, axis, None, n - step))
        )
        x, step = concat(head, tail, axis=axis), 2 * step
    return x


def _products(x: Tensor, *, axis: int | None = None, include_initial: bool = False) -> Tensor:
    k = _axis_of("cumulative_prod", axis, x.ndim)
    y = _doubling(x, k, lambda a, b: a * b)
    return (
        pad(y, pad_width=tuple((int(a == k), 0) for a in range(x.ndim)), constant_values=1.0) if include_initial else y
    )


@op(
    "cumulative_prod",
    autocast="float32",
    shapes=_SHAPES,
    definition="y[t] = Prod(r, where(r <= t - include_initial, x[r], 1))",
    dtype="number",
    samples=_sample(),
    composition=_products,
    why="x̄ᵣ is the product before r times Σ_{t≥r} ȳₜ ∏_{r<s≤t} xₛ: nothing is divided by an element, which may be 0",
    errors=_errors("cumulative_prod"),
)
def cumulative_prod(x: Array, *, axis: int | None = None, include_initial: bool = False) -> Array:
    r"""Running product along `axis`: :math:`y_t = \prod_{r \le t} x_r`; with `include_initial` a 1 before it.

    `axis` may be left out of a vector. Raises ShapeError for an axis that x does not have.
    """
    k = _axis_of("cumulative_prod", axis, x.ndim)
    return backend_of(x).kernel("scan", "cumulative_prod")(x, k, include_initial)


@cumulative_prod.vjp
def _(g, y, aux, x, *, axis, include_initial, needs):  # type: ignore[no-untyped-def]
    k = (axis or 0) % x.ndim
    return product_gradient(getitem(g, index=cut(x.ndim, k, int(include_initial), None)), x, k)


def product_gradient(g: Tensor, x: Tensor, axis: int) -> Tensor:
    """x̄_r = Π_{s<r} x_s · Σ_{t≥r} ȳ_t Π_{r<s≤t} x_s; the sum s_r is ȳ_r + x_{r+1} s_{r+1}.

    In 64 bits, as the products themselves: either factor may overflow where their product is small.
    """
    dtype, x, g = x.dtype, x.astype("float64"), g.astype("float64")
    before = cumulative_prod(x, axis=axis, include_initial=True)
    before = getitem(before, index=cut(x.ndim, axis, None, x.shape[axis]))
    return (before * _tails(x, g, axis)).astype(dtype)


def _tails(a: Tensor, b: Tensor, axis: int) -> Tensor:
    """y_t = b_t + a_{t+1} y_{t+1}, from the end. Recorded nowhere: only first derivatives come here."""
    return Tensor(a.backend.kernel("scan", "tails")(a.data, b.data, axis))


# ------------------------------------------------------------------------------------------------ log-sum-exp
def _log_add(a: Tensor, b: Tensor) -> Tensor:
    """log(eᵃ + eᵇ) = m + log(eᵃ⁻ᵐ + eᵇ⁻ᵐ), m the larger; two −inf give −inf and a gradient of 0."""
    m = where(a > b, a, b).detach()  # any m gives the same value, so it takes no part in the derivative
    m = where(abs(m) == np.inf, 0.0, m)
    total = exp(a - m) + exp(b - m)
    return where(total == 0, -np.inf, log(where(total == 0, 1.0, total)) + m)


def _log_sums(x: Tensor, *, axis: int | None = None) -> Tensor:
    x = where(x == -np.inf, -np.inf, x)  # e^−inf adds nothing: its gradient is 0, also where it stands alone
    return _doubling(x, _axis_of("cumulative_logsumexp", axis, x.ndim), _log_add)


@op(
    "cumulative_logsumexp",
    autocast="float32",
    shapes=_SHAPES,
    definition="y[t] = log(Sum(r, where(r <= t, exp(x[r]), 0)))",
    samples=_sample(initial=False),
    composition=_log_sums,
    why="the largest x so far is taken out of the sum: no exponential overflows",
    errors=_errors("cumulative_logsumexp"),
)
def cumulative_logsumexp(x: Array, *, axis: int | None = None) -> Array:
    r"""Running log-sum-exp along `axis`: :math:`y_t = \log \sum_{r \le t} e^{x_r}`; -inf after nothing but -inf.

    `axis` may be left out of a vector. Raises ShapeError for an axis that x does not have.
    """
    k = _axis_of("cumulative_logsumexp", axis, x.ndim)
    return backend_of(x).kernel("scan", "cumulative_logsumexp")(x, k)


@cumulative_logsumexp.vjp
def _(g, y, aux, x, *, axis, needs):  # type: ignore[no-untyped-def]
    # x̄_r = Σ_{t ≥ r} ȳ_t e^(x_r − y_t) = e^(x_r − y_r) s_r,  s_r = ȳ_r + e^(y_r − y_{r+1}) s_{r+1}: y never falls
    k = (axis or 0) % x.ndim
    earlier = concat(getitem(y, index=cut(x.ndim, k, None, 1)), getitem(y, index=cut(x.ndim, k, None, -1)), axis=k)
    decay = exp(where(earlier == y, 0.0, earlier - y))  # −inf − (−inf) would be NaN
    return exp(where(x == -np.inf, -np.inf, x - y)) * _tails(decay, g, k)
