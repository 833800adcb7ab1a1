"""Joining tensors, cutting them, and putting a margin around one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..backends import Array, backend_of, concatenate
from ..errors import ShapeError
from ..op import composite, op
from ..samples import Draw
from ..shapes import Shape, normalize_axis
from ..tensor import Tensor
from .arithmetic import subtract
from .comparison import not_equal
from .index import getitem
from .shape import ANY, expand_dims, sides


def cut(rank: int, axis: int, start: int | None, stop: int | None) -> tuple[slice, ...]:
    """The index of a slice along one axis, all of the others."""
    return tuple(slice(start, stop) if a == axis else slice(None) for a in range(rank))


# ------------------------------------------------------------------------------------------------ joining
def _sample_concat(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    shape = draw.shape(1, 4, max_side=3)
    axis = draw.axis(len(shape))
    along = [draw.integer(0, 3) for _ in range(draw.integer(1, 3))]
    return [draw.array(tuple(n if i == axis % len(shape) else k for i, k in enumerate(shape))) for n in along], {
        "axis": axis
    }


@op(
    "concat",
    shapes=ANY,
    definition=r"y = (x^{(0)}, x^{(1)}, \dots) \text{ along one axis}",
    dtype="any",
    samples=_sample_concat,
    reference=lambda *xs, axis: np.concatenate(xs, axis),
    errors=[
        (
            lambda f: f(np.zeros((2, 3)), np.zeros((2, 4)), axis=0),
            r"concat: x1.shape\[1\] is 4, but x0.shape\[1\] is 3",
        ),
        (
            lambda f: f(np.zeros((2, 3)), np.zeros(3), axis=0),
            r"concat: x1 has shape \(3,\), x0 \(2, 3\): the ranks must be equal",
        ),
        (lambda f: f(np.float64(1.0), np.float64(2.0)), "concat: axis 0 is out of range: the tensor has no axes"),
    ],
)
def concat(*xs: Array, axis: int = 0) -> Array:
    """Tensors end to end along an axis they have: (N,A), (N,B) -> (N,A+B). Also takes one list of them.

    Raises ShapeError unless the other sides are equal.
    """
    k, first = normalize_axis("concat", axis, xs[0].ndim), xs[0].shape
    for i, x in enumerate(xs[1:], 1):
        if x.ndim != len(first):
            raise ShapeError(
                f"concat: x{i} has shape {x.shape}, x0 {first}: the ranks must be equal; stack joins along a new axis"
            )
        for a, (n, m) in enumerate(zip(x.shape, first, strict=True)):
            if n != m and a != k:
                raise ShapeError(
                    f"concat: x{i}.shape[{a}] is {n}, but x0.shape[{a}] is {m}; "
                    f"off the axis {axis} the sides must be equal"
                )
    return concatenate(xs, k)


@concat.vjp(saves=())
def _(g, y, aux, *xs, axis, needs):  # type: ignore[no-untyped-def]
    k = axis % g.ndim
    ends = np.cumsum([x.shape[k] for x in xs]).tolist()
    return tuple(
        getitem(g, index=cut(g.ndim, k, end - x.shape[k], end)) if need else None
        for x, end, need in zip(xs, ends, needs, strict=True)
    )


def _sample_stack(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    shape = draw.shape(0, 3)
    return [draw.array(shape) for _ in range(draw.integer(1, 3))], {"axis": draw.axis(len(shape) + 1)}


@composite(
    "stack",
    shapes=ANY,
    definition=r"y_{k, i, \dots} = x^{(k)}_{i, \dots}",
    samples=_sample_stack,
    reference=lambda *xs, axis: np.stack(xs, axis),
    errors=[
        (lambda f: f(np.zeros(2), np.zeros(3)), r"stack: x1 has shape \(3,\), but x0 \(2,\)"),
        (lambda f: f(np.zeros(2), axis=2), "stack: axis 2 is out of range for 2 dimensions"),
    ],
)
def stack(*xs: Any, axis: int = 0) -> Tensor:
    """Tensors of one shape side by side along a new axis: K times (N,M) -> (K,N,M). Also takes one list of them.

    Raises ShapeError unless all shapes are equal.
    """
    tensors = _several("stack", xs)
    for i, x in enumerate(tensors):
        if x.shape != tensors[0].shape:
            raise ShapeError(
                f"stack: x{i} has shape {x.shape}, but x0 {tensors[0].shape}; all must be equal "
                "(concat joins along an axis they have)"
            )
    k = normalize_axis("stack", axis, tensors[0].ndim + 1)
    return concat(*(expand_dims(x, axis=k) for x in tensors), axis=k)


def _several(name: str, xs: Sequence[Any]) -> list[Tensor]:
    from ..errors import ArgumentError
    from ..tensor import asarray

    tensors = [asarray(x) for x in (xs[0] if len(xs) == 1 and isinstance(xs[0], (tuple, list)) else xs)]
    if not tensors:
        raise ArgumentError(f"{name}: needs at least one tensor, got none")
    return tensors


# ------------------------------------------------------------------------------------------------ cutting
def _sample_split(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    shape = draw.shape(1, 4)
    axis = draw.axis(len(shape))
    n = shape[axis]
    parts = [d for d in range(1, n + 1) if n % d == 0] or [2]
    cuts = tuple(sorted(draw.integer(0, n) for _ in range(draw.integer(0, 3))))
    return [draw.array(shape)], {"indices_or_sections": draw.choice([draw.choice(parts), cuts]), "axis": axis}


@composite(
    "split",
    shapes=ANY,
    definition=r"y^{(k)} = x_{c_k}, \dots, x_{c_{k+1} - 1}",
    samples=_sample_split,
    reference=lambda x, indices_or_sections, axis: np.split(x, indices_or_sections, axis),
    errors=[
        (
            lambda f: f(np.zeros((7, 2)), indices_or_sections=3),
            "split: axis 0 of length 7 can't be cut into 3 equal parts",
        )
    ],
)
def split(x: Tensor, *, indices_or_sections: int | Sequence[int], axis: int = 0) -> tuple[Tensor, ...]:
    """x cut along `axis`: into so many equal parts, or before each of these positions. The parts are views.

    Raises ShapeError where the parts would not be equal.
    """
    k = normalize_axis("split", axis, x.ndim)
    n = x.shape[k]
    if isinstance(indices_or_sections, (tuple, list)):
        marks = [0, *sides("split", indices_or_sections), n]
    else:
        (parts,) = sides("split", indices_or_sections)
        if parts < 1 or n % parts:
            raise ShapeError(
                f"split: axis {axis} of length {n} can't be cut into {parts} equal parts; "
                "give the positions to cut at instead"
            )
        marks = list(range(0, n + 1, n // parts)) if n else [0] * (parts + 1)
    return tuple(getitem(x, index=cut(x.ndim, k, a, b)) for a, b in zip(marks, marks[1:], strict=False))


@composite(
    "unstack",
    shapes=ANY,
    definition=r"y^{(k)}_{i, \dots} = x_{k, i, \dots}",
    samples=lambda d: (lambda s: ([d.array(s)], {"axis": d.axis(len(s))}))(d.shape(1, 4, min_side=1)),
    reference=lambda x, axis: tuple(np.moveaxis(x, axis, 0)),
)
def unstack(x: Tensor, *, axis: int = 0) -> tuple[Tensor, ...]:
    """The slices of x along `axis`, without it: (K,N,M) -> K times (N,M).

    Raises ShapeError for an axis that x does not have.
    """
    k = normalize_axis("unstack", axis, x.ndim)
    return tuple(getitem(x, index=(*(slice(None),) * k, i, ...)) for i in range(x.shape[k]))


# ------------------------------------------------------------------------------------------------ margins
def margins(name: str, pad_width: Any, rank: int) -> tuple[tuple[int, int], ...]:
    """((before, after), ...) for every axis, from that, from one (before, after) for all, or from one number."""
    widths = pad_width if isinstance(pad_width, (tuple, list)) else (pad_width, pad_width)
    if not any(isinstance(w, (tuple, list)) for w in widths):
        widths = (widths,) * rank
    try:
        found = tuple((int(before), int(after)) for before, after in (sides(name, w) for w in widths))
    except ValueError:
        found = ()
    if len(found) != rank or any(n < 0 for pair in found for n in pair):
        raise ShapeError(
            f"{name}: pad_width must be ((before, after), ...) for {rank} axes, each 0 or more, got {pad_width}"
        )
    return found


def _sample_pad(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    shape = draw.shape(0, 4, max_side=3)
    each = tuple((draw.integer(0, 2), draw.integer(0, 2)) for _ in shape)
    return [draw.array(shape)], {
        "pad_width": draw.choice([each, (1, 0), 1]) if shape else (),
        "constant_values": draw.choice([0.0, -1.5]),
    }


@op(
    "pad",
    shapes=ANY,
    definition=r"y_i = x_{i - b} \text{ where that exists, else } c",
    dtype="any",
    samples=_sample_pad,
    reference=lambda x, pad_width, constant_values: (
        np.pad(x, pad_width, constant_values=constant_values) if x.ndim else x
    ),
    errors=[
        (
            lambda f: f(np.zeros((2, 3)), pad_width=((1, 1),)),
            r"pad: pad_width must be \(\(before, after\), ...\) for 2 axes, each 0 or more, got \(\(1, 1\),\)",
        ),
        (lambda f: f(np.zeros(2), pad_width=-1), "each 0 or more, got -1"),
    ],
)
def pad(x: Array, *, pad_width: Any, constant_values: float = 0.0) -> tuple[Array, Any]:
    """x within a margin of `constant_values`.

    `pad_width` gives ((before, after), ...) for every axis, one such pair for all, or one number for all.
    Raises ShapeError for another number of pairs, or a negative width.
    """
    widths = margins("pad", pad_width, x.ndim)  # kept: the caller's list may be another at backward
    return backend_of(x).kernel("arrange", "pad")(x, widths, constant_values), widths


@pad.vjp(saves=())
def _(g, y, aux, x, *, pad_width, constant_values, needs):  # type: ignore[no-untyped-def]
    return getitem(g, index=_inner(x.shape, aux))


def _inner(shape: Shape, widths: tuple[tuple[int, int], ...]) -> tuple[slice, ...]:
    return tuple(slice(before, before + n) for n, (before, _) in zip(shape, widths, strict=True))


# ------------------------------------------------------------------------------------------------ neighbours
def _sample_diff(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    shape = draw.shape(1, 4)
    return [draw.array(shape)], {"axis": draw.axis(len(shape)), "n": draw.integer(0, 3)}


@op(
    "diff",
    shapes=ANY,
    definition=r"y_i = x_{i+1} - x_i, \quad n \text{ times}",
    dtype="any",
    samples=_sample_diff,
    reference=lambda x, axis, n: np.diff(x, n, axis),
    errors=[
        (lambda f: f(np.zeros(3), n=-1), "diff: n is a count, 0 or more, got -1"),
        (lambda f: f(np.zeros(3), axis=1), "diff: axis 1 is out of range for 1 dimensions"),
    ],
)
def diff(x: Array, *, axis: int = -1, n: int = 1) -> Array:
    """Differences of neighbours along `axis`, taken n times: (N,) -> (N-n,). Booleans: where they change.

    Raises ShapeError for an axis that x does not have or a negative n.
    """
    if n < 0:
        raise ShapeError(f"diff: n is a count, 0 or more, got {n}")
    k = normalize_axis("diff", axis, x.ndim)
    step = (not_equal if x.dtype == bool else subtract).kernels(backend_of(x).name).forward
    for _ in range(n):
        x = step(x[cut(x.ndim, k, 1, None)], x[cut(x.ndim, k, None, -1)])
    return x if n else x.copy()


@diff.vjp(saves=())
def _(g, y, aux, x, *, axis, n, needs):  # type: ignore[no-untyped-def]
    # x̄_i = ȳ_{i−1} − ȳ_i, where ȳ is 0 beyond both ends, once for each time
    k = normalize_axis("diff", axis, x.ndim)
    widths = tuple((int(a == k), int(a == k)) for a in range(x.ndim))
    for _ in range(min(n, x.shape[k])):
        g = pad(g, pad_width=widths)
        g = subtract(getitem(g, index=cut(x.ndim, k, None, -1)), getitem(g, index=cut(x.ndim, k, 1, None)))
    return g
