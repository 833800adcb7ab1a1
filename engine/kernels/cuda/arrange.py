"""Elements that come to stand elsewhere: copied, turned round, repeated, joined, put into something larger, by CuPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .launch import xp

Array = Any


def copied(x: Array) -> Array:
    """The same numbers in C order, in memory of their own."""
    return xp().array(x, order="C")


def reshape(x: Array, shape: tuple[int, ...]) -> Array:
    """In C order in another shape: a view where that can be."""
    return x.reshape(shape)


def diagonal(x: Array, k: int) -> Array:
    """The k-th diagonal of each matrix, as a view: (..,N,M) -> (..,D)"""
    return x.diagonal(k, -2, -1)


def repeat(x: Array, counts: tuple[int, ...], axis: int) -> Array:
    """Each element of the axis so many times: one count for all, or one each."""
    return xp().repeat(x, counts[0] if len(counts) == 1 else list(counts), axis)


def roll(x: Array, pairs: list[tuple[int, int]]) -> Array:
    """For each (axis, shift): the elements so many places on; those that fall off come in again."""
    axes, shifts = zip(*pairs, strict=True) if pairs else ((), ())
    return xp().roll(x, shifts, axes)


def concatenate(xs: Sequence[Array], axis: int) -> Array:
    """Arrays of one dtype end to end. CuPy's own would send a table of addresses to the device."""
    axis, side, end = axis % xs[0].ndim, sum(x.shape[axis] for x in xs), 0
    y = xp().empty((*xs[0].shape[:axis], side, *xs[0].shape[axis + 1 :]), xs[0].dtype)
    for x in xs:
        start, end = end, end + x.shape[axis]
        y[(slice(None),) * axis + (slice(start, end),)] = x
    return y


def pad(x: Array, widths: tuple[tuple[int, int], ...], value: float) -> Array:
    """x within a margin, ((before, after), ...) wide, of one value."""
    y = xp().full([before + n + after for n, (before, after) in zip(x.shape, widths, strict=True)], value, x.dtype)
    y[tuple(slice(before, before + n) for n, (before, _) in zip(x.shape, widths, strict=True))] = x
    return y


def put(x: Array, index: tuple[Any, ...], value: Array) -> Array:
    """A copy of x, and then y[index] = value, for an index without arrays."""
    y = copied(x)
    y[index] = value
    return y
