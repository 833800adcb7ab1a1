"""The gradient of a bias, and of a bias that is followed by relu: sums over all pixels of each channel."""

from __future__ import annotations

from typing import Any

from .launch import elements, run, xp
from .reduce import total

Array = Any


def bias_gradient(g: Array) -> Array:
    """(..,F) -> (F,)"""
    return total(g, tuple(range(g.ndim - 1)))


def rectified_gradient(g: Array, y: Array) -> tuple[Array, Array]:
    """g where y = relu(..) is positive, else 0, and its sum over the pixels: (..,F), (..,F) -> (..,F), (F,)"""
    passed = xp().empty(g.shape, g.dtype)
    run("bias", "rectified", g.dtype, elements(g.size), *map(xp().ascontiguousarray, (g, y)), passed, g.size)
    return passed, bias_gradient(passed)


def add_bias(y: Array, bias: Array | None, relu: bool) -> Array:
    """y + bias, and max(0, that) with relu, in place: (..,F), (F,) -> (..,F)"""
    if bias is not None or relu:
        bias = None if bias is None else xp().ascontiguousarray(bias)
        run("bias", "add_bias", y.dtype, elements(y.size), y, bias, y.size, y.shape[-1], relu)
    return y
