"""Recurrent layers over whole sequences: each part owns some rows of the batch from the first step to the last.

    for rows in the batch, 16 at a time:                         # in parallel: a part waits for no other
        for block of 6 steps:
            z = x[rows, block] W + b                             # one product for all steps of the block, (6,16,GH)
            for t in block:
                m = h U + b'                                     # (16,H) @ (H,GH) through the micro-kernel
                gates[t, rows], h, c = step(z[t], m, h, c)       # in lanes

and back, where h̄ and c̄ come from the step after:

    for rows, for block of 6 steps, the last first:
        for t in block, the last first:
            gates[t, rows], h̄, c̄ = step_backward(gates[t, rows], h̄ + ȳ[rows, t], c̄)     # and are z̄ now
            h̄ += m̄[t, rows] Uᵀ                               # m̄ is z̄, but for a GRU's candidate
        x̄[rows, block] = z̄[block, rows] Wᵀ
    W̄, Ū, b̄ = [x | h of the step before | 1]ᵀ z̄, for Ū m̄         # `recurrent_weights.py`

x (N,T,D), h and c (N,H), G gates: W (D,GH), U (H,GH). A step that the mask leaves out copies the state; h is multiplied
by recurrent dropout's factors before it meets U. 6 steps of 16 rows fill whole tiles.

W and U are packed into panels once a call. z stays in the second cache, for up to some 300 units: a product writes two
vectors of a row, then two of the next, and if those rows lay in memory it would wait for each. What memory gets lies in
the order in which the loops write it: one part of the batch after the other; within a part kept (T,rows,H), and the
gates in panels (GH/NR,T,rows,NR), as the product for the weights takes them. On the way back they become their
cotangents z̄ where they lie. Float32 runs here, all else in `recurrent_plain.py`.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np

from . import recurrent_plain as plain
from .buffers import empty
from .jit import ENABLED, Kernel, device, kernel, number_at, stack, view
from .matmul import KC
from .microkernel import make, tile_shape
from .recurrent_cells import CELLS, PANEL, SIZE, Cell, place
from .recurrent_weights import ROWS, in_panels, panels, panels_of, weight_gradients
from .threads import launch
from .vector import BYTES, fill, load, store

Array = np.ndarray[Any, Any]

F = np.float32
L = BYTES // SIZE  # H is padded to a multiple of it
STEPS = 6  # in a block: 96 rows fill whole tiles, and their gates stay in the second cache beside U
NO_FLOOR = F(-np.inf)


# --- words for kernels -----------------------------------------------------------------------------------------------


@functools.cache
def words(rows: int | None = None) -> Any:
    """A product with a packed matrix of any depth. With `rows` its tiles divide so many: none sticks out of them."""
    tile = tile_shape(SIZE)
    whole = tile if rows is None else replace(tile, rows=max(r for r in range(1, tile.rows + 1) if rows % r == 0))
    NR, sweep = make(F).NR, make(F, whole).sweep

    @device
    def product(a, rows, columns, depth, packed, start, keep, c, c_rows, m, n):  # type: ignore[no-untyped-def]
        """C[0:m, 0:n] = start + A[0:m, 0:depth] B for panels of B, (n/NR, depth, NR), in blocks of KC."""
        for p in range(0, n, NR):
            for k in range(0, depth, KC):
                first = start + p * SIZE if k == 0 else c + p * SIZE
                panel = packed + (p * depth + k * NR) * SIZE
                sweep(
                    a, rows, columns + 8 * k, min(KC, depth - k), panel, NR * SIZE,
                    first, keep if k == 0 else -1, NO_FLOOR, c + p * SIZE, c_rows, m, min(NR, n - p),
                )  # fmt: skip

    return product


@device
def count_up(table, n, step):  # type: ignore[no-untyped-def]
    """A table of byte offsets: 0, step, 2 step .."""
    offsets = view(table, n, np.int64)
    for k in range(n):
        offsets[k] = k * step


@device
def count_panels(table, n, leap):  # type: ignore[no-untyped-def]
    """A table of byte offsets: of n numbers in a row of panels."""
    offsets = view(table, n, np.int64)
    for k in range(n):
        offsets[k] = place(0, leap, k * SIZE)


@device
def grid(table, steps, step, rows, row):  # type: ignore[no-untyped-def]
    """A table of byte offsets: for each step, for each row."""
    offsets = view(table, rows * steps, np.int64)
    for s in range(steps):
        for r in range(rows):
            offsets[s * rows + r] = s * step + r * row


@device
def clear(row, leap, n):  # type: ignore[no-untyped-def]
    """n numbers of a row in panels become 0."""
    for j in range(0, n * SIZE, BYTES):
        store(place(row, leap, j), fill(F(0), load(row, F)))


@device
def copy(source, target, n):  # type: ignore[no-untyped-def]
    for j in range(0, n * SIZE, BYTES):
        store(target + j, load(source + j, F))


@device
def scale(source, factors, target, n):  # type: ignore[no-untyped-def]
    """target = source * factors"""
    for j in range(0, n * SIZE, BYTES):
        store(target + j, load(source + j, F) * load(factors + j, F))


@device
def add(source, target, n):  # type: ignore[no-untyped-def]
    """target += source"""
    for j in range(0, n * SIZE, BYTES):
        store(target + j, load(target + j, F) + load(source + j, F))


@device
def add_scaled(source, factors, target, n):  # type: ignore[no-untyped-def]
    """target += source * factors"""
    for j in range(0, n * SIZE, BYTES):
        store(target + j, load(target + j, F) + load(source + j, F) * load(factors + j, F))


# --- kernels ---------------------------------------------------------------------------------------------------------

x_table, z_table = stack(8 * ROWS * STEPS), stack(8 * ROWS * STEPS)
m_table, h_table = stack(8 * ROWS), stack(8 * ROWS)


@functools.cache
def _forward(cell: Cell) -> Kernel:
    G, step, has_cell = cell.gates, cell.forward, cell.has_cell
    product, product_of_step = words(), words(ROWS)

    def recurrent_forward(block, part):  # type: ignore[no-untyped-def]
        x, w, u, b, b_u = (
            number_at(block, 0), number_at(block, 2), number_at(block, 4), number_at(block, 6), number_at(block, 8)
        )  # fmt: skip
        h, c, mask, factors = number_at(block, 10), number_at(block, 12), number_at(block, 14), number_at(block, 16)
        y, gates, kept, scratch = number_at(block, 18), number_at(block, 20), number_at(block, 22), number_at(block, 24)
        columns, looked_up, place_of = number_at(block, 26), number_at(block, 28), number_at(block, 30)
        N, T, D, H = number_at(block, 32), number_at(block, 33), number_at(block, 34), number_at(block, 35)
        n, GH, row = part * ROWS, G * H, H * SIZE
        rows = min(ROWS, N - n)
        x, y, mask = x + n * T * D * SIZE, y + n * T * row, mask + n * T  # (rows,T,..)
        gates, leap = panels_of(gates, n, rows, T, GH)
        kept += n * T * row  # (T,rows,H)
        h, c, factors = h + n * row, c + n * row, factors + n * row  # (rows,H)
        most = min(STEPS, T)
        z = scratch + n * ((most + 1) * G + 1) * row  # (most,rows,GH)
        m, past = z + most * rows * G * row, z + (most + 1) * rows * G * row  # (rows,GH), (rows,H)
        x_rows, z_rows, m_rows, h_rows = x_table(), z_table(), m_table(), h_table()
        count_up(z_rows, rows * STEPS, GH * SIZE)
        count_up(m_rows, rows, GH * SIZE)
        count_up(h_rows, rows, row)
        here, places = view(mask, 0, np.uint8), view(place_of + n * T * 8, 0, np.int64)
        scale(h, factors, past, rows * H)
        for t0 in range(0, T, STEPS):
            steps = min(STEPS, T - t0)
            grid(x_rows, steps, D * SIZE, rows, T * D * SIZE)
            product(x + t0 * D * SIZE, x_rows, columns, D, w, b, 0, z, z_rows, rows * steps, GH)
            for t in range(t0, t0 + steps):
                product_of_step(past, h_rows, columns, H, u, b_u, 0, m, m_rows, rows, GH)
                for r in range(rows):
                    own, at = r * row, t * rows + r
                    if here[r * T + t] != 0:
                        z_row = z + ((t - t0) * rows + r) * G * row
                        if D == 0:
                            z_row = looked_up + places[r * T + t] * G * row
                        step(z_row, m + G * own, h + own, c + own, gates + at * PANEL, leap, kept + at * row, H)
                    elif has_cell:  # the state stays
                        copy(c + own, kept + at * row, H)
                    copy(h + own, y + (r * T + t) * row, H)
                scale(h, factors, past, rows * H)

    return kernel(recurrent_forward, f"{cell.name}_forward")


@functools.cache
def _backward(cell: Cell) -> Kernel:
    G, step, has_cell = cell.gates, cell.backward, cell.has_cell
    product, product_of_step = words(), words(ROWS)

    def recurrent_backward(block, part):  # type: ignore[no-untyped-def]
        g, w, u, zeros = number_at(block, 0), number_at(block, 2), number_at(block, 4), number_at(block, 6)
        h_bar, c_bar, mask = number_at(block, 8), number_at(block, 10), number_at(block, 12)
        factors, y, z, kept = number_at(block, 14), number_at(block, 16), number_at(block, 18), number_at(block, 20)
        start, x_bar, m_bar = number_at(block, 22), number_at(block, 24), number_at(block, 26)
        columns, scratch = number_at(block, 28), number_at(block, 30)
        N, T, D, H, first = (
            number_at(block, 32), number_at(block, 33), number_at(block, 34), number_at(block, 35), number_at(block, 36)
        )  # fmt: skip
        n, GH, K, row = part * ROWS, G * H, T - first, H * SIZE
        rows = min(ROWS, N - n)
        g, x_bar, y, mask = g + n * K * row, x_bar + n * T * D * SIZE, y + n * T * row, mask + n * T  # (rows,T,..)
        z, leap = panels_of(z, n, rows, T, GH)
        m_bar, _ = panels_of(m_bar, n, rows, T, GH)
        columns += part * GH * 8
        kept, start, past = kept + n * T * row, start + n * row, scratch + n * row  # (T,rows,H), (rows,H)
        h_bar, c_bar, factors = h_bar + n * row, c_bar + n * row, factors + n * row  # (rows,H)
        x_rows, z_rows, h_rows = x_table(), z_table(), h_table()
        count_up(z_rows, rows * STEPS, PANEL)
        count_up(h_rows, rows, row)
        count_panels(columns, GH, leap)
        here = view(mask, 0, np.uint8)
        for t0 in range((T - 1) // STEPS * STEPS, -1, -STEPS):
            steps = min(STEPS, T - t0)
            for t in range(t0 + steps - 1, t0 - 1, -1):
                for r in range(rows):
                    own, at = r * row, t * rows + r
                    if t >= first:
                        add(g + (r * K + t - first) * row, h_bar + own, H)
                    if here[r * T + t] != 0:
                        before = kept + (at - rows) * row if has_cell else y + (r * T + t - 1) * row
                        step(
                            z + at * PANEL, m_bar + at * PANEL, leap, kept + at * row, before if t > 0 else start + own,
                            h_bar + own, c_bar + own, H,
                        )  # fmt: skip
                    else:
                        clear(z + at * PANEL, leap, GH)
                        clear(m_bar + at * PANEL, leap, GH)
                product_of_step(m_bar + t * rows * PANEL, z_rows, columns, GH, u, zeros, 0, past, h_rows, rows, H)
                add_scaled(past, factors, h_bar, rows * H)
            grid(x_rows, steps, D * SIZE, rows, T * D * SIZE)
            bars = z + t0 * rows * PANEL
            product(bars, z_rows, columns, GH, w, zeros, 0, x_bar + t0 * D * SIZE, x_rows, rows * steps, D)

    return kernel(recurrent_backward, f"{cell.name}_backward")


# --- the functions ---------------------------------------------------------------------------------------------------


def forward(
    name: str, x: Array, w: Array, u: Array, b: Array, b_u: Array, h0: Array, c0: Array, mask: Array, factors: Array
) -> tuple[Array, Array, Array, Array]:
    """A cell over sequences: x (N,T,D), w (D,GH), u (H,GH), b, b_u (GH), h0, c0 (N,H), mask (N,T) of uint8, and
    factors (N,H) of h before each product -> hidden states (N,T,H'); for `backward` the gates and what is kept; and the
    last cell state (N,H).

    H' is H, or more where the kernels pad it: the first H units count.
    """
    cell = CELLS[name]
    if not fits(x, u):
        return plain.forward(cell, x, w, u, b, b_u, h0, c0, mask, factors)
    units = u.shape[0]
    w, u, b, b_u, h0, c0, factors = padded(cell, w, u, b, b_u, h0, c0, factors)
    y, gates, kept, c = way_forward(cell, x, w, u, b, b_u, h0, c0, mask, factors, NONE, NONE)
    return y, gates, kept, c[:, :units]


NONE = np.empty(0, np.int64)


def way_forward(
    cell: Cell, x: Array, w: Array, u: Array, b: Array, b_u: Array, h0: Array, c0: Array, mask: Array, factors: Array,
    looked_up: Array, places: Array,
) -> tuple[Array, Array, Array, Array]:  # fmt: skip
    """`forward` where all fits. Without features, D = 0, step t of row n takes its z from looked_up[places[n, t]]."""
    (N, T, D), (H, GH), h, c = x.shape, u.shape, np.array(h0, order="C"), np.array(c0, order="C")
    y, gates = empty((N, T, H), F), in_panels(N, T, GH)
    kept = gates if cell.gates == 1 else empty((N * T, H), F)  # nobody reads what a simple cell keeps
    launch(
        _forward(cell), -(-N // ROWS), np.ascontiguousarray(x), panels(w), panels(u), np.ascontiguousarray(b),
        np.ascontiguousarray(b_u), h, c, mask, factors, y, gates, kept, empty((N * ((min(STEPS, T) + 1) * GH + H),), F),
        np.arange(max(D, H), dtype=np.int64) * SIZE, looked_up, places, N, T, D, H,
    )  # fmt: skip
    return y, gates, kept, c


def backward(
    name: str, g: Array, c_bar: Array | None, x: Array, w: Array, u: Array, h0: Array, c0: Array, mask: Array,
    factors: Array, y: Array, z: Array, kept: Array, *, wanted: bool = True,
) -> tuple[Any, ...]:  # fmt: skip
    """From g (N,K,H), which belongs to the last K hidden states, and c_bar (N,H), to the last cell state (None: zeros),
    and from what `forward` gave, y, the gates z and kept:

    x_bar (N,T,D), or None unless it is `wanted`, w_bar (D,GH), u_bar (H,GH), b_bar, b_u_bar (GH), h0_bar (N,H),
    c0_bar (N,H); and whether z is used up: its memory holds something else now.
    """
    cell = CELLS[name]
    c_bar = np.zeros_like(h0) if c_bar is None else c_bar
    if not fits(x, u):
        return *plain.backward(cell, g, c_bar, x, w, u, h0, c0, mask, factors, y, z, kept), False
    return *way_back(cell, g, c_bar, x, w, u, h0, c0, mask, factors, y, z, kept, wanted), True


def way_back(
    cell: Cell, g: Array, c_bar: Array, x: Array, w: Array, u: Array, h0: Array, c0: Array, mask: Array,
    factors: Array, y: Array, z: Array, kept: Array, wanted: bool,
) -> tuple[Any, ...]:  # fmt: skip
    """`backward` where all fits. Then z holds its cotangents, in panels."""
    H = u.shape[0]
    x, (N, T, D) = np.ascontiguousarray(x), x.shape
    w, u, _, _, h0, c0, factors = padded(cell, w, u, None, None, h0, c0, factors)
    wide, GH = u.shape
    g, c_bar = np.ascontiguousarray(_wider(g, wide)), np.array(_wider(c_bar, wide), order="C")
    h_bar = np.zeros((N, wide), F)
    m_bar, parts = in_panels(N, T, GH) if cell.own_recurrent else z, -(-N // ROWS)
    sought = D if wanted else 0  # features whose cotangents are computed
    x_bar = empty((N, T, sought), F)
    launch(
        _backward(cell), parts, g, panels(w.T[:, :sought]), panels(u.T), np.zeros(max(D, wide), F), h_bar, c_bar, mask,
        factors, y, z, kept, np.ascontiguousarray(c0 if cell.has_cell else h0), x_bar, m_bar,
        empty((parts, GH), np.int64), empty((N, wide), F), N, T, sought, wide, T - g.shape[1],
    )  # fmt: skip
    if not (factors == 1).all():
        y, h0 = y * factors[:, None], h0 * factors
    if cell.own_recurrent:
        w_bar, _, b_bar = weight_gradients(x, y[..., :0], h0, z, GH)
        _, u_bar, b_u_bar = weight_gradients(x[..., :0], y, h0, m_bar, GH)
    else:
        w_bar, u_bar, b_bar = weight_gradients(x, y, h0, z, GH)
        b_u_bar = b_bar
    if wide != H:
        w_bar, u_bar, b_bar, b_u_bar = (narrower(cell, a, H) for a in (w_bar, u_bar, b_bar, b_u_bar))
    return x_bar if wanted else None, w_bar, u_bar[:H], b_bar, b_u_bar, h_bar[:, :H], c_bar[:, :H]


def fits(x: Array, u: Array) -> bool:
    return ENABLED and x.dtype == F and x.size > 0 and u.size > 0


def _wider(a: Array, H: int) -> Array:
    """(..,h) -> (..,H), zeros behind."""
    return a if a.shape[-1] == H else np.pad(a, [(0, 0)] * (a.ndim - 1) + [(0, H - a.shape[-1])])


def narrower(cell: Cell, a: Array, H: int) -> Array:
    """(..,GH) of padded units -> (..,Gh)"""
    blocks = a.reshape(*a.shape[:-1], cell.gates, a.shape[-1] // cell.gates)
    return blocks[..., :H].reshape(*a.shape[:-1], cell.gates * H)


def padded(cell: Cell, w: Array, u: Array, b: Any, b_u: Any, h0: Array, c0: Array, factors: Array) -> Any:
    """H as a multiple of the lanes. Added units have no weights: their h and c stay 0, and disturb no one."""
    h = u.shape[0]
    H = -(-h // L) * L
    if h == H:
        return w, u, b, b_u, h0, c0, factors

    def gates(a: Any) -> Any:
        blocks = a.reshape(*a.shape[:-1], cell.gates, h)
        return _wider(blocks, H).reshape(*a.shape[:-1], cell.gates * H)

    u = np.pad(gates(u), [(0, H - h), (0, 0)])
    b, b_u = (None if a is None else gates(a) for a in (b, b_u))
    return gates(w), u, b, b_u, _wider(h0, H), _wider(c0, H), _wider(factors, H)
