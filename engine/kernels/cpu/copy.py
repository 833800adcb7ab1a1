"""Numbers from one array into another, however both lie in memory.

    copies([(y, x), ...])     y[...] = x for each pair: the parts of a join, a margin and what it surrounds
    copied(x)                 a copy in C order
    unturned(x)               x itself, unless its rows lie scattered over its memory

Small copies are NumPy's; the cores share large ones (copy_tiles.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .buffers import empty

Array = np.ndarray[Any, Any]

LEAST = 1 << 20  # bytes, from which on cores share a copy
TURNED = 8  # so many times sooner where the order is another
LEAST_OF_ONE = 1 << 15  # bytes of one of several copies


def copies(pairs: Sequence[tuple[Array, Array]]) -> None:
    """y[...] = x for each (y, x), where no y shares memory with another pair's arrays; x broadcasts."""
    if _are_large(pairs):
        from .copy_tiles import copy_tiles

        word = math.gcd(pairs[0][0].itemsize, 8)
        mine = [y.nbytes >= LEAST_OF_ONE and not _is_numpys(y, x, word) for y, x in pairs]
        copy_tiles([pair for pair, yes in zip(pairs, mine, strict=True) if yes], word)
        pairs = [pair for pair, yes in zip(pairs, mine, strict=True) if not yes]
    for y, x in pairs:
        y[...] = x


def _are_large(pairs: Sequence[tuple[Array, Array]]) -> bool:
    """Is there enough to do for a kernel to be called?"""
    work = 0
    for y, x in pairs:
        work += y.nbytes if x.strides[-1:] in ((x.itemsize,), (0,), ()) else TURNED * y.nbytes
    return work >= LEAST


def _is_numpys(y: Array, x: Array, word: int) -> bool:
    """Is this a copy that the kernel does not know: of other numbers, of Python objects, within one memory?"""
    return (
        not y.ndim  # x may be a number then, which has no memory
        or x.dtype != y.dtype
        or y.dtype.hasobject
        or x.ndim > y.ndim
        or math.gcd(word, *x.strides, *y.strides) != word
        or np.may_share_memory(x, y)
    )


def copied(x: Array) -> Array:
    """The same numbers in C order, in memory of their own."""
    y = empty(x.shape, x.dtype)
    copies([(y, x)])
    return y


def unturned(x: Array) -> Array:
    """x, or a copy in C order where some axis lies closer in memory than the last: a kernel would crawl along that."""
    if x.ndim < 2 or TURNED * x.nbytes < LEAST:
        return x
    step = abs(x.strides[-1])
    return copied(x) if any(0 < abs(s) < step and n > 1 for s, n in zip(x.strides, x.shape, strict=True)) else x
