"""Locks and cached properties that outlive a fork.

A forked child has a copy of every lock, but only the thread that forked: what another thread held at that moment is
held for ever, and what it guarded stays half done. So whoever forks takes all of our locks first (`os.fork` sees to
it), which waits for a kernel that is being compiled, and both sides give them back.

    _lock = lock()         a threading.RLock that no fork happens in
"""

from __future__ import annotations

import functools
import os
import threading
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, TypeVar

T = TypeVar("T")
Lock = Any  # threading.RLock is a function until Python 3.13


def lock() -> Lock:
    """A new lock, which its holder may take again. It is known here for as long as somebody else knows it."""
    made = threading.RLock()
    _known.add(weakref.ref(made, _known.discard))
    return made


class cached_property(functools.cached_property[T]):  # noqa: N801
    """functools.cached_property of Python 3.12, in 3.11 too: there it has a lock that a fork may break."""

    def __init__(self, compute: Callable[[Any], T]) -> None:
        super().__init__(compute)
        self.lock = nullcontext()


_known: set[weakref.ref[Lock]] = set()
_taken: list[Lock] = []  # by the thread that is forking: there is one at a time, since it has them all


def _take_all() -> None:
    """Every lock. We wait for one only while we hold none, since its holder may want another of them."""
    taken: list[Lock] = []
    while True:
        for a in [a for known in list(_known) if (a := known()) is not None]:
            if not a.acquire(blocking=False):
                while taken:
                    taken.pop().release()
                a.acquire()
                taken.append(a)
                break
            taken.append(a)
        else:
            _taken.extend(taken)
            return


def _give_back() -> None:
    while _taken:
        _taken.pop().release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_take_all, after_in_parent=_give_back, after_in_child=_give_back)
