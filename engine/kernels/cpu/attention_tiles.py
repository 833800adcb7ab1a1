r"""Attention in tiles of queries x keys that stay in the caches (float32). [Dao et al., "FlashAttention", 2022]

    for part in (sample n, head a, block of queries):                   # in parallel
        m, l, y = -inf, 0, 0                                            # running maximum, sum and result of each row
        for each block of keys:
            s = scale Q Kᵀ + bias                                       # (Q,d) @ (d,K) -> (Q,K), a tile
            m' = max(m, max(s));  p = exp(s - m')                       # what was summed before shrinks by exp(m - m')
            l = l exp(m - m') + sum(p);  y = y exp(m - m') + dropout(p) V
            m = m'
        y = y / l;  denominator = m + ln l

The gradient makes the weights of each tile again from the denominators, p = exp(s - denominator). With D = Σ ȳ y a row:

    for part in (sample n, group b of heads):                           # so a part alone adds to its keys and values
        for each block of keys, head of the group, block of queries:
            p̄ = dropout(ȳ Vᵀ);  s̄ = scale p (p̄ - D)
            v̄ += dropout(p)ᵀ ȳ;  q̄ += s̄ K;  k̄ += s̄ᵀ Q

Blocks depend on the shapes alone. A row of a tile ends in -inf up to a whole vector; rows up to a whole tile of the
micro-kernel repeat the last query and are not used.
"""

from __future__ import annotations

import numpy as np

from .jit import array_at, device, kernel, number_at, real_at, stack, view
from .microkernel import make
from .random import fill_words
from .vector import exp_down, fill, larger, largest, load, log, store, total

SIZE = 4
L = 16  # lanes of a vector of float32
words = make(np.float32)
MR, NR, sweep, pack = words.MR, words.NR, words.sweep, words.pack

BLOCK = 128  # queries of a block, before rounding up to whole tiles, and the most keys
KEYS = BLOCK // NR * NR
ROWS = 144  # a block of queries in whole tiles
WIDE = 144  # numbers from one row of a tile to the next: no power of two, so that a column spreads over the first cache
DEPTH = 256  # of one sweep: a panel of it stays in the first cache
PANEL = NR * SIZE

tile_memory, other_memory, panel_memory = stack(ROWS * WIDE * SIZE), stack(ROWS * WIDE * SIZE), stack(DEPTH * PANEL)
zeros_memory, kept_memory, words_memory = stack(PANEL), stack(WIDE * SIZE), stack((BLOCK + 8) * SIZE)
peaks_memory, sums_memory, lane_memory = stack(ROWS * SIZE), stack(ROWS * SIZE), stack(L * SIZE)
unit_memory, tile_rows_memory = stack(8 * DEPTH), stack(8 * ROWS)
query_rows_memory, result_rows_memory, other_rows_memory = stack(8 * ROWS), stack(8 * ROWS), stack(8 * ROWS)

NONE = np.float32(-np.inf)


def block_rows(T: int) -> int:
    """Queries in a block."""
    return _even(T, BLOCK, MR)


