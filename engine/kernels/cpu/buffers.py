"""Memory for large results, used again.

    y = empty((64, 26, 26, 32), float32)     as np.empty; when y and all its views are gone, its memory waits on a shelf
    z = empty((64, 26, 26, 32), float32)     ... and serves the next array of about its size

A fresh large array costs one page fault for every 4 KiB, when it is first written to: a training step that allocates
everything anew can spend half of its time in the operating system. Shapes repeat from step to step, so the shelves soon
hold what a step needs. The memory used last, which the caches may still hold, is handed out first; what has waited
longest is freed when there is too much. Every array starts at a cache line.
"""

from __future__ import annotations

import math
import os
import threading
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
    with _lock:
        for shelf in _shelves.values():
            shelf.waiting.clear()
        _held = 0


def cached_bytes() -> int:
    """How much memory waits on the shelves."""
    return _held


# --- the shelves: one for each size ----------------------------------------------------------------------------------


class Memory(np.ndarray[Any, Any]):
    """Bytes from a cache line on. No plain array: NumPy would name it, and not the loan, as the `base` of a result."""


class Shelf:
    """Memory of one size that waits to be borrowed again."""

    __slots__ = "asked", "waiting"

    def __init__(self) -> None:
        self.asked = 0  # when somebody last wanted some, counted in requests
        self.waiting: list[Memory] = []


class Loan(np.ndarray[Any, Any]):
    """Borrowed bytes, whose memory returns to its shelf when the last array in them is gone."""

    def __del__(self) -> None:
        global _held
        size, memory = self.size, self.base
        if type(memory) is not Memory:  # NumPy made it of a loan: a view, or the result of a formula
            return
        with _lock:
            _shelves[size].waiting.append(memory)
            _held += size
            if _held > KEPT:
                _clear()


_shelves: dict[int, Shelf] = {}
_lock = threading.RLock()  # the garbage collector may return an array while we are in here
_requests = _held = 0


def _borrow(nbytes: int) -> Loan:
    """So many bytes at least."""
    global _held, _requests
    step = 1 << (nbytes.bit_length() - 4)
    size = -(-nbytes // step) * step  # an eighth more at most: sizes that differ little share a shelf
    memory = None
    with _lock:
        shelf = _shelves.get(size)
        if shelf is None:
            shelf = _shelves[size] = Shelf()
        shelf.asked = _requests = _requests + 1
        if shelf.waiting:
            memory = shelf.waiting.pop()
            _held -= size
    if memory is None:
        fresh = np.empty(size + LINE, np.uint8)
        start = -fresh.ctypes.data % LINE
        memory = fresh[start : start + size].view(Memory)
    return Loan(size, _BYTE, memory)


_BYTE = np.dtype(np.uint8)


def _clear() -> None:
    """Free what has waited longest, where nobody has asked for the longest time."""
    global _held
    for size, shelf in sorted(_shelves.items(), key=lambda item: item[1].asked):
        while shelf.waiting and _held > KEPT:
            del shelf.waiting[0]
            _held -= size


def _after_fork() -> None:
    """Another thread may have held the lock when this process was forked off."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
