"""What batch normalisation does with a table (rows, C): one mean, one scale and so on for each column.

    for part in blocks of rows:                        # in parallel
        for block in part, small enough for a cache:
            for strip in columns:                      # 64 bytes of each row, or one of the last columns
                for row in block, four at a time: ..   # what belongs to the columns stays in registers

x - mean is never multiplied out: a far mean would cost the digits.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from .jit import Kernel, device, kernel, number_at
from .strip import every, read, write, zeros
from .vector import BYTES

# Bytes of a block. What is read twice stays in the second cache; what only passes goes row by row, four at a time.
BLOCK = {"moments": 1 << 16, "settle": 1, "sums": 1 << 15, "normalise": 1, "gradient": 1}


@functools.cache
def kernels(size: int) -> dict[str, Kernel]:
    """The kernels for numbers of `size` bytes. Widths and places are counted in bytes."""
    dtype = np.float32 if size == 4 else np.float64
    step = BYTES  # of a strip

    def strips(name: str, strip: Callable[..., None]) -> Kernel:
        """Run `strip(block, first, behind, width, c, mine, zero)` on rows first .. behind and the columns at c."""
        body, most = device(strip), BLOCK[name]

        def columns(block, part):  # type: ignore[no-untyped-def]
            width, rows, count = number_at(block, 0) * size, number_at(block, 1), number_at(block, 2)
            first, behind = part * rows * width, min(count, (part + 1) * rows) * width
            whole, mine = width - width % step, part * width
            deep = min(256, max(4, most // width)) * width
            for i in range(first, behind, deep):
                end = min(behind, i + deep)
                for c in range(0, whole, step):
                    body(block, first, i, end, width, c, mine + c, zeros(dtype))
                for c in range(whole, width, size):
                    body(block, first, i, end, width, c, mine + c, dtype(0))

        return kernel(columns, f"columns_{name}_float{8 * size}")

    def moments(block, first, i, end, width, c, mine, zero):  # type: ignore[no-untyped-def]
        """x -> for each part the mean m of its rows, and the sum s of (x - m)^2: (parts,C)

        A block's second pass also adds up x - m: what rounding left there corrects both, however far off 0 the mean is.
        Blocks are joined by  m' = m + d n_b / n,  s' = s + s_b + d^2 n_a n_b / n,  d = m_b - m.
        """
        x, means, squares = number_at(block, 3) + c, number_at(block, 5) + mine, number_at(block, 7) + mine
        four, n = end - 3 * width, dtype((end - i) // width)
        m = zero
        k = i
        while k < four:
            a, b = read(x + k, zero) + read(x + k + width, zero), read(x + k + 2 * width, zero)
            m = m + (a + (b + read(x + k + 3 * width, zero)))
            k += 4 * width
        while k < end:
            m = m + read(x + k, zero)
            k += width
        m = m / every(n, zero)
        s, d = zero, zero
        k = i
        while k < four:
            v0, v1 = read(x + k, zero) - m, read(x + k + width, zero) - m
            v2, v3 = read(x + k + 2 * width, zero) - m, read(x + k + 3 * width, zero) - m
            s, d = s + ((v0 * v0 + v1 * v1) + (v2 * v2 + v3 * v3)), d + ((v0 + v1) + (v2 + v3))
            k += 4 * width
        while k < end:
            v = read(x + k, zero) - m
            s, d = s + v * v, d + v
            k += width
        rest = d / every(n, zero)
        m, s = m + rest, s - d * rest
        if i > first:
            before, earlier = dtype((i - first) // width), read(means, zero)
            d = m - earlier
            m = earlier + d * every(n / (before + n), zero)
            s = read(squares, zero) + s + d * d * every(before * n / (before + n), zero)
        write(means, m)
        write(squares, s)

    def settle(block, first, i, end, width, c, mine, zero):  # type: ignore[no-untyped-def]
        """The moments of all parts, in their order: mean and variance, (C,). Its rows are the parts."""
        means, squares = number_at(block, 3) + c, number_at(block, 5) + c
        mean, variance = number_at(block, 7) + c, number_at(block, 9) + c
        rows, count = number_at(block, 11), number_at(block, 12)  # of a part, of x
        parts = -(-count // rows)
        near = read(means, zero)
        d = zero
        for p in range(1, parts):
            share = dtype(min(rows, count - p * rows)) / dtype(count)
            d = d + (read(means + p * width, zero) - near) * every(share, zero)
        m, s = near + d, zero
        for p in range(parts):
            d = read(means + p * width, zero) - m
            s = s + read(squares + p * width, zero) + d * d * every(dtype(min(rows, count - p * rows)), zero)
        write(mean, m)
        write(variance, s / every(dtype(count), zero))

    def normalise(block, first, i, end, width, c, mine, zero):  # type: ignore[no-untyped-def]
        """y = (x - mean) slope + beta"""
        x, y = number_at(block, 3) + c, number_at(block, 11) + c
        mean, slope = read(number_at(block, 5) + c, zero), read(number_at(block, 7) + c, zero)
        beta = read(number_at(block, 9) + c, zero)
        for k in range(i, end, width):
            write(y + k, (read(x + k, zero) - mean) * slope + beta)

    def sums(block, first, i, end, width, c, mine, zero):  # type: ignore[no-untyped-def]
        """For each part the sums over its rows of g (x - mean) scale, and of g: (parts,C)"""
        g, x = number_at(block, 3) + c, number_at(block, 5) + c
        mean, scale = read(number_at(block, 7) + c, zero), read(number_at(block, 9) + c, zero)
        gammas, betas = number_at(block, 11) + mine, number_at(block, 13) + mine
        gamma, beta = zero, zero
        four = end - 3 * width
        k = i
        while k < four:
            g0, g1, g2, g3 = (
                read(g + k, zero),
                read(g + k + width, zero),
                read(g + k + 2 * width, zero),
                read(g + k + 3 * width, zero),
            )
            x0, x1 = read(x + k, zero) - mean, read(x + k + width, zero) - mean
            x2, x3 = read(x + k + 2 * width, zero) - mean, read(x + k + 3 * width, zero) - mean
            gamma = gamma + ((g0 * x0 + g1 * x1) + (g2 * x2 + g3 * x3))
            beta = beta + ((g0 + g1) + (g2 + g3))
            k += 4 * width
        while k < end:
            v = read(g + k, zero)
            gamma, beta = gamma + v * (read(x + k, zero) - mean), beta + v
            k += width
        gamma = gamma * scale
        if i > first:
            gamma, beta = gamma + read(gammas, zero), beta + read(betas, zero)
        write(gammas, gamma)
        write(betas, beta)

    def gradient(block, first, i, end, width, c, mine, zero):  # type: ignore[no-untyped-def]
        """dx = (g - level - (x - mean) tilt) slope"""
        g, x, dx = number_at(block, 3) + c, number_at(block, 5) + c, number_at(block, 15) + c
        mean, level = read(number_at(block, 7) + c, zero), read(number_at(block, 9) + c, zero)
        tilt, slope = read(number_at(block, 11) + c, zero), read(number_at(block, 13) + c, zero)
        for k in range(i, end, width):
            write(dx + k, (read(g + k, zero) - level - (read(x + k, zero) - mean) * tilt) * slope)

    named: list[tuple[str, Any]] = [
        ("moments", moments),
        ("settle", settle),
        ("normalise", normalise),
        ("sums", sums),
        ("gradient", gradient),
    ]
    return {name: strips(name, f) for name, f in named}
