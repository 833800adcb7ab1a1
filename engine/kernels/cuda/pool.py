"""Pooling of channels-last images: maxima with their places, means, and what goes back to the pixels."""

from __future__ import annotations

from typing import Any

import numpy as np

from .launch import elements, run, xp
from .window import Padding, Pair, window

Array = Any


def max_pool2d(x: Array, size: Pair, stride: Pair, padding: Padding, out: Pair) -> tuple[Array, Array]:
    """x (N,H,W,C) -> the largest number of each window and its number in the window, both (N,H',W',C)."""
    shape = x.shape[0], *out, x.shape[3]
    y, index = xp().empty(shape, x.dtype), xp().empty(shape, np.uint8 if size[0] * size[1] < 256 else np.int32)
    _run(f"max_pool2d_{index.dtype}", x.shape, size, stride, padding, out, x, y, index)
    return y, index


def scatter_windows(g: Array, index: Array, shape: Any, size: Pair, stride: Pair, padding: Padding, out: Pair) -> Array:
    """g and index (N,H',W',C) -> (N,H,W,C) = shape: each number of g to the element of its window that index names."""
    dx = xp().empty(shape, g.dtype)
    _run(f"scatter_windows_{index.dtype}", shape, size, stride, padding, out, g, index, dx)
    return dx


def gather_windows(x: Array, index: Array, size: Pair, stride: Pair, padding: Padding, out: Pair) -> Array:
    """x (N,H,W,C), index (N,H',W',C) -> of each window the element that index names."""
    y = xp().empty((x.shape[0], *out, x.shape[3]), x.dtype)
    _run(f"gather_windows_{index.dtype}", x.shape, size, stride, padding, out, x, index, y)
    return y


def average_pool2d(x: Array, size: Pair, stride: Pair, padding: Padding, out: Pair) -> Array:
    """x (N,H,W,C) -> the mean of each window's elements on the image, (N,H',W',C)."""
    y = xp().empty((x.shape[0], *out, x.shape[3]), x.dtype)
    _run("average_pool2d", x.shape, size, stride, padding, out, x, y)
    return y


def spread_windows(g: Array, shape: Any, size: Pair, stride: Pair, padding: Padding, out: Pair) -> Array:
    """g (N,H',W',C) -> (N,H,W,C) = shape: each number in equal shares over its window."""
    dx = xp().empty(shape, g.dtype)
    _run("spread_windows", shape, size, stride, padding, out, g, dx)
    return dx


def _run(kernel: str, shape: Any, size: Pair, stride: Pair, padding: Padding, out: Pair, *arrays: Array) -> None:
    """A thread for each number of the result: the last array that is none of an index."""
    arrays = tuple(map(xp().ascontiguousarray, arrays))
    result = arrays[1] if kernel.startswith("max") else arrays[-1]
    at = window(tuple(shape[1:]), size, stride, padding, out)
    run("pool", kernel, arrays[0].dtype, elements(result.size), *arrays, at, result.size)
