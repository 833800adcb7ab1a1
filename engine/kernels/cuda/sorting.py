"""Order, by CuPy."""

from __future__ import annotations

from typing import Any

from .launch import xp

Array = Any


def argsort(x: Array, axis: int, descending: bool) -> Array:
    """The order that sorts the axis, int64. Equal elements keep their order, NaN counts as the largest."""
    if not descending:
        return xp().argsort(x, axis=axis, kind="stable")
    return x.shape[axis] - 1 - xp().flip(xp().argsort(xp().flip(x, axis), axis=axis, kind="stable"), axis)


def topk(x: Array, k: int, axis: int, largest: bool) -> Array:
    """Where the k largest (or smallest) elements of the axis are, in their order: int64."""
    return argsort(x, axis, largest)[(slice(None),) * axis + (slice(0, k),)]


def one_hot(indices: Array, num_classes: int, dtype: Any) -> Array:
    """(*B) -> (*B,C)"""
    return (indices[..., None] == xp().arange(num_classes)).astype(dtype)  # (N,1) == (C,) -> (N,C)
