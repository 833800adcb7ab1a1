"""Reductions: many numbers become one.

Every one takes `axis` (None: all axes; an integer; a tuple of them) and `keepdims` (keep the reduced axes with length
1).
The definitions speak of one row, x[r]; the other axes are carried along.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..backends import Array, backend_of
from ..errors import ShapeError
from ..op import op
from ..samples import Domain, Draw, real
from ..shapes import Shape, normalize_axes, prod as count
from ..summation import total
from ..tensor import Tensor
from .comparison import where
from .exponential import exp
from .shape import broadcast_to, reshape

SHAPES = "x:(*B) -> y:(*R)"


# ------------------------------------------------------------------------------------------------ what they share
def with_axes(g: Any, shape: Shape, axis: Any, keepdims: bool) -> Any:
    """What a reduction made of x of this shape, so that it broadcasts against x: the axes that went are of length 1."""
    if keepdims or not g.shape:  # one number broadcasts as it is
        return g
    axes = normalize_axes("spread", axis, len(shape))
    return reshape(g, shape=tuple(1 if i in axes else n for i, n in enumerate(shape)))


def spread(g: Any, shape: Shape, axis: Any, keepdims: bool) -> Any:
    """A reduction's cotangent, back along the axes it was reduced over."""
    return broadcast_to(with_axes(g, shape, axis, keepdims), shape=shape)


def reduced(name: str, shape: Shape, axis: Any) -> tuple[tuple[int, ...], int]:
    """The axes and how many numbers meet in one result; ShapeError where a result would be made of none."""
    axes = normalize_axes(name, axis, len(shape))
    n = count([shape[a] for a in axes])
    if n == 0 and count([k for a, k in enumerate(shape) if a not in axes]) > 0:
        raise ShapeError(
            f"{name}: no elements to reduce: x has shape {shape}, and axis={axis} has length 0; "
            f"{name} needs at least one element"
        )
    return axes, n


