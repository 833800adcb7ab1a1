"""Python's and NumPy's objects as machine code meets them: where their fields lie, the functions that make them.

The fields are those that NumPy's headers show to every compiled extension, in their order there; `as_expected` looks
them up in objects whose contents are known.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

HEAD = object.__basicsize__  # bytes that every object begins with; the last word of them is its type
TYPE = HEAD - 8
DATA, AXES, SHAPE, STEPS, DTYPE, FLAGS, OWNER = (HEAD + k for k in (0, 8, 16, 24, 40, 48, 72))  # of an array
ALIGNED, IN_A_ROW, OWN, WRITEABLE = 0x100, 0x101, 0x4, 0x400  # flags; in a row: C order and aligned
EMPTY, NEW, OWNER_NOW = 184, 94, 305  # in NumPy's table: PyArray_Empty, PyArray_NewFromDescr, PyDataMem_GetHandler


def python(name: str) -> int:
    """The address of a function of Python's C interface."""
    return ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0


@functools.cache
def table(name: str = "_ARRAY_API") -> Any:
    """The addresses of the functions that NumPy hands to compiled extensions."""
    umath: Any = importlib.import_module("numpy._core._multiarray_umath")
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return ctypes.cast(pointer(getattr(umath, name), None), ctypes.POINTER(ctypes.c_size_t))


def declined(*_: Any) -> Any:
    """The short way where there is none."""
    return NotImplemented


def immortal(thing: object) -> None:
    """It outlives everything, for it may be wanted when Python takes its modules apart."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


class Method(ctypes.Structure):
    """PyMethodDef."""

    _fields_ = [("name", ctypes.c_char_p), ("code", ctypes.c_void_p), ("flags", ctypes.c_int), ("doc", ctypes.c_char_p)]


def builtin(code: int, block: Any) -> Callable[..., Any]:
    """`object code(block, arguments, count)`, a METH_FASTCALL function of C, as a function of Python."""
    new = ctypes.pythonapi.PyCFunction_NewEx
    new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p]
    fastcall = 0x80
    method = Method(b"machine_code", code, fastcall, None)
    immortal(method)  # the function borrows it
    function: Callable[..., Any] = new(ctypes.addressof(method), block, None)
    return function


@functools.cache
def as_expected() -> bool:
    """Do arrays and numbers lie in memory as this file says, and does Python's lock keep its threads apart?"""
    if ctypes.sizeof(ctypes.c_void_p) != 8 or not getattr(sys, "_is_gil_enabled", lambda: True)():
        return False
    owner = ctypes.PYFUNCTYPE(ctypes.c_void_p)(table()[OWNER_NOW])()
    for x in (np.ones((3, 5), np.float32), np.ones((3, 5), np.int8)[:, 1:], np.array(True)):
        word = {k: ctypes.c_size_t.from_address(id(x) + k).value for k in (TYPE, DATA, SHAPE, STEPS, DTYPE, OWNER)}
        axes, flags = (ctypes.c_int.from_address(id(x) + k).value for k in (AXES, FLAGS))
        if (word[TYPE], word[DATA], word[DTYPE], axes) != (id(np.ndarray), x.ctypes.data, id(x.dtype), x.ndim):
            return False
        if (word[OWNER] or None) != (owner if x.flags.owndata else None):
            return False
        shape, steps = (
            tuple(ctypes.c_ssize_t.from_address(word[place] + 8 * k).value for k in range(axes))
            for place in (SHAPE, STEPS)
        )
        marks = x.flags.c_contiguous and x.flags.aligned, x.flags.owndata, x.flags.writeable
        found = flags & IN_A_ROW == IN_A_ROW, bool(flags & OWN), bool(flags & WRITEABLE)
        if (shape, steps, found) != (x.shape, x.strides, marks):
            return False
    return ctypes.c_double.from_address(id(math.pi) + HEAD).value == math.pi
