"""Machine code as a NumPy ufunc, through NumPy's own C interface.

NumPy then does what it does for np.exp: it broadcasts, allocates, orders axes for speed, keeps apart arrays that
overlap, lets other Python threads run meanwhile, in half a microsecond a call. Our loop meets rows of numbers only.
"""

from __future__ import annotations

import ctypes
import functools
import platform
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .objects import immortal, table

FROM_FUNCTION = 1  # place of PyUFunc_FromFuncAndData in NumPy's table of ufunc functions
WIPED = platform.machine() in ("x86_64", "AMD64")  # the marks of arithmetic: does the loop wipe them away itself?

CHUNK, LARGE_CHUNK = 1 << 14, 1 << 16  # elements that a core takes at a time: about so many at least, and at most
CHUNKS = 8  # that each core takes of a row, if they become not too small or too large
PARALLEL_FROM = 1 << 15  # elements: fewer are never shared, as waking another core takes longer
PARALLEL_WORK = 1 << 21  # elements times instructions: 40 us of one core, the price of waking another

UNKNOWN = -1
LEAD, BOARD, WORKERS = range(3)  # of the words of the team
team_words = (ctypes.c_int64 * 3)(0, 0, UNKNOWN)  # addresses of team.lead and of its board; workers (0: work alone)


class Lanes(NamedTuple):
    """What a ufunc of ours is made of: addresses of its span, its loop and the loop's data; flush subnormal numbers?"""

    span: int
    flush: bool
    loop: int
    data: int


_lanes: dict[Any, Lanes] = {}  # of a ufunc


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
    data = (ctypes.c_int64 * 4)(span, ctypes.addressof(team_words), flush, parallel_from(words, moved))
    functions, datas = (ctypes.c_void_p * 1)(loop), (ctypes.c_void_p * 1)(ctypes.addressof(data))
    kinds = bytes(np.dtype(kind).num for kind in (*inputs, *results))
    immortal((data, functions, datas, kinds))  # the ufunc borrows what it is made from
    made = _maker()(functions, datas, kinds, 1, len(inputs), len(results), -1, b"formula", b"", 0)
    if not WIPED:
        made = _quiet(made)
    _lanes[made] = Lanes(span, flush, loop, ctypes.addressof(data))
    return made


def _quiet(run: np.ufunc) -> Callable[..., Any]:
    """The ufunc without the warnings that NumPy makes of the marks of arithmetic."""

    def quietly(*xs: Any, **out: Any) -> Any:
        with np.errstate(all="ignore"):
            return run(*xs, **out)

    quietly.types = run.types  # type: ignore[attr-defined]
    return quietly


def lanes_of(made: Any) -> Lanes | None:
    """None: it is no ufunc of ours."""
    return _lanes.get(made)


@functools.cache
def _maker() -> Callable[..., Any]:
    """PyUFunc_FromFuncAndData, from where every compiled extension takes it."""
    address = table("_UFUNC_API")[FROM_FUNCTION]
    text, number, place = ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p
    return ctypes.PYFUNCTYPE(ctypes.py_object, place, place, text, *[number] * 4, text, text, number)(address)


def gather_team() -> None:
    """Let long rows use as many threads as are allowed now, and wake those who sleep."""
    threads = _threads()
    threads.call_team(threads.get_num_threads() - 1)


def forget_team() -> None:
    """It has changed: `gather_team` before it is counted on."""
    team_words[2] = UNKNOWN


@functools.cache
def _threads() -> Any:
    from . import threads

    return threads