def sample_rows(
    domain: Domain = real, empty: bool = False, one_axis: bool = False
) -> Callable[[Draw], tuple[list[Any], dict[str, Any]]]:
    """Draws of ranks 0 to 4; a reduced side of 0 only where the reduction has a value for it."""

    def draw_one(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
        shape = draw.shape(0, 4, min_side=0 if empty else 1)
        axis = (
            draw.axes(len(shape)) if not one_axis else draw.axis(len(shape)) if shape and draw.integer(0, 3) else None
        )
        if (
            shape and isinstance(axis, int) and not empty and draw.integer(0, 4) == 0
        ):  # an empty side beside the reduced one
            shape = tuple(n if i == axis % len(shape) else 0 for i, n in enumerate(shape))
        return [draw.array(shape, domain)], {"axis": axis, "keepdims": bool(draw.integer(0, 1))}

    return draw_one


def sample_factors(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    """Factors of size 0.5 to 1.5, and at times a 0: near 0 a product bends faster than differences can follow."""
    (x,), params = sample_rows(empty=True)(draw)
    signs = np.where(draw.rng.random(x.shape) < 0.5, -1.0, 1.0)
    zeros = draw.rng.random(x.shape) < draw.choice([0.0, 0.1])
    return [np.where(zeros, 0.0, signs * draw.rng.uniform(0.5, 1.5, x.shape))], params


def sample_distinct(one_axis: bool = False) -> Callable[[Draw], tuple[list[Any], dict[str, Any]]]:
    """The same without ties: there max and min have a derivative."""

    def draw_one(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
        (x,), params = sample_rows(one_axis=one_axis)(draw)
        return [draw.distinct(x.shape)], params

    return draw_one


NO_AXIS = (lambda f: f(np.zeros((2, 3)), axis=2), "axis 2 is out of range for 2 dimensions; use -2 to 1")


def none_left(name: str) -> tuple[Callable[..., Any], str]:
    return (
        lambda f: f(np.zeros((3, 0)), axis=1),
        rf"{name}: no elements to reduce: x has shape \(3, 0\), and axis=1 has length 0",
    )


# ------------------------------------------------------------------------------------------------ sum and mean
@op(
    "sum",
    autocast="float32",
    shapes=SHAPES,
    definition="y = Sum(r, x[r])",
    dtype="number",
    samples=sample_rows(empty=True),
    errors=[NO_AXIS, (lambda f: f(np.zeros((2, 3)), axis=(0, -2)), "names an axis twice")],
)
def sum(x: Array, *, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Array:
    r"""Sum over `axis`: :math:`y = \sum_r x_r`. An empty sum is 0; integers stay integers.

    Raises ShapeError for an axis that x does not have.
    """
    return total(x, normalize_axes("sum", axis, x.ndim), keepdims)


@sum.vjp(saves=())
def _(g, y, aux, x, *, axis, keepdims, needs):  # type: ignore[no-untyped-def]
    return spread(g, x.shape, axis, keepdims)


@op(
    "mean",
    autocast="float32",
    shapes=SHAPES,
    definition="y = Sum(r, x[r]) / len(x)",
    samples=sample_rows(),
    errors=[NO_AXIS, none_left("mean")],
)
def mean(x: Array, *, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Array:
    r"""Average over `axis`: :math:`y = \frac{1}{n} \sum_r x_r`. Integers become the default float.

    Raises ShapeError for an axis that x does not have, and for the mean of no numbers.
    """
    axes, n = reduced("mean", x.shape, axis)
    return total(x, axes, keepdims) / x.dtype.type(n or 1)


@mean.vjp(saves=())
def _(g, y, aux, x, *, axis, keepdims, needs):  # type: ignore[no-untyped-def]
    n = count([x.shape[a] for a in normalize_axes("mean", axis, x.ndim)])
    return spread(g / (n or 1), x.shape, axis, keepdims)


# ------------------------------------------------------------------------------------------------ truth
@op(
    "all",
    shapes=SHAPES,
    definition="y = All(r, x[r])",
    dtype="any",
    samples=sample_rows(Domain(0, 1, "bool"), empty=True),
    errors=[NO_AXIS],
)
def all(x: Array, *, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Array:
    """Is every element true (not 0)? True where there are none. Not differentiable."""
    return x.astype(bool, copy=False).all(axis=normalize_axes("all", axis, x.ndim), keepdims=keepdims)


@op(
    "any",
    shapes=SHAPES,
    definition="y = Any(r, x[r])",
    dtype="any",
    samples=sample_rows(Domain(0, 1, "bool"), empty=True),
    errors=[NO_AXIS],
)
def any(x: Array, *, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Array:
    """Is some element true (not 0)? False where there are none. Not differentiable."""
    return x.astype(bool, copy=False).any(axis=normalize_axes("any", axis, x.ndim), keepdims=keepdims)


# ------------------------------------------------------------------------------------------------ extremes
@op(
    "max",
    shapes=SHAPES,
    definition="y = Max(r, x[r])",
    dtype="any",
    samples=sample_distinct(),
    errors=[NO_AXIS, none_left("max")],
)
def max(x: Array, *, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Array:
    r"""Largest element over `axis`: :math:`y = \max_r x_r`. A NaN wins. Equal largest elements share the gradient.

    Raises ShapeError for an axis that x does not have, and for the maximum of no numbers.
    """
    axes, _ = reduced("max", x.shape, axis)
    return backend_of(x).kernel("reduce", "largest")(x, axes, keepdims)


@op(
    "min",
    shapes=SHAPES,
    definition="y = Min(r, x[r])",
    dtype="any",
    samples=sample_distinct(),
    errors=[NO_AXIS, none_left("min")],
)
def min(x: Array, *, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Array:
    r"""Smallest element over `axis`: :math:`y = \min_r x_r`. A NaN wins. Equal smallest elements share the gradient.

    Raises ShapeError for an axis that x does not have, and for the minimum of no numbers.
    """
    axes, _ = reduced("min", x.shape, axis)
    return backend_of(x).kernel("reduce", "smallest")(x, axes, keepdims)


@max.vjp
@min.vjp
def _(g, y, aux, x, *, axis, keepdims, needs):  # type: ignore[no-untyped-def]
    # x̄_r = ȳ / (number of winners) for the winners: elements equal to y, or NaN (which is not equal to itself)
    winners = (x == spread(y, x.shape, axis, keepdims)) | (x != x)
    share = winners.astype(g.dtype)
    return spread(g, x.shape, axis, keepdims) * (share / sum(share, axis=axis, keepdims=True))


@op(
    "argmax",
    shapes=SHAPES,
    definition="y = Argmax(r, x[r])",
    dtype="any",
    samples=sample_distinct(one_axis=True),
    errors=[NO_AXIS, none_left("argmax")],
)
def argmax(x: Array, *, axis: int | None = None, keepdims: bool = False) -> Array:
    """Where the largest element is, int64: along `axis`, or in C order. The first of equals; a NaN wins.

    Not differentiable.
    """
    reduced("argmax", x.shape, axis)
    return backend_of(x).kernel("argreduce", "argmax")(x, axis, keepdims)


@op(
    "argmin",
    shapes=SHAPES,
    definition="y = Argmin(r, x[r])",
    dtype="any",
    samples=sample_distinct(one_axis=True),
    errors=[NO_AXIS, none_left("argmin")],
)
def argmin(x: Array, *, axis: int | None = None, keepdims: bool = False) -> Array:
    """Where the smallest element is, int64: along `axis`, or in C order. The first of equals; a NaN wins.

    Not differentiable.
    """
    reduced("argmin", x.shape, axis)
    return backend_of(x).kernel("argreduce", "argmin")(x, axis, keepdims)


# ------------------------------------------------------------------------------------------------ product
def _product_tree(x: Tensor, *, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Pairs are multiplied until one number is left: the derivative never divides, so zeros are no special case."""
    from .index import getitem
    from .join import concat

    axes = normalize_axes("prod", axis, x.ndim)
    kept = tuple(1 if a in axes else n for a, n in enumerate(x.shape))
    rest = tuple(a for a in range(x.ndim) if a not in axes)
    n = count([x.shape[a] for a in axes])
    y = reshape(x.permute_dims((*rest, *axes)), shape=(*(x.shape[a] for a in rest), n))  # (..., n)
    while n > 1:
        half = n // 2
        pairs = getitem(y, index=(..., slice(0, half))) * getitem(
            y, index=(..., slice(half, 2 * half))
        )  # (..., n) -> (..., n/2)
        y = concat(pairs, getitem(y, index=(..., slice(2 * half, n))), axis=-1) if n % 2 else pairs
        n = y.shape[-1]
    y = y if n else sum(y, axis=-1) + 1.0
    return reshape(y, shape=kept if keepdims else tuple(x.shape[a] for a in rest))


@op(
    "prod",
    autocast="float32",
    shapes=SHAPES,
    definition="y = Prod(r, x[r])",
    dtype="number",
    samples=sample_factors,
    composition=_product_tree,
    why="x̄ᵢ is ȳ times the products before and behind i: nothing is divided by an element, which may be 0",
    errors=[NO_AXIS],
)
def prod(x: Array, *, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Array:
    r"""Product over `axis`: :math:`y = \prod_r x_r`, :math:`\bar x_i = \bar y \prod_{r \ne i} x_r`.

    An empty product is 1.

    Raises ShapeError for an axis that x does not have.
    """
    return backend_of(x).kernel("product", "product")(x, normalize_axes("prod", axis, x.ndim), keepdims)


@prod.vjp
def _(g, y, aux, x, *, axis, keepdims, needs):  # type: ignore[no-untyped-def]
    # the last of the running products is the only one that has a cotangent
    from .join import pad
    from .scan import product_gradient

    if x.size == 0:
        return spread(g, x.shape, axis, keepdims)
    axes = normalize_axes("prod", axis, x.ndim)
    order = (*(a for a in range(x.ndim) if a not in axes), *axes)
    ahead = tuple(x.shape[a] for a in order[: x.ndim - len(axes)])
    rows = reshape(x.permute_dims(order), shape=(*ahead, -1))  # (..., n)
    last = pad(reshape(g, shape=(*ahead, 1)), pad_width=(*[(0, 0)] * len(ahead), (rows.shape[-1] - 1, 0)))
    x_bar = reshape(product_gradient(last, rows, len(ahead)), shape=tuple(x.shape[a] for a in order))
    return x_bar.permute_dims(tuple(order.index(a) for a in range(x.ndim)))


# ------------------------------------------------------------------------------------------------ log-sum-exp
@op(
    "logsumexp",
    autocast="float32",
    shapes=SHAPES,
    definition="y = log(Sum(r, exp(x[r])))",
    samples=sample_rows(empty=True),
    why="log Σ eˣ = m + log Σ eˣ⁻ᵐ with m the largest x: no exponential overflows, and one is 1",
    errors=[NO_AXIS],
)
def logsumexp(x: Array, *, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Array:
    r"""Logarithm of a sum of exponentials: :math:`y = \log \sum_r e^{x_r}`, :math:`\bar x_r = \bar y\, e^{x_r - y}`.

    Rows of nothing but -inf, and empty ones, give -inf, with a gradient of 0. Raises ShapeError for an axis that x does
    not have.
    """
    backend, axes = backend_of(x), normalize_axes("logsumexp", axis, x.ndim)
    xp, largest, exponentials = (
        backend.xp,
        backend.kernel("reduce", "largest"),
        backend.kernel("reduce", "exponentials"),
    )
    m = largest(x, axes, True) if x.size else x.sum(axis=axes, keepdims=True)  # of nothing: any number will do
    m = xp.where(xp.isinf(m), x.dtype.type(0), m)  # inf − inf would be NaN
    with np.errstate(divide="ignore", over="ignore"):  # log 0 = −inf is meant
        y = m + xp.log(exponentials(x, m, axes, True))
    return y if keepdims else y.reshape([n for a, n in enumerate(x.shape) if a not in axes])


@logsumexp.vjp
def _(g, y, aux, x, *, axis, keepdims, needs):  # type: ignore[no-untyped-def]
    total = where(y == -math.inf, 0.0, y)  # e^(−inf − 0) = 0, where −inf − (−inf) is NaN
    return spread(g, x.shape, axis, keepdims) * exp(x - spread(total, x.shape, axis, keepdims))
