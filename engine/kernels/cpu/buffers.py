"""Memory for large results, used again.

    y = empty((64, 26, 26, 32), float32)     as np.empty; when y and all its views are gone, its memory waits on a shelf
    z = empty((64, 26, 26, 32), float32)     ... and serves the next array of about its size

A fresh large array costs one page fault for every 4 KiB, when it is first written to: a training step that allocates
everything anew can spend half of its time in the operating system. Shapes repeat from step to step, so the shelves soon
hold what a step needs. The memory used last, which the caches may still hold, is handed out first; what nobody asks for
is freed when there is too much. Every array starts at a cache line.

The shelves are machine code (`shelves.py`), made when the first large array is wanted.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import math
from operator import index
from typing import Any

import numpy as np

from engine.forks import lock

Array = np.ndarray[Any, Any]

LEAST, MOST = 1 << 16, 1 << 46  # bytes: for less, malloc does the same; for more, it says that there are none
KEPT = 1 << 30  # bytes on the shelves at most

# Words of the stock that are read here: how much waits, how much may, whoever makes arrays (0 until it is there).
HELD, MOST_HELD, MAKE = range(3)
SHELVES, SHELF = 16, 2  # where those of the shelves begin, and how many each has
SIZES = 8 * (MOST.bit_length() - LEAST.bit_length() + 1)  # of shelves: eight to each power of two
WORDS = SHELVES + SHELF * SIZES

stock = (ctypes.c_int64 * WORDS)(0, KEPT)


def empty(shape: Any, dtype: Any) -> Array:
    """An array of any values, C-contiguous: np.empty(shape, dtype)."""
    if type(dtype) is type:  # np.float32 and the like
        dtype = np.dtype(dtype)
    sides = (shape,) if isinstance(shape, int) else shape
    if math.prod(map(index, sides)) * dtype.itemsize < LEAST or dtype.hasobject:
        return np.empty(shape, dtype)
    return _lend(dtype, dtype.itemsize, *sides)


def empty_cache() -> None:
    """Give the memory that waits on the shelves back to the system."""
    if stock[HELD]:
        _clear()


def cached_bytes() -> int:
    """How much memory waits on the shelves."""
    return stock[HELD]


def prepare() -> None:
    """Have the shelves ready."""
    with _preparing:
        _prepare()


_preparing = lock()


@functools.cache
def _prepare() -> None:
    global _lend, _clear
    ready = importlib.import_module(".shelves", __package__).set_up()
    _lend, _clear = ready or (lambda dtype, itemsize, *sides: np.empty(sides, dtype), _clear)


def _lend(dtype: Any, itemsize: int, *sides: int) -> Array:
    """Only the first time; then it is `shelves.lent`, or np.empty where there is no machine code."""
    prepare()
    return _lend(dtype, itemsize, *sides)


def _clear() -> None:
    """Of nothing, until there are shelves."""
