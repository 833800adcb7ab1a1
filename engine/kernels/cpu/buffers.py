"""Memory for large results, used again.

    y = empty((64, 26, 26, 32), float32)     as np.empty; when y and all its views are gone, its memory waits on a shelf
    z = empty((64, 26, 26, 32), float32)     ... and serves the next array of about its size

A fresh large array costs one page fault for every 4 KiB, when it is first written to: a training step that allocates
everything anew can spend half of its time in the operating system. Shapes repeat from step to step, so the shelves soon
hold what a step needs. The memory used last, which the caches may still hold, is handed out first; what has waited
longest is freed when there is too much. Every array starts at a cache line.
"""

from __future__ import annotations

import contextlib
import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

LEAST = 1 << 16  # bytes: for less, malloc does the same
KEPT = 1 << 30  # bytes on the shelves at most
LINE = 64  # bytes of a cache line


def empty(shape: Any, dtype: Any) -> Array:
    """An array of any values, C-contiguous: np.empty(shape, dtype)."""
    if type(dtype) is type:  # np.float32 and the like
        dtype = np.dtype(dtype)
    nbytes = (shape if isinstance(shape, int) else math.prod(shape)) * dtype.itemsize
    if nbytes < LEAST:
        return np.empty(shape, dtype)
    return np.ndarray(shape, dtype, _borrow(nbytes))


def empty_cache() -> None:
    """Give the memory that waits on the shelves back to the system."""
    global _held
    for shelf in _stock():
        shelf.clear()
    _held = 0


def cached_bytes() -> int:
    """How much memory waits on the shelves."""
    return sum(shelf.size * len(shelf) for shelf in _stock())


# --- the shelves: one for each size ----------------------------------------------------------------------------------
#
# No lock: several threads, and the garbage collector at any moment, only ever append to a shelf or pop from it, and
# Python does each of these as a whole. `_held` may lose a count to another thread; `_clear` counts anew.


class Memory(np.ndarray[Any, Any]):
    """Bytes from a cache line on. No plain array: NumPy would name it, and not the loan, as the `base` of a result."""


class Shelf(list[Memory]):
    """Memory of one size that waits to be borrowed again."""

    __slots__ = "asked", "size"

    def __init__(self, size: int) -> None:
        self.size = size
        self.asked = 0  # when somebody last wanted some, counted in requests


class Loan(np.ndarray[Any, Any]):
    """Borrowed bytes, whose memory returns to its shelf when the last array in them is gone."""

    def __del__(self) -> None:
        global _held
        memory = self.base
        if type(memory) is Memory:  # else NumPy made it of a loan: a view, or the result of a formula
            size = self.size
            _shelves[size].append(memory)
            _held += size
            if _held > KEPT:
                _clear()


_shelves: dict[int, Shelf] = {}
_requests = _held = 0  # about


def _stock() -> list[Shelf]:
    return list(_shelves.values())


def _borrow(nbytes: int) -> Loan:
    """So many bytes at least."""
    global _held, _requests
    step = 1 << (nbytes.bit_length() - 4)
    size = -(-nbytes // step) * step  # an eighth more at most: sizes that differ little share a shelf
    shelf = _shelves.get(size)
    if shelf is None:
        shelf = _shelves.setdefault(size, Shelf(size))
    shelf.asked = _requests = _requests + 1
    try:
        memory = shelf.pop()
        _held -= size
    except IndexError:
        fresh = np.empty(size + LINE, np.uint8)
        start = -fresh.ctypes.data % LINE
        memory = fresh[start : start + size].view(Memory)
    return Loan(size, _BYTE, memory)


_BYTE = np.dtype(np.uint8)


def _clear() -> None:
    """Free what has waited longest, where nobody has asked for the longest time."""
    global _held
    _held = cached_bytes()
    for shelf in sorted(_stock(), key=lambda shelf: shelf.asked):
        while shelf and _held > KEPT:
            with contextlib.suppress(IndexError):  # another thread took the last
                del shelf[0]
                _held -= shelf.size
