"""Where a convolution's pixels and taps lie: two tables of byte offsets, and strips of pixels that fit the caches.

The im2col matrix X[pixel, tap] = x[pixel + tap] has one row for each output pixel and one column for each (u, v, c) of
the filter. It is never built. Its entry lies at base + pixels[p] + taps[q], and that is all the micro-kernel asks for:

    forward            Y  = X W       rows pixels, columns taps
    weight gradient    dW = X^T G     rows taps,   columns pixels
    input gradient     dX += G W^T    one tap at a time, rows of C at pixels + tap

A strip is some images, or some rows of one image; every strip uses the same tables from another base. Where max-pooling
follows, a strip is made of whole rows of windows, with all the pixels that these read; pixels that no window reads are
not computed. Without it, the windows are single pixels.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from engine.errors import ShapeError

Pair = tuple[int, int]
Padding = tuple[Pair, Pair]
Table = np.ndarray[Any, np.dtype[np.int64]]


class Pool(NamedTuple):
    """The windows of max-pooling: their size, stride and padding, and how many there are."""

    size: Pair
    stride: Pair
    padding: Padding
    out: Pair


# The numbers that kernels read, in this order. H', W' are the sides of the part of the output that is computed.
N, H, W, C, OH, OW, F, SH, TOP, LEFT, GROUPS, DEPTH, GROUP_C, GROUP_F, TAPS = range(15)
IMAGES, STRIP_ROWS, STRIPS_PER_IMAGE, STRIPS, PADDED, WINDOW_H, WINDOW_W, IMAGE_H = range(15, 23)
POOL_H, POOL_W, POOL_ROWS, POOL_KH, POOL_SH, POOL_TOP = range(23, 29)  # windows; rows of them in a strip


@dataclass(frozen=True)
class Geometry:
    """Everything about one convolution that its shapes decide. Tables are in bytes."""

    out_shape: tuple[int, int, int, int]  # (N, H', W', F), or that of the pooled output
    numbers: tuple[int, ...]  # see above
    pixels: Table  # offsets of the output pixels of a strip in its input
    taps: Table  # offsets of (u, v, c)
    rows: Table  # offsets of the output pixels in the output: multiples of F
    filter_rows: Table  # offsets of (u, v, c) in the filters: multiples of F
    channels: Table  # offsets of the channels of a pixel
    strips: int
    image_blocks: int  # strips that share no input pixel are those of different blocks
    work: int  # products

    @property
    def window(self) -> int:
        """Numbers in the padded input of one strip; 0 where the input is read in place."""
        s = self.numbers
        return s[PADDED] * s[IMAGES] * s[WINDOW_H] * s[WINDOW_W] * s[C]

    @property
    def image_window(self) -> int:
        """Numbers in the padded input of one image block; 0 where the input is read in place."""
        s = self.numbers
        return s[PADDED] * s[IMAGES] * s[IMAGE_H] * s[WINDOW_W] * s[C]

    @property
    def strip_output(self) -> int:
        """Numbers in the output of one strip, before the pooling."""
        return self.rows.size * self.numbers[F]

    @property
    def strip_windows(self) -> int:
        """Numbers in the pooled output of one strip."""
        s = self.numbers
        return s[IMAGES] * s[POOL_ROWS] * s[POOL_W] * s[F]


def out_side(side: int, kernel: int, stride: int, padding: Pair, dilation: int) -> int:
    """H' = (H + top + bottom - dilation*(kh - 1) - 1) // stride + 1."""
    return (side + padding[0] + padding[1] - dilation * (kernel - 1) - 1) // stride + 1


@functools.lru_cache(256)
def geometry(
    x_shape: tuple[int, ...],
    w_shape: tuple[int, ...],
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
    pool: Pool | None,
    itemsize: int,
    strip_pixels: int,
    least_strips: int,
) -> Geometry:
    """Cut a convolution into strips of about `strip_pixels` output pixels, at least so many. Shapes alone decide."""
    (n, h, w, c), (kh, kw, cg, f) = x_shape, w_shape
    (sh, sw), (dh, dw) = stride, dilation
    if cg * groups != c or f % groups:
        raise ShapeError(
            f"conv2d: x has C = {c} channels and w is (kh,kw,C/groups,F) = {w_shape} with groups = {groups}; "
            f"C must be {cg} * {groups} = {cg * groups}, and F a multiple of {groups}"
        )
    oh, ow = out_side(h, kh, sh, padding[0], dh), out_side(w, kw, sw, padding[1], dw)
    if oh < 1 or ow < 1:
        raise ShapeError(
            f"conv2d: a filter of (kh,kw) = ({kh}, {kw}) with dilation {dilation} is larger than the image "
            f"(H,W) = ({h}, {w}) with padding {padding}: pad more, or use a smaller filter"
        )
    if pool is None:
        pool = Pool((1, 1), (1, 1), ((0, 0), (0, 0)), (oh, ow))
    (ph, pw), (psh, psw), (ptop, pleft) = pool.out, pool.stride, (pool.padding[0][0], pool.padding[1][0])
    oh, ow = min(oh, (ph - 1) * psh - ptop + pool.size[0]), min(ow, (pw - 1) * psw - pleft + pool.size[1])

    # whole images while they are small, in enough strips if n allows; whole rows of windows when an image is large
    images = max(1, min(strip_pixels // (oh * ow), n // least_strips))
    pool_rows = ph
    if images == 1:
        pool_rows = min(ph, max(1, -(-(-(-strip_pixels // ow) - pool.size[0]) // psh) + 1))
        pool_rows = -(-ph // -(-ph // pool_rows))  # of nearly equal height
    strip_rows = min(oh, (pool_rows - 1) * psh + pool.size[0])
    strips_per_image, image_blocks = -(-ph // pool_rows), -(-n // images)
    strips = image_blocks * strips_per_image
    padded = padding != ((0, 0), (0, 0))
    window_h, image_h = ((rows - 1) * sh + (kh - 1) * dh + 1 for rows in (strip_rows, oh))
    window_w = (ow - 1) * sw + (kw - 1) * dw + 1
    height, width = (window_h, window_w) if padded else (h, w)

    i, r, q = np.meshgrid(np.arange(images), np.arange(strip_rows), np.arange(ow), indexing="ij")
    u, v, k = np.meshgrid(np.arange(kh), np.arange(kw), np.arange(cg), indexing="ij")

    def table(offsets: Table) -> Table:
        return np.ascontiguousarray(offsets.ravel() * itemsize, dtype=np.int64)

    numbers = [n, h, w, c, oh, ow, f, sh, padding[0][0], padding[1][0], groups, kh * kw * cg, cg, f // groups, kh * kw]
    numbers += [images, strip_rows, strips_per_image, strips, int(padded), window_h, window_w, image_h]
    numbers += [ph, pw, pool_rows, pool.size[0], psh, ptop]
    return Geometry(
        out_shape=(n, ph, pw, f),
        numbers=tuple(numbers),
        pixels=table(((i * height + r * sh) * width + q * sw) * c),
        taps=table((u * dh * width + v * dw) * c + k),
        rows=table(np.arange(i.size) * f),
        filter_rows=table(np.arange(u.size) * f),
        channels=table(np.arange(f // groups)),
        strips=strips,
        image_blocks=image_blocks,
        work=n * oh * ow * kh * kw * cg * f,
    )
