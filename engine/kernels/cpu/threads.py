"""How the parts of a kernel's work are shared out among the cores.

    launch(kernel, parts, x, y, 3):   for part in 0 .. parts-1, in any order, on any core: kernel(block, part)

Three rules make the bits independent of the number of threads: the caller cuts work *by shape*, a part writes only what
is its own, and whoever adds partial sums adds them in a fixed order. Each core begins with parts of its own and then
helps the others, so that a slow core simply does fewer. Small work is one part, and one part runs here without any
launch.

The threads are our own (team.py): they stay awake between kernels, survive a fork, and serve several Python threads.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import platform
import struct
from array import array
from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from engine.errors import ArgumentError
from engine.forks import lock

from . import launching
from .jit import ENABLED, Kernel, invoke, number_at
from .lane_ufunc import forget_team, team_words
from .launching import HEADER
from .team import Team, lead

MAX_THREADS: int = numba.config.NUMBA_NUM_THREADS
Job = np.ndarray[Any, Any]  # int64

_num_threads = MAX_THREADS


def get_num_threads() -> int:
    """How many threads kernels may use."""
    return _num_threads


def set_num_threads(n: int) -> None:
    """Let kernels use `n` threads, 1 to the number of cores. Results don't depend on it, to the last bit.

    Raises ArgumentError if there are not that many.
    """
    global _num_threads
    if not isinstance(n, int) or not 1 <= n <= MAX_THREADS:
        raise ArgumentError(
            f"set_num_threads: n is {n!r}, but this process may use 1 to {MAX_THREADS} threads; "
            "NUMBA_NUM_THREADS, set before the first import, raises that limit"
        )
    with _first_time:
        _num_threads = n
        forget_team()


def launch(kernel: Kernel, parts: int, *args: Any) -> None:
    """Run every part of `kernel` on the argument block made of `args`: C-contiguous arrays, ints and floats."""
    if _launch(kernel.address, parts, *args) is NotImplemented:
        slots: list[int] = []
        for arg in args:
            if isinstance(arg, np.ndarray):
                slots += address_of(arg), arg.size
            elif isinstance(arg, float):
                slots += struct.unpack("q", struct.pack("d", arg))
            else:
                slots.append(arg)
        _lead(job(kernel, parts, slots))


def run(job: Job, *args: Any) -> None:
    """Run every part of a copy of a job, whose first slots are the addresses of `args`: C-contiguous arrays, None (0);
    or ints, as they are.
    """
    if _run(job, *args) is NotImplemented:
        job = job.copy()
        for k, arg in enumerate(args, HEADER):
            job[k] = address_of(arg) if isinstance(arg, np.ndarray) else arg or 0
        _lead(job)


def job(kernel: Kernel, parts: int, slots: Sequence[int]) -> Job:
    """A header and an argument block."""
    address = kernel.address if ENABLED else 0  # then the caller takes its reference
    return np.frombuffer(array("q", [address, parts, *slots]), np.int64)


def _lead(job: Job) -> None:
    parts = int(job[1])
    workers = min(_num_threads, parts) - 1
    _, board = call_team(workers)
    lead.entry(board, run_part.address, address_of(job), parts, workers)


def _launch(*args: Any) -> Any:
    """Only the first time: then it is `launching.launch`."""
    _find_ways()
    return _launch(*args)


def _run(*args: Any) -> Any:
    """Only the first time: then it is `launching.run`."""
    _find_ways()
    return _run(*args)


def _find_ways() -> None:
    global _launch, _run
    with _first_time:
        _launch, _run = launching.ways(run_part)


# --- what each thread does with a part --------------------------------------------------------------------------------


FLUSH = 0x8040  # x86 MXCSR: flush denormal results to zero, take denormal operands as zero


@intrinsic
def _flush_denormals(typing: Any) -> Any:
    """Make this thread treat denormals as zero (one can cost as much as 100 products); the state to restore."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        i32 = ir.IntType(32)
        if platform.machine() not in ("x86_64", "AMD64"):
            return i32(0)
        before = _control_register(builder, "st", None)
        _control_register(builder, "ld", builder.or_(before, i32(FLUSH)))
        return before

    return types.int32(), generate


@intrinsic
def _restore_denormals(typing: Any, state: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if platform.machine() in ("x86_64", "AMD64"):
            _control_register(builder, "ld", args[0])
        return context.get_dummy_value()

    return types.void(types.int32), generate


def _control_register(builder: Any, direction: str, value: Any) -> Any:
    """Store (to memory) or load (from memory) the floating-point control register."""
    i32, pointer = ir.IntType(32), ir.IntType(8).as_pointer()
    name = f"llvm.x86.sse.{direction}mxcsr"
    access = builder.module.globals.get(name) or ir.Function(
        builder.module, ir.FunctionType(ir.VoidType(), [pointer]), name
    )
    with builder.goto_entry_block():
        slot = builder.alloca(i32)
    if value is not None:
        builder.store(value, slot)
    builder.call(access, [builder.bitcast(slot, pointer)])
    return builder.load(slot)


def _run_part(job, part):  # type: ignore[no-untyped-def]
    state = _flush_denormals()
    invoke(number_at(job, 0), (job + 8 * HEADER, part))
    _restore_denormals(state)


run_part = Kernel(_run_part, "run_part")


# --- the threads -----------------------------------------------------------------------------------------------------

_team: Team | None = None
_first_time = lock()


def team() -> Team:
    """The threads besides the caller's own."""
    global _team
    if _team is None:
        with _first_time:
            if _team is None:
                _team = Team(MAX_THREADS - 1)
                atexit.register(_team.dismiss)
    return _team


def call_team(workers: int) -> tuple[int, int]:
    """Wake so many members; the addresses of `lead` and of the team's board, for code that leads by itself."""
    members = _team or team()
    if workers > 0:
        members.wake(workers)
    with _first_time:  # `set_num_threads` may be called meanwhile
        team_words[:] = [lead.address, members.board, _num_threads - 1]
    return lead.address, members.board


def _after_fork() -> None:
    """A forked child has none of its parent's threads; it hires its own."""
    global _team
    if _team is not None:
        atexit.unregister(_team.dismiss)
    _team = None
    forget_team()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


# --- addresses -------------------------------------------------------------------------------------------------------


def address_of(x: np.ndarray[Any, Any]) -> int:
    """Where the first element of `x` lies, read from the array object itself: 0.15 us, x.ctypes.data takes 1.5."""
    return ctypes.c_int64.from_address(id(x) + object.__basicsize__).value


def _plain_address_of(x: np.ndarray[Any, Any]) -> int:
    return int(x.ctypes.data)


_probe = np.arange(3)
if address_of(_probe) != _plain_address_of(_probe):  # another Python with another object header
    address_of = _plain_address_of
