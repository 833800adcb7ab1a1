"""Where the memory of `buffers.py` waits, in machine code.

    take(bytes)     the first of the shelf for that size, else new from NumPy
    put(memory)     to the front of its shelf; while too much waits, free some of the shelf that was longest not asked

An array of ours owns its memory as any of NumPy's does; only whom NumPy asks to free it (`PyDataMem_Handler`) is `put`.
All of this runs under Python's lock and calls nobody on the way: no thread, no fork and no garbage collector finds a
shelf half arranged.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
from numba.core import types

from .buffers import HELD, LEAST, MAKE, MOST, MOST_HELD, SHELF, SHELVES, SIZES, WORDS, stock
from .jit import ENABLED, Kernel, device, invoke, number_at, stack, view
from .objects import (
    DATA,
    EMPTY,
    FLAGS,
    IN_A_ROW,
    NEW,
    OWN,
    OWNER,
    WRITEABLE,
    as_expected,
    builtin,
    immortal,
    python,
    table,
)

# More words of the stock: how often something was asked for; functions and objects of Python and NumPy.
REQUESTS, MADE_EMPTY, MADE_OF, KEEP, RELEASE, WHOLE, FORGET, ARRAY, BYTE, HANDLER, NONE = range(MAKE + 1, MAKE + 12)
FIRST, ASKED = range(SHELF)  # of each shelf: its first memory (0: none), when it was last asked for
LINE = 64  # bytes of a cache line
# What is written in the line before a memory: the next on its shelf, its shelf, its size, the array that it is part of
NEXT, PLACE, SIZE, PART_OF, NOTE = range(5)
BITS = LEAST.bit_length()
AXES = 64  # of an array, at most

_sides, _one = stack(8 * AXES), stack(8)


# --- take and put ----------------------------------------------------------------------------------------------------


@device
def _note(memory):  # type: ignore[no-untyped-def]
    return view(memory - LINE, NOTE, np.int64)


@device
def _take(stock, nbytes):  # type: ignore[no-untyped-def]
    """The address of so many bytes at least, less than MOST; 0: there are none, and Python's exception is set."""
    words, bits = view(stock, WORDS, np.int64), BITS
    nbytes = max(nbytes, LEAST)
    while nbytes >> bits:
        bits += 1
    eighths = ((nbytes - 1) >> (bits - 4)) + 1  # of a power of two: sizes that differ little share a shelf
    shelf = SHELVES + SHELF * (8 * (bits - BITS) + eighths - 8)
    words[REQUESTS] += 1
    words[shelf + ASKED] = words[REQUESTS]
    memory = words[shelf + FIRST]
    if memory != 0:
        words[shelf + FIRST] = _note(memory)[NEXT]
        words[HELD] -= _note(memory)[SIZE]
        return memory
    return _new(stock, shelf, eighths << (bits - 4))


@device
def _new(stock, shelf, size):  # type: ignore[no-untyped-def]
    array = _array_of(stock, size + 2 * LINE)
    if array == 0 and number_at(stock, HELD) > 0:  # nobody is refused what waits
        invoke(number_at(stock, FORGET), ())
        _free_all(stock)
        array = _array_of(stock, size + 2 * LINE)
    if array == 0:
        return 0
    memory = (number_at(array + DATA, 0) + 2 * LINE - 1) & -LINE
    note = _note(memory)
    note[PLACE], note[SIZE], note[PART_OF] = shelf, size, array
    return memory


@device
def _array_of(stock, nbytes):  # type: ignore[no-untyped-def]
    words, sides = view(stock, WORDS, np.int64), _one()
    view(sides, 1, np.int64)[0] = nbytes
    invoke(words[KEEP], (words[BYTE],))  # as the array that is made has a reference to it
    return invoke(words[MADE_EMPTY], (1, sides, words[BYTE], 0))


@device
def _put(stock, memory):  # type: ignore[no-untyped-def]
    words, note = view(stock, WORDS, np.int64), _note(memory)
    note[NEXT] = words[note[PLACE] + FIRST]
    words[note[PLACE] + FIRST] = memory
    words[HELD] += note[SIZE]
    while words[HELD] > words[MOST_HELD]:
        _free_some(stock)


@device
def _free_some(stock):  # type: ignore[no-untyped-def]
    words, oldest = view(stock, WORDS, np.int64), 0
    for k in range(SIZES):
        shelf = SHELVES + SHELF * k
        if words[shelf + FIRST] != 0 and (oldest == 0 or words[shelf + ASKED] < words[oldest + ASKED]):
            oldest = shelf
    note = _note(words[oldest + FIRST])
    words[oldest + FIRST] = note[NEXT]
    words[HELD] -= note[SIZE]
    invoke(words[RELEASE], (note[PART_OF],))


@device
def _free_all(stock):  # type: ignore[no-untyped-def]
    while number_at(stock, HELD) > 0:
        _free_some(stock)


# --- whom NumPy asks -------------------------------------------------------------------------------------------------


def _free(stock, memory, size):  # type: ignore[no-untyped-def]
    _put(stock, memory)


