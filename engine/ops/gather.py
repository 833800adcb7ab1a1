"""Picking slices or elements along one axis, and its mirror image: adding them back.

    take             y = x[.., indices, ..]    its vjp is index_add into zeros
    take_along_axis  y_i = x[indices_i]        its vjp is scatter_add into zeros

Each is linear in x, so the vjp of one is the other. An index outside of its axis is an error. -1 is the last element.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..backends import Array, backend_of
from ..errors import ArgumentError, ShapeError
from ..op import op
from ..samples import Draw
from ..shapes import normalize_axis
from .index import check_range, zeros_for
from .shape import broadcast_to


# ------------------------------------------------------------------------------------------------ rows
def _sample_take(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    shape = draw.shape(1, 4, max_side=3)
    axis = draw.axis(len(shape))
    n = shape[axis]
    return [
        draw.array(shape),
        draw.rng.integers(-n, max(n, 1), draw.shape(0, 2, max_side=4 if n else 0, min_side=0) if n else (0,)),
    ], {"axis": axis}


def _axis_of(name: str, axis: int | None, rank: int) -> int:
    if axis is None and rank > 1:
        raise ArgumentError(f"{name}: axis= is missing: x has {rank} axes")
    return normalize_axis(name, axis or 0, rank)


_BAD_ROW: tuple[Callable[..., Any], str] = (
    lambda f: f(np.zeros((2, 3)), np.array([0, 3]), axis=1),
    r"index 3 \(at \(1,\) of the indices\) is out of range for axis 1 of length 3; use -3 to 2",
)
_NO_INTEGER: tuple[Callable[..., Any], str] = (
    lambda f: f(np.zeros(3), np.array([0.5]), axis=0),
    "indices must be integers, got float64",
)


@op(
    "take",
    shapes="x:(*B), indices:(*I) -> y:(*R)",
    definition=r"y_{\dots, i, \dots} = x_{\dots, \mathrm{indices}_i, \dots}",
    dtype="any",
    indices=["indices"],
    samples=_sample_take,
    reference=lambda x, indices, axis: np.take(x, indices, axis),
    errors=[
        _BAD_ROW,
        _NO_INTEGER,
        (lambda f: f(np.zeros((2, 3)), np.array([0])), "take: axis= is missing: x has 2 axes"),
    ],
)
def take(x: Array, indices: Array, *, axis: int | None = None) -> Array:
    """Slices of x along `axis`, in the order of `indices` (any shape I): (N,C) -> (I,C).

    `axis` may be left out of a vector.
    Raises IndexRangeError for an index outside of the axis, DTypeError for one that is no integer.
    """
    k = _axis_of("take", axis, x.ndim)
    check_range("take", indices, x.shape[k], k)
    return x.take(indices, axis=k)


@take.vjp
def _(g, y, aux, x, indices, *, axis, needs):  # type: ignore[no-untyped-def]
    return index_add(zeros_for(g, x.shape), indices, g, axis=axis or 0), None


def _sample_index_add(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    (x, indices), params = _sample_take(draw)
    return [x, indices, draw.array(np.take(x, indices, **params).shape)], params


def _reference_index_add(x: Any, indices: Any, values: Any, axis: int) -> Any:
    y = x.copy()
    np.add.at(y, (slice(None),) * (axis % x.ndim) + (indices,), values)
    return y


@op(
    "index_add",
    shapes="x:(*B), indices:(*I), values:(*V) -> y:(*B)",
    definition=r"y_{\dots, j, \dots} = x_{\dots, j, \dots} + \sum_{i : \mathrm{indices}_i = j} v_{\dots, i, \dots}",
    dtype="number",
    indices=["indices"],
    samples=_sample_index_add,
    reference=_reference_index_add,
    errors=[
        (
            lambda f: f(np.zeros((2, 3)), np.array([0, 3]), np.zeros((2, 2)), axis=1),
            "index 3 .* is out of range for axis 1 of length 3",
        ),
        (
            lambda f: f(np.zeros((2, 3)), np.array([0]), np.zeros((2, 2)), axis=1),
            r"values of shape \(2, 2\), but the slices make \(2, 1\)",
        ),
    ],
)
def index_add(x: Array, indices: Array, values: Array, *, axis: int = 0) -> Array:
    """A copy of x with slices of `values` added to the slices of x that `indices` name; one named twice gets both.

    (N,C), (I), (I,C) -> (N,C). Raises IndexRangeError for an index outside of the axis, ShapeError for other values.
    """
    k = normalize_axis("index_add", axis, x.ndim)
    check_range("index_add", indices, x.shape[k], k)
    room = x.shape[:k] + indices.shape + x.shape[k + 1 :]
    if values.shape != room:
        raise ShapeError(f"index_add: values of shape {values.shape}, but the slices make {room}")
    return backend_of(x).kernel("gather", "index_add")(x, indices, values, k)


@index_add.vjp(saves=["indices"])
def _(g, y, aux, x, indices, values, *, axis, needs):  # type: ignore[no-untyped-def]
    return g, None, take(g, indices, axis=axis) if needs[2] else None


# ------------------------------------------------------------------------------------------------ one index per element
def _sample_along(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    shape = draw.shape(1, 4, max_side=3)
    axis = draw.axis(len(shape))
    n = shape[axis]
    sides = list(shape)
    sides[axis] = draw.integer(0, 4) if n else 0
    return [draw.array(shape), draw.rng.integers(-n, max(n, 1), sides)], {"axis": axis}


def _along(name: str, x: Array, indices: Array, axis: int) -> int:
    """The axis, when indices fit x everywhere else."""
    k = normalize_axis(name, axis, x.ndim)
    if indices.ndim != x.ndim or any(
        n not in (m, 1) and m != 1 for a, (n, m) in enumerate(zip(indices.shape, x.shape, strict=True)) if a != k
    ):
        raise ShapeError(
            f"{name}: indices of shape {indices.shape} for x of shape {x.shape}; "
            f"but for axis {axis} the sides must be equal, or 1"
        )
    check_range(name, indices, x.shape[k], k)
    return k


_BAD_ALONG: tuple[Callable[..., Any], str] = (
    lambda f: f(np.zeros((2, 3)), np.zeros((3, 1), int), axis=1),
    r"indices of shape \(3, 1\) for x of shape \(2, 3\); but for axis 1 the sides must be equal",
)
_BAD_ELEMENT: tuple[Callable[..., Any], str] = (
    lambda f: f(np.zeros((2, 3)), np.array([[0], [3]]), axis=1),
    r"index 3 \(at \(1, 0\) of the indices\) is out of range for axis 1 of length 3",
)


@op(
    "take_along_axis",
    shapes="x:(*B), indices:(*I) -> y:(*R)",
    definition=r"y_{i, k} = x_{i, \mathrm{indices}_{i,k}}",
    dtype="any",
    indices=["indices"],
    samples=_sample_along,
    reference=lambda x, indices, axis: np.take_along_axis(x, indices, axis),
    errors=[_BAD_ALONG, _BAD_ELEMENT],
)
def take_along_axis(x: Array, indices: Array, *, axis: int = -1) -> Array:
    """One element of x for each index, along `axis`: (N,C), (N,K) -> (N,K). What argsort and topk give goes in here.

    Raises IndexRangeError for an index outside of the axis, ShapeError where the other sides differ (1 broadcasts).
    """
    k = _along("take_along_axis", x, indices, axis)
    return backend_of(x).kernel("gather", "take_along_axis")(x, indices, k)


@take_along_axis.vjp
def _(g, y, aux, x, indices, *, axis, needs):  # type: ignore[no-untyped-def]
    k = axis % g.ndim
    target = (*g.shape[:k], x.shape[k], *g.shape[k + 1 :])  # broadcast sides of x are summed by the walk
    return scatter_add(zeros_for(g, target), broadcast_to(indices, shape=g.shape), g, axis=axis), None


def _sample_scatter(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    (x, indices), params = _sample_along(draw)
    return [x, indices, draw.array(indices.shape)], params


def _reference_scatter(x: Any, indices: Any, values: Any, axis: int) -> Any:
    y = x.copy()
    for at in np.ndindex(indices.shape):
        goal = list(at)
        goal[axis] = indices[at]
        y[tuple(goal)] += values[at]
    return y


@op(
    "scatter_add",
    shapes="x:(*B), indices:(*I), values:(*V) -> y:(*B)",
    definition=r"y_{i, j} = x_{i, j} + \sum_{k : \mathrm{indices}_{i,k} = j} v_{i, k}",
    dtype="number",
    indices=["indices"],
    samples=_sample_scatter,
    reference=_reference_scatter,
    errors=[
        (
            lambda f: f(np.zeros((2, 3)), np.array([[0], [3]]), np.zeros((2, 1)), axis=1),
            "index 3 .* is out of range for axis 1 of length 3",
        ),
        (
            lambda f: f(np.zeros((2, 3)), np.array([[0], [1]]), np.zeros((2, 2)), axis=1),
            r"values of shape \(2, 2\) for indices of shape \(2, 1\)",
        ),
        (
            lambda f: f(np.zeros((2, 3)), np.array([[0]]), np.zeros((1, 1)), axis=1),
            r"indices of shape \(1, 1\) for x of shape \(2, 3\)",
        ),
    ],
)
def scatter_add(x: Array, indices: Array, values: Array, *, axis: int = -1) -> Array:
    """A copy of x with each value added to the element that its index names along `axis`: (N,C), (N,K), (N,K) -> (N,C).

    Equal indices add up. Raises IndexRangeError for an index outside of the axis, ShapeError unless `values` have the
    shape of
    `indices`, and both the sides of x off the axis.
    """
    k = _along("scatter_add", x, indices, axis)
    if values.shape != indices.shape:
        raise ShapeError(
            f"scatter_add: values of shape {values.shape} for indices of shape {indices.shape}; they must be equal"
        )
    if indices.shape[:k] + indices.shape[k + 1 :] != x.shape[:k] + x.shape[k + 1 :]:
        raise ShapeError(
            f"scatter_add: indices of shape {indices.shape} for x of shape {x.shape}; "
            f"but for axis {axis} the sides must be equal"
        )
    return backend_of(x).kernel("gather", "scatter_add")(x, indices, values, k)


@scatter_add.vjp(saves=["indices"])
def _(g, y, aux, x, indices, values, *, axis, needs):  # type: ignore[no-untyped-def]
    return g, None, take_along_axis(g, indices, axis=axis) if needs[2] else None
