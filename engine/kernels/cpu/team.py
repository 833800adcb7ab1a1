"""The threads that share the kernels' work, and how they stay awake between two kernels.

A training step is dozens of kernels with some Python in between. A thread that sleeps takes 0.1 to 0.3 ms to come
when it is called: longer than many kernels take. So each member, done with a job, watches for the next one for about
a millisecond, yielding to whoever else wants its core, and only then goes to sleep.

    leader   lead(board, run, job, parts, workers)       member   stay(its number)
             take the leader's lock, else work alone              for a millisecond: is there a job not seen yet?
             deal the parts out, a row of them to each                count yourself in
             post the job                                             if it is still posted: work
             work                                                     count yourself out
             take the job down                                    mark yourself asleep; return, to wait for the bell
             wait until nobody is counted in

    work     for each hand, my own first:
                 while it holds a part: run(job, part)

Each has a hand of its own, the same parts in every kernel of one shape, so what a core wrote it reads again, out of its
own cache; and who is done helps out the others. Who comes late finds nothing posted and does no harm: nobody waits for
a member that has not begun. A second leader (the caller's own thread) works alone, which is right: its work and the
first's are side by side already. After a fork the child has no members; they are hired again when it first has work
for them.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import platform
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from engine.forks import lock

from .jit import Kernel, device, invoke, number_at, view
from .objects import immortal

PAUSE: dict[str, tuple[str, list[Any]]] = dict.fromkeys(("x86_64", "AMD64"), ("llvm.x86.sse2.pause", []))
PAUSE |= dict.fromkeys(("aarch64", "arm64"), ("llvm.aarch64.hint", [ir.IntType(32)(1)]))
ROUNDS = 1500  # of watching before a member sleeps, about a millisecond
PAUSES = 24  # instructions that wait a little, in a round
PATIENCE = 64  # rounds in which the leader waits without yielding

# The board: int64 words, those that different threads write on cache lines of their own.
POSTED, NUMBER, COUNTED_IN, RUN, JOB, WORKERS, LEADER = 0, 8, 16, 24, 25, 26, 32
LEAVE, YIELD, ABSENT, CALLED, THREADS = 40, 41, 42, 43, 48
SEEN, ASLEEP, NEXT, END, LINE = 0, 1, 2, 3, 8  # of each thread, the leader's first; words a line


# --- words -----------------------------------------------------------------------------------------------------------


def _word(builder: Any, place: Any) -> Any:
    return builder.inttoptr(place, ir.IntType(64).as_pointer())


@intrinsic
def _read(typing: Any, place: Any) -> Any:
    """The word at an address, as all threads see it."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load_atomic(_word(builder, args[0]), "seq_cst", 8)

    return types.int64(types.int64), generate


