"""Order: sorting, ranking, searching, and the encodings that classes and labels need."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backends import Array, backend_of
from ..dtypes import canonical, default_dtype
from ..errors import ArgumentError, ShapeError
from ..op import composite, op
from ..samples import Draw
from ..shapes import normalize_axis
from ..tensor import Tensor
from .gather import scatter_add, take_along_axis
from .index import check_range, zeros_for
from .shape import ANY


# ------------------------------------------------------------------------------------------------ one-hot
def _sample_one_hot(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    n = draw.integer(1, 5)
    return [draw.rng.integers(0, n, draw.shape(0, 3))], {"num_classes": n, "dtype": "float64"}


@op(
    "one_hot",
    shapes="indices:(*B) -> y:(*B,C')",
    definition=r"y_{i,c} = [\, \mathrm{indices}_i = c \,]",
    dtype="any",
    indices=["indices"],
    samples=_sample_one_hot,
    reference=lambda indices, num_classes, dtype: np.eye(num_classes)[indices],
    errors=[
        (
            lambda f: f(np.array([0, 3]), num_classes=3),
            r"one_hot: index 3 \(at \(1,\) of the indices\) is out of range for axis -1 of length 3; use 0 to 2",
        ),
        (lambda f: f(np.array([-1]), num_classes=3), "one_hot: index -1"),
        (lambda f: f(np.array([0.0]), num_classes=3), "one_hot: indices must be integers, got float64"),
    ],
)
def one_hot(indices: Array, *, num_classes: int, dtype: Any = None) -> Array:
    """A row of zeros with a one at each class: (N,) -> (N,C), in `dtype` (default: the default float).

    Raises IndexRangeError for a class that is not 0 <= c < num_classes, DTypeError for one that is no integer.
    """
    check_range("one_hot", indices, num_classes, -1, lowest=0)
    dtype = default_dtype() if dtype is None else canonical(dtype)
    return backend_of(indices).kernel("sorting", "one_hot")(indices, num_classes, dtype)  # (N,) -> (N,C)


# ------------------------------------------------------------------------------------------------ sorting
def _sample(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    shape = draw.shape(1, 4)
    return [draw.distinct(shape)], {"axis": draw.axis(len(shape)), "descending": bool(draw.integer(0, 1))}


def _reference_sort(x: Any, axis: int, descending: bool) -> Any:
    y = np.sort(x, axis)
    return np.flip(y, axis) if descending else y


def _reference_argsort(x: Any, axis: int, descending: bool) -> Any:
    return np.argsort(-x if descending else x, axis, stable=True)


_NO_AXIS = (lambda f: f(np.zeros((2, 3)), axis=2), "axis 2 is out of range for 2 dimensions")


@op(
    "argsort",
    shapes=ANY,
    definition=r"x_{y_0} \le x_{y_1} \le \dots",
    dtype="any",
    samples=_sample,
    reference=_reference_argsort,
    errors=[_NO_AXIS],
)
def argsort(x: Array, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Array:
    """The order that sorts `axis`, int64: equal elements keep their order, NaN counts as the largest.

    Not differentiable.
    """
    return backend_of(x).kernel("sorting", "argsort")(x, normalize_axis("argsort", axis, x.ndim), descending)


@op(
    "sort",
    shapes=ANY,
    definition=r"y_0 \le y_1 \le \dots, \quad y \text{ a permutation of } x",
    dtype="any",
    samples=_sample,
    reference=_reference_sort,
    errors=[_NO_AXIS],
)
def sort(x: Array, *, axis: int = -1, descending: bool = False, stable: bool = True) -> tuple[Array, Array]:
    """The elements along `axis` in rising (or falling) order; NaN counts as the largest.

    Raises ShapeError for a wrong axis.
    """
    k = normalize_axis("sort", axis, x.ndim)
    order = backend_of(x).kernel("sorting", "argsort")(x, k, descending)
    return backend_of(x).xp.take_along_axis(x, order, k), order


@sort.vjp(saves=())
def _(g, y, aux, x, *, axis, descending, stable, needs):  # type: ignore[no-untyped-def]
    return scatter_add(zeros_for(g, x.shape), aux, g, axis=axis)  # back to where they came from


def _sample_topk(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    (x,), params = _sample(draw)
    return [x], {"k": draw.integer(0, x.shape[params["axis"]]), "axis": params["axis"]}


def _reference_topk(x: Any, k: int, axis: int) -> Any:
    order = np.take(np.argsort(-x, axis, stable=True), np.arange(k), axis)
    return np.take_along_axis(x, order, axis), order


@composite(
    "topk",
    shapes=ANY,
    definition=r"y_0 \ge y_1 \ge \dots \ge y_{k-1} \ge \text{ every other } x",
    samples=_sample_topk,
    reference=_reference_topk,
    errors=[
        (lambda f: f(np.zeros((2, 3)), k=4), "topk: k=4 elements of axis -1 of length 3; use 0 to 3"),
        (lambda f: f(np.zeros((2, 3)), k=1, axis=2), "axis 2 is out of range for 2 dimensions"),
    ],
)
def topk(x: Tensor, *, k: int, axis: int = -1, largest: bool = True) -> tuple[Tensor, Tensor]:
    """(values, indices) of the k largest (or smallest) elements along `axis`, the most extreme first: (N,C) -> (N,k).

    Of equal elements the first wins; NaN counts as the largest. Raises ShapeError where the axis is shorter than k.
    """
    a = normalize_axis("topk", axis, x.ndim)
    if not 0 <= k <= x.shape[a]:
        raise ShapeError(f"topk: k={k} elements of axis {axis} of length {x.shape[a]}; use 0 to {x.shape[a]}")
    with x.backend.active():
        indices = Tensor(x.backend.kernel("sorting", "topk")(x.data, k, a, largest))
    return take_along_axis(x, indices, axis=a), indices


# ------------------------------------------------------------------------------------------------ searching
@composite(
    "nonzero",
    differentiable=False,
    shapes=ANY,
    definition=r"x[y^{(0)}, y^{(1)}, \dots] \ne 0",
    samples=lambda d: ([d.rng.integers(-1, 2, d.shape(1, 4))], {}),
    reference=lambda x: np.nonzero(x),
    errors=[(lambda f: f(np.float64(1.0)), "nonzero: a tensor with no axes has no positions")],
)
def nonzero(x: Tensor) -> tuple[Tensor, ...]:
    """Where x is not 0, in C order: one int64 tensor per axis.

    Raises ShapeError for a tensor with no axes. Not differentiable.
    """
    if x.ndim == 0:
        raise ShapeError("nonzero: a tensor with no axes has no positions; compare it with 0 instead")
    backend = backend_of(x.data)
    with backend.active():
        return tuple(Tensor(i) for i in backend.xp.nonzero(x.data))


@op(
    "searchsorted",
    shapes="x1:(N), x2:(*B) -> y:(*B)",
    definition=r"y = \lvert \{ n : x_{1,n} < x_2 \} \rvert \quad (\le \text{ for side right})",
    dtype="any",
    samples=lambda d: (
        [np.sort(d.array((d.integer(0, 5),))), d.array(d.shape(0, 3))],
        {"side": d.choice(["left", "right"])},
    ),
    reference=lambda x1, x2, side: np.searchsorted(x1, x2, side),
    errors=[
        (lambda f: f(np.zeros(2), np.zeros(2), side="up"), "searchsorted: side must be 'left' or 'right', got 'up'")
    ],
)
def searchsorted(x1: Array, x2: Array, *, side: str = "left") -> Array:
    """Where x2 would go in the sorted x1, int64: before equal elements, or ("right") after them. Not differentiable."""
    if side not in ("left", "right"):
        raise ArgumentError(f"searchsorted: side must be 'left' or 'right', got {side!r}")
    return backend_of(x1).xp.searchsorted(x1, x2, side)


@composite(
    "unique_counts",
    differentiable=False,
    shapes=ANY,
    definition=r"n_k = \lvert \{ i : x_i = v_k \} \rvert",
    samples=lambda d: ([d.rng.integers(-2, 3, d.shape(0, 3))], {}),
    reference=lambda x: np.unique(x, return_counts=True),
)
def unique_counts(x: Tensor) -> tuple[Tensor, Tensor]:
    """(values, counts): the different elements of x in rising order, and how often each stands there.

    Not differentiable.
    """
    backend = backend_of(x.data)
    with backend.active():
        values, counts = backend.xp.unique(x.data, return_counts=True)
    return Tensor(values), Tensor(counts)


@composite(
    "unique_values",
    differentiable=False,
    shapes=ANY,
    definition=r"\{ x_i \}",
    samples=lambda d: ([d.rng.integers(-2, 3, d.shape(0, 3))], {}),
    reference=lambda x: np.unique(x),
)
def unique_values(x: Tensor) -> Tensor:
    """The different elements of x, in rising order. Not differentiable."""
    values: Tensor = unique_counts(x)[0]
    return values