def _even(n: int, most: int, step: int) -> int:
    """n cut into as few blocks of at most `most` as can be, all alike, in whole steps."""
    blocks = -(-n // most)
    return -(-n // (blocks * step)) * step


even = device(_even)


# --- words -----------------------------------------------------------------------------------------------------------


@device
def offsets(table, n, step, last):  # type: ignore[no-untyped-def]
    """table[i] = min(i, last) * step, in bytes; its address."""
    t = view(table, n, np.int64)
    for i in range(n):
        t[i] = min(i, last) * step
    return table


@device
def clear(address, rows, step, n):  # type: ignore[no-untyped-def]
    """Zeros into `rows` rows of n numbers, `step` bytes apart."""
    for r in range(rows):
        row = view(address + r * step, n, np.float32)
        for i in range(n):
            row[i] = np.float32(0)


@device
def times(address, n, factor):  # type: ignore[no-untyped-def]
    row = view(address, n, np.float32)
    for i in range(n):
        row[i] = row[i] * factor


@device
def dot(a, b, n):  # type: ignore[no-untyped-def]
    """Sum(i, a_i b_i), one vector after the other."""
    x, y = view(a, n, np.float32), view(b, n, np.float32)
    whole = n - n % L
    rest = np.float32(0)
    for i in range(whole, n):
        rest += x[i] * y[i]
    if whole == 0:
        return rest
    sums = load(a, np.float32) * load(b, np.float32)
    for i in range(L, whole, L):
        sums = sums + load(a + i * SIZE, np.float32) * load(b + i * SIZE, np.float32)
    return total(sums) + rest


@device
def against(a, a_rows, unit, b, b_step, d, zeros, panel, tile, tile_rows, rows, n):  # type: ignore[no-untyped-def]
    """tile[0:rows, 0:n] = A Bᵀ of rows of d numbers; those of B lie b_step bytes apart: (Q,d) @ (d,K) -> (Q,K)."""
    for j in range(0, n, NR):
        for i in range(0, d, DEPTH):
            depth, c = min(DEPTH, d - i), tile + j * SIZE
            pack(b + j * b_step + i * SIZE, 1, b_step // SIZE, depth, min(NR, n - j), panel)
            start, keep = (c, -1) if i else (zeros, 0)
            sweep(a + i * SIZE, a_rows, unit, depth, panel, PANEL, start, keep, NONE, c, tile_rows, rows, NR)


@device
def add_product(a, a_rows, a_columns, depth, b, b_step, n, panel, c, c_rows, rows):  # type: ignore[no-untyped-def]
    """C[0:rows, 0:n] += A B, where B's rows lie b_step bytes apart."""
    for j in range(0, n, NR):
        width = min(NR, n - j)
        pack(b + j * SIZE, b_step // SIZE, 1, depth, width, panel)
        to = c + j * SIZE
        sweep(a, a_rows, a_columns, depth, panel, PANEL, to, -1, NONE, to, c_rows, rows, width)


@device
def finish_scores(row, n, seen, scale, bias, mask):  # type: ignore[no-untyped-def]
    """A row of q . k becomes scores, times what is returned; bias and mask are addresses or 0. Unseen keys: -inf."""
    s = view(row, WIDE, np.float32)
    if bias != 0:
        b = view(bias, n, np.float32)
        for j in range(seen):
            s[j] = s[j] * scale + b[j]
        scale = np.float32(1)
    if mask != 0:
        m = view(mask, n, np.uint8)
        for j in range(seen):
            s[j] = s[j] if m[j] != 0 else NONE
    for j in range(seen, -(-n // L) * L):
        s[j] = NONE
    return scale


@device
def draw_kept(place, first, n, words, kept):  # type: ignore[no-untyped-def]
    """kept[j] = 1 / (1 - rate) if word first + j keeps its weight, else 0; place holds seed, stream, last kept word."""
    skip = first % 4
    w = view(words, -(-(skip + n) // 4) * 4, np.uint32)
    fill_words(place[0], place[1], np.uint64(first // 4), w)
    out, last = view(kept, n, np.float32), np.uint32(place[2])
    scale = np.float32(4294967296.0 / (np.float64(place[2]) + 1.0))
    for j in range(n):
        out[j] = scale if w[skip + j] <= last else np.float32(0)


@device
def ones(address, n):  # type: ignore[no-untyped-def]
    row = view(address, n, np.float32)
    for i in range(n):
        row[i] = np.float32(1)


# --- kernels ---------------------------------------------------------------------------------------------------------


@kernel
def attend(block, part):  # type: ignore[no-untyped-def]
    q, k, v, bias, mask = (
        number_at(block, 0), number_at(block, 2), number_at(block, 4), number_at(block, 6), number_at(block, 8),
    )  # fmt: skip
    plan, place = array_at(block, 10, np.int64), array_at(block, 12, np.uint64)
    scale, y, denominators = np.float32(real_at(block, 14)), number_at(block, 15), number_at(block, 17)
    T, h, d, S, groups, e = plan[1], plan[2], plan[3], plan[4], plan[5], plan[6]
    causal, biased, masked, dropping = plan[7], plan[8], plan[9], plan[10]

    per_block = even(T, BLOCK, MR)
    blocks = -(-T // per_block)
    n, a, i0 = part // (h * blocks), part // blocks % h, part % blocks * per_block
    b, rows = a // (h // groups), min(per_block, T - i0)
    whole = -(-rows // MR) * MR
    q += n * plan[11] + i0 * plan[12] + a * plan[13]
    k += n * plan[14] + b * plan[16]
    v += n * plan[17] + b * plan[19]
    bias += n * plan[20] + a * plan[21] + i0 * plan[22]
    mask += n * plan[23] + a * plan[24] + i0 * plan[25]
    y += ((n * T + i0) * h + a) * e * SIZE
    y_step = h * e * SIZE
    denominators += ((n * h + a) * T + i0) * SIZE

    tile, panel, zeros, kept, words = tile_memory(), panel_memory(), zeros_memory(), kept_memory(), words_memory()
    unit = offsets(unit_memory(), DEPTH, SIZE, DEPTH)
    q_rows = offsets(query_rows_memory(), whole, plan[12], rows - 1)
    tile_rows = offsets(tile_rows_memory(), whole, WIDE * SIZE, whole)
    y_rows = offsets(result_rows_memory(), rows, y_step, rows)
    peaks, sums = view(peaks_memory(), rows, np.float32), view(sums_memory(), rows, np.float32)
    denominator, lanes = view(denominators, rows, np.float32), lane_memory()
    for r in range(rows):
        peaks[r], sums[r] = NONE, np.float32(0)
    clear(zeros, 1, 0, NR)
    ones(lanes, L)
    ones(kept, WIDE)
    one = load(lanes, np.float32)
    clear(y, rows, y_step, e)

    keys = even(S, KEYS, NR)
    for j0 in range(0, min(S, i0 + rows + S - T) if causal else S, keys):
        here = min(keys, S - j0)
        against(q, q_rows, unit, k + j0 * plan[15], plan[15], d, zeros, panel, tile, tile_rows, whole, here)
        for r in range(rows):
            row = tile + r * WIDE * SIZE
            seen = max(0, min(here, i0 + r + S - T - j0 + 1)) if causal else here
            row_bias = bias + r * plan[22] + j0 * SIZE if biased else 0
            row_mask = mask + r * plan[25] + j0 if masked else 0
            scale_r = finish_scores(row, here, seen, scale, row_bias, row_mask)
            best = load(row, np.float32)
            for j in range(L, here, L):
                best = larger(best, load(row + j * SIZE, np.float32))
            before = peaks[r]
            peak = max(before, largest(best) * scale_r)
            shift = np.float32(0) if peak == NONE else peak  # -inf - -inf is NaN
            if dropping:
                draw_kept(place, ((n * h + a) * T + i0 + r) * S + j0, here, words, kept)
            shifts, scales = fill(shift, one), fill(scale_r, one)
            weights = fill(np.float32(0), one)
            for j in range(0, here, L):
                p = exp_down(load(row + j * SIZE, np.float32) * scales - shifts)
                weights = weights + p
                store(row + j * SIZE, p * load(kept + j * SIZE, np.float32))
            if peak > before and j0 > 0:
                shrink = largest(exp_down(fill(before - shift, one)))
                sums[r] = sums[r] * shrink
                times(y + r * y_step, e, shrink)
            sums[r] = sums[r] + total(weights)
            peaks[r] = peak
        add_product(tile, tile_rows, unit, here, v + j0 * plan[18], plan[18], e, panel, y, y_rows, rows)

    for r in range(rows):
        if sums[r] == 0:
            denominator[r] = -NONE  # so exp(s - denominator) is 0
        else:
            denominator[r] = (peaks[r] if peaks[r] != NONE else np.float32(0)) + largest(log(fill(sums[r], one)))
            times(y + r * y_step, e, np.float32(1) / sums[r])


@kernel
def pull(block, part):  # type: ignore[no-untyped-def]
    q0, k, v, bias0, mask0 = (
        number_at(block, 0), number_at(block, 2), number_at(block, 4), number_at(block, 6), number_at(block, 8),
    )  # fmt: skip
    plan, place = array_at(block, 10, np.int64), array_at(block, 12, np.uint64)
    scale, y0, denominators = np.float32(real_at(block, 14)), number_at(block, 15), number_at(block, 17)
    g0, dq0, dk, dv = number_at(block, 19), number_at(block, 21), number_at(block, 23), number_at(block, 25)
    T, h, d, S, groups, e = plan[1], plan[2], plan[3], plan[4], plan[5], plan[6]
    causal, biased, masked, dropping = plan[7], plan[8], plan[9], plan[10]

    n, b = part // groups, part % groups
    each = h // groups
    k += n * plan[14] + b * plan[16]
    v += n * plan[17] + b * plan[19]
    dk += (n * S * groups + b) * d * SIZE
    dv += (n * S * groups + b) * e * SIZE
    dk_step, dv_step, dq_step, y_step = groups * d * SIZE, groups * e * SIZE, h * d * SIZE, h * e * SIZE

    tile, other, panel, zeros = tile_memory(), other_memory(), panel_memory(), zeros_memory()
    kept, words, lanes = kept_memory(), words_memory(), lane_memory()
    clear(zeros, 1, 0, NR)
    ones(lanes, L)
    ones(kept, WIDE)
    one = load(lanes, np.float32)
    unit = offsets(unit_memory(), DEPTH, SIZE, DEPTH)
    tile_rows = offsets(tile_rows_memory(), ROWS, WIDE * SIZE, ROWS)
    per_block, keys = even(T, BLOCK, MR), even(S, KEYS, NR)
    clear(dk, S, dk_step, d)
    clear(dv, S, dv_step, e)
    for a in range(b * each, (b + 1) * each):
        clear(dq0 + (n * T * h + a) * d * SIZE, T, dq_step, d)

    for j0 in range(0, S, keys):
        here = min(keys, S - j0)
        dk_rows = offsets(result_rows_memory(), here, dk_step, here)
        dv_rows = offsets(other_rows_memory(), here, dv_step, here)
        k_here, v_here = k + j0 * plan[15], v + j0 * plan[18]
        for item in range(each * -(-T // per_block)):
            a, i0 = b * each + item % each, item // each * per_block
            rows = min(per_block, T - i0)
            if causal and i0 + rows + S - T <= j0:
                continue
            whole = -(-rows // MR) * MR
            q = q0 + n * plan[11] + i0 * plan[12] + a * plan[13]
            bias = bias0 + n * plan[20] + a * plan[21] + i0 * plan[22]
            mask = mask0 + n * plan[23] + a * plan[24] + i0 * plan[25]
            at = (n * T + i0) * h + a
            g, y, dq = g0 + at * e * SIZE, y0 + at * e * SIZE, dq0 + at * d * SIZE
            first = (n * h + a) * T + i0
            denominator = view(denominators + first * SIZE, rows, np.float32)

            q_rows = offsets(query_rows_memory(), whole, plan[12], rows - 1)
            against(q, q_rows, unit, k_here, plan[15], d, zeros, panel, tile, tile_rows, whole, here)
            g_rows = offsets(query_rows_memory(), whole, y_step, rows - 1)
            against(g, g_rows, unit, v_here, plan[18], e, zeros, panel, other, tile_rows, whole, here)
            for r in range(rows):
                row, row_bar = tile + r * WIDE * SIZE, other + r * WIDE * SIZE
                seen = max(0, min(here, i0 + r + S - T - j0 + 1)) if causal else here
                row_bias = bias + r * plan[22] + j0 * SIZE if biased else 0
                row_mask = mask + r * plan[25] + j0 if masked else 0
                scales = fill(finish_scores(row, here, seen, scale, row_bias, row_mask), one)
                if dropping:
                    draw_kept(place, (first + r) * S + j0, here, words, kept)
                D = fill(dot(g + r * y_step, y + r * y_step, e), one)
                shifts, outer = fill(denominator[r], one), fill(scale, one)
                for j in range(0, here * SIZE, L * SIZE):
                    p = exp_down(load(row + j, np.float32) * scales - shifts)
                    keep = load(kept + j, np.float32)
                    store(row + j, p * keep)
                    store(row_bar + j, p * (load(row_bar + j, np.float32) * keep - D) * outer)
            add_product(tile, unit, tile_rows, rows, g, y_step, e, panel, dv + j0 * dv_step, dv_rows, here)
            add_product(other, unit, tile_rows, rows, q, plan[12], d, panel, dk + j0 * dk_step, dk_rows, here)
            dq_rows = offsets(query_rows_memory(), rows, dq_step, rows)
            add_product(other, tile_rows, unit, here, k_here, plan[15], d, panel, dq, dq_rows, rows)
