"""Shapes: the same elements, arranged differently. Nothing is computed; most results are views.

Order and repetition are in arrange.py, joining and cutting in join.py, triangles and diagonals in triangle.py.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..backends import Array, backend_of, current_device, get_backend, move
from ..dtypes import canonical
from ..errors import ShapeError
from ..op import composite, op
from ..samples import Draw
from ..shapes import Shape, broadcast_shapes, normalize_axes, normalize_axis, prod
from ..tensor import Tensor

Sample = Callable[[Draw], tuple[list[Any], dict[str, Any]]]


# ------------------------------------------------------------------------------------------------ what they share
def sides(name: str, shape: Any) -> Shape:
    """A shape from an integer or a sequence of integers; ShapeError for anything else."""
    try:
        return tuple(operator.index(n) for n in (shape if isinstance(shape, (tuple, list)) else (shape,)))
    except TypeError:
        raise ShapeError(f"{name}: a shape is made of integers, got {shape!r}") from None


def ranked(params: Callable[[Draw, Shape], dict[str, Any]], min_rank: int = 0, max_rank: int = 4) -> Sample:
    """Inputs of any rank and sides, with params that depend on the shape."""

    def draw_one(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
        shape = draw.shape(min_rank, max_rank)
        return [draw.array(shape)], params(draw, shape)

    return draw_one


ANY = "x:(*B) -> y:(*R)"


# ------------------------------------------------------------------------------------------------ reshape
def _sample_reshape(draw: Draw, shape: Shape) -> dict[str, Any]:
    n = prod(shape)
    d = draw.choice([d for d in range(1, n + 1) if n % d == 0] or [1])
    return {
        "shape": draw.choice([(d, n // d), n, (-1,), (1, d, -1)]) if n else draw.choice([(0, 3), 0, (2, 0, 1), (3, -1)])
    }


@op(
    "reshape",
    shapes=ANY,
    definition=r"y = x \text{ read in C order into another shape}",
    dtype="any",
    view=True,
    samples=ranked(_sample_reshape, max_rank=3),
    reference=lambda x, shape: np.reshape(x, shape),
    errors=[
        (lambda f: f(np.zeros((2, 3)), shape=(4, 2)), r"reshape: 6 elements of shape \(2, 3\) don't fit \(4, 2\)"),
        (lambda f: f(np.zeros((2, 3)), shape=(-1, -1)), "at most one side may be -1"),
        (lambda f: f(np.zeros((2, 3)), shape=(2, 1.5)), "a shape is made of integers"),
    ],
)
def reshape(x: Array, *, shape: Any) -> Array:
    """The same elements in C order in another shape; one side may be -1 (whatever is left).

    Raises ShapeError where the numbers of elements differ.
    """
    shape = sides("reshape", shape)
    try:
        return x.reshape(shape) if x.flags.c_contiguous else backend_of(x).kernel("arrange", "reshape")(x, shape)
    except ValueError:
        if shape.count(-1) > 1:
            raise ShapeError(f"reshape: at most one side may be -1, got {shape}") from None
        raise ShapeError(
            f"reshape: {x.size} elements of shape {x.shape} don't fit {shape}; the products of the sides must be equal"
        ) from None


@reshape.vjp(saves=())
def _(g, y, aux, x, *, shape, needs):  # type: ignore[no-untyped-def]
    return reshape(g, shape=x.shape)


def _sample_expand(draw: Draw, shape: Shape) -> dict[str, Any]:
    rank = len(shape)
    return {"axis": draw.choice([draw.integer(-rank - 1, rank), (0, -1), (0, 1)])}


@composite(
    "expand_dims",
    shapes=ANY,
    definition=r"y_{\dots 0 \dots} = x_{\dots}",
    samples=ranked(_sample_expand, max_rank=3),
    reference=lambda x, axis: np.expand_dims(x, axis),
    errors=[(lambda f: f(np.zeros(3), axis=2), "axis 2 is out of range for 2 dimensions")],
)
def expand_dims(x: Tensor, *, axis: int | Sequence[int] = 0) -> Tensor:
    """New axes of length 1, at these positions of the result. Raises ShapeError for a position it does not have."""
    rank = x.ndim + (len(axis) if isinstance(axis, (tuple, list)) else 1)
    axes = normalize_axes("expand_dims", axis, rank)
    old = iter(x.shape)
    return reshape(x, shape=tuple(1 if i in axes else next(old) for i in range(rank)))


def _sample_squeeze(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    shape = tuple(1 if draw.integer(0, 1) else n for n in draw.shape(0, 4))
    ones = [i for i, n in enumerate(shape) if n == 1]
    return [draw.array(shape)], {"axis": draw.choice([None, tuple(ones), *ones, *(i - len(shape) for i in ones)])}


@composite(
    "squeeze",
    shapes=ANY,
    definition=r"y_{\dots} = x_{\dots 0 \dots}",
    samples=_sample_squeeze,
    reference=lambda x, axis: np.squeeze(x, axis),
    errors=[(lambda f: f(np.zeros((1, 3)), axis=1), r"squeeze: axis 1 has length 3; only axes of length 1 can go")],
)
def squeeze(x: Tensor, *, axis: int | Sequence[int] | None = None) -> Tensor:
    """Without the axes of length 1: all of them, or those named.

    Raises ShapeError for a named axis that is longer or not there.
    """
    axes = (
        tuple(i for i, n in enumerate(x.shape) if n == 1) if axis is None else normalize_axes("squeeze", axis, x.ndim)
    )
    for a in axes:
        if x.shape[a] != 1:
            raise ShapeError(
                f"squeeze: axis {a} has length {x.shape[a]}; only axes of length 1 can go (x has shape {x.shape})"
            )
    return reshape(x, shape=tuple(n for i, n in enumerate(x.shape) if i not in axes))


# ------------------------------------------------------------------------------------------------ broadcasting
def _sample_broadcast(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    shape = draw.shape(0, 4)
    cut = draw.integer(0, len(shape))
    return [draw.array(tuple(1 if draw.integer(0, 2) == 0 else n for n in shape[cut:]))], {"shape": shape}


@op(
    "broadcast_to",
    shapes=ANY,
    definition=r"y_{i, \dots, j} = x_j",
    dtype="any",
    view=True,
    samples=_sample_broadcast,
    reference=lambda x, shape: np.broadcast_to(x, shape),
    errors=[
        (
            lambda f: f(np.zeros((2, 3)), shape=(2, 4)),
            r"broadcast_to: x of shape \(2, 3\) does not broadcast to \(2, 4\)",
        )
    ],
)
def broadcast_to(x: Array, *, shape: Any) -> Array:
    """x repeated along new leading axes and along its axes of length 1.

    Raises ShapeError where another length would change.
    """
    shape = sides("broadcast_to", shape)
    if x.shape == shape:
        return x
    try:
        return backend_of(x).xp.broadcast_to(x, shape)
    except ValueError:
        raise ShapeError(
            f"broadcast_to: x of shape {x.shape} does not broadcast to {shape}: "
            "aligned at the right, only sides of 1 can grow"
        ) from None


@broadcast_to.vjp(saves=())
def _(g, y, aux, x, *, shape, needs):  # type: ignore[no-untyped-def]
    return g  # the walk undoes broadcasting


@composite(
    "broadcast_arrays",
    shapes=ANY,
    definition=r"y^{(k)}_{i,j} = x^{(k)}_j",
    samples=lambda d: ([d.array(s) for s in d.broadcastable(d.integer(1, 3))], {}),
    reference=lambda *xs: np.broadcast_arrays(*xs),
    errors=[(lambda f: f(np.zeros(2), np.zeros(3)), r"shapes \(2,\) and \(3,\) do not broadcast")],
)
def broadcast_arrays(*xs: Tensor) -> tuple[Tensor, ...]:
    """Each x broadcast to the shape of all of them. Raises ShapeError where the shapes do not broadcast."""
    shape = broadcast_shapes(*(x.shape for x in xs))
    return tuple(broadcast_to(x, shape=shape) for x in xs)


# ------------------------------------------------------------------------------------------------ the order of axes
@op(
    "permute_dims",
    shapes=ANY,
    definition=r"y_{i_{a_0}, i_{a_1}, \dots} = x_{i_0, i_1, \dots}",
    dtype="any",
    view=True,
    samples=ranked(lambda d, s: {"axes": tuple((d.rng.permutation(len(s)) - d.integer(0, 1) * len(s)).tolist())}),
    reference=lambda x, axes: np.transpose(x, axes),
    errors=[
        (
            lambda f: f(np.zeros((2, 3)), axes=(0, 0)),
            r"permute_dims: axes \(0, 0\) are no order of 2 axes; name each of 0 to 1 once",
        ),
        (lambda f: f(np.zeros((2, 3)), axes=(0, 1, 2)), r"permute_dims: axes \(0, 1, 2\) are no order of 2 axes"),
    ],
)
def permute_dims(x: Array, *, axes: Sequence[int]) -> Array:
    """Axes in another order: y.shape[k] = x.shape[axes[k]]. Raises ShapeError unless each axis is named once."""
    if sorted(a % x.ndim if -x.ndim <= a < x.ndim else -1 for a in axes) != list(range(x.ndim)):
        raise ShapeError(
            f"permute_dims: axes {tuple(axes)} are no order of {x.ndim} axes; name each of 0 to {x.ndim - 1} once"
        )
    return x.transpose(axes)


@permute_dims.vjp(saves=())
def _(g, y, aux, x, *, axes, needs):  # type: ignore[no-untyped-def]
    return permute_dims(g, axes=tuple(np.argsort([a % len(axes) for a in axes]).tolist()))


@op(
    "swapaxes",
    shapes=ANY,
    definition=r"y_{\dots j \dots i \dots} = x_{\dots i \dots j \dots}",
    dtype="any",
    view=True,
    samples=ranked(lambda d, s: {"axis1": d.axis(len(s)), "axis2": d.axis(len(s))}, min_rank=1),
    reference=lambda x, axis1, axis2: np.swapaxes(x, axis1, axis2),
    errors=[(lambda f: f(np.zeros((2, 3)), axis1=0, axis2=2), "swapaxes: axis 2 is out of range for 2 dimensions")],
)
def swapaxes(x: Array, *, axis1: int, axis2: int) -> Array:
    """Two axes exchanged. Raises ShapeError for an axis that x does not have."""
    return x.swapaxes(normalize_axis("swapaxes", axis1, x.ndim), normalize_axis("swapaxes", axis2, x.ndim))


@swapaxes.vjp(saves=())
def _(g, y, aux, x, *, axis1, axis2, needs):  # type: ignore[no-untyped-def]
    return swapaxes(g, axis1=axis1, axis2=axis2)


@composite(
    "moveaxis",
    shapes=ANY,
    definition=r"y_{\dots, i_s, \dots} = x_{\dots, i_s, \dots}, \quad \text{axis } s \text{ at position } d",
    samples=ranked(lambda d, s: {"source": d.axis(len(s)), "destination": d.axis(len(s))}, min_rank=1),
    reference=lambda x, source, destination: np.moveaxis(x, source, destination),
    errors=[
        (lambda f: f(np.zeros((2, 3)), source=2, destination=0), "moveaxis: axis 2 is out of range"),
        (lambda f: f(np.zeros((2, 3)), source=(0, 1), destination=0), "moveaxis: 2 sources and 1 destinations"),
    ],
)
def moveaxis(x: Tensor, *, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
    """Axes `source` moved to positions `destination`; the others keep their order.

    Raises ShapeError for an axis that x does not have.
    """
    origins, goals = (
        [normalize_axis("moveaxis", a, x.ndim) for a in (axes if isinstance(axes, (tuple, list)) else (axes,))]
        for axes in (source, destination)
    )
    if len(origins) != len(goals) or len(set(origins)) != len(origins) or len(set(goals)) != len(goals):
        raise ShapeError(
            f"moveaxis: {len(origins)} sources and {len(goals)} destinations; give as many of each, and none twice"
        )
    order = [a for a in range(x.ndim) if a not in origins]
    for goal, origin in sorted(zip(goals, origins, strict=True)):
        order.insert(goal, origin)
    return permute_dims(x, axes=tuple(order))


# ------------------------------------------------------------------------------------------------ dtype
@op(
    "astype",
    shapes=ANY,
    definition=r"y = x \text{ in another dtype}",
    dtype="any",
    samples=ranked(lambda d, s: {"dtype": "float64"}),
    reference=lambda x, dtype: np.asarray(x, dtype),
    errors=[
        (lambda f: f(np.zeros(2), dtype="complex64"), "complex tensors are not supported yet"),
        (lambda f: f(np.zeros(2), dtype="no"), "'no' is no dtype"),
    ],
)
def astype(x: Array, *, dtype: Any) -> Array:
    """A copy in another dtype; differentiable between floats, its cotangent comes back in x's dtype.

    Raises DTypeError for no dtype.
    """
    return x.astype(canonical(dtype))


@astype.vjp(saves=())
def _(g, y, aux, x, *, dtype, needs):  # type: ignore[no-untyped-def]
    return astype(g, dtype=x.dtype)


# ------------------------------------------------------------------------------------------------ device
@op(
    "to_device",
    shapes=ANY,
    definition=r"y = x \text{ on another device}",
    dtype="any",
    samples=ranked(lambda d, s: {"device": current_device()}),
    reference=lambda x, device: x,
    errors=[(lambda f: f(np.zeros(2), device="tpu"), "there is no device 'tpu'")],
)
def to_device(x: Array, *, device: str) -> tuple[Array, str]:
    """The values on another device; the array itself where it is there. The cotangent comes back to x's device.

    Raises DeviceError for a device that can't be had.
    """
    return move(x, get_backend(device)), backend_of(x).name


@to_device.vjp(saves=())
def _(g, y, aux, x, *, device, needs):  # type: ignore[no-untyped-def]
    return to_device(g, device=aux)
