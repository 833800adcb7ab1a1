"""A large copy between arrays that may lie in memory in any order: tile by tile, shared by the cores.

A copy is a grid of rows and columns, and the axes around it. Columns are what y steps through fastest; rows are the
next axis, or the one that x steps through fastest if that is another:

    for some of the tiles of the grid, in parallel:
        where the tile begins in x and in y
        x steps through columns    row by row, forwards or backwards
        x stands still             each row is one number, again and again
        x steps through rows       a transposition, a square of numbers at a time: read, turned and written in registers
        else                       number by number

Numbers are moved as integers of their size, whatever they mean; an element of another size is several of them. Two axes
that both arrays step through as through one are one, so what is in the same order is a single row.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .jit import ENABLED, Kernel, kernel, number_at, view
from .lane_rows import merged
from .threads import address_of, launch

Array = np.ndarray[Any, Any]

PART = 1 << 17  # bytes that a core takes at a time
SIDE = 128  # rows and columns of a tile that is transposed: both sides of it lie in the second cache
WORDS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}

# What the kernel is told of a copy: steps in words, then length and steps of each axis around the grid
PARTS, LENGTH, X, Y, ROWS, ROW_X, ROW_Y, COLUMNS, COLUMN_X, COLUMN_Y, TALL, WIDE, TILES, AT_A_TIME, AROUND = range(15)


# --- the kernel ------------------------------------------------------------------------------------------------------


def _turning(size: int, lanes: int) -> Any:
    """turn(x, x_step, y, y_step): a square of lanes x lanes words, its rows to columns; steps and addresses in bytes.

    Rows i and i + d swap what lies across their diagonal, for d = lanes/2 ... 2, 1: first quarters of the square, then
    quarters of each quarter, and so on.
    """
    vector, I32, I64 = ir.VectorType(ir.IntType(8 * size), lanes), ir.IntType(32), ir.IntType(64)

    def chosen(builder: Any, a: Any, b: Any, places: list[int]) -> Any:
        return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(I32, lanes), places))

    @intrinsic
    def turn(typing: Any, x: Any, x_step: Any, y: Any, y_step: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            def row(start: Any, step: Any, k: int) -> Any:
                return builder.inttoptr(builder.add(start, builder.mul(step, I64(k))), vector.as_pointer())

            x, x_step, y, y_step = args
            rows = [builder.load(row(x, x_step, k), align=size) for k in range(lanes)]
            d = lanes // 2
            while d:
                first = [k if not k & d else lanes + k - d for k in range(lanes)]
                second = [k + d if not k & d else lanes + k for k in range(lanes)]
                for i in [i for i in range(lanes) if not i & d]:
                    a, b = rows[i], rows[i + d]
                    rows[i], rows[i + d] = chosen(builder, a, b, first), chosen(builder, a, b, second)
                d //= 2
            for k in range(lanes):
                builder.store(rows[k], row(y, y_step, k), align=size)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 4), generate

    return turn


@functools.cache
def _kernel(size: int) -> Kernel:
    """For words of so many bytes."""
    dtype, lanes = WORDS[size], min(16, 32 // size)
    turn = _turning(size, lanes)

    def copy(block, part):  # type: ignore[no-untyped-def]
        while part >= number_at(block, PARTS):  # it is of a later copy
            part -= number_at(block, PARTS)
            block += 8 * number_at(block, LENGTH)
        rows, row_x, row_y = number_at(block, ROWS), number_at(block, ROW_X), number_at(block, ROW_Y)
        columns, column_x, column_y = number_at(block, COLUMNS), number_at(block, COLUMN_X), number_at(block, COLUMN_Y)
        at_a_time, most_tall, most_wide = number_at(block, AT_A_TIME), number_at(block, TALL), number_at(block, WIDE)
        across, down = (columns + most_wide - 1) // most_wide, (rows + most_tall - 1) // most_tall
        for tile in range(part * at_a_time, min(number_at(block, TILES), (part + 1) * at_a_time)):
            left, top, outer = tile % across * most_wide, tile // across % down * most_tall, tile // across // down
            tall, wide = min(most_tall, rows - top), min(most_wide, columns - left)
            from_x, from_y = top * row_x + left * column_x, top * row_y + left * column_y
            for slot in range(AROUND, number_at(block, LENGTH), 3):
                n = number_at(block, slot)
                from_x += outer % n * number_at(block, slot + 1)
                from_y += outer % n * number_at(block, slot + 2)
                outer //= n
            at_x, at_y = number_at(block, X) + size * from_x, number_at(block, Y) + size * from_y
            x, y = view(at_x, 0, dtype), view(at_y, 0, dtype)
            if column_y == 1 and column_x == 1:
                for i in range(tall):
                    for j in range(wide):
                        y[i * row_y + j] = x[i * row_x + j]
            elif column_y == 1 and column_x == -1:
                for i in range(tall):
                    for j in range(wide):
                        y[i * row_y + j] = x[i * row_x - j]
            elif column_y == 1 and column_x == 0:
                for i in range(tall):
                    value = x[i * row_x]
                    for j in range(wide):
                        y[i * row_y + j] = value
            elif column_y == 1 and row_x == 1 and tall >= lanes and wide >= lanes:
                some_rows, some_columns = tall // lanes * lanes, wide // lanes * lanes
                for j in range(0, some_columns, lanes):
                    for i in range(0, some_rows, lanes):
                        to_x, to_y = i + j * column_x, i * row_y + j
                        turn(at_x + size * to_x, size * column_x, at_y + size * to_y, size * row_y)
                for i in range(tall):  # what is left at two edges
                    for j in range(some_columns if i < some_rows else 0, wide):
                        y[i * row_y + j] = x[i + j * column_x]
            else:
                for i in range(tall):
                    for j in range(wide):
                        y[i * row_y + j * column_y] = x[i * row_x + j * column_x]

    return kernel(copy, f"copy_{size}")


# --- what it is told -------------------------------------------------------------------------------------------------


def copy_tiles(pairs: Sequence[tuple[Array, Array]], word: int) -> None:
    """y[...] = x for each (y, x) of one dtype, as words of so many bytes; x broadcasts."""
    slots: list[int] = []
    parts = 0
    for y, x in pairs:
        if not ENABLED:
            y[...] = x
            continue
        told = _told(y, x if x.shape == y.shape else np.broadcast_to(x, y.shape), word)
        parts += told[PARTS]
        slots += told
    if parts:
        launch(_kernel(word), parts, *slots)


def _told(y: Array, x: Array, word: int) -> list[int]:
    """What the kernel is told of two arrays of one shape, with an element at least."""
    if y.flags.c_contiguous and x.flags.c_contiguous:
        axes: list[tuple[int, tuple[int, ...]]] = [(y.nbytes // word, (word, word))]
    else:
        shape, steps_x, steps_y = y.shape, x.strides, y.strides
        if not y.flags.c_contiguous:  # the axes as y steps through them, the fastest last
            order = sorted(range(y.ndim), key=lambda a: -abs(y.strides[a]))
            shape, steps_x, steps_y = (tuple([of[a] for a in order]) for of in (shape, steps_x, steps_y))
        if y.itemsize != word:  # an element is several words
            shape, steps_x, steps_y = (*shape, y.itemsize // word), (*steps_x, word), (*steps_y, word)
        axes = merged(shape, (steps_x, steps_y)) or [(1, (word, word))]
    columns, (column_x, column_y) = axes.pop(0)
    wide, tall, at = min(columns, PART // word), 0, 0
    if axes and abs(column_x) > word:
        fastest = min(range(len(axes)), key=lambda k: abs(axes[k][1][0]) or abs(column_x))
        if 0 < abs(axes[fastest][1][0]) < abs(column_x):
            at, tall = fastest, min(axes[fastest][0], SIDE)
            wide = min(columns, SIDE * SIDE // tall)
            tall = SIDE * SIDE // wide
    rows, (row_x, row_y) = axes.pop(at) if axes else (1, (0, 0))
    tall = min(rows, tall or PART // (word * wide))
    tiles = -(-columns // wide) * -(-rows // tall)
    around: list[int] = []
    for n, (step_x, step_y) in axes:
        tiles *= n
        around += n, step_x // word, step_y // word
    at_a_time = max(1, PART // (word * wide * tall))
    return [
        -(-tiles // at_a_time), AROUND + len(around), address_of(x), address_of(y),
        rows, row_x // word, row_y // word, columns, column_x // word, column_y // word,
        tall, wide, tiles, at_a_time, *around,
    ]  # fmt: skip
