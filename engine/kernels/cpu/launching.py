"""Into a kernel with no Python on the way: what `threads.launch` and `threads.run` try first.

    launch(kernel's address, parts, *args)     the slots of an array: its address, its size; of a float: its bits;
                                               of a whole number: itself
    run(job, *args)                            a copy of the job, its first slots the addresses of arrays (None: 0) and
                                               whole numbers
    either:                                    if nobody must be woken:
                                                   let go of Python's lock; lead; take the lock back
                                               else decline: NotImplemented, as for any other argument
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
from numba.core import types

from .jit import ENABLED, Kernel, device, invoke, number_at, stack, view
from .lane_ufunc import BOARD, LEAD, WORKERS, team_words
from .objects import AXES, DATA, HEAD, SHAPE, TYPE, as_expected, builtin, declined, python
from .team import awake

MOST, HEADER = 128, 2  # slots of a job; those before its arguments: the kernel's address, the number of parts

# What the machine code is told: objects, functions of C, the kernel that does a part, the words of the team.
ARRAY, FLOAT, INT, BOOL, NONE, DECLINED, KEEP, WHOLE, LET_GO, TAKE_BACK, RUN_PART, TEAM, WORDS = range(13)

_slots, _overflow = stack(8 * (MOST + 2)), stack(8)


@device
def _given(words, name):  # type: ignore[no-untyped-def]
    """An object of Python's, to be returned."""
    thing = number_at(words, name)
    invoke(number_at(words, KEEP), (thing,))
    return thing


@device
def _size(x):  # type: ignore[no-untyped-def]
    n, shape = 1, number_at(x + SHAPE, 0)
    for axis in range(view(x + AXES, 1, np.int32)[0]):
        n *= number_at(shape, axis)
    return n


@device
def _whole(words, x, slots, k):  # type: ignore[no-untyped-def]
    """Put a whole number into slot k; is it one?"""
    kind = number_at(x + TYPE, 0)
    if kind != number_at(words, INT) and kind != number_at(words, BOOL):
        return False
    overflow = _overflow()
    slots[k] = invoke(number_at(words, WHOLE), (x, overflow))
    return view(overflow, 1, np.int32)[0] == 0


@device
def _go(words, job):  # type: ignore[no-untyped-def]
    team, parts = number_at(words, TEAM), number_at(job, 1)
    board, allowed = number_at(team, BOARD), number_at(team, WORKERS)
    if not awake(board, min(allowed, parts - 1)):
        return _given(words, DECLINED)
    thread = invoke(number_at(words, LET_GO), ())
    invoke(number_at(team, LEAD), (board, number_at(words, RUN_PART), job, parts, allowed))
    invoke(number_at(words, TAKE_BACK), (thread,))
    return _given(words, NONE)


def _launch(block, arguments, count):  # type: ignore[no-untyped-def]
    words, job = number_at(block + DATA, 0), _slots()
    slots, k = view(job, MOST + 2, np.int64), 0
    for i in range(count):
        x = number_at(arguments, i)
        kind = number_at(x + TYPE, 0)
        if k >= MOST:
            return _given(words, DECLINED)
        if i >= HEADER and kind == number_at(words, ARRAY):
            slots[k], slots[k + 1] = number_at(x + DATA, 0), _size(x)
            k += 2
        elif i >= HEADER and kind == number_at(words, FLOAT):
            slots[k] = number_at(x + HEAD, 0)
            k += 1
        elif _whole(words, x, slots, k):
            k += 1
        else:
            return _given(words, DECLINED)
    return _go(words, job)


def _run(block, arguments, count):  # type: ignore[no-untyped-def]
    words, job = number_at(block + DATA, 0), _slots()
    template, slots = number_at(arguments, 0), view(job, MOST, np.int64)
    size = _size(template)
    if size > MOST or HEADER + count - 1 > size:
        return _given(words, DECLINED)
    for k in range(size):
        slots[k] = number_at(number_at(template + DATA, 0), k)
    for i in range(1, count):
        x = number_at(arguments, i)
        if number_at(x + TYPE, 0) == number_at(words, ARRAY):
            slots[HEADER + i - 1] = number_at(x + DATA, 0)
        elif x == number_at(words, NONE):
            slots[HEADER + i - 1] = 0
        elif not _whole(words, x, slots, HEADER + i - 1):
            return _given(words, DECLINED)
    return _go(words, job)


launch = Kernel(_launch, "launch", arguments=3, result=types.int64)
run = Kernel(_run, "run", arguments=3, result=types.int64)


def ways(run_part: Kernel) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """`launch` and `run` as functions of Python; both decline everything where objects lie otherwise."""
    if not ENABLED or not as_expected():
        return (declined, declined)
    words = np.zeros(WORDS, np.int64)
    objects = {ARRAY: np.ndarray, FLOAT: float, INT: int, BOOL: bool, NONE: None, DECLINED: NotImplemented}
    functions = {
        KEEP: "Py_IncRef", WHOLE: "PyLong_AsLongLongAndOverflow", LET_GO: "PyEval_SaveThread",
        TAKE_BACK: "PyEval_RestoreThread",
    }  # fmt: skip
    for place, thing in objects.items():
        words[place] = id(thing)
    for place, name in functions.items():
        words[place] = python(name)
    words[RUN_PART], words[TEAM] = run_part.address, ctypes.addressof(team_words)
    return builtin(launch.address, words), builtin(run.address, words)
