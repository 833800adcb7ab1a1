"""Softmax and its relatives: any float dtype, any axis, no copies of contiguous arrays."""

from __future__ import annotations

import math
from typing import Any

from .launch import rows, run, xp

Array = Any


def softmax(x: Array, axis: int) -> Array:
    """Any shape; probabilities along `axis`."""
    return _on_rows("softmax_rows", axis, x)


def log_softmax(x: Array, axis: int) -> Array:
    """Any shape; logarithms of the probabilities along `axis`."""
    return _on_rows("log_softmax_rows", axis, x)


def softmax_gradient(g: Array, p: Array, axis: int) -> Array:
    """The cotangent of softmax's input from that of its result p."""
    return _on_rows("softmax_gradient_rows", axis, g, p)


def log_softmax_gradient(g: Array, log_p: Array, axis: int) -> Array:
    """The cotangent of log_softmax's input from that of its result log_p."""
    return _on_rows("log_softmax_gradient_rows", axis, g, log_p)


def _on_rows(kernel: str, axis: int, *xs: Array) -> Array:
    shape, dtype = xs[-1].shape, xs[-1].dtype
    n, inner = shape[axis], math.prod(shape[axis + 1 :])
    y = xp().empty(shape, dtype)
    count = y.size // n if n else 0
    run("softmax", kernel, dtype, rows(count, n), *map(xp().ascontiguousarray, xs), y, count, n, inner)
    return y
