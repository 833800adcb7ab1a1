"""Large arrays' way into a formula's machine code: of one shape, of several, or cut out of larger ones.

NumPy's loops meet one row after the other, and rows of a matrix are too short to be shared by several cores. So the
rows themselves are shared:

    the result's sides: those of the inputs, from the last to the first; a side of 1 goes with any
    for each side, from the last: every operand's step along it, 0 where it is broadcast;
        where all of them step along it as along those before, it makes these longer
    one is left:     a row, in chunks (`lane_loop.py`)
    two are left:    rows, some to each part (`lane_rows.py`)
    else decline (NotImplemented), as where a row's numbers are not neighbours, or there are none

It declines, too, where the team must be woken first. The result is made in memory that is used again, and Python's lock
is let go meanwhile.
"""

from __future__ import annotations

import numpy as np
from numba.core import types

from .buffers import MAKE
from .jit import Kernel, device, invoke, number_at, stack, view
from .lane_entry import MOST, READ, WORDS
from .lane_rows import BASES
from .lane_ufunc import BOARD, CHUNK, LEAD, WORKERS
from .objects import ALIGNED, AXES, DATA, FLAGS, SHAPE, STEPS, TYPE
from .team import awake

ARRAY, DECLINED, COUNT, MADE, STEP_MADE = map(
    WORDS.index, ("ndarray", "declined", "read", "result dtype", "result step")
)
SPAN, LOOP, LOOP_WORDS, ROWS, FLUSH = map(WORDS.index, ("span", "loop", "data", "rows", "flush"))
STOCK, TEAM, KEEP, LET_GO, TAKE_BACK = map(WORDS.index, ("stock", "team", "keep", "let_go", "take_back"))
FROM, ITEMSIZE = 3, 2  # of the words of a loop: from what length on it is shared; of those about an input
MOST_SIDES = 64

_sides, _row, _job = stack(8 * MOST_SIDES), stack(8), stack(8 * (BASES + 2 * (MOST + 1)))
_inner, _outer, _now = (stack(8 * (MOST + 1)) for _ in range(3))


@device
def _axes(x):  # type: ignore[no-untyped-def]
    return view(x + AXES, 1, np.int32)[0]


@device
def _result(words, objects, count, sides):  # type: ignore[no-untyped-def]
    """Write the result's sides; how many there are. -1: the inputs don't broadcast, or lie askew."""
    axes = 0
    for k in range(count):
        x = number_at(objects, k)
        if number_at(x + TYPE, 0) == number_at(words, ARRAY):
            axes = max(axes, _axes(x))
            if view(x + FLAGS, 1, np.int32)[0] & ALIGNED == 0:
                return -1
    for a in range(axes):
        sides[a] = 1
    for k in range(count):
        x = number_at(objects, k)
        if number_at(x + TYPE, 0) == number_at(words, ARRAY):
            for a in range(_axes(x)):
                side, at = number_at(number_at(x + SHAPE, 0), a), axes - _axes(x) + a
                if side != 1 and sides[at] != 1 and side != sides[at]:
                    return -1
                if side != 1:
                    sides[at] = side
    return axes


@device
def _step(words, x, behind):  # type: ignore[no-untyped-def]
    """Along the axis that has so many behind it: bytes from one number to the next."""
    if number_at(x + TYPE, 0) != number_at(words, ARRAY) or _axes(x) <= behind:
        return 0
    axis = _axes(x) - 1 - behind
    return number_at(number_at(x + STEPS, 0), axis) if number_at(number_at(x + SHAPE, 0), axis) != 1 else 0


@device
def _follows(now, before, n, operands):  # type: ignore[no-untyped-def]
    """Is a step along this axis n of those for every operand?"""
    same = True
    for k in range(operands):
        same = same and now[k] == n * before[k]
    return same


@device
def _copy(steps, to, operands):  # type: ignore[no-untyped-def]
    for k in range(operands):
        to[k] = steps[k]


