r"""A 3 x 3 convolution with 4 products where the definition has 9. [Lavin and Gray, "Fast Algorithms for CNNs", 2015]

Two neighbouring sums of three products share so much that four products do instead of six (Winograd, 1980). Once down
and once across, that is 16 products for a tile of 2 x 2 outputs, not 36:

    Y = A^T [ (G w G^T) * (B^T d B) ] A      d (4,4) input, w (3,3) filter, Y (2,2), * number by number

          1  0 -1  0          1   0   0
    B^T = 0  1  1  0      G = .5  .5  .5      A^T = 1  1  1  0
          0 -1  1  0          .5 -.5  .5            0  1 -1 -1
          0  1  0 -1          0   0   1

What * does for all tiles t, channels c and filters f is 16 matrix products, one for each place q of the 4 x 4:

    for strip of tiles, of any images:                    # all below stays in the second cache
        V[q, t, c] = (B^T d[t,c] B)[q]                    # sums alone
        for panel of filters:
            M[q, t, f] = Sum(c, V[q,t,c] * U[q,c,f])      # the micro-kernel; U = G w G^T is made once
            Y[t, f] = A^T M[:, t, f] A + bias             # then relu, and the largest of the four

Where 2 x 2 max-pooling follows, a tile is a window. A tile whose sums are not finite is done again by the definition:
where the definition says inf, or a number near the largest, B^T d B may say inf - inf. For float32 alone: who asks for
float64 asks for the last digits.
"""

from __future__ import annotations

import functools
import math
import struct

import numpy as np

from . import geometry as at
from .conv_parts import WORTH, Plan
from .geometry import Padding, Pair, Pool, geometry, out_side
from .jit import Kernel, device, kernel, number_at, real_at, stack, view
from .microkernel import make, tile_shape
from .threads import job
from .vector import BYTES, beats, choose, fill, fill_integers, larger, load, store, store_bytes, total

SIZE = 4  # bytes of a float32
LANES = BYTES // SIZE
PLACES = 16
TILES = 48  # tiles of a strip: whole register blocks of every processor
DEPTH = 64  # channels up to which a strip has that many
MOST = 256  # channels
LEAST = 1 << 20  # products
SAVED = 0.6  # products at most, of those of the definition
MAX_PARTS = 64

X, U, START, Y, INDEX, SCRATCH, FILTERS, FLOOR, PARTS, STRIP, V_STEP, POOLED, ROWS, CHANNELS, OUT_ROWS = range(15)
NUMBERS = 15
TILE = Pool((2, 2), (2, 2), ((0, 0), (0, 0)), (0, 0))


