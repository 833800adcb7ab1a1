"""The gradients of a convolution behind which max-pooling lets one pixel of each window through, for each filter.

Where windows are 2 x 2, three quarters of the convolution's cotangent are zeros. So nothing is scattered and no zero is
multiplied: each filter keeps a list of what did pass, (value, where the filter stood on the input).

    for image in the part's images:
        for f in filters:
            values, offsets = the windows whose maximum relu let pass, and the input pixels under the filter there
        for f in filters:                                 # what the filter saw there: its weight gradient
            for u in filter rows:                         # kw*C numbers that lie in a row, in registers
                dw[f, u, :] += Sum(k, values[k] * x[offsets[k] + row u, :])
        for f in filters:                                 # the filter itself, laid down there: the input gradient
            for u in filter rows:
                dx[offsets[k] + row u, :] += values[k] * w[f, u, :]   for each k

A row of the filter must be a row of x too, of whole vectors: no groups, and no dilation across.
"""

from __future__ import annotations

import functools

import numpy as np

from . import geometry as at
from .conv_parts import WORTH, Plan, strip_at, words
from .geometry import Padding, Pair, Pool, Table, geometry
from .jit import Kernel, device, kernel, number_at, view
from .pool_parts import words as pool_words
from .rowkernel import make
from .threads import job
from .vector import BYTES

STRIPS = 160, 8  # pixels of a strip, whose input stays in the first cache; strips at least
PARTS = 8
LEAST = 3  # vectors in a filter row that make it worth while
IMAGES = 8  # the same for images, among which the work is cut
APART = 3  # and pixels of the convolution's output for each window

How = tuple[Pair, Padding, Pair, int]  # stride, padding, dilation, groups

G, Y, INDEX, X, FILTERS, DX, DW, DB, SCRATCH, SCRATCH_STEP, PARTS_AT, TAPS, PLACES, CORNERS, ROWS_OF_W = range(15)
COUNTS, OFFSETS, WINDOW, IMAGE = range(15, 19)  # where parts of the scratch begin, in bytes
ROW_STEP = 19  # bytes from row to row of output pixels, on the input
NUMBERS = 20


def fits(x_shape: tuple[int, ...], w_shape: tuple[int, ...], how: How, pool: Pool | None, size: int) -> bool:
    """Is this the way to do it?"""
    _, _, dilation, groups = how
    run = w_shape[1] * w_shape[2] * size
    rows_fit = groups == 1 and dilation[1] == 1 and run % BYTES == 0 and run >= LEAST * BYTES
    return pool is not None and rows_fit and x_shape[0] >= IMAGES and pool.stride[0] * pool.stride[1] >= APART


