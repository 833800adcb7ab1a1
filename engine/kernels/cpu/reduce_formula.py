"""The sum of a formula in one pass: a stretch of it is computed into the first cache, and added up there.

    for block of BLOCK numbers of a row:                # in parallel
        for stretch of STRETCH numbers of the block:
            scratch = formula(stretch of each operand)  # in SIMD lanes
            four vectors of lanes run over the scratch
        the four are joined, then their lanes are

Of short rows that follow each other in memory, one stretch holds several.

Nothing but the operands goes through memory. The order of the sum is that of `reduce.total`: where every operand steps
through the summed axes as through one, the result is, to the last bit, that of the formula written out and then summed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .buffers import empty
from .jit import array_at, kernel, number_at, stack, view
from .lane_rows import MOST, merged
from .lane_ufunc import lanes_of
from .reduce import BLOCK, SMALL, SUM, Axes, joined, words
from .strip import zeros
from .threads import address_of, launch
from .vector import BYTES

Array = np.ndarray[Any, Any]

SHORT = 128  # numbers: rows that are shorter, and do not follow each other, are not done here
STRETCH = 2048  # numbers: with those of two operands they take half of a first cache
PART = 1 << 15  # numbers of a part: some of its formula's instructions take longer than reading
SIZE = 4  # bytes of a float32
REALS = frozenset("f?->")  # what a kernel may be of: float32, and conditions

_, _, along, across = words(SUM, SIZE)
buffer_memory, scratch_memory = stack(BYTES), stack(SIZE * STRETCH)
places_memory, steps_memory = stack(8 * MOST), stack(8 * MOST)


@intrinsic
def call(typing: Any, span: Any, places: Any, steps: Any, n: Any) -> Any:
    """Compute n elements of a row by the span at an address (lane_span.py)."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        i64 = ir.IntType(64)
        span, places, steps, n = args
        function = builder.inttoptr(span, ir.FunctionType(ir.VoidType(), [i64] * 4).as_pointer())
        builder.call(function, [places, steps, i64(0), n])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), generate


@kernel
def formula_rows(block, part):  # type: ignore[no-untyped-def]
    """operands (rows,n) -> y (rows,blocks); the table holds base, row step and step of each operand, in bytes."""
    y, table, span = array_at(block, 0, np.float32), array_at(block, 2, np.int64), number_at(block, 4)
    n, blocks, mine, together = number_at(block, 5), number_at(block, 6), number_at(block, 7), number_at(block, 8)
    operands, zero, buffer, scratch = table.size // 3, zeros(np.float32), buffer_memory(), scratch_memory()
    at_places, at_steps = places_memory(), steps_memory()
    places, steps = view(at_places, MOST, np.int64), view(at_steps, MOST, np.int64)
    for k in range(operands):
        steps[k] = table[3 * k + 2]
    places[operands], steps[operands] = scratch, SIZE
    end = min(y.size, (part + 1) * mine)
    for item in range(part * mine, end, together):
        row, first = item // blocks, item % blocks * BLOCK
        rows, behind, found = min(together, end - item), min(n, first + BLOCK), (zero, zero, zero, zero)
        for start in range(first, behind, STRETCH):
            for k in range(operands):
                places[k] = table[3 * k] + row * table[3 * k + 1] + start * table[3 * k + 2]
            count = min(STRETCH, behind - start)
            call(span, at_places, at_steps, rows * count)
            found = along(scratch, scratch + count * SIZE, zero, found, buffer)
        y[item] = across(found, buffer)
        for k in range(1, rows):
            at = scratch + k * n * SIZE
            y[item + k] = across(along(at, at + n * SIZE, zero, (zero, zero, zero, zero), buffer), buffer)


def total_of(run: Any, xs: Sequence[Any], axes: Axes, keepdims: bool, count: bool) -> Array | None:
    """The sum over axes of a formula in lanes, `run`; int64 if it is a `count` of ones. None: this is not done here.

    xs: float32 and bool arrays, and Python numbers; they broadcast. Done are large rows: the axes are the last ones,
    and every operand is a matrix or a broadcast of one.
    """
    arrays = [x if isinstance(x, np.ndarray) else np.asarray(x, np.float32) for x in xs]
    shapes = {x.shape for x in arrays}
    shape = np.broadcast_shapes(*shapes) if len(shapes) > 1 else arrays[0].shape
    kept, found = len(shape) - len(axes), lanes_of(run)
    if found is None or not REALS.issuperset(run.types[0]) or len(arrays) >= MOST:
        return None
    if math.prod(shape) < SMALL or sorted(axes) != [*range(kept, len(shape))]:
        return None
    matrix = _as_matrix(arrays, shape, kept)
    if matrix is None:
        return None
    rows, n, row_steps, steps = matrix
    follow = all(row_step == n * step for row_step, step in zip(row_steps, steps, strict=True))
    if n < SHORT and not follow:
        return None
    table = np.array([*zip(map(address_of, arrays), row_steps, steps, strict=True)], np.int64)
    blocks, mine = -(-n // BLOCK), max(1, PART // min(n, BLOCK))
    y = empty((rows, blocks), np.float32)
    together = max(1, STRETCH // n) if follow else 1
    launch(formula_rows, -(-y.size // mine), y, table, found.span, n, blocks, mine, together)
    lengths = [1 if a in axes else side for a, side in enumerate(shape) if keepdims or a not in axes]
    y = y.reshape(math.prod(shape[:kept]), -1)  # where the rows themselves go: (rows,blocks) -> (1,rows*blocks)
    if count:  # of at most BLOCK ones float32 makes no error
        return y.sum(axis=1, dtype=np.int64).reshape(lengths)
    return joined(SUM, y[:, :, None]).reshape(lengths)


def _as_matrix(
    arrays: Sequence[Array], shape: Sequence[int], kept: int
) -> tuple[int, int, Sequence[int], Sequence[int]] | None:
    """Rows, their length, and for each operand the step from row to row and along a row; None: they are no matrices."""
    if all(x.shape == shape and x.flags.c_contiguous for x in arrays):
        n, sizes = math.prod(shape[kept:]), [x.itemsize for x in arrays]
        return math.prod(shape[:kept]), n, [n * size for size in sizes], sizes
    strides = [np.broadcast_to(x, shape).strides for x in arrays]
    inner = merged(shape[kept:], [s[kept:] for s in strides])
    outer = merged(shape[:kept], [s[:kept] for s in strides]) or [(1, (0,) * len(arrays))] * (len(inner) < 2)
    if not inner or len(inner) + len(outer) != 2:
        return None
    (n, steps), (rows, row_steps) = inner[0], (*inner, *outer)[1]
    if any(s not in (0, x.itemsize) for s, x in zip(steps, arrays, strict=True)):
        return None
    return rows, n, row_steps, steps
