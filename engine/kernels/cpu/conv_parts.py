"""What one core does for a part of a convolution: the kernels behind conv.py, strip by strip.

    for strip in the part's strips:                       # pixels that fit the second cache
        window = the strip's input, with its border       # in place where there is no padding
        for panel of NR filters:                          # packed, fits the first cache
            sweep(window, pixels, taps, panel)            # the micro-kernel, tile by tile
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from . import geometry as at
from .jit import Kernel, array_at, device, kernel, number_at, real_at, stack, view
from .microkernel import make

FEW = 24  # rows that are not worth packing a panel for


@dataclass(frozen=True)
class Kernels:
    forward: Kernel
    input_gradient: Kernel
    weight_gradient: Kernel
    pack: Kernel


@device
def strip_at(s, strip):  # type: ignore[no-untyped-def]
    """(first image, number of images, first output row, number of output rows) of a strip."""
    block, place = strip // s[at.STRIPS_PER_IMAGE], strip % s[at.STRIPS_PER_IMAGE]
    image, row = block * s[at.IMAGES], place * s[at.STRIP_ROWS]
    return image, min(s[at.IMAGES], s[at.N] - image), row, min(s[at.STRIP_ROWS], s[at.OH] - row)


@functools.cache
def kernels(size: int) -> Kernels:
    """The kernels for float32 (size 4) or float64 (size 8)."""
    dtype = np.float32 if size == 4 else np.float64
    words = make(dtype)
    NR, sweep, pack = words.NR, words.sweep, words.pack
    no_floor, zeros_memory = dtype(-np.inf), stack(NR * size)
    fresh, add = np.int64(0), np.int64(-1)  # start from a row of numbers, or from C

    @device
    def input_of(s, x, scratch, image, images, row):  # type: ignore[no-untyped-def]
        """Address of the first input pixel of a strip: in x itself, or in a copy with its border in scratch."""
        H, W, C, first = s[at.H], s[at.W], s[at.C], row * s[at.SH] - s[at.TOP]
        if not s[at.PADDED]:
            return x + (image * H + first) * W * C * size
        source, target = view(x, 0, dtype), view(scratch, 0, dtype)
        left, width = s[at.LEFT] * C, s[at.WINDOW_W] * C
        inside = max(0, min(width, left + W * C) - left)  # numbers of a row that lie in the image
        for i in range(images):
            for r in range(s[at.WINDOW_H]):
                to, h = (i * s[at.WINDOW_H] + r) * width, first + r
                if h < 0 or h >= H:
                    for q in range(width):
                        target[to + q] = 0
                    continue
                pixel = ((image + i) * H + h) * W * C
                for q in range(min(left, width)):
                    target[to + q] = 0
                for q in range(inside):
                    target[to + left + q] = source[pixel + q]
                for q in range(left + inside, width):
                    target[to + q] = 0
        return scratch

    @device
    def crop(s, scratch, dx, image, images):  # type: ignore[no-untyped-def]
        """dx = what lies inside the border of scratch; 0 where no filter ever reached."""
        source, target = view(scratch, 0, dtype), view(dx, 0, dtype)
        H, left, width, row = s[at.H], s[at.LEFT] * s[at.C], s[at.WINDOW_W] * s[at.C], s[at.W] * s[at.C]
        inside = max(0, min(row, width - left))
        for i in range(images):
            for h in range(H):
                to, r = ((image + i) * H + h) * row, h + s[at.TOP]
                reached = inside if r < s[at.IMAGE_H] else 0
                pixel = (i * s[at.IMAGE_H] + r) * width + left
                for q in range(reached):
                    target[to + q] = source[pixel + q]
                for q in range(reached, row):
                    target[to + q] = 0

    def forward(block, part):  # type: ignore[no-untyped-def]
        s = array_at(block, 0, np.int64)
        pixels, taps, rows, x = number_at(block, 2), number_at(block, 4), number_at(block, 6), number_at(block, 8)
        panels, start, y = number_at(block, 10), number_at(block, 12), number_at(block, 14)
        parts, floor = number_at(block, 18), dtype(real_at(block, 19))
        scratch = number_at(block, 16) + part * (number_at(block, 17) // parts) * size
        depth = s[at.DEPTH]
        for strip in range(part * s[at.STRIPS] // parts, (part + 1) * s[at.STRIPS] // parts):
            image, images, row, height = strip_at(s, strip)
            a = input_of(s, x, scratch, image, images, row)
            out = y + (image * s[at.OH] + row) * s[at.OW] * s[at.F] * size
            m = images * height * s[at.OW]
            panel = panels
            for group in range(s[at.GROUPS]):
                for j in range(0, s[at.GROUP_F], NR):  # (m,depth) @ (depth,NR) -> (m,NR)
                    f, n = (group * s[at.GROUP_F] + j) * size, min(NR, s[at.GROUP_F] - j)
                    a_group = a + group * s[at.GROUP_C] * size
                    sweep(a_group, pixels, taps, depth, panel, NR * size, start + f, fresh, floor, out + f, rows, m, n)
                    panel += depth * NR * size

    def input_gradient(block, part):  # type: ignore[no-untyped-def]
        s, tap = array_at(block, 0, np.int64), array_at(block, 4, np.int64)
        pixels, rows, channels = number_at(block, 2), number_at(block, 6), number_at(block, 8)
        g, panels, dx = number_at(block, 10), number_at(block, 12), number_at(block, 14)
        parts = number_at(block, 18)
        scratch = number_at(block, 16) + part * (number_at(block, 17) // parts) * size
        blocks = s[at.STRIPS] // s[at.STRIPS_PER_IMAGE]
        height, width = (s[at.IMAGE_H], s[at.WINDOW_W]) if s[at.PADDED] else (s[at.H], s[at.W])
        for image_block in range(part * blocks // parts, (part + 1) * blocks // parts):
            first = image_block * s[at.STRIPS_PER_IMAGE]
            image, images, _, _ = strip_at(s, first)
            target = scratch if s[at.PADDED] else dx + image * height * width * s[at.C] * size
            zeroed = view(target, 0, dtype)
            for q in range(images * height * width * s[at.C]):
                zeroed[q] = 0
            for strip in range(first, first + s[at.STRIPS_PER_IMAGE]):
                _, _, row, strip_rows = strip_at(s, strip)
                a = g + (image * s[at.OH] + row) * s[at.OW] * s[at.F] * size
                corner = target + row * s[at.SH] * width * s[at.C] * size
                m = images * strip_rows * s[at.OW]
                panel = panels
                for group in range(s[at.GROUPS]):
                    a_group = a + group * s[at.GROUP_F] * size
                    for t in range(s[at.TAPS]):
                        for j in range(0, s[at.GROUP_C], NR):  # (m,F) @ (F,NR) -> (m,NR), added where the tap meets x
                            c = corner + tap[t * s[at.GROUP_C]] + (group * s[at.GROUP_C] + j) * size
                            n, depth = min(NR, s[at.GROUP_C] - j), s[at.GROUP_F]
                            sweep(a_group, rows, channels, depth, panel, NR * size, c, add, no_floor, c, pixels, m, n)
                            panel += depth * NR * size
            if s[at.PADDED]:
                crop(s, scratch, dx, image, images)

    def weight_gradient(block, part):  # type: ignore[no-untyped-def]
        s = array_at(block, 0, np.int64)
        pixels, taps, filter_rows = number_at(block, 2), number_at(block, 4), number_at(block, 6)
        x, g, partial = number_at(block, 8), number_at(block, 10), number_at(block, 12)
        panel = number_at(block, 14) + part * number_at(block, 16) * size
        scratch = panel + number_at(block, 17) * size
        pixel_parts, row_parts, rows = number_at(block, 18), number_at(block, 19), number_at(block, 20)
        zeros = zeros_memory()
        zero = view(zeros, 0, dtype)
        for j in range(NR):
            zero[j] = 0

        part, k0 = part // row_parts, part % row_parts * rows
        m = min(rows, s[at.DEPTH] - k0)
        first = part * s[at.STRIPS] // pixel_parts
        for strip in range(first, (part + 1) * s[at.STRIPS] // pixel_parts):
            image, images, row, height = strip_at(s, strip)
            a = input_of(s, x, scratch, image, images, row)
            g_strip = g + (image * s[at.OH] + row) * s[at.OW] * s[at.F] * size
            depth = images * height * s[at.OW]
            keep = -min(1, strip - first)
            for group in range(s[at.GROUPS]):
                for j in range(0, s[at.GROUP_F], NR):  # (m,pixels) @ (pixels,NR) -> (m,NR)
                    f, n = (group * s[at.GROUP_F] + j) * size, min(NR, s[at.GROUP_F] - j)
                    b, step = g_strip + f, s[at.F] * size
                    if n < NR or m > FEW:
                        pack(b, s[at.F], 1, depth, n, panel)
                        b, step = panel, NR * size
                    c = partial + part * s[at.DEPTH] * s[at.F] * size + f
                    start = c if keep else zeros
                    a_group, c_rows = a + group * s[at.GROUP_C] * size, filter_rows + 8 * k0
                    sweep(a_group, taps + 8 * k0, pixels, depth, b, step, start, keep, no_floor, c, c_rows, m, n)

    def pack_filters(block, part):  # type: ignore[no-untyped-def]
        w, panels = number_at(block, 0), number_at(block, 2)
        count, parts, taps = number_at(block, 4), number_at(block, 5), number_at(block, 6)
        group_step, tap_step = number_at(block, 7), number_at(block, 8)
        k_step, n_step, depth, n = number_at(block, 9), number_at(block, 10), number_at(block, 11), number_at(block, 12)
        across = (n + NR - 1) // NR
        for i in range(part * count // parts, (part + 1) * count // parts):
            group, tap, j = i // across // taps, i // across % taps, i % across * NR
            b = w + (group * group_step + tap * tap_step + j * n_step) * size
            pack(b, k_step, n_step, depth, min(NR, n - j), panels + i * depth * NR * size)

    return Kernels(
        kernel(forward, f"conv_forward_float{8 * size}"),
        kernel(input_gradient, f"conv_input_gradient_float{8 * size}"),
        kernel(weight_gradient, f"conv_weight_gradient_float{8 * size}"),
        kernel(pack_filters, f"conv_pack_float{8 * size}"),
    )
