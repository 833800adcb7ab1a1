"""Along an axis: reversed, turned round, repeated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..backends import Array, backend_of
from ..errors import ArgumentError, ShapeError
from ..op import composite, op
from ..samples import Draw
from ..shapes import Shape, normalize_axes, normalize_axis
from ..tensor import Tensor
from .gather import index_add
from .index import zeros_for
from .reduce import sum as sum_
from .shape import ANY, broadcast_to, ranked, reshape, sides


# ------------------------------------------------------------------------------------------------ order
@op(
    "flip",
    shapes=ANY,
    definition=r"y_i = x_{n-1-i} \text{ along each of the axes}",
    dtype="any",
    view=True,
    samples=ranked(lambda d, s: {"axis": d.axes(len(s))}),
    reference=lambda x, axis: np.flip(x, axis),
    errors=[(lambda f: f(np.zeros((2, 3)), axis=2), "flip: axis 2 is out of range for 2 dimensions")],
)
def flip(x: Array, *, axis: int | Sequence[int] | None = None) -> Array:
    """The elements in reverse order along `axis` (None: all). Raises ShapeError for an axis that x does not have."""
    return backend_of(x).xp.flip(x, normalize_axes("flip", axis, x.ndim))


@flip.vjp(saves=())
def _(g, y, aux, x, *, axis, needs):  # type: ignore[no-untyped-def]
    return flip(g, axis=axis)


def _sample_roll(draw: Draw, shape: Shape) -> dict[str, Any]:
    axis = draw.axes(len(shape))
    shifts = tuple(draw.integer(-5, 5) for _ in axis) if isinstance(axis, tuple) else draw.integer(-5, 5)
    return {"shift": shifts, "axis": axis}


@op(
    "roll",
    shapes=ANY,
    definition=r"y_i = x_{(i - s) \bmod n}",
    dtype="any",
    samples=ranked(_sample_roll),
    reference=lambda x, shift, axis: np.roll(x, shift, axis),
    errors=[
        (lambda f: f(np.zeros((2, 3)), shift=1, axis=2), "roll: axis 2 is out of range for 2 dimensions"),
        (lambda f: f(np.zeros((2, 3)), shift=(1, 2), axis=0), "roll: 2 shifts for 1 axes"),
    ],
)
def roll(x: Array, *, shift: int | Sequence[int], axis: int | Sequence[int] | None = None) -> Array:
    """Elements moved `shift` places along `axis`, those that fall off come in again; axis None: in C order.

    Raises ShapeError for an axis that x does not have, or another number of shifts than of axes.
    """
    if axis is not None:
        shifts, axes = (v if isinstance(v, (tuple, list)) else (v,) for v in (shift, axis))
        if len(shifts) not in (1, len(axes)):
            raise ShapeError(f"roll: {len(shifts)} shifts for {len(axes)} axes; give one for each, or one for all")
        pairs = [(normalize_axis("roll", a, x.ndim), s) for a, s in zip(axes, shifts * len(axes), strict=False)]
        return backend_of(x).kernel("arrange", "roll")(x, pairs)
    return backend_of(x).kernel("arrange", "roll")(x.reshape(-1), [(0, int(np.sum(shift)))]).reshape(x.shape)


@roll.vjp(saves=())
def _(g, y, aux, x, *, shift, axis, needs):  # type: ignore[no-untyped-def]
    return roll(g, shift=tuple(-s for s in shift) if isinstance(shift, (tuple, list)) else -shift, axis=axis)


# ------------------------------------------------------------------------------------------------ repetition
@composite(
    "tile",
    shapes=ANY,
    definition=r"y_i = x_{i \bmod n} \text{ along every axis}",
    samples=ranked(lambda d, s: {"repetitions": tuple(d.integer(0, 3) for _ in range(d.integer(0, 3)))}, max_rank=3),
    reference=lambda x, repetitions: np.tile(x, repetitions),
    errors=[(lambda f: f(np.zeros(2), repetitions=-1), "tile: repetitions are counts, 0 or more, got -1")],
)
def tile(x: Tensor, *, repetitions: int | Sequence[int]) -> Tensor:
    """x as a tile, laid `repetitions` times along each of the last axes. Raises ArgumentError for a negative count."""
    times = sides("tile", repetitions)
    if any(t < 0 for t in times):
        raise ArgumentError(f"tile: repetitions are counts, 0 or more, got {repetitions}")
    rank = max(x.ndim, len(times))
    shape, times = (1,) * (rank - x.ndim) + x.shape, (1,) * (rank - len(times)) + times
    y = reshape(x, shape=tuple(n for side in shape for n in (1, side)))  # (N,M) -> (1,N,1,M)
    y = broadcast_to(y, shape=tuple(n for pair in zip(times, shape, strict=True) for n in pair))  # -> (r,N,s,M)
    return reshape(y, shape=tuple(t * n for t, n in zip(times, shape, strict=True)))  # -> (rN,sM)


def _sample_repeat(draw: Draw, shape: Shape) -> dict[str, Any]:
    if not shape or draw.integer(0, 3) == 0:
        return {"repeats": draw.integer(0, 3), "axis": None}
    axis = draw.axis(len(shape))
    each = tuple(draw.integer(0, 3) for _ in range(shape[axis]))
    return {"repeats": draw.choice([draw.integer(0, 3), each]), "axis": axis}


@op(
    "repeat",
    shapes=ANY,
    definition=r"y = (x_0, \dots, x_0, x_1, \dots, x_1, \dots), \quad x_i \text{ stands } r_i \text{ times}",
    dtype="any",
    samples=ranked(_sample_repeat, max_rank=3),
    reference=lambda x, repeats, axis: np.repeat(x, repeats, axis),
    errors=[
        (lambda f: f(np.zeros(3), repeats=-1), "repeat: repeats are counts, 0 or more, got -1"),
        (lambda f: f(np.zeros(3), repeats=(1, 2), axis=0), "repeat: 2 repeats for axis 0 of length 3"),
    ],
)
def repeat(x: Array, *, repeats: int | Sequence[int], axis: int | None = None) -> Array:
    """Each element of `axis` (None: of x in C order) stands `repeats` times in a row; one count for all, or one each.

    Raises ArgumentError for a negative count, and ShapeError for another number of counts than elements.
    """
    if axis is None:
        x, axis = x.reshape(-1), 0
    axis = normalize_axis("repeat", axis, x.ndim)
    counts, n = sides("repeat", repeats), x.shape[axis]
    if any(c < 0 for c in counts):
        raise ArgumentError(f"repeat: repeats are counts, 0 or more, got {repeats}")
    if isinstance(repeats, (tuple, list)) and len(counts) != n:
        raise ShapeError(
            f"repeat: {len(counts)} repeats for axis {axis} of length {n}; give one for all, or one for each"
        )
    return backend_of(x).kernel("arrange", "repeat")(x, counts, axis)


@repeat.vjp(saves=())
def _(g, y, aux, x, *, repeats, axis, needs):  # type: ignore[no-untyped-def]
    shape = (math.prod(x.shape),) if axis is None else x.shape
    k = (axis or 0) % len(shape)
    if isinstance(repeats, (tuple, list)):
        x_bar = index_add(zeros_for(g, shape), np.repeat(np.arange(shape[k]), repeats), g, axis=k)
    else:  # (N·r,M) -> (N,r,M) -> (N,M)
        x_bar = sum_(reshape(g, shape=(*shape[: k + 1], repeats, *shape[k + 1 :])), axis=k + 1)
    return reshape(x_bar, shape=x.shape)