@functools.lru_cache(256)
def fits(
    x_shape: tuple[int, ...],
    w_shape: tuple[int, ...],
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
    size: int,
) -> bool:
    """Is this the way to do it? Pooling has no say: with it and without it, outputs are the same to the last bit."""
    (kh, kw, C, F), one = w_shape, (1, 1)
    if (kh, kw, stride, dilation, groups, size) != (3, 3, one, one, 1, SIZE) or C % LANES or F % LANES or C > MOST:
        return False
    down, across = (out_side(side, 3, 1, pad, 1) for side, pad in zip(x_shape[1:3], padding, strict=True))
    tiles = -(-down // 2) * -(-across // 2)
    return PLACES * tiles <= SAVED * 9 * down * across and x_shape[0] * tiles * PLACES * C * F >= LEAST


def pools(pool: Pool | None) -> bool:
    """Can tiles be the windows of this pooling, if there is one?"""
    return pool is None or pool._replace(out=(0, 0)) == TILE


# --- the filters ------------------------------------------------------------------------------------------------------


@functools.cache
def filters() -> Kernel:
    """w (3,3,C,F) -> U = G w G^T, in panels: (panels of F, 16, C, NR)."""
    NR, half = tile_shape(SIZE).columns, np.float32(0.5)

    @device
    def spread(a, b, c, i):  # type: ignore[no-untyped-def]
        """Row i of G (a, b, c)."""
        if i == 0:
            return a
        if i == 3:
            return c
        return half * (a + c) + (half * b if i == 1 else -half * b)

    def winograd_filters(block, part):  # type: ignore[no-untyped-def]
        w, u = view(number_at(block, 0), 0, np.float32), view(number_at(block, 1), 0, np.float32)
        C, F, parts = number_at(block, 2), number_at(block, 3), number_at(block, 4)
        tap = C * F
        for c in range(part * C // parts, (part + 1) * C // parts):
            for j in range(0, F, NR):
                n = min(NR, F - j)
                for i in range(4):
                    for v in range(4):
                        to = ((j // NR * PLACES + 4 * i + v) * C + c) * NR
                        for f in range(n):
                            k = c * F + j + f
                            left = spread(w[k], w[k + 3 * tap], w[k + 6 * tap], i)
                            middle = spread(w[k + tap], w[k + 4 * tap], w[k + 7 * tap], i)
                            right = spread(w[k + 2 * tap], w[k + 5 * tap], w[k + 8 * tap], i)
                            u[to + f] = spread(left, middle, right, v)
                        for f in range(n, NR):
                            u[to + f] = 0

    return kernel(winograd_filters)


# --- the convolution --------------------------------------------------------------------------------------------------


@functools.cache
def forward() -> Kernel:
    """x, U -> y, and the number of the largest pixel of each window where pooling follows."""
    tile = make(np.float32)
    NR, sweep = tile.NR, tile.sweep
    panels = math.lcm(NR, LANES) // NR  # whose filters are whole vectors
    width = panels * NR
    m_step = TILES * width * SIZE + BYTES  # a line more, or all 16 places would meet in one set of the cache
    v_memory, m_memory = stack((TILES * DEPTH + LANES) * PLACES * SIZE), stack(m_step * PLACES)
    patch_memory, zeros_memory = stack(PLACES * MOST * SIZE), stack(NR * SIZE)
    zero, no_floor = np.float32(0), np.float32(-np.inf)

    @device
    def corner_of(s, t):  # type: ignore[no-untyped-def]
        """(image, row, column) of a tile's first output."""
        down, across = s[at.POOL_H], s[at.POOL_W]
        return t // (down * across), t // across % down * 2, t % across * 2

    @device
    def copy_patch(s, x, n, top, left, patch):  # type: ignore[no-untyped-def]
        """The 4 x 4 pixels of a tile that sticks out of the image, zeros outside."""
        H, W, C = s[at.H], s[at.W], s[at.C]
        target = view(patch, 0, np.float32)
        for a in range(4):
            for b in range(4):
                h, q, to = top + a, left + b, (4 * a + b) * C
                inside = h >= 0 and h < H and q >= 0 and q < W
                pixel = view(x + (((n * H + h) * W + q) * C * SIZE if inside else 0), 0, np.float32)
                for c in range(C):
                    target[to + c] = pixel[c] if inside else zero

    @device
    def transform_row(d, e, plus, C, v, v_step):  # type: ignore[no-untyped-def]
        """A row of B^T d B; B^T makes it of two rows of d."""
        d0, d1 = load(d, np.float32), load(d + C * SIZE, np.float32)
        d2, d3 = load(d + 2 * C * SIZE, np.float32), load(d + 3 * C * SIZE, np.float32)
        e0, e1 = load(e, np.float32), load(e + C * SIZE, np.float32)
        e2, e3 = load(e + 2 * C * SIZE, np.float32), load(e + 3 * C * SIZE, np.float32)
        if plus:
            d0, d1, d2, d3 = d0 + e0, d1 + e1, d2 + e2, d3 + e3
        else:
            d0, d1, d2, d3 = d0 - e0, d1 - e1, d2 - e2, d3 - e3
        store(v, d0 - d2)
        store(v + v_step, d1 + d2)
        store(v + 2 * v_step, d2 - d1)
        store(v + 3 * v_step, d1 - d3)

    @device
    def transform(d, row, C, v, v_step):  # type: ignore[no-untyped-def]
        """B^T d B of a tile whose rows are `row` bytes apart: (4,4,C) -> (16,C)."""
        for c in range(0, C * SIZE, BYTES):
            d0, d1, d2, d3, to = d + c, d + row + c, d + 2 * row + c, d + 3 * row + c, v + c
            transform_row(d0, d2, False, C, to, v_step)
            transform_row(d1, d2, True, C, to + 4 * v_step, v_step)
            transform_row(d2, d1, False, C, to + 8 * v_step, v_step)
            transform_row(d1, d3, False, C, to + 12 * v_step, v_step)

    @device
    def place(m, q):  # type: ignore[no-untyped-def]
        """Some filters of place q of M."""
        return load(m + q * m_step, np.float32)

    @device
    def upper(m, v):  # type: ignore[no-untyped-def]
        """(A^T M)[0, v]"""
        return place(m, v) + place(m, 4 + v) + place(m, 8 + v)

    @device
    def lower(m, v):  # type: ignore[no-untyped-def]
        """(A^T M)[1, v]"""
        return place(m, 4 + v) - place(m, 8 + v) - place(m, 12 + v)

    @device
    def transformed(m):  # type: ignore[no-untyped-def]
        """A^T M A of a tile: the sums at its four pixels."""
        a, b, c, d = upper(m, 1), upper(m, 2), lower(m, 1), lower(m, 2)
        return upper(m, 0) + a + b, a - b - upper(m, 3), lower(m, 0) + c + d, c - d - lower(m, 3)

    @device
    def defined(patch, w, C, F):  # type: ignore[no-untyped-def]
        """The same sums by the definition."""
        pixel, none = view(patch, 0, np.float32), fill(zero, load(w, np.float32))
        y00, y01, y10, y11 = none, none, none, none
        for tap in range(9):
            for c in range(C):
                k, weight = (tap // 3 * 4 + tap % 3) * C + c, load(w + (tap * C + c) * F * SIZE, np.float32)
                y00 = y00 + fill(pixel[k], weight) * weight
                y01 = y01 + fill(pixel[k + C], weight) * weight
                y10 = y10 + fill(pixel[k + 4 * C], weight) * weight
                y11 = y11 + fill(pixel[k + 5 * C], weight) * weight
        return y00, y01, y10, y11

    @device
    def best_of(best, number, value, k):  # type: ignore[no-untyped-def]
        """The larger of best and value, and its number."""
        better = beats(value, best)
        return choose(better, value, best), choose(better, fill_integers(k, best), number)

    @device
    def finish(s, block, first, tiles, f0, sums, patch):  # type: ignore[no-untyped-def]
        """Y = A^T M A + bias, relu and pooling, for filters f0 .. of a strip."""
        x, w, start = number_at(block, X), number_at(block, FILTERS), number_at(block, START)
        y, index, pooled = number_at(block, Y), number_at(block, INDEX), number_at(block, POOLED)
        C, F, OH, OW = s[at.C], s[at.F], s[at.OH], s[at.OW]
        like = load(start, np.float32)
        least, none = fill(np.float32(real_at(block, FLOOR)), like), fill(zero, like)
        for t in range(tiles):
            n, i, j = corner_of(s, first + t)
            pixel = (first + t) * F if pooled else ((n * OH + i) * OW + j) * F
            for f in range(f0, min(F, f0 + width), LANES):
                y00, y01, y10, y11 = transformed(sums + (t * width + f - f0) * SIZE)
                if total((y00 + y01 + y10 + y11) * none) != zero:  # a NaN, where one of them is not finite
                    copy_patch(s, x, n, i - s[at.TOP], j - s[at.LEFT], patch)
                    y00, y01, y10, y11 = defined(patch, w + f * SIZE, C, F)
                bias = load(start + f * SIZE, np.float32)
                y00, y01, y10, y11 = y00 + bias, y01 + bias, y10 + bias, y11 + bias
                y00, y01, y10, y11 = larger(y00, least), larger(y01, least), larger(y10, least), larger(y11, least)
                to = y + (pixel + f) * SIZE
                if pooled:
                    best, number = best_of(y00, fill_integers(0, like), y01, 1)
                    best, number = best_of(best, number, y10, 2)
                    best, number = best_of(best, number, y11, 3)
                    store(to, best)
                    store_bytes(index + pixel + f, number)
                else:
                    store(to, y00)
                    if j + 1 < OW:
                        store(to + F * SIZE, y01)
                    if i + 1 < OH:
                        store(to + OW * F * SIZE, y10)
                        if j + 1 < OW:
                            store(to + (OW + 1) * F * SIZE, y11)

    def winograd_forward(block, part):  # type: ignore[no-untyped-def]
        s = view(block + 8 * NUMBERS, 0, np.int64)
        x, u = number_at(block, X), number_at(block, U)
        patch, v, sums, zeros = patch_memory(), v_memory(), m_memory(), zeros_memory()
        rows, channels, out_rows = number_at(block, ROWS), number_at(block, CHANNELS), number_at(block, OUT_ROWS)
        strip, parts, v_step = number_at(block, STRIP), number_at(block, PARTS), number_at(block, V_STEP)
        H, W, C, F, tiles = s[at.H], s[at.W], s[at.C], s[at.F], s[at.N] * s[at.POOL_H] * s[at.POOL_W]
        strips = (tiles + strip - 1) // strip
        start = view(zeros, 0, np.float32)
        for f in range(NR):
            start[f] = zero
        for first in range(part * strips // parts * strip, (part + 1) * strips // parts * strip, strip):
            n_tiles = min(strip, tiles - first)
            for t in range(n_tiles):
                n, i, j = corner_of(s, first + t)
                top, left = i - s[at.TOP], j - s[at.LEFT]
                d, row = x + ((n * H + top) * W + left) * C * SIZE, W * C * SIZE
                if top < 0 or left < 0 or top + 4 > H or left + 4 > W:
                    copy_patch(s, x, n, top, left, patch)
                    d, row = patch, 4 * C * SIZE
                transform(d, row, C, v + t * C * SIZE, v_step)
            for f in range(0, F, width):
                for j in range(f, min(F, f + width), NR):
                    for q in range(PLACES):  # (tiles,C) @ (C,NR) -> (tiles,NR)
                        a, b = v + q * v_step, u + (j // NR * PLACES + q) * C * NR * SIZE
                        m = sums + q * m_step + (j - f) * SIZE
                        sweep(a, rows, channels, C, b, NR * SIZE, zeros, 0, no_floor, m, out_rows, n_tiles, NR)
                finish(s, block, first, n_tiles, f, sums, patch)

    return kernel(winograd_forward)


def _strip(C: int) -> int:
    """Tiles of a strip."""
    return max(1, min(TILES, TILES * DEPTH // max(1, C)))


@functools.lru_cache(256)
def plan(x_shape: tuple[int, ...], w_shape: tuple[int, ...], padding: Padding, pool: Pool | None, relu: bool) -> Plan:
    """The job takes the addresses of x, U, bias, y, index, nothing, and w."""
    one, (C, F), strip, NR = (1, 1), w_shape[2:], _strip(w_shape[2]), tile_shape(SIZE).columns
    where = geometry(x_shape, w_shape, one, padding, one, 1, pool, SIZE, strip, 1)
    numbers = list(where.numbers)
    if pool is None:  # there, windows are single pixels; here, tiles
        numbers[at.POOL_H], numbers[at.POOL_W] = -(-numbers[at.OH] // 2), -(-numbers[at.OW] // 2)
    strips = -(-x_shape[0] * numbers[at.POOL_H] * numbers[at.POOL_W] // strip)
    parts = max(1, min(strips, MAX_PARTS, where.work // (4 * WORTH)))
    steps = (strip, C), (C, 1), (strip, math.lcm(NR, LANES))
    tables = tuple(np.arange(n, dtype=np.int64) * step * SIZE for n, step in steps)
    (floor,) = struct.unpack("q", struct.pack("d", 0.0 if relu else -np.inf))
    slots = [0] * FLOOR + [floor, parts, strip, strip * C * SIZE + BYTES, int(pool is not None)]
    slots += [*(table.ctypes.data for table in tables), *numbers]
    pack_parts = max(1, min(C, PLACES * C * F // WORTH))
    pack = job(filters(), pack_parts, [0, 0, C, F, pack_parts])
    return Plan(where, pack, -(-F // NR) * NR * PLACES * C, job(forward(), parts, slots), 0, 1, tables)
