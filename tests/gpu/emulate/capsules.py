"""How another function takes the place of one that CuPy's compiled modules call.

CuPy's Cython modules look up each CUDA call in `module.__pyx_capi__`: a C function pointer in a capsule, whose name is
its signature. They do so when they are imported, so whoever exchanges the capsules before that is called instead.
"""

from __future__ import annotations

import ctypes
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

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

calls: Counter[str] = Counter()  # by name: what was asked of the device
_kept: list[Any] = []  # capsules point into these


def override(module: Any, functions: dict[str, Callable[..., Any]]) -> None:
    """Let `functions` be called by whoever imports their names from `module` from now on, in C and in Python."""
    for name, function in functions.items():
        signature = python.PyCapsule_GetName(module.__pyx_capi__[name])
        result, arguments = _parsed(signature.decode())
        callback = ctypes.PYFUNCTYPE(result, *arguments)(_counting(name, function, arguments))
        _kept.append((callback, signature, arguments))
        address = ctypes.cast(callback, ctypes.c_void_p)
        module.__pyx_capi__[name] = python.PyCapsule_New(address, signature, None)
        setattr(module, name, _counting(name, function, arguments))


def _parsed(signature: str) -> tuple[Any, list[Any]]:
    match = re.match(r"(.*?) ?\((.*)\)$", signature)
    assert match is not None, signature
    texts = [] if match[2] == "void" else [a.strip() for a in match[2].split(",")]
    return TYPES[match[1].strip()], [_type(text) for text in texts]


def _type(text: str) -> Any:
    if "__pyx" not in text:
        return TYPES[text]
    return _Skipped if "*" in text else _Dispatch  # a struct of optional arguments; Cython's own flag


class _Skipped(ctypes.c_void_p):
    """Cython's argument, not CUDA's."""


class _Dispatch(ctypes.c_int):
    """The same."""


def _counting(name: str, function: Callable[..., Any], arguments: list[Any]) -> Callable[..., Any]:
    own = sum(kind in (_Skipped, _Dispatch) for kind in arguments)
    count = len(arguments) - own

    def call(*given: Any) -> Any:
        calls[name] += 1
        return function(*given[:count])

    return call


def keep_for_ever() -> None:
    """CuPy's modules call the capsules until the process is gone."""
    for callback, _, _ in _kept:
        python.Py_IncRef(ctypes.py_object(callback))
