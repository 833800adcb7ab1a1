"""Memory for large results, used again.

    y = empty((64, 26, 26, 32), float32)     as np.empty; when y and all its views are gone, its memory waits on a shelf
    z = empty((64, 26, 26, 32), float32)     ... and serves the next array of about its size

A fresh large array costs one page fault for every 4 KiB, when it is first written to: a training step that allocates
everything anew can spend half of its time in the operating system. Shapes repeat from step to step, so the shelves soon
hold what a step needs. The memory used last, which the caches may still hold, is handed out first; what has waited
longest is freed when there is too much. Every array starts at a cache line.
"""

from __future__ import annotations

import ctypes
import functools
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
    return np.ndarray(shape, dtype, _borrow(_size_class(nbytes)))


def empty_cache() -> None:
    """Give the memory that waits on the shelves back to the system."""
    global _held
    with _lock:
        _waiting.clear()
        _shelves.clear()
        _held = 0


def cached_bytes() -> int:
    """How much memory waits on the shelves."""
    return _held


# --- the shelves: one for each size ----------------------------------------------------------------------------------

Memory = tuple[Array, int]  # bytes, and where the first cache line starts

_shelves: dict[int, list[int]] = {}  # size -> tickets of what waits there, and perhaps of what was freed since
_waiting: dict[int, Memory] = {}  # ticket -> memory; the first has waited longest
_lock = threading.RLock()  # the garbage collector may return an array while we are in here
_next_ticket = _held = 0


def _size_class(nbytes: int) -> int:
    """Rounded up by an eighth at most: sizes that differ little share a shelf."""
    step = 1 << (nbytes.bit_length() - 4)
    return -(-nbytes // step) * step


def _borrow(size: int) -> Any:
    """Memory of `size` bytes, as an object that returns it when it dies."""
    global _held
    with _lock:
        shelf, memory = _shelves.get(size), None
        while shelf and memory is None:
            memory = _waiting.pop(shelf.pop(), None)
        if memory is not None:
            _held -= size
    if memory is None:
        fresh = np.empty(size + LINE, np.uint8)
        memory = fresh, -fresh.ctypes.data % LINE
    loan = _loan_type(size).from_buffer(*memory)
    loan.memory = memory
    return loan


def _give_back(loan: Any) -> None:
    """The last array of a loan is gone."""
    global _next_ticket, _held
    size = len(loan)
    with _lock:
        _next_ticket += 1
        _waiting[_next_ticket] = loan.memory
        _shelves.setdefault(size, []).append(_next_ticket)
        _held += size
        while _held > KEPT:
            _held -= _waiting.pop(next(iter(_waiting)))[0].size - LINE


@functools.cache
def _loan_type(size: int) -> Any:
    """The type of objects that lend `size` bytes."""
    return type("Loan", (ctypes.c_char * size,), {"__del__": _give_back})


def _after_fork() -> None:
    """Another thread may have held the lock when this process was forked off."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