def _renew(stock, memory, size):  # type: ignore[no-untyped-def]
    """The same contents in memory of another size, for `x.resize(shape)`."""
    new = _take(stock, size) if size < MOST else 0
    if new != 0:
        words = min(_note(memory)[SIZE], _note(new)[SIZE]) // 8
        source, target = view(memory, words, np.int64), view(new, words, np.int64)
        for k in range(words):
            target[k] = source[k]
        _put(stock, memory)
    return new


# --- whom we ask -----------------------------------------------------------------------------------------------------


def _make(stock, axes, sides, dtype, itemsize):  # type: ignore[no-untyped-def]
    """An array; 0: Python's exception is set."""
    words = view(stock, WORDS, np.int64)
    nbytes = _bytes(axes, sides, itemsize)
    invoke(words[KEEP], (dtype,))
    if nbytes < LEAST:
        return invoke(words[MADE_EMPTY], (axes, sides, dtype, 0))
    memory = _take(stock, nbytes)
    if memory == 0:
        invoke(words[FORGET], ())
        return invoke(words[MADE_EMPTY], (axes, sides, dtype, 0))  # which names the array that is refused
    array = invoke(words[MADE_OF], (words[ARRAY], dtype, axes, sides, 0, memory, IN_A_ROW | WRITEABLE, 0))
    if array == 0:
        _put(stock, memory)
        return 0
    invoke(words[KEEP], (words[HANDLER],))
    view(array + OWNER, 1, np.int64)[0] = words[HANDLER]
    flags = view(array + FLAGS, 1, np.int32)
    flags[0] = flags[0] | np.int32(OWN)
    return array


@device
def _bytes(axes, sides, itemsize):  # type: ignore[no-untyped-def]
    """Of all numbers; -1: no shape, or MOST and more, which is for NumPy to say."""
    if axes > AXES:
        return -1
    nbytes = itemsize
    for k in range(axes):
        side = number_at(sides, k)
        if side < 0 or (side > 0 and nbytes >= MOST // side):
            return -1
        nbytes *= side
    return nbytes


_made = device(_make)


def _lent(words, arguments, count):  # type: ignore[no-untyped-def]
    """The array of (dtype, its itemsize, *sides)."""
    stock, place = number_at(words + DATA, 0), _sides()
    sides = view(place, AXES, np.int64)
    for k in range(min(count - 2, AXES)):
        sides[k] = invoke(number_at(stock, WHOLE), (number_at(arguments, k + 2),))
    itemsize = invoke(number_at(stock, WHOLE), (number_at(arguments, 1),))
    return _made(stock, count - 2, place, number_at(arguments, 0), itemsize)


def _cleared(words, arguments, count):  # type: ignore[no-untyped-def]
    stock = number_at(words + DATA, 0)
    _free_all(stock)
    none = number_at(stock, NONE)
    invoke(number_at(stock, KEEP), (none,))
    return none


free = Kernel(_free, "buffers_free", arguments=3)
renew = Kernel(_renew, "buffers_renew", arguments=3, result=types.int64)
make = Kernel(_make, "buffers_make", arguments=5, result=types.int64)
lent = Kernel(_lent, "buffers_lent", arguments=3, result=types.int64)
cleared = Kernel(_cleared, "buffers_cleared", arguments=3, result=types.int64)


# --- setting up ------------------------------------------------------------------------------------------------------


class Handler(ctypes.Structure):
    """PyDataMem_Handler."""

    _fields_ = [
        ("name", ctypes.c_char * 127),
        ("version", ctypes.c_uint8),
        *((word, ctypes.c_void_p) for word in ("context", "malloc", "calloc", "realloc", "free")),
    ]


NAME = b"mem_handler"  # by which NumPy knows it


def set_up() -> tuple[Callable[..., Any], Callable[[], None]] | None:
    """Write the words of the stock; `lend(dtype, itemsize, *sides)`, which makes an array, and `clear()`. None where
    there is no machine code, or objects lie otherwise.
    """
    if not ENABLED or not as_expected():
        return None
    # malloc and calloc: never asked for, as nothing is made by way of the handler
    handler = Handler(b"chainrule", 1, ctypes.addressof(stock), 0, 0, renew.address, free.address)
    new = ctypes.pythonapi.PyCapsule_New
    new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    capsule, byte = new(ctypes.addressof(handler), NAME, None), np.dtype(np.uint8)
    for thing in (stock, handler, NAME, capsule, byte, None):
        immortal(thing)  # arrays may outlive this module
    stock[KEEP], stock[RELEASE] = python("Py_IncRef"), python("Py_DecRef")
    stock[WHOLE], stock[FORGET] = python("PyLong_AsLongLong"), python("PyErr_Clear")
    stock[MADE_EMPTY], stock[MADE_OF] = table()[EMPTY], table()[NEW]
    stock[ARRAY], stock[BYTE], stock[HANDLER], stock[NONE] = map(id, (np.ndarray, byte, capsule, None))
    stock[MAKE] = make.address
    words = np.frombuffer(memoryview(stock), np.int64)
    return builtin(lent.address, words), builtin(cleared.address, words)
