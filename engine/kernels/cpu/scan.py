"""Running sums: y_t = x_0 + .. + x_t along one axis, in blocks.

for block: the sum of its numbers                      # a reduction
for block: what lies before it                         # the running sums of those, the same way
for block: the running sums of its numbers, on top     # in parallel
    inner = 1   sixteen lanes at a time: add what lies 1, 2, 4, 8 lanes before, then all that came earlier
    inner > 1   row after row: y[t] = y[t-1] + x[t]
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba.extending import intrinsic

from .buffers import empty
from .jit import ENABLED, Kernel, kernel, number_at
from .reduce import BLOCK, COLUMNS, PART, ROWS, SMALL, SUM, reduce_blocks
from .scan_turns import cumulative_logsumexp as cumulative_logsumexp, cumulative_prod as cumulative_prod, tails as tails
from .strip import every, read, write, zeros
from .threads import launch
from .vector import BYTES

Array = np.ndarray[Any, Any]


@intrinsic
def prefix(typing: Any, x: Any) -> Any:
    """Lane i becomes the sum of lanes 0 .. i."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        v, nothing = args[0], x.ir([0.0] * x.lanes)
        for step in (1 << k for k in range(x.lanes.bit_length() - 1)):
            lanes = [x.lanes + i if i < step else i - step for i in range(x.lanes)]  # zeros move in from below
            shifted = builder.shuffle_vector(v, nothing, ir.Constant(ir.VectorType(ir.IntType(32), x.lanes), lanes))
            v = builder.fadd(v, shifted)
        return v

    return x(x), generate


@intrinsic
def last_lane(typing: Any, x: Any) -> Any:
    """The number in the last lane."""
    return x.scalar(x), lambda _, builder, __, args: builder.extract_element(args[0], ir.IntType(32)(x.lanes - 1))


@functools.cache
def _kernels(size: int) -> tuple[Kernel, Kernel]:
    """For rows, and for columns."""
    dtype = np.float32 if size == 4 else np.float64

    def rows(block, part):  # type: ignore[no-untyped-def]
        """x (outer,n), before (outer,blocks) -> y: rows of `longer` numbers, n of which are written"""
        n, blocks, longer = number_at(block, 6), number_at(block, 7), number_at(block, 8)
        mine, items, zero = number_at(block, 9), number_at(block, 10), zeros(dtype)
        for item in range(part * mine, min(items, (part + 1) * mine)):
            row, first = item // blocks, item % blocks * BLOCK
            x, y = number_at(block, 0) + (row * n + first) * size, number_at(block, 4) + (row * longer + first) * size
            earlier = read(number_at(block, 2) + item * size, dtype(0))
            bytes_, i = min(BLOCK, n - first) * size, 0
            while i + BYTES <= bytes_:
                v = prefix(read(x + i, zero)) + every(earlier, zero)
                write(y + i, v)
                earlier = last_lane(v)
                i += BYTES
            while i < bytes_:
                earlier += read(x + i, dtype(0))
                write(y + i, earlier)
                i += size

    def columns(block, part):  # type: ignore[no-untyped-def]
        """x (outer,n,inner), before (outer,blocks,inner) -> y: (outer,longer,inner), n of them are written"""
        n, blocks, longer = number_at(block, 6), number_at(block, 7), number_at(block, 8)
        mine, items, zero = number_at(block, 9), number_at(block, 10), zeros(dtype)
        width, pieces = number_at(block, 11) * size, number_at(block, 12)
        for item in range(part * mine, min(items, (part + 1) * mine)):
            each, left = item // pieces, item % pieces * COLUMNS * size
            outer, first = each // blocks, each % blocks * ROWS
            right = min(width, left + COLUMNS * size)
            whole = right - (right - left) % BYTES
            x, y = (
                number_at(block, 0) + (outer * n + first) * width,
                number_at(block, 4) + (outer * longer + first) * width,
            )
            above = number_at(block, 2) + each * width
            for i in range(0, min(ROWS, n - first) * width, width):
                for j in range(left, whole, BYTES):
                    write(y + i + j, read(above + j, zero) + read(x + i + j, zero))
                for j in range(whole, right, size):
                    write(y + i + j, read(above + j, dtype(0)) + read(x + i + j, dtype(0)))
                above = y + i

    return kernel(rows, f"scan_rows_float{8 * size}"), kernel(columns, f"scan_columns_float{8 * size}")


def cumulative_sum(x: Array, axis: int, include_initial: bool) -> Array:
    """Running sums along an axis of any array; with `include_initial`, a 0 before them."""
    if not ENABLED or x.size < SMALL or x.dtype.char not in "fd":
        return np.cumulative_sum(x, axis=axis, include_initial=include_initial)
    n, longer = x.shape[axis], x.shape[axis] + include_initial
    outer, inner = math.prod(x.shape[:axis]), math.prod(x.shape[axis + 1 :])
    y = empty((*x.shape[:axis], longer, *x.shape[axis + 1 :]), x.dtype)
    table = y.reshape(outer, longer, inner)
    if include_initial:
        table[:, 0] = 0
    _scan(np.ascontiguousarray(x).reshape(outer, n, inner), table[:, include_initial:])
    return y


def _scan(x: Array, y: Array) -> None:
    """(outer, n, inner) -> y, whose items may lie further apart than those of x."""
    outer, n, inner = x.shape
    blocks = -(-n // (BLOCK if inner == 1 else ROWS))
    before = np.zeros((outer, blocks, inner), x.dtype)
    if blocks > 1:
        sums = reduce_blocks(SUM, x)[:, :-1]
        _scan(np.ascontiguousarray(sums), before[:, 1:])
    longer = y.strides[0] // (inner * y.itemsize) if outer > 1 else n
    pieces = 1 if inner == 1 else -(-inner // COLUMNS)
    mine, items = max(1, PART // (x.size // (outer * blocks * pieces))), outer * blocks * pieces
    run = _kernels(x.itemsize)[inner != 1]
    launch(run, -(-items // mine), x, before, y, n, blocks, longer, mine, items, inner, pieces)
