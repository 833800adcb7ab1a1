"""The gradients of a convolution: what one core does for a part, strip by strip.

    for strip in the part's strips:                       # pixels that fit the first cache
        g = the strip's cotangent                         # as it is; where relu passed it; scattered to the maxima
        bias gradient   += g                              # summed over its pixels
        weight gradient += window^T g                     # sweep: rows taps, columns pixels
        input gradient  += g filters^T                    # sweep: one tap at a time, added where the tap meets x

A part is some of the images (or strips, where no input gradient is asked for) and, where these are few, one slice of
the gradients: some channels of x, some rows of w. Its sums over pixels are added to those of other parts, in order.
"""

from __future__ import annotations

import functools

import numpy as np

from . import geometry as at
from .conv_forward import pool_place
from .conv_parts import WORTH, Plan, pack_job, strip_at, words
from .geometry import Padding, Pair, Pool, geometry
from .jit import Kernel, device, kernel, number_at, stack, view
from .microkernel import make, tile_shape
from .pool_parts import PLACE, TILED, words as pool_words
from .threads import job
from .vector import BYTES, choose, fill, load, positive, store

STRIPS = 160, 4  # pixels of a strip, whose cotangent stays in the first cache panel by panel; strips at least
PARTS = 12
FEW = 24  # rows of w that are not worth packing a panel for

G, Y, INDEX, X, PANELS, DX, DW, DB, SCRATCH, SCRATCH_STEP, PIXEL_PARTS, SLICES = range(12)
PIXELS, TAPS, ROWS, FILTER_ROWS, CHANNELS = range(12, 17)
PASSED, SCATTERED, WINDOW, IMAGE = range(17, 21)  # where parts of the scratch begin, in bytes; -1 for what is not there
POOL = 21
NUMBERS = POOL + PLACE


