"""x[index], and its mirror image: putting elements back.

    getitem   y = x[index]                      its vjp is add_at into zeros: read twice, added twice; set_at, where
                                                the index is made of integers and slices, which read nothing twice
    add_at    y = x, then y[index] += value     its vjp is getitem
    set_at    y = x, then y[index] = value      what t[index] = value records

An index that is out of range or no integer is an error that says where it stands. -1 is the last element.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import replay
from ..backends import Array, Backend, backend_of, get_backend, move
from ..errors import ArgumentError, DTypeError, IndexRangeError, ShapeError
from ..op import op
from ..samples import Draw
from ..shapes import Shape, broadcast_shapes
from ..tensor import Tensor
from .comparison import where


# ------------------------------------------------------------------------------------------------ what an index may be
def placed_index(index: Any, shape: Shape, backend: Backend) -> tuple[Any, ...]:
    """What stands in x[...], lowered to what the backend's arrays take, and checked against x's shape.

    Integers, slices, None, Ellipsis, lists, integer and boolean arrays or tensors pass. Raises IndexRangeError for an
    integer outside of its axis or too many of them, ShapeError for a mask of another shape, DTypeError for anything
    else.
    """
    parts = [_lower(p, backend) for p in (index if isinstance(index, tuple) else (index,))]
    named = sum(_axes_of(p) for p in parts)
    if sum(p is Ellipsis for p in parts) > 1:
        raise ArgumentError("x[...]: only one Ellipsis (...) may stand in an index; write slices (:) for the others")
    if named > len(shape):
        raise IndexRangeError(f"x[...]: {named} indices for {len(shape)} axes; x has shape {shape}")
    axis = 0
    for p in parts:
        if p is Ellipsis:
            axis += len(shape) - named
            continue
        if _is_mask(p) and p.shape != shape[axis : axis + p.ndim]:
            raise ShapeError(
                f"x[...]: a mask of shape {p.shape} for axes of lengths {shape[axis : axis + p.ndim]}; "
                "they must be equal"
            )
        if isinstance(p, int) and not -shape[axis] <= p < shape[axis]:
            raise IndexRangeError(
                f"x[...]: index {p} is out of range for axis {axis} of length {shape[axis]}{_range(shape[axis])}"
            )
        if _is_numbers(p):
            check_range("x[...]", p, shape[axis], axis)
        axis += _axes_of(p)
    arrays = [p for p in parts if hasattr(p, "dtype")]
    if len(arrays) > 1:
        _check_broadcast([(int(p.sum()),) if _is_mask(p) else p.shape for p in arrays])
    return tuple(parts)


def _check_broadcast(shapes: list[Shape]) -> None:
    try:
        broadcast_shapes(*shapes)
    except ShapeError:
        listed = ", ".join(map(str, shapes))
        raise ShapeError(f"x[...]: index arrays of shapes {listed} do not broadcast; lengths must match") from None


def _is_mask(part: Any) -> bool:
    return hasattr(part, "dtype") and part.dtype == bool


def _is_numbers(part: Any) -> bool:
    return hasattr(part, "dtype") and part.dtype != bool


def _is_array(part: Any) -> bool:
    return hasattr(part, "dtype")


def _lower(part: Any, backend: Backend) -> Any:
    """One entry of an index. Arrays are copied: what is changed later must not change a recorded index."""
    if part is None or part is Ellipsis or isinstance(part, slice) or type(part) is int:
        if isinstance(part, slice) and part.step is not None and operator.index(part.step) == 0:
            raise ArgumentError("x[...]: a slice can't step by 0")
        return part
    if isinstance(part, Tensor):
        replay.reads((part.data,), (part,))
        part = part.data
    if hasattr(part, "ndim") and part.ndim and not isinstance(part, np.ndarray):  # on a device, and it stays there
        array = move(part, backend).copy()
    else:
        values = [_lower(p, get_backend("cpu")) for p in part] if isinstance(part, list) else _on_host(part)
        try:
            array = np.array(values)
        except ValueError:
            raise ShapeError(
                f"x[...]: the lists in {part!r} differ in length, so they make no array of indices; "
                "give each as many, or index one after the other"
            ) from None
    if isinstance(part, list) and array.size == 0:
        array = array.astype(np.int64)
    if array.dtype.kind not in "biu":
        what = f"an array of {array.dtype}" if array.ndim else f"{part!r}"
        raise DTypeError(
            f"x[...]: {what} can't be an index; use integers, slices, None, ..., or arrays of integers or booleans"
        )
    return int(array) if array.ndim == 0 and array.dtype != bool else backend.asarray(array)


def _on_host(part: Any) -> Any:
    return backend_of(part).to_numpy(part) if hasattr(part, "dtype") and not isinstance(part, np.generic) else part


def _axes_of(part: Any) -> int:
    """How many axes of x an entry stands for."""
    if part is None or part is Ellipsis:
        return 0
    return part.ndim if _is_mask(part) else 1


def check_range(name: str, indices: Array, length: int, axis: int, lowest: int | None = None) -> None:
    """IndexRangeError unless lowest <= indices < length (lowest: -length), naming the first that is not."""
    if indices.dtype.kind not in "iu":
        raise DTypeError(f"{name}: indices must be integers, got {indices.dtype}; cast with .astype('int64')")
    lowest = -length if lowest is None else lowest

    def explain(at: tuple[int, ...], index: int) -> IndexRangeError:
        place = f" (at {at} of the indices)" if at else ""
        return IndexRangeError(
            f"{name}: index {index}{place} is out of range for axis {axis} of length {length}{_range(length, lowest)}"
        )

    backend_of(indices).check_bounds(indices, lowest, length, explain)


def _range(length: int, lowest: int | None = None) -> str:
    return f"; use {-length if lowest is None else lowest} to {length - 1}" if length else ""


def zeros_for(g: Any, shape: Shape) -> Tensor:
    """Zeros to add g into, without memory of their own."""
    xp = backend_of(g.data).xp
    return Tensor(xp.broadcast_to(xp.zeros((), g.dtype), shape))


# ------------------------------------------------------------------------------------------------ x[index]
def _sample_index(draw: Draw, shape: Shape) -> Any:
    """A mask of the first axes, or mixed entries for some of them, None and Ellipsis among them."""
    if shape and draw.integer(0, 3) == 0:
        mask = draw.rng.integers(0, 2, shape[: draw.integer(1, len(shape))]).astype(bool)
        return draw.choice([mask, (mask, ...), (None, mask)])
    common = draw.shape(0, 2, max_side=3)  # index arrays broadcast against each other
    parts: list[Any] = [_sample_entry(draw, n, common) for n in shape[: draw.integer(0, len(shape))]]
    if draw.integer(0, 2) == 0:
        parts.insert(draw.integer(0, len(parts)), None)
    if draw.integer(0, 2) == 0:
        parts.append(...)
    return parts[0] if len(parts) == 1 else tuple(parts)


def _sample_entry(draw: Draw, n: int, common: Shape) -> Any:
    """A slice, an integer, or an array of integers for an axis of length n."""
    kind = draw.integer(0, 2) if n else 0
    if kind == 0:
        start, stop = (draw.choice([None, *range(-n - 1, n + 2)]) for _ in range(2))
        return slice(start, stop, draw.choice([None, 1, 2, -1]))
    return draw.integer(-n, n - 1) if kind == 1 else draw.rng.integers(-n, n, common)


def _sample_getitem(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    shape = draw.shape(0, 4)
    return [draw.array(shape)], {"index": _sample_index(draw, shape)}


_BAD_INDICES: list[tuple[Callable[..., Any], str]] = [
    (lambda f: f(np.zeros((2, 3)), index=(0, 3)), "index 3 is out of range for axis 1 of length 3; use -3 to 2"),
    (
        lambda f: f(np.zeros((2, 3)), index=(slice(None), [0, 1, -4])),
        r"index -4 \(at \(2,\) of the indices\) is out of range for axis 1 of length 3",
    ),
    (lambda f: f(np.zeros((2, 3)), index=(0, 0, 0)), r"3 indices for 2 axes; x has shape \(2, 3\)"),
    (lambda f: f(np.zeros((2, 3)), index=1.5), r"1.5 can't be an index; use integers"),
    (
        lambda f: f(np.zeros((2, 3)), index=np.ones((2, 2), bool)),
        r"a mask of shape \(2, 2\) for axes of lengths \(2, 3\)",
    ),
    (
        lambda f: f(np.zeros((2, 3)), index=([0, 1], [0, 1, 2])),
        r"index arrays of shapes \(2,\), \(3,\) do not broadcast",
    ),
    (lambda f: f(np.zeros((2, 3)), index=(..., ...)), "only one Ellipsis"),
    (lambda f: f(np.zeros((2, 3)), index=slice(None, None, 0)), "a slice can't step by 0"),
]


@op(
    "getitem",
    shapes="x:(*B) -> y:(*R)",
    definition=r"y = x[\text{index}]",
    dtype="any",
    view=True,
    samples=_sample_getitem,
    reference=lambda x, index: x[index],
    errors=_BAD_INDICES,
)
def getitem(x: Array, *, index: Any) -> tuple[Array, Any]:
    """x[index]: integers, slices, None, Ellipsis, boolean masks and integer arrays, in NumPy's sense. Slices are views.

    Raises IndexRangeError for an index outside of its axis, ShapeError for a mask of another shape or index arrays that
    do
    not broadcast, DTypeError for an index that is no integer.
    """
    plain = placed_index(index, x.shape, backend_of(x))
    return x[plain], plain


@getitem.vjp(saves=())
def _(g, y, aux, x, *, index, needs):  # type: ignore[no-untyped-def]
    return (add_at if any(map(_is_array, aux)) else set_at)(zeros_for(g, x.shape), g, index=aux)


def _room(name: str, x: Array, value: Array, plain: tuple[Any, ...]) -> Shape:
    """The shape of x[index], when value fits there."""
    stand_ins = tuple(np.broadcast_to(0, p.shape) if _is_numbers(p) else _on_host(p) for p in plain)
    room: Shape = np.broadcast_to(np.empty(()), x.shape)[stand_ins].shape
    fits = value.ndim <= len(room) and all(n in (1, m) for n, m in zip(value.shape[::-1], room[::-1], strict=False))
    if not fits:
        raise ShapeError(
            f"{name}: values of shape {value.shape} for x[index] of shape {room}; they must broadcast to it"
        )
    return room


def _sample_put(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    (x,), params = _sample_getitem(draw)
    room = np.shape(x[params["index"]])
    value = tuple(1 if draw.integer(0, 3) == 0 else n for n in room[draw.integer(0, len(room)) :])
    return [x, draw.array(value)], params


_BAD_VALUE = (
    lambda f: f(np.zeros((2, 3)), np.zeros(2), index=0),
    r"values of shape \(2,\) for x\[index\] of shape \(3,\)",
)


def _reference_set(x: Any, value: Any, index: Any) -> Any:
    y = x.copy()
    y[index] = value
    return y


def _reference_add(x: Any, value: Any, index: Any) -> Any:
    y = x.copy()
    np.add.at(y, index, value)
    return y


@op(
    "add_at",
    shapes="x:(*B), value:(*V) -> y:(*B)",
    definition=r"y = x, \quad y[\text{index}] \mathrel{+}= v",
    dtype="number",
    samples=_sample_put,
    reference=_reference_add,
    errors=[_BAD_VALUE],
)
def add_at(x: Array, value: Array, *, index: Any) -> tuple[Array, Any]:
    """A copy of x with `value` added at x[index]; an element named twice gets both. `value` broadcasts to x[index].

    Raises as `getitem`, and ShapeError for a value that does not fit.
    """
    plain = placed_index(index, x.shape, backend_of(x))
    _room("add_at", x, value, plain)
    y = backend_of(x).kernel("arrange", "copied")(x)
    if any(map(_is_numbers, plain)):
        backend_of(x).scatter_add(y, plain, value)
    else:  # no element is named twice
        y[plain] += value
    return y, plain


@add_at.vjp(saves=())
def _(g, y, aux, x, value, *, index, needs):  # type: ignore[no-untyped-def]
    return g, getitem(g, index=aux) if needs[1] else None


@op(
    "set_at",
    shapes="x:(*B), value:(*V) -> y:(*B)",
    definition=r"y = x, \quad y[\text{index}] = v",
    dtype="any",
    samples=_sample_put,
    reference=_reference_set,
    errors=[_BAD_VALUE],
)
def set_at(x: Array, value: Array, *, index: Any) -> tuple[Array, Any]:
    """A copy of x with x[index] = value, which broadcasts; of an element named twice, the last value stays.

    Raises as `getitem`, and ShapeError for a value that does not fit.
    """
    plain = placed_index(index, x.shape, backend_of(x))
    _room("set_at", x, value, plain)
    if not any(map(_is_array, plain)):
        return backend_of(x).kernel("arrange", "put")(x, plain, value), plain
    y = backend_of(x).kernel("arrange", "copied")(x)
    backend_of(x).assign(y, plain, value)
    return y, plain


@set_at.vjp(saves=())
def _(g, y, aux, x, value, *, index, needs):  # type: ignore[no-untyped-def]
    x_bar = set_at(g, 0.0, index=aux) if needs[0] else None
    if not needs[1]:
        return x_bar, None
    v_bar = getitem(g, index=aux)
    if any(map(_is_numbers, aux)):  # overwritten values had no effect
        v_bar = where(Tensor(_stayed(g.backend, x.shape, aux)), v_bar, 0.0)
    return x_bar, v_bar


def _stayed(backend: Backend, shape: Shape, plain: tuple[Any, ...]) -> Array:
    """Which values were not overwritten by a later one: number them, write, and see whose number is there."""
    last = backend.xp.full(shape, -1)
    numbers = backend.xp.arange(last[plain].size).reshape(last[plain].shape)
    backend.assign(last, plain, numbers)
    return last[plain] == numbers
