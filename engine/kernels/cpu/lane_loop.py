"""The loop that NumPy calls for a row of numbers: it runs a span of `lanes.py`, alone or with the team of threads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from .lane_ir import I8, I32, I64, VOID, load, store
from .lane_ufunc import CHUNK, CHUNKS, LARGE_CHUNK, WIPED

FLUSH = 0x8040  # in the floating-point control register: what is below the smallest normal number counts as 0


def loops(module: ir.Module) -> None:
    """Add `void lane_loop(args, dimensions, steps, data)`, a loop of a NumPy ufunc, and what it needs.

    `data` points to (the span's address, the team's, flush?, the length from which the team is called), the team being
    (the addresses of team.lead and of its board, workers or 0). It shares long rows in chunks. The marks that
    arithmetic leaves in the control register are wiped away: NumPy would make warnings of them, and a formula means
    its infinities.
    """
    share = ir.Function(module, ir.FunctionType(VOID, [I64] * 2), "lane_share")
    _write_share(ir.IRBuilder(share.append_basic_block("entry")), *share.args)
    loop = ir.Function(module, ir.FunctionType(VOID, [I64] * 4), "lane_loop")
    b = ir.IRBuilder(loop.append_basic_block("entry"))
    args, dimensions, steps, data = loop.args
    job_address = b.ptrtoint(b.alloca(ir.ArrayType(I64, 6)), I64)
    n = load(b, dimensions, I64)
    span_address, team, flush, parallel_from = (load(b, b.add(data, I64(8 * k)), I64) for k in range(4))
    lead, board, workers = (load(b, b.add(team, I64(8 * k)), I64) for k in range(3))
    state = enter(b, flush)
    long = b.icmp_signed(">=", n, parallel_from)
    with b.if_else(b.and_(long, b.icmp_signed(">", workers, I64(0)))) as (shared, alone):
        with shared:
            chunk = _chunk(b, n, b.add(workers, I64(1)))
            for k, word in enumerate((span_address, args, steps, n, flush, chunk)):
                store(b, word, b.add(job_address, I64(8 * k)))
            parts = b.udiv(b.add(n, b.sub(chunk, I64(1))), chunk)
            call(b, lead, [board, b.ptrtoint(share, I64), job_address, parts, workers])
        with alone:
            call(b, span_address, [args, steps, I64(0), n])
    leave(b, state)
    b.ret_void()


def _chunk(b: ir.IRBuilder, n: Any, threads: Any) -> Any:
    """Of n elements, how many a core takes at a time: the same number of chunks for each, so that none waits long for
    the others; a few, so that a late core finds some left; none larger than the second cache, nor so small that the
    reads ahead of the processor start anew all the time.
    """
    each = b.udiv(n, b.mul(threads, I64(CHUNK)))
    each = b.select(b.icmp_signed("<", each, I64(1)), I64(1), each)
    each = b.select(b.icmp_signed(">", each, I64(CHUNKS)), I64(CHUNKS), each)
    chunk = b.and_(b.add(b.udiv(b.sub(n, I64(1)), b.mul(threads, each)), I64(1024)), I64(-1024))  # rounded up
    return b.select(b.icmp_signed(">", chunk, I64(LARGE_CHUNK)), I64(LARGE_CHUNK), chunk)


def _write_share(b: ir.IRBuilder, job: Any, part: Any) -> None:
    """A part of the job: one chunk."""
    span_address, args, steps, n, flush, chunk = (load(b, b.add(job, I64(8 * k)), I64) for k in range(6))
    state = enter(b, flush)
    start = b.mul(part, chunk)
    rest = b.sub(n, start)
    call(b, span_address, [args, steps, start, b.select(b.icmp_signed("<", rest, chunk), rest, chunk)])
    leave(b, state)
    b.ret_void()


def call(b: ir.IRBuilder, address: Any, args: Sequence[Any], returns: Any = VOID) -> Any:
    kind = ir.FunctionType(returns, [a.type for a in args])
    return b.call(b.inttoptr(address, kind.as_pointer()), args)


def enter(b: ir.IRBuilder, flush: Any) -> Any:
    """The control register as it was; subnormal numbers count as 0 from here if `flush` is not 0."""
    if not WIPED:
        return None
    slot = b.alloca(I32)
    _control(b, "st", slot)
    before = b.load(slot)
    with b.if_then(b.icmp_signed("!=", flush, I64(0))):
        b.store(b.or_(before, I32(FLUSH)), slot)
        _control(b, "ld", slot)
    b.store(before, slot)
    return slot


def leave(b: ir.IRBuilder, state: Any) -> None:
    if state is not None:
        _control(b, "ld", state)


def _control(b: ir.IRBuilder, direction: str, slot: Any) -> None:
    name, pointer = f"llvm.x86.sse.{direction}mxcsr", I8.as_pointer()
    access = b.module.globals.get(name) or ir.Function(b.module, ir.FunctionType(VOID, [pointer]), name)
    b.call(access, [b.bitcast(slot, pointer)])