@functools.cache
def backward(size: int) -> Kernel:
    """The kernel for numbers of `size` bytes. Gradients whose address is 0 are not computed."""
    dtype = np.float32 if size == 4 else np.float64
    L = BYTES // size
    tile, parts, pooling = make(dtype), words(size), pool_words(size)
    MR, NR, sweep, pack = tile.MR, tile.NR, tile.sweep, tile.pack
    input_of, begin, end = parts.input_of, parts.begin_input_gradient, parts.end_input_gradient
    clear, scatter_windows = pooling.clear, pooling.scatter_windows
    no_floor, zeros_memory = dtype(-np.inf), stack(NR * size)

    @device
    def rectified(g, y, passed, n):  # type: ignore[no-untyped-def]
        """n numbers of g where y is positive, else 0."""
        for i in range(0, (n - n % L) * size, L * size):
            value = load(g + i, dtype)
            store(passed + i, choose(positive(load(y + i, dtype)), value, fill(dtype(0), value)))
        for i in range((n - n % L) * size, n * size, size):
            here = view(y + i, 1, dtype)[0] > dtype(0)
            view(passed + i, 1, dtype)[0] = view(g + i, 1, dtype)[0] if here else dtype(0)

    @device
    def add_pixels(g, pixels, F, sums, first):  # type: ignore[no-untyped-def]
        """sums (F,) += Sum(p, g[p, :]), or = if it is the first strip."""
        for f in range(0, F - F % L, L):
            total = load(g + f * size, dtype)
            for p in range(1, pixels):
                total = total + load(g + (p * F + f) * size, dtype)
            store(sums + f * size, total if first else load(sums + f * size, dtype) + total)
        for f in range(F - F % L, F):
            one, total = view(sums + f * size, 1, dtype), dtype(0)
            for p in range(pixels):
                total += view(g + (p * F + f) * size, 1, dtype)[0]
            one[0] = total if first else one[0] + total

    @device
    def add_weights(s, block, a, g, m, panel, dw, k0, k1, first):  # type: ignore[no-untyped-def]
        """Rows k0:k1 of dw += X^T g over m pixels, or = if it is the first strip."""
        pixels, taps = number_at(block, PIXELS), number_at(block, TAPS) + 8 * k0
        filter_rows = number_at(block, FILTER_ROWS) + 8 * k0
        zeros = zeros_memory()
        zero = view(zeros, 0, dtype)
        for j in range(NR):
            zero[j] = dtype(0)
        for group in range(s[at.GROUPS]):
            a_group = a + group * s[at.GROUP_C] * size
            for j in range(0, s[at.GROUP_F], NR):  # (k,m) @ (m,NR) -> (k,NR)
                f, n = (group * s[at.GROUP_F] + j) * size, min(NR, s[at.GROUP_F] - j)
                b, step = g + f, s[at.F] * size
                if n < NR or k1 - k0 > FEW:
                    pack(b, s[at.F], 1, m, n, panel)
                    b, step = panel, NR * size
                c = dw + f
                start, keep = (zeros, 0) if first else (c, -1)
                sweep(a_group, taps, pixels, m, b, step, start, keep, no_floor, c, filter_rows, k1 - k0, n)

    @device
    def add_inputs(s, block, g, m, corner, p0, p1):  # type: ignore[no-untyped-def]
        """Panels p0:p1 of channels of dx += g filters^T, for the m pixels whose first tap meets x at `corner`."""
        pixels, rows, channels = number_at(block, PIXELS), number_at(block, ROWS), number_at(block, CHANNELS)
        tap, depth = view(number_at(block, TAPS), 0, np.int64), s[at.GROUP_F]
        across = (s[at.GROUP_C] + NR - 1) // NR
        for p in range(p0, p1):
            group, j = p // across, p % across * NR
            n, g_group = min(NR, s[at.GROUP_C] - j), g + group * depth * size
            for t in range(s[at.TAPS]):  # (m,F) @ (F,NR) -> (m,NR), added where the tap meets x
                c = corner + tap[t * s[at.GROUP_C]] + (group * s[at.GROUP_C] + j) * size
                panel = number_at(block, PANELS) + ((group * s[at.TAPS] + t) * across + p % across) * depth * NR * size
                sweep(g_group, rows, channels, depth, panel, NR * size, c, -1, no_floor, c, pixels, m, n)

    def backward(block, part):  # type: ignore[no-untyped-def]
        s, pool = view(block + 8 * NUMBERS, 0, np.int64), view(block + 8 * POOL, 0, np.int64)
        own = number_at(block, SCRATCH) + part * number_at(block, SCRATCH_STEP)
        dx, dw, db = number_at(block, DX), number_at(block, DW), number_at(block, DB)
        pixel_parts, slices = number_at(block, PIXEL_PARTS), number_at(block, SLICES)
        part, piece = part // slices, part % slices
        if dw:
            dw += part * s[at.DEPTH] * s[at.F] * size
        sums = db + part * s[at.F] * size

        across = (s[at.GROUP_C] + NR - 1) // NR
        tiles, panels = (s[at.DEPTH] + MR - 1) // MR, s[at.GROUPS] * across
        k0, k1 = piece * tiles // slices * MR, min(s[at.DEPTH], (piece + 1) * tiles // slices * MR)
        p0, p1 = piece * panels // slices, (piece + 1) * panels // slices
        c0 = p0 // across * s[at.GROUP_C] + p0 % across * NR
        c1 = p1 // across * s[at.GROUP_C] + p1 % across * NR

        per_unit = s[at.STRIPS_PER_IMAGE] if dx else 1
        units = s[at.STRIPS] // per_unit
        first, behind = part * units // pixel_parts * per_unit, (part + 1) * units // pixel_parts * per_unit
        target = dx
        for strip in range(first, behind):
            image, images, windows, window_rows, row, height = strip_at(s, strip)
            place, m = (image * s[at.POOL_H] + windows) * s[at.POOL_W] * s[at.F], images * height * s[at.OW]
            pooled = images * window_rows * s[at.POOL_W]
            g = number_at(block, G) + place * size
            if number_at(block, PASSED) >= 0:
                passed = own + number_at(block, PASSED)
                rectified(g, number_at(block, Y) + place * size, passed, pooled * s[at.F])
                g = passed
            if db and piece == 0:
                add_pixels(g, pooled, s[at.F], sums, strip == first)
            if number_at(block, SCATTERED) >= 0:  # (windows,F) -> (m,F)
                scattered = own + number_at(block, SCATTERED)
                clear(scattered, 0 if pool[TILED] else m * s[at.F])
                for i in range(images):
                    corner = scattered + (i * height - row) * s[at.OW] * s[at.F] * size  # of the image
                    shift = i * s[at.POOL_H] * s[at.POOL_W] * s[at.F]
                    index = number_at(block, INDEX) + place + shift
                    scatter_windows(g + shift * size, index, pool, windows, window_rows, corner)
                g = scattered
            if dw:
                a = input_of(s, number_at(block, X), own + number_at(block, WINDOW), image, images, row)
                add_weights(s, block, a, g, m, own, dw, k0, k1, strip == first)
            if dx:
                border = own + number_at(block, IMAGE)
                if strip % per_unit == 0:
                    target = begin(s, dx, border, image, images, c0, c1)
                width = s[at.WINDOW_W] if s[at.PADDED] else s[at.W]
                add_inputs(s, block, g, m, target + row * s[at.SH] * width * s[at.C] * size, p0, p1)
                if (strip + 1) % per_unit == 0:
                    end(s, dx, border, image, images, c0, c1)

    return kernel(backward, f"conv_backward_float{8 * size}")


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
    needs: tuple[bool, bool, bool],
    size: int,
) -> Plan:
    """The job takes the addresses of g, y, index, x, packed filters, dx, dw, db and scratch; `needs` says which of the
    gradients of (x, w, bias) are wanted. Raises ShapeError.
    """
    where = geometry(x_shape, w_shape, stride, padding, dilation, groups, pool, size, *STRIPS)
    pack, panels = pack_job(w_shape, groups, True, size)
    tile, depth = tile_shape(size), max(1, where.taps.size)
    pixels = where.numbers[at.N] * where.numbers[at.OH] * where.numbers[at.OW]

    # Cut the images, which costs partial sums of dw's size, or the gradients, whose parts each make their cotangent.
    wanted = max(1, min(PARTS, where.work // WORTH))
    pixel_parts = max(1, min(wanted, where.image_blocks if needs[0] else where.strips))
    if needs[1]:
        pixel_parts = min(pixel_parts, 1 + pixels // (3 * depth))
    pieces = groups * -(-w_shape[2] // tile.columns) if needs[0] else max(1, -(-depth // tile.rows) // 8)
    slices = min(pieces, wanted // pixel_parts)

    # The scratch of a part, each piece of it whole cache lines: a panel of the cotangent, and what else is needed.
    sizes = [where.rows.size * tile.columns, relu * where.strip_windows, where.strip_output if pool else 0]
    sizes += [needs[1] * where.window, needs[0] * where.image_window]
    begins = [0]
    for n in sizes:
        begins.append(begins[-1] + -(-n * size // 64) * 64)
    passed, scattered, window, image, own = begins[1:]
    tables = (where.pixels, where.taps, where.rows, where.filter_rows, where.channels)
    slots = [0] * SCRATCH_STEP + [own, pixel_parts, slices, *(table.ctypes.data for table in tables)]
    slots += [passed if relu else -1, scattered if pool else -1, window, image]
    slots += [*pool_place(where, pool), *where.numbers]
    parts = pixel_parts * slices
    return Plan(where, pack, panels, job(backward(size), parts, slots), parts * own // size, pixel_parts)
