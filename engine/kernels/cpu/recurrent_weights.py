"""The gradient of a recurrent layer's weights: one product over all rows and steps, cut along this long sum.

    for part of the N T rows, for group of panels of z̄:          # in parallel
        for block of the part:
            A = [x | h of the step before | 1]                   # (K,D+H+1), its columns 16 by 16, contiguous
            for panel in z̄[block, group]:                        # (K,NR), where the time loops left it
                sums[part] += Aᵀ @ panel                         # (D+H+1,NR) through the micro-kernel
    W̄, Ū, b̄ = sums[0] + sums[1] + ..                             # in this order, whatever the threads

z̄ lies as the time loops made it: the batch in parts of ROWS rows; of a part one panel of NR columns after the other;
of a panel step by step, row by row.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from .buffers import empty
from .jit import Kernel, device, kernel, number_at, stack, view
from .microkernel import make
from .recurrent_cells import PANEL, SIZE, place
from .reduce import total
from .threads import launch
from .vector import BYTES, fill, load, store

Array = np.ndarray[Any, Any]

F = np.float32
ROWS = 16  # of the batch in a part of the time loops
L = BYTES // SIZE  # features that lie together
DEPTH = 1600  # rows in a part
BLOCK = 127  # rows in a block: L features of it, and a panel, lie in the first cache together; odd, so that the places
# of one row, a block of features apart, are spread over all of that cache
PANELS = 16  # in a group: its sums stay in the second cache, which is twice as large where the vectors are


@functools.cache
def _pack() -> Kernel:
    """A matrix (K,N), of any strides, as panels (N/NR,K,NR)."""
    words = make(F)
    NR, pack = words.NR, words.pack

    def pack_panels(block, part):  # type: ignore[no-untyped-def]
        b, packed = number_at(block, 0), number_at(block, 2)
        K, N, k_step, n_step = number_at(block, 4), number_at(block, 5), number_at(block, 6), number_at(block, 7)
        j = part * NR
        pack(b + j * n_step * SIZE, k_step, n_step, K, min(NR, N - j), packed + j * K * SIZE)

    return kernel(pack_panels)


def panels(b: Array) -> Array:
    """(K,N), of any strides -> (N/NR,K,NR), zeros beyond N."""
    (K, N), NR = b.shape, make(F).NR
    packed = empty((-(-N // NR), K, NR), F)
    launch(_pack(), len(packed), b, packed, K, N, b.strides[0] // SIZE, b.strides[1] // SIZE)
    return packed


def in_panels(N: int, T: int, GH: int) -> Array:
    """Memory for GH numbers of each row and step, as the time loops write them."""
    return empty((-(-GH * SIZE // PANEL) * (N * T + -(-N // ROWS)), PANEL // SIZE), F)


@device
def panels_of(z, first, rows, T, GH):  # type: ignore[no-untyped-def]
    """Of the part of the batch with the rows first .. first + rows - 1, T steps each: where it begins, and the bytes
    from one of its panels to the next.

    One row is left free behind each panel: without it the same row of all panels would fall to one place in the cache.
    """
    return z + -(-GH * SIZE // PANEL) * (first * T + first // ROWS) * PANEL, (rows * T + 1) * PANEL


@device
def spread(source, n, target):  # type: ignore[no-untyped-def]
    """n features of one row, L to each block."""
    for j in range(0, n - n % L, L):
        store(target + j * BLOCK * SIZE, load(source + j * SIZE, F))
    a, b = view(source, n, F), view(target + (n - n % L) * BLOCK * SIZE, L, F)
    for j in range(n - n % L, n):
        b[j % L] = a[j]


@functools.cache
def _weights() -> Kernel:
    words = make(F)
    NR, sweep, no_floor = words.NR, words.sweep, F(-np.inf)
    group = PANELS * NR  # columns
    k_table, zeros_memory = stack(8 * BLOCK), stack(NR * SIZE)

    def recurrent_weights(block, part):  # type: ignore[no-untyped-def]
        x, y, h0, bars = number_at(block, 0), number_at(block, 2), number_at(block, 4), number_at(block, 6)
        sums, scratch, a_rows = number_at(block, 8), number_at(block, 10), number_at(block, 12)
        c_rows, N, T = number_at(block, 14), number_at(block, 16), number_at(block, 17)
        D, H, GH = number_at(block, 18), number_at(block, 19), number_at(block, 20)
        groups = -(-GH // group)
        begin, j0 = part // groups * DEPTH, part % groups * group
        end, j1, M = min(begin + DEPTH, N * T), min(j0 + group, GH), D + H + 1
        sums += part // groups * M * GH * SIZE  # (D+H+1,GH)
        past = -(-D // L) * L  # of the features
        ones = past + -(-H // L) * L
        scratch += part * (ones + L) * BLOCK * SIZE
        columns, zeros = k_table(), zeros_memory()
        column, zero = view(columns, BLOCK, np.int64), view(zeros, NR, F)
        for j in range(NR):
            zero[j] = 0
        for k in range(BLOCK):
            column[k] = k * BYTES
            store(scratch + ones * BLOCK * SIZE + k * BYTES, fill(F(1), load(bars, F)))
        k0 = begin
        while k0 < end:
            first = k0 // (ROWS * T) * ROWS  # row of the batch at which its part begins
            rows, inside = min(ROWS, N - first), k0 - first * T
            left = min(end - k0, rows * T - inside)
            depth, keep = -(-left // -(-left // BLOCK)), 0 if k0 == begin else -1  # blocks as long as each other
            for k in range(depth):
                t, n = (inside + k) // rows, first + (inside + k) % rows
                before = y + (n * T + t - 1) * H * SIZE if t > 0 else h0 + n * H * SIZE
                spread(x + (n * T + t) * D * SIZE, D, scratch + k * BYTES)
                spread(before, H, scratch + past * BLOCK * SIZE + k * BYTES)
            part_bars, leap = panels_of(bars, first, rows, T, GH)
            for j in range(j0, j1, NR):
                panel, c = place(part_bars, leap, j * SIZE) + inside * PANEL, sums + j * SIZE  # (depth,NR), (D+H+1,NR)
                start, width = c if keep else zeros, min(NR, j1 - j)
                sweep(scratch, a_rows, columns, depth, panel, PANEL, start, keep, no_floor, c, c_rows, M, width)
            k0 += depth

    return kernel(recurrent_weights)


@functools.lru_cache(64)
def _tables(D: int, H: int, GH: int) -> tuple[Array, Array]:
    """Where each feature lies in the scratch, and its row in the sums: byte offsets."""
    past = -(-D // L) * L
    features = np.concatenate([np.arange(D), past + np.arange(H), [past + -(-H // L) * L]]).astype(np.int64)
    return (features // L * BLOCK * L + features % L) * SIZE, np.arange(D + H + 1, dtype=np.int64) * (GH * SIZE)


def weight_gradients(x: Array, y: Array, h0: Array, bars: Array, GH: int) -> tuple[Array, Array, Array]:
    """[x | h of the step before | 1]ᵀ z̄: x (N,T,D), y (N,T,H), h0 (N,H), bars in panels -> (D,GH), (H,GH), (GH)."""
    (N, T, D), H = x.shape, y.shape[2]
    parts, groups, (a_rows, c_rows) = -(-N * T // DEPTH), -(-GH // (PANELS * make(F).NR)), _tables(D, H, GH)
    sums, scratch = empty((parts, D + H + 1, GH), F), empty((parts * groups, D + H + 3 * L, BLOCK), F)
    launch(
        _weights(), parts * groups, x, y, np.ascontiguousarray(h0), bars, sums, scratch, a_rows, c_rows, N, T, D, H, GH
    )
    whole = total(sums, (0,)) if parts > 1 else sums[0]
    return whole[:D], whole[D : D + H], whole[D + H]
