"""Dropout: the mask is made from counters, used, and forgotten."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from engine.random import bernoulli

from .buffers import empty
from .jit import ENABLED, Kernel, array_at, kernel, real_at, stack, view
from .random import fill_words, philox_bits
from .threads import launch

Array = np.ndarray[Any, Any]

WORDS = 1 << 11  # made at a time: they stay in the first cache
PART = 1 << 14  # numbers in a part, whole blocks of four


def plain_dropout(x: Array, rate: float, seed: int, stream: int) -> Array:
    """x / (1 - rate) where word i of (seed, stream) keeps element i, else 0."""
    kept = bernoulli(philox_bits(seed, stream, 0, x.size), 1 - rate).reshape(x.shape)
    return np.where(kept, x * x.dtype.type(1 / (1 - rate) if rate < 1 else 0), x.dtype.type(0))


@functools.cache
def _kernel(size: int) -> Kernel:
    dtype = np.float32 if size == 4 else np.float64
    words_memory = stack(4 * WORDS)

    def dropout(block, part):  # type: ignore[no-untyped-def]
        x, y = array_at(block, 0, dtype), array_at(block, 2, dtype)
        place, scale = array_at(block, 4, np.uint64), dtype(real_at(block, 6))
        words, last = view(words_memory(), WORDS, np.uint32), np.uint32(place[2])
        for i in range(part * PART, min(x.size, (part + 1) * PART), WORDS):
            fill_words(place[0], place[1], np.uint64(i // 4), words)
            a, b = x[i : i + WORDS], y[i : i + WORDS]
            for k in range(a.size):
                b[k] = a[k] * scale if words[k] <= last else dtype(0)

    return kernel(dropout, f"dropout_float{8 * size}")


def dropout(x: Array, rate: float, seed: int, stream: int) -> Array:
    """Any shape; element i of x in C order lives or dies by word i of (seed, stream)."""
    threshold = round((1 - rate) * 2**32)  # words below it keep their element
    if not ENABLED or x.dtype.char not in "fd" or x.size == 0 or threshold == 0:
        return plain_dropout(x, rate, seed, stream)
    y = empty(x.shape, x.dtype)
    place = np.array([seed, stream, threshold - 1], np.uint64)
    launch(_kernel(x.itemsize), -(-x.size // PART), np.ascontiguousarray(x), y, place, 1 / (1 - rate))
    return y
