"""Many rows at once: a bias added to a matrix, a column that scales it, a slice of something larger.

NumPy's loops meet one row after the other, which are too short to be shared by several cores. Where operands are rows
of a matrix, the rows themselves are shared:

    for each row of a part:
        for each operand: its address = base + row * row step
        the span of the row
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir

from .lane_ir import I64, counting, load, store
from .lane_loop import call, enter, leave
from .lane_ufunc import CHUNK
from .team import lead
from .threads import call_team, get_num_threads

MOST = 16  # operands
Array = np.ndarray[Any, Any]


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
    bases = b.add(job, I64(56))
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


def share(kernel: tuple[int, int, bool], xs: Sequence[Any], out: Sequence[Array]) -> bool:
    """Compute (span, the address of `lane_rows`, flush?) on xs into fresh contiguous arrays; False: not rows, or alone.

    The result's axes are merged wherever every operand steps through two of them as through one; two must be left.
    """
    shape, workers = out[0].shape, get_num_threads() - 1
    if not workers or len(xs) + len(out) > MOST:
        return False
    dtype = next((x.dtype for x in xs if isinstance(x, np.ndarray) and x.dtype.kind != "b"), np.float32)
    given = [x if isinstance(x, np.ndarray) else np.asarray(x, dtype) for x in xs]
    operands = [*(np.broadcast_to(x, shape) for x in given), *out]
    axes = merged(shape, [x.strides for x in operands])
    if len(axes) != 2:
        return False
    (n, inner), (count, outer) = axes
    size = max(1, CHUNK // n)
    if count <= size:
        return False
    steps = array("q", inner)
    head = [kernel[0], steps.buffer_info()[0], n, count, size, kernel[2], len(operands)]
    job = array("q", [*head, *(x.ctypes.data for x in operands), *outer])
    lead.entry(call_team(workers)[1], kernel[1], job.buffer_info()[0], -(-count // size), workers)
    return True


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
