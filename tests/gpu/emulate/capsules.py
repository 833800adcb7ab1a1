"""How another function takes the place of one that CuPy's compiled modules call.

CuPy's Cython modules look up each CUDA call in `module.__pyx_capi__`: a C function pointer in a capsule, whose name is
its signature. They do so when they are imported, so whoever exchanges the capsules before that is called instead.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import re
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.gpu import shim

python = ctypes.pythonapi
python.PyCapsule_GetName.restype = ctypes.c_char_p
python.PyCapsule_GetName.argtypes = [ctypes.py_object]
python.PyCapsule_New.restype = ctypes.py_object
python.PyCapsule_New.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]

TYPES: dict[str, Any] = {
    "PyObject *": ctypes.py_object, "int": ctypes.c_int, "intptr_t": ctypes.c_ssize_t, "size_t": ctypes.c_size_t,
    "unsigned int": ctypes.c_uint, "float": ctypes.c_float, "uintmax_t": ctypes.c_uint64,
    "cudaMemcpyKind": ctypes.c_int,
}  # fmt: skip
MOST_ARGUMENTS = 12  # that guard.cpp passes on

calls: Counter[str] = Counter()  # by name: what was asked of the device
_kept: list[Any] = []  # capsules point into these


def override(module: Any, functions: dict[str, Callable[..., Any]]) -> None:
    """Let `functions` be called by whoever imports their names from `module` from now on, in C and in Python."""
    for name, function in functions.items():
        signature = python.PyCapsule_GetName(module.__pyx_capi__[name])
        result, arguments, own = _parsed(signature.decode())
        counting, guards = _counting(name, function, len(arguments) - own), _guards()
        callback = ctypes.PYFUNCTYPE(result, *arguments)(_noting_failure(counting, result))
        address = ctypes.cast(callback, ctypes.c_void_p)
        if result is not ctypes.c_float:
            assert len(arguments) <= MOST_ARGUMENTS, signature
            raises = ctypes.cast(python.PyErr_SetObject, ctypes.c_void_p)
            error = -1 if result is ctypes.c_int else 0  # of objects and addresses it is 0 that says so
            address = guards.guard(len(_kept), address, int(result is ctypes.py_object), error, id(None), raises)
        _kept.append((callback, signature))
        module.__pyx_capi__[name] = python.PyCapsule_New(address, signature, None)
        setattr(module, name, counting)


def _parsed(signature: str) -> tuple[Any, list[Any], int]:
    """The types of a C function, and how many of its arguments are Cython's own: they come last."""
    match = re.match(r"(.*?) ?\((.*)\)$", signature)
    assert match is not None, signature
    texts = [] if match[2] == "void" else [a.strip() for a in match[2].split(",")]
    types = [TYPES[t] if "__pyx" not in t else ctypes.c_void_p if "*" in t else ctypes.c_int for t in texts]
    return TYPES[match[1].strip()], types, sum("__pyx" in t for t in texts)


def _counting(name: str, function: Callable[..., Any], count: int) -> Callable[..., Any]:
    def call(*given: Any) -> Any:
        calls[name] += 1
        return function(*given[:count])

    return call


_failures: list[BaseException] = []  # the last one, which C code holds without counting


def _noting_failure(function: Callable[..., Any], result: Any) -> Callable[..., Any]:
    """No exception may leave a callback: guard.cpp raises what is noted here."""

    def call(*given: Any) -> Any:
        try:
            return function(*given)
        except BaseException as failure:
            _failures[:] = [failure]
            _guards().guard_fail(id(type(failure)), id(failure))
            return None if result is ctypes.py_object else 0

    return call


@functools.cache
def _guards() -> Any:
    """The library of guard.cpp."""
    text = (Path(__file__).parent / "guard.cpp").read_text()
    library = shim.cache() / f"guard-{hashlib.sha256(text.encode()).hexdigest()[:16]}.so"
    if not library.exists():
        command = ["g++", "-std=c++17", "-O1", "-ftemplate-depth=400", "-shared", "-fPIC", "-x", "c++", "-"]
        subprocess.run([*command, "-o", str(library)], input=text, text=True, check=True)
    guards = ctypes.PyDLL(str(library))
    guards.guard.restype = ctypes.c_void_p
    pointer, number = ctypes.c_void_p, ctypes.c_int
    guards.guard.argtypes = [number, pointer, number, ctypes.c_long, pointer, pointer]
    guards.guard_fail.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    return guards


def close() -> None:
    """Python is about to be gone: whatever is asked of the device from now on has happened."""
    _guards().guard_close()
