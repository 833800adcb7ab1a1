"""Elements picked along one axis, by CuPy, and added back in a fixed order."""

from __future__ import annotations

from typing import Any

from .embedding import add_at
from .launch import xp

Array = Any


def take_along_axis(x: Array, indices: Array, axis: int) -> Array:
    """y[o,k,j] = x[o, indices[o,k,j], j]; sides of 1 broadcast."""
    return xp().take_along_axis(x, indices, axis)


def scatter_add(x: Array, indices: Array, values: Array, axis: int) -> Array:
    """A copy of x with each value added to the element that its index names along the axis."""
    y = xp().array(x, order="C")
    grid = [xp().arange(n).reshape([-1 if i == a else 1 for i in range(x.ndim)]) for a, n in enumerate(indices.shape)]
    grid[axis] = indices
    add_at(y, tuple(grid), values)
    return y


def index_add(x: Array, indices: Array, values: Array, axis: int) -> Array:
    """A copy of x (.., n, ..) with slices of values (.., *I, ..) added to those that the indices name."""
    y = xp().array(x, order="C")
    add_at(y, (slice(None),) * axis + (indices,), values)
    return y
