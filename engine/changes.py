"""What was changed in place, and when: so that a graph which saved the old values is not differentiated with the new.

A node saves arrays, and the time it was made. `t[i] = v`, an optimiser's step and the like `mark` the memory that they
write to. Before a node's vjp runs, `changed` asks whether any of its arrays was marked after the node was made. Nearly
always nothing at all was (`last` is earlier), and that comparison is all it costs.

Marks name addresses, not arrays: views of one memory share them. An address that was freed and used again does no harm,
since whoever saved the new array did so after the mark.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

MOST_MARKS = 1 << 16  # then the older half is forgotten

tick = itertools.count().__next__  # the time: it counts nodes and changes

last = -1  # when something was changed for the last time
_marks: dict[tuple[int, int], int] = {}  # (first address, address behind the last) -> time; the latest at the end
Notes = list[tuple[int, Any]]  # (time, array); the latest at the end
_notes: ContextVar[Notes | None] = ContextVar("chainrule_notes", default=None)  # of the step that this thread records


def mark(array: Any) -> None:
    """This memory is being written to."""
    global last
    last = tick()
    notes = _notes.get()
    if notes is not None:
        notes.append((last, array))
        return
    place = _extent(array)
    _marks.pop(place, None)
    _marks[place] = last
    if len(_marks) > MOST_MARKS:
        for old in list(_marks)[: MOST_MARKS // 2]:
            del _marks[old]


@contextmanager
def noted(notes: Notes) -> Iterator[None]:
    """Inside, work is recorded: what is marked is only appended to `notes`, and changes when the work is launched."""
    token = _notes.set(notes)
    try:
        yield
    finally:
        _notes.reset(token)


def changed(array: Any, since: int) -> bool:
    """Was some of this array's memory written to after the time `since`?"""
    if last <= since:
        return False
    for time, other in reversed(_notes.get() or ()):
        if time <= since:
            break
        if overlap(array, other):
            return True
    low, high = _extent(array)
    try:
        for (start, end), time in reversed(_marks.items()):
            if time <= since:
                return False
            if start < high and low < end:
                return True
        return False
    except RuntimeError:  # another thread marked something meanwhile
        return changed(array, since)


def overlap(a: Any, b: Any) -> bool:
    """May two arrays share memory?"""
    (low, high), (start, end) = _extent(a), _extent(b)
    return start < high and low < end


def _extent(array: Any) -> tuple[int, int]:
    """The addresses between which an array's elements lie."""
    facts = getattr(array, "__cuda_array_interface__", None) or array.__array_interface__
    low = high = facts["data"][0]
    if array.size == 0:
        return low, low
    for n, step in zip(array.shape, array.strides, strict=True):
        if step < 0:
            low += (n - 1) * step
        else:
            high += (n - 1) * step
    return low, high + array.itemsize