@device
def _merged(words, objects, sides, axes, inner, outer):  # type: ignore[no-untyped-def]
    """(length of a row, rows), and every operand's steps; no rows: more than two axes are left."""
    count, now = number_at(words, COUNT), view(_now(), MOST + 1, np.int64)
    n, rows, left, size = 1, 1, 0, number_at(words, STEP_MADE)  # of the result
    for behind in range(axes):
        side = sides[axes - 1 - behind]
        if side == 1:
            continue
        for k in range(count):
            now[k] = _step(words, number_at(objects, k), behind)
        now[count] = size
        size *= side
        if left == 0:
            n, left = side, 1
            _copy(now, inner, count + 1)
        elif left == 1 and _follows(now, inner, n, count + 1):
            n *= side
        elif left == 1:
            rows, left = side, 2
            _copy(now, outer, count + 1)
        elif _follows(now, outer, rows, count + 1):
            rows *= side
        else:
            return n, 0
    return n, rows


@device
def _declined(words):  # type: ignore[no-untyped-def]
    invoke(number_at(words, KEEP), (number_at(words, DECLINED),))
    return number_at(words, DECLINED)


@device
def _share_rows(words, places, inner, outer, n, rows):  # type: ignore[no-untyped-def]
    """See `lane_rows.py` for the job."""
    team, operands, size = number_at(words, TEAM), number_at(words, COUNT) + 1, max(1, CHUNK // n)
    address = _job()
    job = view(address, BASES + 2 * (MOST + 1), np.int64)
    job[0], job[1], job[2], job[3], job[4] = number_at(words, SPAN), inner, n, rows, size
    job[5], job[6] = number_at(words, FLUSH), operands
    for k in range(operands):
        job[BASES + k], job[BASES + operands + k] = number_at(places, k), number_at(outer, k)
    told = number_at(team, BOARD), number_at(words, ROWS), address, (rows + size - 1) // size, number_at(team, WORKERS)
    invoke(number_at(team, LEAD), told)


def _compute(words, objects, places):  # type: ignore[no-untyped-def]
    """The result, for inputs whose numbers lie at `places`; NotImplemented; or 0: Python's exception is set."""
    count, place = number_at(words, COUNT), _sides()
    sides, inner, outer = view(place, MOST_SIDES, np.int64), _inner(), _outer()
    axes = _result(words, objects, count, sides)
    if axes < 0:
        return _declined(words)
    steps = view(inner, MOST + 1, np.int64)
    n, rows = _merged(words, objects, sides, axes, steps, view(outer, MOST + 1, np.int64))
    for k in range(count):
        if steps[k] != 0 and steps[k] != number_at(words, len(WORDS) + READ * k + ITEMSIZE):
            return _declined(words)
    if n * rows == 0:
        return _declined(words)
    team, shared = number_at(words, TEAM), rows > max(1, CHUNK // n)
    if rows == 1:
        shared = n >= number_at(number_at(words, LOOP_WORDS), FROM)
    if shared and not awake(number_at(team, BOARD), number_at(team, WORKERS)):
        return _declined(words)
    stock = number_at(words, STOCK)
    made = invoke(number_at(stock, MAKE), (stock, axes, place, number_at(words, MADE), number_at(words, STEP_MADE)))
    if made == 0:
        return made
    view(places, MOST + 1, np.int64)[count] = number_at(made + DATA, 0)
    thread = invoke(number_at(words, LET_GO), ())
    if rows == 1:
        row = _row()
        view(row, 1, np.int64)[0] = n
        invoke(number_at(words, LOOP), (places, row, inner, number_at(words, LOOP_WORDS)))
    else:
        _share_rows(words, places, inner, outer, n, rows)
    invoke(number_at(words, TAKE_BACK), (thread,))
    return made


compute = Kernel(_compute, "lane_large", arguments=3, result=types.int64)
