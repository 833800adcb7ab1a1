"""Sums of many numbers, without losing the small ones beside a large total.

NumPy adds an array's last axis pairwise, but any other axis row after row: of 4,000,000 rows of 0.1 in float32 it makes
384,525. Here every axis is summed in blocks, then the sums of blocks: the error grows with the block, not the axis.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from .backends import backend_of, get_backend
from .formula import Formula


def total(x: Any, axes: tuple[int, ...], keepdims: bool = False) -> Any:
    """x.sum(axis=axes, keepdims=keepdims) in blocks.

    x: array of any shape. axes: non-negative, distinct. The order of the sum depends on the shape alone.
    """
    return backend_of(x).kernel("reduce", "total")(x, axes, keepdims)


def added(a: Any, b: Any) -> Any:
    """a + b of large arrays on the CPU: several cores share it, and its memory has served before."""
    return _adding()(a, b)


@cache
def _adding() -> Callable[..., Any]:
    return get_backend("cpu").compile(Formula.trace(lambda a, b: a + b))
