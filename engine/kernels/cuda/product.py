"""Products, by CuPy."""

from __future__ import annotations

from typing import Any

Array = Any


def product(x: Array, axes: tuple[int, ...], keepdims: bool = False) -> Array:
    """x.prod(axes, keepdims)"""
    return x.prod(axis=axes, keepdims=keepdims)