@functools.cache
def backward(size: int) -> Kernel:
    """The kernel for numbers of `size` bytes. Gradients whose address is 0 are not computed."""
    dtype = np.float32 if size == 4 else np.float64
    parts, (collect, spread), clear = words(size), make(dtype), pool_words(size).clear
    input_of, begin, end = parts.input_of, parts.begin_input_gradient, parts.end_input_gradient

    @device
    def make_lists(block, first, windows, shift, own, counts, offsets):  # type: ignore[no-untyped-def]
        """For each filter what passed through so many windows, behind the first: values, offsets, and their number."""
        s = view(block + 8 * NUMBERS, 0, np.int64)
        F, capacity = s[at.F], s[at.POOL_ROWS] * s[at.POOL_W]
        g, y = view(number_at(block, G) + first * size, 0, dtype), view(number_at(block, Y) + first * size, 0, dtype)
        index = view(number_at(block, INDEX) + first, 0, np.uint8)
        corner, place = view(number_at(block, CORNERS), 0, np.int64), view(number_at(block, PLACES), 0, np.int64)
        for f in range(F):
            value = view(own + f * capacity * size, 0, dtype)
            offset, n = view(offsets + 8 * f * capacity, 0, np.int64), 0
            for w in range(windows):
                i = w * F + f
                value[n], offset[n] = g[i], corner[w] + place[index[i]] + shift
                n += 1 if y[i] > dtype(0) else 0  # else the next one is written over it
            counts[f] = n

    @device
    def add_values(lists, capacity, counts, F, sums):  # type: ignore[no-untyped-def]
        """sums (F,) += the values of each list."""
        for f in range(F):
            value, total = view(lists + f * capacity * size, 0, dtype), dtype(0)
            for k in range(counts[f]):
                total += value[k]
            sums[f] += total

    def pooled(block, part):  # type: ignore[no-untyped-def]
        s = view(block + 8 * NUMBERS, 0, np.int64)
        own = number_at(block, SCRATCH) + part * number_at(block, SCRATCH_STEP)
        counts, offsets = view(own + number_at(block, COUNTS), 0, np.int64), own + number_at(block, OFFSETS)
        tap, rows_of_w = view(number_at(block, TAPS), 0, np.int64), number_at(block, ROWS_OF_W)
        F, run, capacity = s[at.F], s[at.DEPTH] // rows_of_w, s[at.POOL_ROWS] * s[at.POOL_W]
        dx, dw, db = number_at(block, DX), number_at(block, DW), number_at(block, DB)
        filters = number_at(block, FILTERS)
        if dw:
            dw += part * s[at.DEPTH] * F * size
            clear(dw, s[at.DEPTH] * F)
        if db:
            db += part * F * size
            clear(db, F)
        image_step = s[at.H] * s[at.W] * s[at.C] * size
        x_step = s[at.WINDOW_H] * s[at.WINDOW_W] * s[at.C] * size if s[at.PADDED] else image_step
        dx_step = s[at.IMAGE_H] * s[at.WINDOW_W] * s[at.C] * size if s[at.PADDED] else image_step

        parts, per_block, target = number_at(block, PARTS_AT), s[at.STRIPS_PER_IMAGE], dx
        blocks = s[at.STRIPS] // per_block
        for strip in range(part * blocks // parts * per_block, (part + 1) * blocks // parts * per_block):
            first, images, window_row, window_rows, row, _ = strip_at(s, strip)
            shift = (window_row * s[at.POOL_SH] - s[at.POOL_TOP] - row) * number_at(block, ROW_STEP)
            border = own + number_at(block, IMAGE)
            a = input_of(s, number_at(block, X), own + number_at(block, WINDOW), first, images, row) if dw else 0
            if dx and strip % per_block == 0:
                target = begin(s, dx, border, first, images, 0, s[at.C])
            for image in range(images):
                window = ((first + image) * s[at.POOL_H] + window_row) * s[at.POOL_W]
                make_lists(block, window * F, window_rows * s[at.POOL_W], shift, own, counts, offsets)
                if db:
                    add_values(own, capacity, counts, F, view(db, 0, dtype))
                seen, laid = a + image * x_step, target + image * dx_step + row * number_at(block, ROW_STEP)
                for f in range(F if dw else 0):
                    values, where = own + f * capacity * size, offsets + 8 * f * capacity
                    for u in range(rows_of_w if counts[f] else 0):
                        w_row = (f * rows_of_w + u) * run * size
                        collect(values, where, counts[f], seen + tap[u * run], dw + w_row, run * size)
                for f in range(F if dx else 0):
                    values, where = own + f * capacity * size, offsets + 8 * f * capacity
                    for u in range(rows_of_w if counts[f] else 0):
                        w_row = (f * rows_of_w + u) * run * size
                        spread(values, where, counts[f], laid + tap[u * run], filters + w_row, run * size)
            if dx and (strip + 1) % per_block == 0:
                end(s, dx, border, first, images, 0, s[at.C])

    return kernel(pooled, f"conv_pooled_backward_float{8 * size}")


@functools.lru_cache(256)
def plan(
    x_shape: tuple[int, ...],
    w_shape: tuple[int, ...],
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    pool: Pool,
    needs: tuple[bool, bool, bool],
    size: int,
) -> Plan:
    """The job takes the addresses of g, y, index, x, filters (F,kh,kw,C), dx, dw (parts,F,kh,kw,C), db and scratch."""
    where = geometry(x_shape, w_shape, stride, padding, dilation, 1, pool, size, *STRIPS)
    s = where.numbers
    parts = max(1, min(PARTS, where.image_blocks, where.work // WORTH))
    width = s[at.WINDOW_W] if s[at.PADDED] else s[at.W]
    row_step, column_step = s[at.SH] * width * s[at.C] * size, stride[1] * s[at.C] * size
    (kh, kw), (down, across), left = pool.size, pool.stride, pool.padding[1][0]

    def pixels(rows: int, columns: int, down: int, across: int, left: int) -> Table:
        first = np.arange(rows)[:, None] * down * row_step
        return np.ascontiguousarray((first + (np.arange(columns) * across - left) * column_step).ravel(), np.int64)

    places = pixels(kh, kw, 1, 1, 0)
    corners = pixels(s[at.POOL_ROWS], s[at.POOL_W], down, across, left)
    lists = w_shape[3] * corners.size
    begins = [0]
    windows = needs[1] * where.window * size, needs[0] * where.image_window * size
    for n in (lists * size, w_shape[3] * 8, lists * 8, *windows):
        begins.append(begins[-1] + -(-n // 64) * 64)
    tables = where.taps, places, corners
    slots = [0] * SCRATCH_STEP + [begins[-1], parts, *(table.ctypes.data for table in tables), w_shape[0]]
    slots += [*begins[1:5], row_step, *s]
    return Plan(where, None, 0, job(backward(size), parts, slots), parts * begins[-1] // size, parts, tables)
