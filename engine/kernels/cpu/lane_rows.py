"""Many rows, some of them to each part of a job (who makes it: `lane_large.py`):

    for each row of a part:
        for each operand: its address = base + row * row step
        the span of the row
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from .lane_ir import I64, counting, load, store
from .lane_loop import call, enter, leave

MOST, BASES = 16, 7  # operands; words of a job before their addresses


def rows(module: ir.Module) -> None:
    """Add `void lane_rows(job, part)`.

    A job is (span, inner steps, row length, rows, rows of a part, flush?, operands), and then the bases and the row
    steps of the operands.
    """
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [I64] * 2), "lane_rows")
    b = ir.IRBuilder(function.append_basic_block("entry"))
    job, part = function.args
    span, steps, n, count, size, flush, operands = (load(b, b.add(job, I64(8 * k)), I64) for k in range(7))
    here = b.ptrtoint(b.alloca(ir.ArrayType(I64, MOST)), I64)
    bases = b.add(job, I64(8 * BASES))
    row_steps = b.add(bases, b.mul(I64(8), operands))
    state = enter(b, flush)
    first = b.mul(part, size)
    left = b.sub(count, first)
    with counting(b, b.select(b.icmp_signed("<", left, size), left, size), 1) as (i,):
        row = b.add(first, i)
        places = (bases, I64(8)), (row_steps, I64(8)), (here, I64(8))
        with counting(b, operands, 1, *places) as (_, base, step, place):
            store(b, b.add(load(b, base, I64), b.mul(row, load(b, step, I64))), place)
        call(b, span, [here, steps, I64(0), n])
    leave(b, state)
    b.ret_void()


def merged(shape: Sequence[int], strides: Sequence[Sequence[int]]) -> list[tuple[int, tuple[int, ...]]]:
    """The axes that are left when those are joined that every operand steps through as through one, from the last to
    the first: (length, each operand's step).
    """
    axes: list[tuple[int, tuple[int, ...]]] = []
    for k in range(len(shape) - 1, -1, -1):
        length = shape[k]
        if length == 1:
            continue
        steps = tuple([s[k] for s in strides])
        if axes:
            joined, inner = axes[-1]
            if steps == tuple([joined * s for s in inner]):
                axes[-1] = joined * length, inner
                continue
        axes.append((length, steps))
    return axes
