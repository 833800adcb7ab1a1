"""How large numbers are, and how far apart: norms, variance, standard deviation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ..backends import Array, backend_of
from ..errors import ArgumentError
from ..fuse import Fused, fuse
from ..op import composite, op
from ..samples import Domain, Draw
from ..shapes import Shape, normalize_axes, prod as count
from ..summation import total
from ..tensor import Tensor
from .arithmetic import abs as abs_, sign
from .comparison import not_equal, where
from .reduce import (
    NO_AXIS,
    SHAPES,
    max,
    mean,
    min,
    none_left,
    reduced,
    sample_distinct,
    sample_rows,
    spread,
    sum,
    with_axes,
)
from .summed import sum_of, summed


# ------------------------------------------------------------------------------------------------ norms
@composite(
    "count_nonzero",
    differentiable=False,
    shapes=SHAPES,
    definition="y = Sum(r, x[r] != 0)",
    samples=sample_rows(Domain(-1, 1, "integer"), empty=True),
)
def count_nonzero(x: Tensor, *, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
    """How many elements differ from 0, int64. Not differentiable."""
    return sum_of(not_equal, x, 0, axis=axis, keepdims=keepdims)


def _reference_norm(x: Any, axis: Any, ord: float, keepdims: bool) -> Any:
    axes = normalize_axes("norm", axis, x.ndim)
    rest = [a for a in range(x.ndim) if a not in axes]
    rows = np.abs(np.transpose(x, (*rest, *axes))).reshape(
        *(x.shape[a] for a in rest), count([x.shape[a] for a in axes])
    )
    if math.isinf(ord):
        y = rows.max(-1) if ord > 0 else rows.min(-1)
    else:
        y = (rows**ord).sum(-1) ** (1 / ord)
    return np.expand_dims(y, axes) if keepdims else y


def _sample_norm(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    (x,), params = sample_distinct()(draw)
    away_from_0 = np.asarray(x + np.sign(x) * 0.3)
    return [away_from_0], params | {"ord": draw.choice([1, 2, 3, 2.5, 1.5, 0.5, math.inf, -math.inf])}


@op(
    "power_norm",
    autocast="float32",
    shapes=SHAPES,
    definition="y = Sum(r, abs(x[r])**p)**(1 / p)",
    samples=lambda d: (
        lambda s: (s[0], {**{k: v for k, v in s[1].items() if k != "ord"}, "p": d.choice([1, 2, 3, 2.5, 1.5, 0.5])})
    )(_sample_norm(d)),
    why="where the sum of powers is out of range, |x| is divided by the largest |x|: none overflows, none vanishes",
)
def power_norm(x: Array, *, axis: int | Sequence[int] | None = None, p: float = 2, keepdims: bool = False) -> Array:
    r"""The p-norm of finite p > 0: :math:`y = (\sum_r |x_r|^p)^{1/p}`. Use `norm`."""
    backend, axes = backend_of(x), normalize_axes("norm", axis, x.ndim)

    def largest() -> Array:
        m = backend.kernel("reduce", "largest_magnitude")(x, axes, True)
        return backend.xp.where((m == 0) | backend.xp.isinf(m), x.dtype.type(1), m)

    def sums(*m: Array) -> Array:
        return summed(power(p, bool(m)), sum).body(x, *m, axis=axis, keepdims=True)

    s, m = backend.kernel("magnitude", "in_range")(sums, largest, count([x.shape[a] for a in axes]))
    y = m * s ** x.dtype.type(1 / p)
    return y if keepdims else y.reshape([n for a, n in enumerate(x.shape) if a not in axes])


@lru_cache(maxsize=64)
def power(p: float, scaled: bool) -> Fused:
    """|x|^p, or |x / m|^p; the p is a number of the formula, where a whole one is a few products."""

    def power(x: Any) -> Any:
        return abs_(x) ** p

    def scaled_power(x: Any, m: Any) -> Any:
        return (abs_(x) / m) ** p

    return fuse(scaled_power if scaled else power)


@lru_cache(maxsize=64)
def slope(p: float) -> Fused:
    """x̄_r = ȳ sign(x_r) (|x_r| / y)^(p−1); where y = 0 or (p ≠ 2) x_r = 0 it is 0, with no 0/0 on the way."""

    def power_norm_slope(x: Any, norm: Any, bar: Any) -> Any:
        norm = where(norm == 0, 1.0, norm)
        return bar * (x / norm) if p == 2 else bar * sign(x) * (where(x == 0, 1.0, abs_(x)) / norm) ** (p - 1)

    return fuse(power_norm_slope)


@power_norm.vjp
def _(g, y, aux, x, *, axis, p, keepdims, needs):  # type: ignore[no-untyped-def]
    y, g = (with_axes(t, x.shape, axis, keepdims) for t in (y, g))
    return slope(p)(x, y, g)


@composite(
    "norm",
    autocast="float32",
    shapes=SHAPES,
    definition=r"y = \left( \sum_r |x_r|^p \right)^{1/p}, \quad p = \mathrm{ord}",
    samples=_sample_norm,
    reference=_reference_norm,
    errors=[
        NO_AXIS,
        (lambda f: f(np.ones(3), ord=0), "norm: ord must be a positive number, inf or -inf, got 0"),
        (lambda f: f(np.ones(3), ord="fro"), "norm: ord must be a positive number, inf or -inf, got 'fro'"),
    ],
)
def norm(x: Tensor, *, axis: int | Sequence[int] | None = None, ord: float = 2, keepdims: bool = False) -> Tensor:
    r"""Vector norm over `axis`: :math:`y = (\sum_r |x_r|^p)^{1/p}` with p = `ord`.

    inf: the largest |x|, -inf: the smallest.
    Over two axes, ord=2 is the Frobenius norm. The gradient at x = 0 is 0. Raises ArgumentError for an ord that is not
    a
    positive number or an infinity, and ShapeError for an axis that x does not have.
    """
    if not isinstance(ord, (int, float)) or not (ord > 0 or ord == -math.inf):
        raise ArgumentError(
            f"norm: ord must be a positive number, inf or -inf, got {ord!r}; "
            "for the number of non-zeros use count_nonzero"
        )
    if ord == math.inf:
        return max(abs_(x), axis=axis, keepdims=keepdims)
    if ord == -math.inf:
        return min(abs_(x), axis=axis, keepdims=keepdims)
    if ord == 1:
        return sum_of(abs_, x, axis=axis, keepdims=keepdims)
    return power_norm(x, axis=axis, p=ord, keepdims=keepdims)


# ------------------------------------------------------------------------------------------------ spread of values
def _freedom(name: str, shape: Shape, axis: Any, correction: float) -> tuple[tuple[int, ...], float]:
    axes, n = reduced(name, shape, axis)
    if n and n - correction <= 0:
        raise ArgumentError(
            f"{name}: {n} elements along axis={axis} less correction={correction} leave nothing to divide by; "
            "lower the correction"
        )
    return axes, n - correction if n else 1.0


def _sample_var(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    inputs, params = sample_rows()(draw)
    return inputs, params | {"correction": draw.choice([0, 0.0, 0.5])}


_TOO_FEW = (
    lambda f: f(np.zeros((3, 1)), axis=1, correction=1),
    "1 elements along axis=1 less correction=1 leave nothing to divide by",
)


@op(
    "var",
    autocast="float32",
    shapes=SHAPES,
    definition="y = Sum(r, (x[r] - Sum(s, x[s]) / len(x))**2) / (len(x) - correction)",
    samples=_sample_var,
    why="the mean first, then the squares around it: E[x²] − E[x]² cancels where the mean is large",
    errors=[NO_AXIS, none_left("var"), _TOO_FEW],
)
def var(x: Array, *, axis: int | Sequence[int] | None = None, correction: float = 0, keepdims: bool = False) -> Array:
    r"""Variance over `axis`: :math:`y = \frac{1}{n - c} \sum_r (x_r - \mu)^2`; c = `correction` (1: Bessel's).

    Raises ShapeError as `mean`, and ArgumentError where n - c is not positive.
    """
    axes, freedom = _freedom("var", x.shape, axis, correction)
    if x.size == 0:
        return x.sum(axis=axes, keepdims=keepdims)
    n = x.dtype.type(count([x.shape[a] for a in axes]))
    differences, squares = (backend_of(x).kernel("reduce", name) for name in ("differences", "squares"))
    centre = total(x, axes, keepdims=True) / n
    centre = centre + differences(x, centre, axes, True) / n  # what rounding left, where the mean is large
    return squares(x, centre, axes, keepdims) / x.dtype.type(freedom)


@var.vjp
def _(g, y, aux, x, *, axis, correction, keepdims, needs):  # type: ignore[no-untyped-def]
    # x̄_r = 2 ȳ (x_r − μ) / (n − c); the mean's own part is Σ(x_r − μ) = 0
    _, freedom = _freedom("var", x.shape, axis, correction)
    return spread(g * (2 / freedom), x.shape, axis, keepdims) * (x - mean(x, axis=axis, keepdims=True))


def _sample_std(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    """More than one number per row: a spread of zero has no derivative."""
    shape = draw.shape(1, 4, min_side=2)
    return [draw.array(shape)], {
        "axis": draw.axes(len(shape)),
        "keepdims": bool(draw.integer(0, 1)),
        "correction": draw.choice([0, 1, 0.5]),
    }


@op(
    "std",
    autocast="float32",
    shapes=SHAPES,
    definition="y = sqrt(Sum(r, (x[r] - Sum(s, x[s]) / len(x))**2) / (len(x) - correction))",
    samples=_sample_std,
    why="the mean first, as var",
    errors=[NO_AXIS, none_left("std"), _TOO_FEW],
)
def std(x: Array, *, axis: int | Sequence[int] | None = None, correction: float = 0, keepdims: bool = False) -> Array:
    r"""Standard deviation over `axis`: :math:`y = \sqrt{\operatorname{var}(x)}`.

    Its gradient is 0 where all elements are equal.

    Raises ShapeError as `mean`, and ArgumentError where n - correction is not positive.
    """
    _freedom("std", x.shape, axis, correction)
    return backend_of(x).xp.sqrt(var.body(x, axis=axis, correction=correction, keepdims=keepdims))


@std.vjp
def _(g, y, aux, x, *, axis, correction, keepdims, needs):  # type: ignore[no-untyped-def]
    # x̄_r = ȳ (x_r − μ) / (y (n − c)), and 0 where y = 0
    _, freedom = _freedom("std", x.shape, axis, correction)
    scale = where(y == 0, 0.0, g / where(y == 0, 1.0, y)) / freedom
    return spread(scale, x.shape, axis, keepdims) * (x - mean(x, axis=axis, keepdims=True))
