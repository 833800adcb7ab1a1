"""Machine code as a NumPy ufunc, through NumPy's own C interface.

NumPy then does what it does for np.exp: it broadcasts, allocates, orders axes for speed, keeps apart arrays that
overlap, lets other Python threads run meanwhile, in half a microsecond a call. Our loop meets rows of numbers only.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import platform
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

FROM_FUNCTION = 1  # place of PyUFunc_FromFuncAndData in NumPy's table of ufunc functions
WIPED = platform.machine() in ("x86_64", "AMD64")  # the marks of arithmetic: does the loop wipe them away itself?

CHUNK, LARGE_CHUNK = 1 << 14, 1 << 16  # elements that a core takes at a time: about so many at least, and at most
CHUNKS = 8  # that each core takes of a row, if they become not too small or too large
PARALLEL_FROM = 1 << 15  # elements: fewer are never shared, as waking another core takes longer
PARALLEL_WORK = 1 << 21  # elements times instructions: 40 us of one core, the price of waking another

_team = (ctypes.c_int64 * 3)(0, 0, 0)  # the addresses of team.lead and of its board; workers (0: work alone)
_alive: list[Any] = []  # a ufunc borrows what it is made from
_spans: dict[Any, tuple[int, bool]] = {}  # ufunc -> its span, and whether it flushes


def parallel_from(words: int, moved: int = 8) -> int:
    """From how many elements on a formula of so many instructions, which moves so many bytes an element, is shared by
    several cores.
    """
    return max(PARALLEL_FROM, PARALLEL_WORK // (words + min(14, 7 * moved // 4)))  # 14 for memory and the loop


def ufunc(
    span: int, loop: int, inputs: Sequence[str], results: Sequence[str], words: int = 1, flush: bool = False
) -> Any:
    """The ufunc whose rows are computed by `loop(args, dimensions, steps, data)`, `words` instructions an element."""
    moved = sum(np.dtype(kind).itemsize for kind in (*inputs, *results))
    data = (ctypes.c_int64 * 4)(span, ctypes.addressof(_team), flush, parallel_from(words, moved))
    functions, datas = (ctypes.c_void_p * 1)(loop), (ctypes.c_void_p * 1)(ctypes.addressof(data))
    kinds = bytes(np.dtype(kind).num for kind in (*inputs, *results))
    _alive.append((data, functions, datas, kinds))
    made = _maker()(functions, datas, kinds, 1, len(inputs), len(results), -1, b"formula", b"", 0)
    if not WIPED:
        made = _quiet(made)
    _spans[made] = span, flush
    return made


def _quiet(run: np.ufunc) -> Callable[..., Any]:
    """The ufunc without the warnings that NumPy makes of the marks of arithmetic."""

    def quietly(*xs: Any, **out: Any) -> Any:
        with np.errstate(all="ignore"):
            return run(*xs, **out)

    quietly.types = run.types  # type: ignore[attr-defined]
    return quietly


def span_of(made: Any) -> tuple[int, bool] | None:
    """The address of a ufunc's span, and whether it flushes subnormal numbers to 0; None: it is no ufunc of ours."""
    return _spans.get(made)


@functools.cache
def _maker() -> Callable[..., Any]:
    """PyUFunc_FromFuncAndData, from where every compiled extension takes it."""
    address = table("_UFUNC_API")[FROM_FUNCTION]
    text, number, place = ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p
    return ctypes.PYFUNCTYPE(ctypes.py_object, place, place, text, *[number] * 4, text, text, number)(address)


def table(name: str) -> Any:
    """The addresses of the functions that NumPy hands to compiled extensions."""
    umath: Any = importlib.import_module("numpy._core._multiarray_umath")
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return ctypes.cast(pointer(getattr(umath, name), None), ctypes.POINTER(ctypes.c_size_t))


def gather_team() -> None:
    """Let long rows use as many threads as are allowed now, and wake those who sleep."""
    threads = _threads()
    _team[2] = workers = threads.get_num_threads() - 1
    if workers:
        _team[0], _team[1] = threads.call_team(workers)


@functools.cache
def _threads() -> Any:
    from . import threads

    return threads
