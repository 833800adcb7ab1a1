"""The convolution itself: what one core does for a part, strip by strip.

for strip in the part's strips:                       # pixels that fit the second cache
    window = the strip's input, with its border       # in place where there is no padding
    for panel of NR filters:                          # packed, fits the first cache
        y = sweep(window, pixels, taps, panel)        # the micro-kernel, tile by tile; bias and relu on its way out
    with pooling: y = the largest of each window      # the convolution's own output stays in the cache; where windows
                                                      # are 2 x 2, side by side, it does not leave the registers
"""

from __future__ import annotations

import functools
import struct

import numpy as np

from . import geometry as at, winograd
from .conv_parts import WORTH, Plan, pack_job, strip_at, words
from .geometry import Geometry, Padding, Pair, Pool, Table, geometry
from .jit import Kernel, kernel, number_at, real_at, view
from .microkernel import make
from .pool_parts import PLACE, place, words as pool_words
from .threads import job

STRIPS = 192, 16  # pixels of a strip, whose input and output stay in the second cache; strips at least
MAX_PARTS = 64

X, PANELS, START, Y, INDEX, SCRATCH, FILTERS, SCRATCH_STEP, PARTS, FLOOR, POOLED, TILED, PIXELS, TAPS, ROWS = range(15)
POOL = 15
NUMBERS = POOL + PLACE


@functools.cache
def forward(size: int) -> Kernel:
    """The kernel for numbers of `size` bytes."""
    dtype = np.float32 if size == 4 else np.float64
    tile = make(dtype)
    NR, sweep, sweep_windows = tile.NR, tile.sweep, tile.sweep_windows
    input_of, max_windows = words(size).input_of, pool_words(size).max_windows

    def forward(block, part):  # type: ignore[no-untyped-def]
        s, pool = view(block + 8 * NUMBERS, 0, np.int64), view(block + 8 * POOL, 0, np.int64)
        x, start, y, index = number_at(block, X), number_at(block, START), number_at(block, Y), number_at(block, INDEX)
        pixels, taps, rows = number_at(block, PIXELS), number_at(block, TAPS), number_at(block, ROWS)
        floor, pooled, parts = dtype(real_at(block, FLOOR)), number_at(block, POOLED), number_at(block, PARTS)
        sums = number_at(block, SCRATCH) + part * number_at(block, SCRATCH_STEP)
        scratch = sums + pooled * size
        depth, tiled = s[at.DEPTH], number_at(block, TILED)
        for strip in range(part * s[at.STRIPS] // parts, (part + 1) * s[at.STRIPS] // parts):
            image, images, windows, window_rows, row, height = strip_at(s, strip)
            a = input_of(s, x, scratch, image, images, row)
            place = (image * s[at.POOL_H] + windows) * s[at.POOL_W] * s[at.F]
            out = sums if pooled else y + place * size
            m = images * height * s[at.OW]
            panel = number_at(block, PANELS)
            for group in range(s[at.GROUPS]):
                for j in range(0, s[at.GROUP_F], NR):  # (m,depth) @ (depth,NR) -> (m,NR)
                    f, n = (group * s[at.GROUP_F] + j) * size, min(NR, s[at.GROUP_F] - j)
                    a_group = a + group * s[at.GROUP_C] * size
                    if tiled:
                        best, number, count = out + f, index + place + f // size, images * window_rows * s[at.POOL_W]
                        sweep_windows(
                            a_group, pixels, taps, depth, panel, start + f, floor, best, number, s[at.F], count, n
                        )
                    else:
                        sweep(a_group, pixels, taps, depth, panel, NR * size, start + f, 0, floor, out + f, rows, m, n)
                    panel += depth * NR * size
            if pooled:  # (m,F) -> (windows,F)
                for i in range(images):
                    corner = sums + (i * height - row) * s[at.OW] * s[at.F] * size  # of the image
                    to = place + i * s[at.POOL_H] * s[at.POOL_W] * s[at.F]
                    max_windows(corner, pool, windows, window_rows, y + to * size, index + to)

    return kernel(forward, f"conv_forward_float{8 * size}")


@functools.lru_cache(256)
def plan(
    x_shape: tuple[int, ...],
    w_shape: tuple[int, ...],
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
    pool: Pool | None,
    relu: bool,
    size: int,
) -> Plan:
    """The job takes the addresses of x, packed filters, bias, y, index, scratch and w. Raises ShapeError."""
    if winograd.fits(x_shape, w_shape, stride, padding, dilation, groups, size):
        return winograd.plan(x_shape, w_shape, padding, pool, relu)
    where = geometry(x_shape, w_shape, stride, padding, dilation, groups, pool, size, *STRIPS)
    pack, panels = pack_job(w_shape, groups, False, size)
    parts = max(1, min(where.strips, MAX_PARTS, where.work // WORTH))
    tiled = pool is not None and winograd.pools(pool)
    pooled = where.strip_output if pool and not tiled else 0
    pixels = window_pixels(where) if tiled else where.pixels
    (floor,) = struct.unpack("q", struct.pack("d", 0.0 if relu else -np.inf))
    tables = [int(tiled), *(table.ctypes.data for table in (pixels, where.taps, where.rows))]
    own = pooled + where.window
    slots = [0] * SCRATCH_STEP + [own * size, parts, floor, pooled, *tables, *pool_place(where, pool), *where.numbers]
    return Plan(where, pack, panels, job(forward(size), parts, slots), parts * own, tables=(pixels,))


def window_pixels(where: Geometry) -> Table:
    """The offsets of a strip's pixels, those of a 2 x 2 window side by side."""
    s = where.numbers
    grid = where.pixels.reshape(s[at.IMAGES], s[at.STRIP_ROWS] // 2, 2, s[at.OW] // 2, 2)
    return np.ascontiguousarray(grid.swapaxes(2, 3)).ravel()


def pool_place(where: Geometry, pool: Pool | None) -> list[int]:
    """Where the windows lie on what is computed of the convolution's output."""
    image = where.numbers[at.OH], where.numbers[at.OW], where.numbers[at.F]
    return place(image, *pool) if pool else [0] * PLACE
