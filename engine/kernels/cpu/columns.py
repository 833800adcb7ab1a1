"""What batch normalisation does with a table (rows, C): one mean, one scale and so on for each column.

A part owns some rows. Sums walk down a group of columns at a time, and keep it in registers; the rest walks along rows.
x - mean is never multiplied out: a far mean would cost the digits.
"""

from __future__ import annotations

import functools

import numpy as np

from .jit import Kernel, device, kernel, number_at, view
from .vector import BYTES, fill, load, store


@functools.cache
def kernels(size: int) -> dict[str, Kernel]:
    """The kernels for numbers of `size` bytes. Offsets within a row are bytes."""
    dtype = np.float32 if size == 4 else np.float64
    step = BYTES  # of a vector

    @device
    def at(address):  # type: ignore[no-untyped-def]
        return view(address, 1, dtype)

    def moments(block, part):  # type: ignore[no-untyped-def]
        """x -> for each part the mean of its rows, and the sum of (x - mean)^2: (parts,C)

        The second pass also adds up x - mean: what rounding left there corrects both, however far off 0 the mean is.
        """
        x, means, squares = number_at(block, 0), number_at(block, 2), number_at(block, 4)
        width, rows, count = number_at(block, 6) * size, number_at(block, 7), number_at(block, 8)
        first, behind = x + part * rows * width, x + min(count, (part + 1) * rows) * width
        n, whole, mine = dtype((behind - first) // width), width - width % step, part * width
        for c in range(0, whole, step):
            m = fill(dtype(0), load(x, dtype))
            s, d = m, m
            for i in range(first + c, behind, width):
                m = m + load(i, dtype)
            m = m / fill(n, m)
            for i in range(first + c, behind, width):
                v = load(i, dtype) - m
                s, d = s + v * v, d + v
            store(means + mine + c, m + d / fill(n, m))
            store(squares + mine + c, s - d * d / fill(n, m))
        for c in range(whole, width, size):
            mean, square, rest = dtype(0), dtype(0), dtype(0)
            for i in range(first + c, behind, width):
                mean += at(i)[0]
            mean /= n
            for i in range(first + c, behind, width):
                square += (at(i)[0] - mean) * (at(i)[0] - mean)
                rest += at(i)[0] - mean
            at(means + mine + c)[0] = mean + rest / n
            at(squares + mine + c)[0] = square - rest * rest / n

    def normalise(block, part):  # type: ignore[no-untyped-def]
        """y = (x - mean) slope + beta"""
        x, mean, slope = number_at(block, 0), number_at(block, 2), number_at(block, 4)
        beta, y = number_at(block, 6), number_at(block, 8)
        width, rows, count = number_at(block, 10) * size, number_at(block, 11), number_at(block, 12)
        whole = width - width % step
        for i in range(part * rows * width, min(count, (part + 1) * rows) * width, width):
            for c in range(0, whole, step):
                v = (load(x + i + c, dtype) - load(mean + c, dtype)) * load(slope + c, dtype) + load(beta + c, dtype)
                store(y + i + c, v)
            for c in range(whole, width, size):
                at(y + i + c)[0] = (at(x + i + c)[0] - at(mean + c)[0]) * at(slope + c)[0] + at(beta + c)[0]

    def sums(block, part):  # type: ignore[no-untyped-def]
        """For each part the sums over its rows of g (x - mean) scale, and of g: (parts,C)"""
        g, x, mean, scale = number_at(block, 0), number_at(block, 2), number_at(block, 4), number_at(block, 6)
        gammas, betas = number_at(block, 8), number_at(block, 10)
        width, rows, count = number_at(block, 12) * size, number_at(block, 13), number_at(block, 14)
        first, behind = part * rows * width, min(count, (part + 1) * rows) * width
        whole, mine = width - width % step, part * width
        for c in range(0, whole, step):
            m = load(mean + c, dtype)
            gamma, beta = fill(dtype(0), m), fill(dtype(0), m)
            for i in range(first + c, behind, width):
                v = load(g + i, dtype)
                gamma = gamma + v * (load(x + i, dtype) - m)
                beta = beta + v
            store(gammas + mine + c, gamma * load(scale + c, dtype))
            store(betas + mine + c, beta)
        for c in range(whole, width, size):
            one_gamma, one_beta = dtype(0), dtype(0)
            for i in range(first + c, behind, width):
                one_gamma += at(g + i)[0] * (at(x + i)[0] - at(mean + c)[0])
                one_beta += at(g + i)[0]
            at(gammas + mine + c)[0] = one_gamma * at(scale + c)[0]
            at(betas + mine + c)[0] = one_beta

    def gradient(block, part):  # type: ignore[no-untyped-def]
        """dx = (g - level - (x - mean) tilt) slope"""
        g, x, mean, level = number_at(block, 0), number_at(block, 2), number_at(block, 4), number_at(block, 6)
        tilt, slope, dx = number_at(block, 8), number_at(block, 10), number_at(block, 12)
        width, rows, count = number_at(block, 14) * size, number_at(block, 15), number_at(block, 16)
        whole = width - width % step
        for i in range(part * rows * width, min(count, (part + 1) * rows) * width, width):
            for c in range(0, whole, step):
                lean = (load(x + i + c, dtype) - load(mean + c, dtype)) * load(tilt + c, dtype)
                v = (load(g + i + c, dtype) - load(level + c, dtype) - lean) * load(slope + c, dtype)
                store(dx + i + c, v)
            for c in range(whole, width, size):
                lean_one = (at(x + i + c)[0] - at(mean + c)[0]) * at(tilt + c)[0]
                at(dx + i + c)[0] = (at(g + i + c)[0] - at(level + c)[0] - lean_one) * at(slope + c)[0]

    functions = {"moments": moments, "normalise": normalise, "sums": sums, "gradient": gradient}
    return {name: kernel(f, f"columns_{name}_float{8 * size}") for name, f in functions.items()}
