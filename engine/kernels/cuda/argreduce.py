"""Where the extremes are, by CuPy."""

from __future__ import annotations

from typing import Any

Array = Any


def argmax(x: Array, axis: Any, keepdims: bool) -> Array:
    """Where the largest element is; the first of equals, a NaN wins."""
    return x.argmax(axis=axis, keepdims=keepdims)


def argmin(x: Array, axis: Any, keepdims: bool) -> Array:
    """Where the smallest element is; the first of equals, a NaN wins."""
    return x.argmin(axis=axis, keepdims=keepdims)
