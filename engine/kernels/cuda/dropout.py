"""Dropout: the mask of the CPU, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np

from .launch import elements, place_of_mask, run, xp

Array = Any


def dropout(x: Array, rate: float, seed: int, stream: int) -> Array:
    """Any shape; element i of x in C order lives or dies by word i of (seed, stream)."""
    threshold = round((1 - rate) * 2**32)  # words below it keep their element
    if threshold == 0:
        return xp().zeros(x.shape, x.dtype)
    y, last = xp().empty(x.shape, x.dtype), np.uint32(threshold - 1)
    x, place = xp().ascontiguousarray(x), place_of_mask(seed, stream)
    run("dropout", "dropout", x.dtype, elements(-(-x.size // 4)), x, y, *place, last, 1 / (1 - rate), x.size)
    return y
