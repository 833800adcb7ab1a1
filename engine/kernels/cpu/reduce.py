"""Reductions: many numbers become one, by an operator that tells how a number enters and how two results are joined.

    x as (outer, n, inner), n the axis that goes:

    inner = 1   for piece of BLOCK numbers of a row:       # in parallel
                    four vectors of lanes run over it, then are joined, then their lanes are
    inner > 1   for block of ROWS rows, some columns:      # in parallel
                    for eight rows at a time: for strip in columns: result[strip] joins the eight

Either leaves one result for each block; these are reduced again, a few by NumPy, until one is left. So the order of a
sum depends on the shape alone, and its rounding error grows with the block and the number of blocks, not with their
product.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir
from numba.extending import intrinsic

from .buffers import empty
from .jit import ENABLED, Kernel, array_at, device, kernel, number_at, stack, view
from .strip import every, read, write, zeros
from .threads import launch
from .vector import BYTES, exp

Array = np.ndarray[Any, Any]
Axes = tuple[int, ...]

BLOCK = 1 << 14  # numbers of a row that are reduced in one go
ROWS = 256  # rows that are
COLUMNS = 1 << 12  # of a part
PART = 1 << 17  # numbers in a part: waking another thread takes as long as reading a part
SMALL = 1 << 15  # fewer numbers are done in NumPy before a kernel is entered


# --- the operators ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Operator:
    """How a number v enters, c being the centre, and how two results are joined; both of lanes."""

    name: str
    enter: Callable[..., Any]  # (v, c) -> result
    join: Callable[..., Any]  # (result, result) -> result
    blank: Callable[..., Any]  # (c) -> a v that changes nothing
    nothing: float  # the result of no numbers


def _choosing(test: str) -> Any:
    @intrinsic
    def word(typing: Any, a: Any, b: Any) -> Any:
        """b where the test holds of (b, a) or b is NaN, else a; a NaN in a stays."""

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            x, y = args  # "unordered" comparisons are true where a NaN is met
            wins = builder.and_(builder.fcmp_unordered(test, y, x), builder.fcmp_ordered("ord", x, x))
            return builder.select(wins, y, x)

        return a(a, b), generate

    return word


_above, _below = _choosing(">"), _choosing("<")


@intrinsic(prefer_literal=True)
def _turned(typing: Any, v: Any, lanes: Any) -> Any:
    """Lane i becomes lane i + `lanes`, around the corner."""
    order = [(i + lanes.literal_value) % v.lanes for i in range(v.lanes)]

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.shuffle_vector(args[0], args[0], ir.Constant(ir.VectorType(ir.IntType(32), v.lanes), order))

    return v(v, lanes), generate


@device
def _itself(v, c):  # type: ignore[no-untyped-def]
    return v


@device
def _square(v, c):  # type: ignore[no-untyped-def]
    return (v - c) * (v - c)


@device
def _magnitude(v, c):  # type: ignore[no-untyped-def]
    return _above(v, c - v)


@device
def _difference(v, c):  # type: ignore[no-untyped-def]
    return v - c


@device
def _exponential(v, c):  # type: ignore[no-untyped-def]
    return exp(v - c)


@device
def _plus(a, b):  # type: ignore[no-untyped-def]
    return a + b


@device
def _centre(c):  # type: ignore[no-untyped-def]
    return c


@device
def _zero(c):  # type: ignore[no-untyped-def]
    return every(0.0, c)


@device
def _least(c):  # type: ignore[no-untyped-def]
    return every(-np.inf, c)


@device
def _greatest(c):  # type: ignore[no-untyped-def]
    return every(np.inf, c)


SUM = Operator("sum", _itself, _plus, _zero, 0.0)
MAX = Operator("max", _itself, _above, _least, -math.inf)
MIN = Operator("min", _itself, _below, _greatest, math.inf)
MAGNITUDE = Operator("magnitude", _magnitude, _above, _zero, 0.0)  # |v|, c being 0
DIFFERENCES = Operator("differences", _difference, _plus, _centre, 0.0)  # v - c
SQUARES = Operator("squares", _square, _plus, _centre, 0.0)  # of v - c
EXPONENTIALS = Operator("exponentials", _exponential, _plus, _least, 0.0)  # of v - c, in float32
FEW: dict[Operator, Any] = {SUM: np.add, MAX: np.maximum, MIN: np.minimum}  # how NumPy joins a few results


# --- the kernels -----------------------------------------------------------------------------------------------------


@functools.cache
def words(operator: Operator, size: int) -> tuple[Any, ...]:
    """What kernels say: `some` and `put` a vector, `along` a row join all numbers into four, `across` join the four."""
    dtype = np.float32 if size == 4 else np.float64
    enter, join, blank = operator.enter, operator.join, operator.blank
    L = BYTES // size

    @device
    def copy(source, target, n):  # type: ignore[no-untyped-def]
        a, b = view(source, n, dtype), view(target, n, dtype)
        for i in range(n):
            b[i] = a[i]

    @device
    def some(address, lanes, rest, buffer):  # type: ignore[no-untyped-def]
        """The vector at an address; where the row has less lanes left, filled up with `rest`."""
        if lanes >= L:
            return read(address, rest)
        write(buffer, rest)
        copy(address, buffer, lanes)
        return read(buffer, rest)

    @device
    def put(address, lanes, v, buffer):  # type: ignore[no-untyped-def]
        if lanes >= L:
            write(address, v)
        else:
            write(buffer, v)
            copy(buffer, address, lanes)

    @device
    def along(i, end, c, found, buffer):  # type: ignore[no-untyped-def]
        """The numbers from address i to `end`, joined to those that four vectors hold."""
        v0, v1, v2, v3 = found
        while i + 4 * BYTES <= end:
            v0, v1 = join(v0, enter(read(i, c), c)), join(v1, enter(read(i + BYTES, c), c))
            v2 = join(v2, enter(read(i + 2 * BYTES, c), c))
            v3 = join(v3, enter(read(i + 3 * BYTES, c), c))
            i += 4 * BYTES
        while i < end:
            v0 = join(v0, enter(some(i, (end - i) // size, blank(c), buffer), c))
            i += BYTES
        return v0, v1, v2, v3

    @device
    def across(found, buffer):  # type: ignore[no-untyped-def]
        """All lanes of the four vectors joined: one number."""
        v0, v1, v2, v3 = found
        v = join(join(v0, v1), join(v2, v3))
        if L == 16:
            v = join(v, _turned(v, 8))
        v = join(v, _turned(v, 4))
        v = join(v, _turned(v, 2))
        write(buffer, join(v, _turned(v, 1)))
        return read(buffer, dtype(0))

    return some, put, along, across


@functools.cache
def _kernels(operator: Operator, size: int) -> tuple[Kernel, Kernel]:
    """For rows, and for columns. The centres are one number for each row or column, or zeros for all: a step of 0."""
    dtype = np.float32 if size == 4 else np.float64
    enter, join, blank, nothing = operator.enter, operator.join, operator.blank, dtype(operator.nothing)
    buffer_memory = stack(BYTES)
    some, put, along, across = words(operator, size)

    def rows(block, part):  # type: ignore[no-untyped-def]
        """x (outer,n) -> y (outer,blocks)"""
        x, centres, y = number_at(block, 0), array_at(block, 2, dtype), array_at(block, 4, dtype)
        n, blocks, mine, centre_step = (
            number_at(block, 6),
            number_at(block, 7),
            number_at(block, 8),
            number_at(block, 9),
        )
        zero, buffer = zeros(dtype), buffer_memory()
        for item in range(part * mine, min(y.size, (part + 1) * mine)):
            row, first = item // blocks, item % blocks * BLOCK
            c = every(centres[row * centre_step], zero)
            start, end = x + (row * n + first) * size, x + (row * n + min(n, first + BLOCK)) * size
            v = every(nothing, zero)
            y[item] = across(along(start, end, c, (v, v, v, v), buffer), buffer)

    def columns(block, part):  # type: ignore[no-untyped-def]
        """x (outer,n,inner) -> y (outer,blocks,inner)"""
        x, centres, y = number_at(block, 0), number_at(block, 2), number_at(block, 4)
        n, blocks, mine, centre_step = (
            number_at(block, 6),
            number_at(block, 7),
            number_at(block, 8),
            number_at(block, 9),
        )
        items, width, pieces = number_at(block, 10), number_at(block, 11) * size, number_at(block, 12)
        zero, buffer = zeros(dtype), buffer_memory()
        for item in range(part * mine, min(items, (part + 1) * mine)):
            each, left = item // pieces, item % pieces * COLUMNS * size  # one result (inner), and where in it
            outer, first = each // blocks, each % blocks * ROWS
            right = min(width, left + COLUMNS * size)
            start, end = x + (outer * n + first) * width, x + (outer * n + min(n, first + ROWS)) * width
            result = y + each * width
            i = start
            while i < end:
                count = min(8, (end - i) // width)
                for j in range(left, right, BYTES):
                    lanes = (right - j) // size
                    c = some(centres + (outer * width + j) * centre_step, lanes, zero, buffer)
                    rest = blank(c)
                    if count == 8:
                        a = join(
                            enter(some(i + j, lanes, rest, buffer), c),
                            enter(some(i + width + j, lanes, rest, buffer), c),
                        )
                        k = i + 2 * width + j
                        b = join(enter(some(k, lanes, rest, buffer), c), enter(some(k + width, lanes, rest, buffer), c))
                        k += 2 * width
                        d = join(enter(some(k, lanes, rest, buffer), c), enter(some(k + width, lanes, rest, buffer), c))
                        k += 2 * width
                        e = join(enter(some(k, lanes, rest, buffer), c), enter(some(k + width, lanes, rest, buffer), c))
                        v = join(join(a, b), join(d, e))
                    else:
                        v = enter(some(i + j, lanes, rest, buffer), c)
                        for k in range(i + width + j, i + count * width + j, width):
                            v = join(v, enter(some(k, lanes, rest, buffer), c))
                    if i > start:
                        v = join(some(result + j, lanes, zero, buffer), v)
                    put(result + j, lanes, v, buffer)
                i += count * width

    names = (f"reduce_{kind}_{operator.name}_float{8 * size}" for kind in ("rows", "columns"))
    return kernel(rows, next(names)), kernel(columns, next(names))


# --- the functions ---------------------------------------------------------------------------------------------------


def total(x: Array, axes: Axes, keepdims: bool = False) -> Array:
    """Sum over the axes, which are 0 or more and distinct."""
    if not _fits(x, axes):
        return plain_total(x, axes, keepdims)
    return _shaped(_reduce(SUM, SUM, x, axes), x.shape, axes, keepdims)


def largest(x: Array, axes: Axes, keepdims: bool = False) -> Array:
    """Maximum over the axes; a NaN wins."""
    if not _fits(x, axes):
        return x.max(axis=axes, keepdims=keepdims)
    return _shaped(_reduce(MAX, MAX, x, axes), x.shape, axes, keepdims)


def smallest(x: Array, axes: Axes, keepdims: bool = False) -> Array:
    """Minimum over the axes; a NaN wins."""
    if not _fits(x, axes):
        return x.min(axis=axes, keepdims=keepdims)
    return _shaped(_reduce(MIN, MIN, x, axes), x.shape, axes, keepdims)


def largest_magnitude(x: Array, axes: Axes, keepdims: bool = False) -> Array:
    """Maximum of |x| over the axes; a NaN wins, and of nothing it is 0."""
    if not _fits(x, axes):
        return np.abs(x).max(axis=axes, keepdims=keepdims, initial=0)
    return _shaped(_reduce(MAGNITUDE, MAX, x, axes), x.shape, axes, keepdims)


def differences(x: Array, centre: Array, axes: Axes, keepdims: bool = False) -> Array:
    """Sum of x - centre over the axes; `centre` keeps them with length 1."""
    if not _fits(x, axes):
        return plain_total(x - centre, axes, keepdims)
    return _shaped(_reduce(DIFFERENCES, SUM, x, axes, centre), x.shape, axes, keepdims)


def squares(x: Array, centre: Array, axes: Axes, keepdims: bool = False) -> Array:
    """Sum of (x - centre)^2 over the axes; `centre` keeps them with length 1."""
    if not _fits(x, axes):
        return plain_total(np.square(x - centre), axes, keepdims)
    return _shaped(_reduce(SQUARES, SUM, x, axes, centre), x.shape, axes, keepdims)


def exponentials(x: Array, centre: Array, axes: Axes, keepdims: bool = False) -> Array:
    """Sum of exp(x - centre) over the axes; `centre` keeps them with length 1."""
    if not _fits(x, axes) or x.dtype != np.float32:
        return plain_total(np.exp(x - centre), axes, keepdims)
    return _shaped(_reduce(EXPONENTIALS, SUM, x, axes, centre), x.shape, axes, keepdims)


def _fits(x: Array, axes: Axes) -> bool:
    return ENABLED and x.size >= SMALL and x.dtype.char in "fd" and len(axes) > 0


def _shaped(y: Array, shape: tuple[int, ...], axes: Axes, keepdims: bool) -> Array:
    if keepdims:
        return y.reshape([1 if a in axes else n for a, n in enumerate(shape)])
    return y.reshape([n for a, n in enumerate(shape) if a not in axes])


def _reduce(first: Operator, then: Operator, x: Array, axes: Axes, centre: Array | None = None) -> Array:
    """Any axes: those that lie side by side at once, the last group first; the rest later, by `then`."""
    x = np.ascontiguousarray(x)
    behind = max(axes) + 1
    before = behind - 1
    while before - 1 in axes:
        before -= 1
    outer, n, inner = (math.prod(s) for s in (x.shape[:before], x.shape[before:behind], x.shape[behind:]))
    others = tuple(a for a in axes if a < before)
    if centre is not None and others:  # each number of the next reduction needs its own centre
        centre = np.broadcast_to(centre, (*x.shape[:before], *[1] * (behind - before), *x.shape[behind:]))
    y = joined(then, reduce_blocks(first, x.reshape(outer, n, inner), centre))
    if others:
        y = _reduce(then, then, y.reshape(*x.shape[:before], inner), others)
    return y


def joined(then: Operator, y: Array) -> Array:
    """The results of blocks, (outer, blocks, inner) -> (outer, 1, inner)"""
    while y.shape[1] > 1:
        few = y.size < SMALL and y.shape[1] <= ROWS
        y = FEW[then].reduce(y, axis=1, keepdims=True) if few else reduce_blocks(then, y)
    return y


def reduce_blocks(operator: Operator, x: Array, centre: Array | None = None) -> Array:
    """(outer, n, inner) -> (outer, blocks, inner): a result for each BLOCK numbers of a row, or each ROWS rows."""
    outer, n, inner = x.shape
    lanes = BYTES // x.itemsize  # columns read so many centres at once
    step, centres = (0, np.zeros(lanes, x.dtype)) if centre is None else (1, np.ascontiguousarray(centre, x.dtype))
    on_rows, on_columns = _kernels(operator, x.itemsize)
    if inner == 1:
        blocks, mine = -(-n // BLOCK), max(1, PART // min(n, BLOCK))
        y = empty((outer, blocks, 1), x.dtype)
        launch(on_rows, -(-y.size // mine), x, centres, y, n, blocks, mine, step)
    else:
        blocks, pieces = -(-n // ROWS), -(-inner // COLUMNS)
        y, items = empty((outer, blocks, inner), x.dtype), outer * blocks * pieces
        mine = max(1, PART // (min(n, ROWS) * min(inner, COLUMNS)))
        launch(on_columns, -(-items // mine), x, centres, y, n, blocks, mine, step, items, inner, pieces)
    return y


# --- NumPy: the contract ---------------------------------------------------------------------------------------------


def plain_total(x: Array, axes: Axes, keepdims: bool = False) -> Array:
    """x.sum(axes), axis by axis and block by block where NumPy would add many rows one after the other."""
    rows = math.prod(x.shape[a] for a in axes)
    if rows <= ROWS or len(axes) == x.ndim or x.dtype.kind != "f":
        return x.sum(axis=axes, keepdims=keepdims)
    for a in sorted(axes, reverse=True):
        while x.shape[a] > ROWS and a != x.ndim - 1:
            x = _block_sums(x, a)
        x = x.sum(axis=a, keepdims=True)
    return _shaped(x, x.shape, axes, keepdims)


def _block_sums(x: Array, axis: int) -> Array:
    """(.., n, ..) -> (.., ceil(n / ROWS), ..)"""
    before, n, behind = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
    blocks = n // ROWS
    at = (slice(None),) * axis
    whole: Array = x[(*at, slice(0, blocks * ROWS))].reshape(*before, blocks, ROWS, *behind).sum(axis=axis + 1)
    if n % ROWS:  # the last, shorter block goes to the first block's sum
        whole[(*at, slice(0, 1))] += x[(*at, slice(blocks * ROWS, n))].sum(axis=axis, keepdims=True)
    return whole
