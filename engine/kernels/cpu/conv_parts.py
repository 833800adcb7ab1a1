"""Words for one strip of a convolution, in which conv_forward.py and conv_backward.py are written; packed filters."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from . import geometry as at
from .geometry import Geometry, Table
from .jit import Kernel, device, kernel, number_at, view
from .microkernel import make, tile_shape
from .threads import job

WORTH = 1 << 18  # products that a part is worth its launch for


@dataclass(frozen=True)
class Words:
    """The device functions of one dtype."""

    input_of: Callable[..., Any]
    begin_input_gradient: Callable[..., Any]
    end_input_gradient: Callable[..., Any]


@device
def strip_at(s, strip):  # type: ignore[no-untyped-def]
    """(first image, images, first row of windows, rows of windows, first output row, output rows) of a strip."""
    image, windows = strip // s[at.STRIPS_PER_IMAGE] * s[at.IMAGES], strip % s[at.STRIPS_PER_IMAGE] * s[at.POOL_ROWS]
    rows = min(s[at.POOL_ROWS], s[at.POOL_H] - windows)
    first = windows * s[at.POOL_SH] - s[at.POOL_TOP]
    behind = min(s[at.OH], first + (rows - 1) * s[at.POOL_SH] + s[at.POOL_KH])
    first = max(0, first)
    return image, min(s[at.IMAGES], s[at.N] - image), windows, rows, first, behind - first


@functools.cache
def words(size: int) -> Words:
    """For numbers of `size` bytes."""
    dtype = np.float32 if size == 4 else np.float64

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
    def begin_input_gradient(s, dx, scratch, image, images, c0, c1):  # type: ignore[no-untyped-def]
        """Address of the first pixel of these images in dx, or of their copies with borders; channels c0:c1 are 0."""
        height, width, target = s[at.H], s[at.W], dx + image * s[at.H] * s[at.W] * s[at.C] * size
        if s[at.PADDED]:
            height, width, target = s[at.IMAGE_H], s[at.WINDOW_W], scratch
        numbers, pixels, run = view(target, 0, dtype), images * height * width, c1 - c0
        if run == s[at.C]:
            pixels, run = 1, pixels * run
        for p in range(pixels):
            for q in range(p * s[at.C] + c0, p * s[at.C] + c0 + run):
                numbers[q] = 0
        return target

    @device
    def end_input_gradient(s, dx, scratch, image, images, c0, c1):  # type: ignore[no-untyped-def]
        """Copy channels c0:c1 from inside of the border to dx; 0 where no filter ever reached."""
        if not s[at.PADDED]:
            return
        source, target = view(scratch, 0, dtype), view(dx, 0, dtype)
        H, W, C, left = s[at.H], s[at.W], s[at.C], s[at.LEFT]
        inside, run = max(0, min(W, s[at.WINDOW_W] - left)), c1 - c0
        for i in range(images):
            for h in range(H):
                to, r = ((image + i) * H + h) * W, h + s[at.TOP]
                reached = inside if r < s[at.IMAGE_H] else 0
                pixel = (i * s[at.IMAGE_H] + r) * s[at.WINDOW_W] + left
                if run == C:
                    for q in range(reached * C):
                        target[to * C + q] = source[pixel * C + q]
                    for q in range(reached * C, W * C):
                        target[to * C + q] = 0
                else:
                    for j in range(W):
                        for c in range(c0, c1):
                            target[(to + j) * C + c] = source[(pixel + j) * C + c] if j < reached else dtype(0)

    return Words(input_of, begin_input_gradient, end_input_gradient)


class Plan(NamedTuple):
    """All that the shapes of a call decide: jobs, complete but for their addresses, and how much memory they need."""

    geometry: Geometry  # holds the tables that the job points to
    pack: Any  # the job that packs the filters
    panels: int  # numbers in the packed filters
    job: Any
    scratch: int  # numbers
    partials: int = 1  # partial sums of the gradients of w and bias
    tables: tuple[Table, ...] = ()  # more that the job points to


# --- filters, packed into panels -------------------------------------------------------------------------------------


@functools.cache
def _pack(size: int) -> Kernel:
    words = make(np.float32 if size == 4 else np.float64)
    NR, pack = words.NR, words.pack

    def pack_filters(block, part):  # type: ignore[no-untyped-def]
        w, panels, count, parts = number_at(block, 0), number_at(block, 1), number_at(block, 2), number_at(block, 3)
        taps, group_step, tap_step = number_at(block, 4), number_at(block, 5), number_at(block, 6)
        k_step, n_step, depth, n = number_at(block, 7), number_at(block, 8), number_at(block, 9), number_at(block, 10)
        across = (n + NR - 1) // NR
        for i in range(part * count // parts, (part + 1) * count // parts):
            group, tap, j = i // across // taps, i // across % taps, i % across * NR
            b = w + (group * group_step + tap * tap_step + j * n_step) * size
            pack(b, k_step, n_step, depth, min(NR, n - j), panels + i * depth * NR * size)

    return kernel(pack_filters, f"conv_pack_float{8 * size}")


def pack_job(w_shape: tuple[int, ...], groups: int, transposed: bool, size: int) -> tuple[Any, int]:
    """The job that packs filters (but for the addresses of w and of the panels), and how many numbers the panels hold.

    For each group a matrix (kh*kw*C/groups, F/groups); if transposed, (F/groups, C/groups) for each group and tap.
    """
    kh, kw, Cg, F = w_shape
    Fg = F // groups
    columns = tile_shape(size).columns
    if transposed:
        taps, tap_step, k_step, n_step, depth, n = kh * kw, Cg * F, 1, F, Fg, Cg
    else:
        taps, tap_step, k_step, n_step, depth, n = 1, 0, F, 1, kh * kw * Cg, Fg
    count = groups * taps * -(-n // columns)
    parts = min(count, 1 + kh * kw * Cg * F // WORTH)
    slots = [0, 0, count, parts, taps, Fg, tap_step, k_step, n_step, depth, n]
    return job(_pack(size), parts, slots), count * depth * columns
