"""Elements that move along an axis, or stand several times in a row, by CuPy."""

from __future__ import annotations

from typing import Any

from .launch import xp

Array = Any


def repeat(x: Array, counts: tuple[int, ...], axis: int) -> Array:
    """Each element of the axis so many times: one count for all, or one each."""
    return xp().repeat(x, counts[0] if len(counts) == 1 else list(counts), axis)


def roll(x: Array, pairs: list[tuple[int, int]]) -> Array:
    """For each (axis, shift): the elements so many places on; those that fall off come in again."""
    axes, shifts = zip(*pairs, strict=True) if pairs else ((), ())
    return xp().roll(x, shifts, axes)
