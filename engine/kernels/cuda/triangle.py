"""One side of a diagonal, zeros on the other, by CuPy."""

from __future__ import annotations

from typing import Any

from .launch import xp

Array = Any


def tril(x: Array, k: int) -> Array:
    """0 above the k-th diagonal: (..,N,M) -> (..,N,M)"""
    return xp().tril(x, k)


def triu(x: Array, k: int) -> Array:
    """0 below the k-th diagonal: (..,N,M) -> (..,N,M)"""
    return xp().triu(x, k)
