"""The gradient of a recurrent layer's weights: one product over all rows and steps, cut along this long sum.

    for part of the N T rows, for group of columns of z̄:         # in parallel
        for k0 in blocks of the part:
            A = [x | h of the step before | 1]                   # (K,D+H+1), its columns 16 by 16, contiguous
            for panel in z̄[block, group]:                        # (K,NR)
                sums[part] += Aᵀ @ panel                         # (D+H+1,NR) through the micro-kernel
    W̄, Ū, b̄ = sums[0] + sums[1] + ..                             # in this order, whatever the threads

z̄ lies as the time loops made it: the batch in parts of ROWS rows, a part step by step.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from .buffers import empty
from .jit import Kernel, device, kernel, number_at, stack, view
from .microkernel import make
from .recurrent_cells import SIZE
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
    NR, pack, sweep, no_floor = words.NR, words.pack, words.sweep, F(-np.inf)
    group = PANELS * NR  # columns
    k_table, panel_memory, zeros_memory = stack(8 * BLOCK), stack(BLOCK * NR * SIZE), stack(NR * SIZE)

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
        columns, panel, zeros = k_table(), panel_memory(), zeros_memory()
        column, zero = view(columns, BLOCK, np.int64), view(zeros, NR, F)
        for j in range(NR):
            zero[j] = 0
        for k in range(BLOCK):
            column[k] = k * BYTES
            store(scratch + ones * BLOCK * SIZE + k * BYTES, fill(F(1), load(bars, F)))
        for k0 in range(begin, end, BLOCK):
            depth, keep = min(BLOCK, end - k0), 0 if k0 == begin else -1
            for k in range(depth):
                first = (k0 + k) // (ROWS * T) * ROWS  # row of the batch at which its part begins
                rows = min(ROWS, N - first)
                t, n = (k0 + k - first * T) // rows, first + (k0 + k - first * T) % rows
                before = y + (n * T + t - 1) * H * SIZE if t > 0 else h0 + n * H * SIZE
                spread(x + (n * T + t) * D * SIZE, D, scratch + k * BYTES)
                spread(before, H, scratch + past * BLOCK * SIZE + k * BYTES)
            for j in range(j0, j1, NR):
                width, c = min(NR, j1 - j), sums + j * SIZE
                pack(bars + (k0 * GH + j) * SIZE, GH, 1, depth, width, panel)  # (depth,NR)
                start = c if keep else zeros
                sweep(scratch, a_rows, columns, depth, panel, NR * SIZE, start, keep, no_floor, c, c_rows, M, width)

    return kernel(recurrent_weights)


@functools.lru_cache(64)
def _tables(D: int, H: int, GH: int) -> tuple[Array, Array]:
    """Where each feature lies in the scratch, and its row in the sums: byte offsets."""
    past = -(-D // L) * L
    features = np.concatenate([np.arange(D), past + np.arange(H), [past + -(-H // L) * L]]).astype(np.int64)
    return (features // L * BLOCK * L + features % L) * SIZE, np.arange(D + H + 1) * (GH * SIZE)


def weight_gradients(x: Array, y: Array, h0: Array, bars: Array) -> tuple[Array, Array, Array]:
    """[x | h of the step before | 1]ᵀ z̄: x (N,T,D), y (N,T,H), h0 (N,H), bars (NT,GH) -> (D,GH), (H,GH), (GH)."""
    (N, T, D), H, GH = x.shape, y.shape[2], bars.shape[1]
    parts, groups, (a_rows, c_rows) = -(-N * T // DEPTH), -(-GH // (PANELS * make(F).NR)), _tables(D, H, GH)
    sums, scratch = empty((parts, D + H + 1, GH), F), empty((parts * groups, D + H + 3 * L, BLOCK), F)
    launch(
        _weights(), parts * groups, x, y, np.ascontiguousarray(h0), bars, sums, scratch, a_rows, c_rows, N, T, D, H, GH
    )
    whole = total(sums, (0,)) if parts > 1 else sums[0]
    return whole[:D], whole[D : D + H], whole[D + H]