def _exchanging(operation: str) -> Any:
    @intrinsic
    def word(typing: Any, place: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.atomic_rmw(operation, _word(builder, args[0]), args[1], "seq_cst")

        return types.int64(types.int64, types.int64), generate

    return word


_swap, _add = _exchanging("xchg"), _exchanging("add")  # each gives back the word as it was


@intrinsic
def _pause(typing: Any) -> Any:
    """Wait some cycles, at little cost to the other thread of a core."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        name, words = PAUSE.get(platform.machine(), (None, []))
        if name is not None:
            kind = ir.FunctionType(ir.VoidType(), [word.type for word in words])
            builder.call(builder.module.globals.get(name) or ir.Function(builder.module, kind, name), words)
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def _yield(typing: Any, function: Any) -> Any:
    """Let other programs use this core, if they want it."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        known = builder.icmp_signed("!=", args[0], ir.IntType(64)(0))
        with builder.if_then(known):
            builder.call(builder.inttoptr(args[0], ir.FunctionType(ir.IntType(32), []).as_pointer()), [])
        return context.get_dummy_value()

    return types.void(types.int64), generate


@device
def awake(board, workers):  # type: ignore[no-untyped-def]
    """Were so many called, and did none go to sleep since? Not if it is UNKNOWN how many."""
    return workers == 0 or (workers > 0 and _read(board + 8 * CALLED) >= workers and _read(board + 8 * ABSENT) == 0)


# --- the two sides --------------------------------------------------------------------------------------------------


def _lead(board, run, job, parts, workers):  # type: ignore[no-untyped-def]
    workers = min(workers, parts - 1)
    if workers <= 0 or _swap(board + 8 * LEADER, 1):
        for part in range(parts):
            invoke(run, (job, part))
        return
    for thread in range(workers + 1):
        hand = view(board + 8 * (THREADS + LINE * thread), LINE, np.int64)
        hand[NEXT], hand[END] = thread * parts // (workers + 1), (thread + 1) * parts // (workers + 1)
    _swap(board + 8 * RUN, run)
    _swap(board + 8 * JOB, job)
    _swap(board + 8 * WORKERS, workers)
    _swap(board + 8 * POSTED, _add(board + 8 * NUMBER, 1) + 1)
    _work(board, 0)
    _swap(board + 8 * POSTED, 0)
    rounds = 0
    while _read(board + 8 * COUNTED_IN):
        _pause()
        rounds += 1
        if rounds > PATIENCE:
            _yield(number_at(board, YIELD))
    _swap(board + 8 * LEADER, 0)


@device
def _work(board, thread):  # type: ignore[no-untyped-def]
    run, job, threads = _read(board + 8 * RUN), _read(board + 8 * JOB), _read(board + 8 * WORKERS) + 1
    for k in range(threads):
        hand = board + 8 * (THREADS + LINE * ((thread + k) % threads))
        end = _read(hand + 8 * END)
        while _read(hand + 8 * NEXT) < end:
            part = _add(hand + 8 * NEXT, 1)
            if part < end:
                invoke(run, (job, part))


def _stay(board, member):  # type: ignore[no-untyped-def]
    own = board + 8 * (THREADS + LINE * (member + 1))
    _swap(own + 8 * ASLEEP, 0)
    seen, rounds = _read(own + 8 * SEEN), 0
    while rounds < ROUNDS:
        job = _read(board + 8 * POSTED)
        if job != 0 and job != seen:
            _add(board + 8 * COUNTED_IN, 1)
            if _read(board + 8 * POSTED) == job:  # so it stays until all are counted out
                seen, rounds = job, 0
                if member < _read(board + 8 * WORKERS):
                    _work(board, member + 1)
            _add(board + 8 * COUNTED_IN, -1)
        if _read(board + 8 * LEAVE):
            return
        for _ in range(PAUSES):
            _pause()
        _yield(number_at(board, YIELD))
        rounds += 1
    _swap(own + 8 * SEEN, seen)
    _swap(own + 8 * ASLEEP, 1)
    _swap(board + 8 * ABSENT, 1)


lead = Kernel(_lead, "team_lead", arguments=5)
stay = Kernel(_stay, "team_stay", arguments=2)


# --- hiring, waking, dismissing ---------------------------------------------------------------------------------------


class Team:
    """So many threads besides the caller's own, hired when they are first woken.

    board   its address: what `lead` takes first
    """

    def __init__(self, members: int) -> None:
        line = 64
        self._words = np.zeros(THREADS + LINE * (members + 1) + line, np.int64)
        self._first = -self._words.ctypes.data % line // 8
        immortal(self._words)  # a thread may look at it when Python takes its modules apart
        self._words[self._first + YIELD] = _yielding() or 0
        self.board: int = self._words.ctypes.data + 8 * self._first
        lines = self.board + 8 * (THREADS + LINE)  # the members'
        self._asleep = (ctypes.c_int64 * (LINE * max(1, members))).from_address(lines + 8 * ASLEEP)
        self._absent = ctypes.c_int64.from_address(self.board + 8 * ABSENT)  # has anybody gone to sleep since a bell?
        self._called = ctypes.c_int64.from_address(self.board + 8 * CALLED)  # last; awake if nobody is absent
        self._bells = [threading.Lock() for _ in range(members)]
        self._hiring = lock()
        self._threads: list[threading.Thread] = []

    def wake(self, workers: int) -> None:
        """Ring for those of the first so many members who sleep."""
        if workers <= self._called.value and not self._absent.value:
            return
        self._absent.value = 0
        try:
            if len(self._threads) < workers:
                self._hire(workers)
            self._called.value = min(workers, len(self._threads))
            for member in range(self._called.value):
                if self._asleep[LINE * member]:
                    _keep_off(self._threads[member])
                    with contextlib.suppress(RuntimeError):  # it was rung for already
                        self._bells[member].release()
        except BaseException:  # an interrupt: whoever was not reached is rung for the next time
            self._absent.value = 1
            raise

    def _hire(self, workers: int) -> None:
        with self._hiring:
            for member in range(len(self._threads), workers):
                self._bells[member].acquire(blocking=False)
                name = f"chainrule-{member + 1}"
                thread = threading.Thread(target=self._work, args=(member, stay.entry), name=name, daemon=True)
                self._threads.append(thread)
                try:
                    thread.start()
                except BaseException as problem:
                    if thread.ident is None:
                        self._threads.pop()
                    if isinstance(problem, RuntimeError):  # no more threads: those that there are do the work
                        return
                    raise

    def _work(self, member: int, stay: Callable[[int, int], None]) -> None:
        while not self._words[self._first + LEAVE]:
            stay(self.board, member)
            if not self._words[self._first + LEAVE]:
                self._bells[member].acquire()

    def dismiss(self) -> None:
        """All members end; the board stays, and whoever leads works alone."""
        self._words[self._first + LEAVE] = 1
        for bell, thread in zip(self._bells, self._threads, strict=False):
            with contextlib.suppress(RuntimeError):
                bell.release()
            thread.join(timeout=1)


def _keep_off(thread: threading.Thread) -> None:
    """Let a member run on any core but the caller's: the system wakes a thread on the core of whoever rang, and there
    the two would take turns.
    """
    core = _core()
    if core is not None and thread.native_id is not None:
        with contextlib.suppress(OSError):
            others = os.sched_getaffinity(0) - {core()}
            if others:
                os.sched_setaffinity(thread.native_id, others)


@functools.cache
def _core() -> Callable[[], int] | None:
    """The number of the core that this thread runs on, where the system tells."""
    return getattr(ctypes.CDLL(None), "sched_getcpu", None) if hasattr(os, "sched_setaffinity") else None


@functools.cache
def _yielding() -> int | None:
    """The address of the system's function that lets others run."""
    with contextlib.suppress(OSError, AttributeError):
        if os.name == "nt":
            return ctypes.cast(ctypes.WinDLL("kernel32").SwitchToThread, ctypes.c_void_p).value  # type: ignore[attr-defined,no-any-return,unused-ignore]
        return ctypes.cast(ctypes.CDLL(None).sched_yield, ctypes.c_void_p).value
    return None
