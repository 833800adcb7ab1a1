"""Recurrent layers over rows of a table: W meets each token once, however often the batch holds it.

    places[n, t] = the number of token ids[n, t], counted as they come         # R numbers, at most N T
    z = table[distinct] W + b                                                  # (R,GH), its rows read where they lie
    the time loops of `recurrent.py`, whose step t of row n takes z[places[n, t]]

and back, after the time loops, which leave z̄ for each row and step:

    for n, t:  s[places[n, t]] += z̄[n, t]                                      # (R,GH), in panels, a part each
    x̄ = s Wᵀ,  table̅[distinct] += x̄                                            # (R,GH) @ (GH,D)
    W̄ = table[distinct]ᵀ s                                                     # (D,R) @ (R,GH)

A token that comes more than MOST times gets another number: no sum over equal tokens has more terms. Few tokens, or far
fewer than the table has rows, are looked up first: to number them would cost more.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from . import recurrent
from .buffers import empty
from .embedding import BLOCK as MOST, embedding, embedding_gradient
from .jit import Kernel, kernel, number_at, stack, view
from .microkernel import make
from .recurrent import NO_FLOOR, STEPS, count_up, fits, narrower, padded, way_back, way_forward, words
from .recurrent_cells import CELLS, PANEL, SIZE
from .recurrent_weights import BLOCK, ROWS, panels, panels_of
from .threads import launch
from .vector import BYTES, fill, load, store

Array = np.ndarray[Any, Any]

F = np.float32
TALL = ROWS * STEPS  # rows in a part of a product: whole tiles
LEAST, SPARSE = 256, 16  # tokens in a batch; rows of the table for each
GROUP = 4  # panels in a part of the product for W̄


# --- kernels ---------------------------------------------------------------------------------------------------------


@functools.cache
def _number() -> Kernel:
    def number_tokens(block, part):  # type: ignore[no-untyped-def]
        n, V = number_at(block, 1), number_at(block, 3)
        ids, number = view(number_at(block, 0), n, np.int64), view(number_at(block, 2), V, np.int64)
        distinct, places = view(number_at(block, 4), n, np.int64), view(number_at(block, 6), n, np.int64)
        times, found = view(number_at(block, 8), n, np.int64), view(number_at(block, 10), 1, np.int64)
        R = 0
        for v in range(V):
            number[v] = -1
        for i in range(n):
            k = number[ids[i]]
            if k < 0 or times[k] == MOST:
                k, R = R, R + 1
                number[ids[i]], distinct[k], times[k] = k, ids[i], 0
            times[k] += 1
            places[i] = k
        found[0] = R

    return kernel(number_tokens)


rows_memory, target_memory = stack(8 * TALL), stack(8 * TALL)


@functools.cache
def _look_up() -> Kernel:
    product = words()

    def product_of_tokens(block, part):  # type: ignore[no-untyped-def]
        table, distinct, w, b = number_at(block, 0), number_at(block, 2), number_at(block, 4), number_at(block, 6)
        columns, z = number_at(block, 8), number_at(block, 10)
        R, D, GH = number_at(block, 12), number_at(block, 13), number_at(block, 14)
        first = part * TALL
        m, rows, z_rows = min(TALL, R - first), rows_memory(), target_memory()
        token, row = view(distinct + 8 * first, m, np.int64), view(rows, m, np.int64)
        for r in range(m):
            row[r] = token[r] * D * SIZE
        count_up(z_rows, m, GH * SIZE)
        product(table, rows, columns, D, w, b, 0, z + first * GH * SIZE, z_rows, m, GH)

    return kernel(product_of_tokens)


@functools.cache
def _sums() -> Kernel:
    def sums_of_tokens(block, part):  # type: ignore[no-untyped-def]
        bars, places, sums = number_at(block, 0), number_at(block, 2), number_at(block, 4)
        N, T, GH, R = number_at(block, 6), number_at(block, 7), number_at(block, 8), number_at(block, 9)
        place, sums = view(places, N * T, np.int64), sums + part * R * PANEL
        for j in range(0, R * PANEL, BYTES):
            store(sums + j, fill(F(0), load(sums, F)))
        for first in range(0, N, ROWS):
            rows = min(ROWS, N - first)
            start, leap = panels_of(bars, first, rows, T, GH)
            start += part * leap
            for t in range(T):
                for r in range(rows):
                    target, source = sums + place[(first + r) * T + t] * PANEL, start + (t * rows + r) * PANEL
                    for j in range(0, PANEL, BYTES):
                        store(target + j, load(target + j, F) + load(source + j, F))

    return kernel(sums_of_tokens)


@functools.cache
def _back() -> Kernel:
    product = words()

    def gradient_of_tokens(block, part):  # type: ignore[no-untyped-def]
        sums, w, zeros, columns = number_at(block, 0), number_at(block, 2), number_at(block, 4), number_at(block, 6)
        x_bar, R, D, GH = number_at(block, 8), number_at(block, 10), number_at(block, 11), number_at(block, 12)
        first, rows, x_rows = part * TALL, rows_memory(), target_memory()
        m = min(TALL, R - first)
        count_up(rows, m, PANEL)
        count_up(x_rows, m, D * SIZE)
        product(sums + first * PANEL, rows, columns, GH, w, zeros, 0, x_bar + first * D * SIZE, x_rows, m, D)

    return kernel(gradient_of_tokens)


@functools.cache
def _weights() -> Kernel:
    NR, sweep = make(F).NR, make(F).sweep
    k_table, zeros_memory = stack(8 * BLOCK), stack(NR * SIZE)

    def weights_of_tokens(block, part):  # type: ignore[no-untyped-def]
        table, distinct, sums = number_at(block, 0), number_at(block, 2), number_at(block, 4)
        w_bar, features, w_rows = number_at(block, 6), number_at(block, 8), number_at(block, 10)
        R, D, GH = number_at(block, 12), number_at(block, 13), number_at(block, 14)
        token, columns, zeros = view(distinct, R, np.int64), k_table(), zeros_memory()
        column, zero = view(columns, BLOCK, np.int64), view(zeros, NR, F)
        for j in range(NR):
            zero[j] = 0
        for k0 in range(0, R, BLOCK):
            depth = min(BLOCK, R - k0)
            for k in range(depth):
                column[k] = token[k0 + k] * D * SIZE
            for j in range(part * GROUP * NR, min((part + 1) * GROUP * NR, GH), NR):
                panel, c = sums + j * SIZE // PANEL * R * PANEL + j * SIZE % PANEL + k0 * PANEL, w_bar + j * SIZE
                start, keep = (zeros, 0) if k0 == 0 else (c, -1)
                sweep(
                    table, features, columns, depth, panel, PANEL, start, keep, NO_FLOOR, c, w_rows, D, min(NR, GH - j)
                )

    return kernel(weights_of_tokens)


# --- the functions ---------------------------------------------------------------------------------------------------


def forward(
    name: str, ids: Array, table: Array, w: Array, u: Array, b: Array, b_u: Array, h0: Array, c0: Array, mask: Array,
    factors: Array,
) -> tuple[Any, ...]:  # fmt: skip
    """`recurrent.forward` of x = table[ids], ids (N,T), table (V,D); and the tokens, for `backward`."""
    cell, units = CELLS[name], u.shape[0]
    if not fits(table, u) or ids.size < max(LEAST, len(table) // SPARSE):
        return *recurrent.forward(name, embedding(ids, table), w, u, b, b_u, h0, c0, mask, factors), None
    w, u, b, b_u, h0, c0, factors = padded(cell, w, u, b, b_u, h0, c0, factors)
    table, (distinct, places) = np.ascontiguousarray(table), _tokens(ids, len(table))
    R, (D, GH) = len(distinct), w.shape
    z, columns = empty((R, GH), F), np.arange(D, dtype=np.int64) * SIZE
    launch(_look_up(), -(-R // TALL), table, distinct, panels(w), np.ascontiguousarray(b), columns, z, R, D, GH)
    nothing = np.empty((*ids.shape, 0), F)
    y, gates, kept, c = way_forward(cell, nothing, w[:0], u, b, b_u, h0, c0, mask, factors, z, places)
    return y, gates, kept, c[:, :units], (distinct, places)


def backward(
    name: str, g: Array, c_bar: Array | None, ids: Array, table: Array, w: Array, u: Array, h0: Array, c0: Array,
    mask: Array, factors: Array, y: Array, z: Array, kept: Array, tokens: Any, *, wanted: bool = True,
) -> tuple[Any, ...]:  # fmt: skip
    """As `recurrent.backward`, with the cotangent of the table (V,D) in place of x's."""
    if tokens is None:
        x = embedding(ids, table)
        x_bar, *others = recurrent.backward(name, g, c_bar, x, w, u, h0, c0, mask, factors, y, z, kept, wanted=wanted)
        return embedding_gradient(x_bar, ids, len(table)) if wanted else None, *others
    (distinct, places), cell, H, nothing = tokens, CELLS[name], u.shape[0], np.empty((*ids.shape, 0), F)
    c_bar = np.zeros_like(h0) if c_bar is None else c_bar
    _, _, *others = way_back(cell, g, c_bar, nothing, w[:0], u, h0, c0, mask, factors, y, z, kept, False)
    w = padded(cell, w, u, None, None, h0, c0, factors)[0]
    (N, T), R, (D, GH), table = ids.shape, len(distinct), w.shape, np.ascontiguousarray(table)
    count = -(-GH * SIZE // PANEL)
    sums, table_bar, w_bar = empty((count, R, PANEL // SIZE), F), None, empty((D, GH), F)
    launch(_sums(), count, z, places, sums, N, T, GH, R)
    if wanted:
        x_bar, k = empty((R, D), F), np.arange(GH, dtype=np.int64) * SIZE
        columns = k // PANEL * R * PANEL + k % PANEL
        launch(_back(), -(-R // TALL), sums, panels(w.T), np.zeros(D, F), columns, x_bar, R, D, GH)
        table_bar = embedding_gradient(x_bar, distinct, len(table))
    features, groups = np.arange(D, dtype=np.int64), -(-GH // (GROUP * make(F).NR))
    launch(_weights(), groups, table, distinct, sums, w_bar, features * SIZE, features * (GH * SIZE), R, D, GH)
    w_bar = w_bar if cell.gates * H == GH else narrower(cell, w_bar, H)
    return table_bar, w_bar, *others, True


def _tokens(ids: Array, V: int) -> tuple[Array, Array]:
    """The distinct tokens (R,), and the place of each among them (N,T)."""
    ids, found = np.ascontiguousarray(ids, np.int64), np.empty(1, np.int64)
    number, distinct, places, times = (np.empty(n, np.int64) for n in (V, ids.size, ids.size, ids.size))
    launch(_number(), 1, ids, number, distinct, places, times, found)
    return distinct[: found[0]].copy(), places
