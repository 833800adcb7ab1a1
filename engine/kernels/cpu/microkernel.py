r"""The one inner loop of convolution and matrix product: a tile of C that never leaves the registers. The loops around
it, over blocks that fit the caches, are those of `matmul.py`, `conv_forward.py` and others.

    C[r, n] = start[r, n] + Sum(k, A[r, k] * B[k, n]),    r < MR rows, n < NR columns     (start: a bias, or C so far)

    acc = 0
    for k in 0 .. K-1:                                  # the only loop; everything below is unrolled
        b[0 .. NV-1] = B[k, :]                          # (NR,) as NV vectors of L lanes
        for r in 0 .. MR-1:
            a = A[r, k] in every lane                   # one number, broadcast
            for v in 0 .. NV-1:
                acc[r, v] = a * b[v] + acc[r, v]        # one fused multiply-add on L lanes
    C = start + acc                                     # a block of k is summed on its own: the rounding error grows
                                                        # with the blocks and their number, not with their product

Registers (float32): MR*NV sums, NV vectors of B, one broadcast a.

                registers      MR x NR    sums + B + a
    AVX-512   32 of 16 lanes    6 x 32   12 + 2 + 1 = 15
    AVX2      16 of  8 lanes    6 x 16   12 + 2 + 1 = 15
    NEON      32 of  4 lanes    8 x 12   24 + 3 + 1 = 28
    SSE2      16 of  4 lanes    6 x  8   12 + 2 + 1 = 15

float64 has half the lanes, hence half the columns. Each k loads MR + NV values for MR*NV products (8 for 12): the
larger the tile, the fewer loads per product, until the registers are full.

On AVX-512 half of them seem unused: LLVM goes two k at a time there and loads ahead, 12 sums, 2*6 broadcasts and 2*2
vectors of B, 28 in all. With 12 rows even one k takes 24 + 12 + 2 = 38: sums go to the stack and back, and the loop
runs at half its speed (52.8 GFLOP/s on a core of Zen 4; 114.9 with 6 rows, of 115.2 that its multipliers can do). With
8 rows two k would take 36, and one number is put aside now and then.

How A is addressed is what makes this serve convolution without im2col: A[r, k] lies at a + row[r] + column[k], where
`row` and `column` are tables of byte offsets. A matrix has row[r] = r*ld, column[k] = k. The im2col matrix of an image,
A[pixel, tap] = x[pixel + tap], has row = offsets of the pixels, column = offsets of the taps; its transpose swaps the
tables. No copy is ever made. B is packed: panels of NR columns, each (K, NR), contiguous, padded with zeros.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .jit import cpu_name_and_features, device, stack, view

I32, I64 = ir.IntType(32), ir.IntType(64)
WINDOW = 4  # pixels of a max-pooling window that needs no memory of its own


@dataclass(frozen=True)
class Tile:
    """The shape of the register block for one dtype on this processor."""

    lanes: int
    rows: int  # MR
    vectors: int  # NV

    @property
    def columns(self) -> int:  # NR
        return self.lanes * self.vectors


def tile_shape(itemsize: int, features: str | None = None) -> Tile:
    """The tile for numbers of `itemsize` bytes, from the table above."""
    if features is None:
        features = cpu_name_and_features()[1]
    has = set(features.split(","))
    if "+avx512f" in has:
        return Tile(64 // itemsize, 6, 2)
    if "+avx2" in has and "+fma" in has:
        return Tile(32 // itemsize, 6, 2)
    if "+neon" in has:
        return Tile(16 // itemsize, 8, 3)
    return Tile(16 // itemsize, 6, 2)


@dataclass(frozen=True)
class Words:
    """The device functions of one dtype, which kernels are written in."""

    dtype: Any
    size: int  # bytes of a number
    MR: int
    NR: int
    sweep: Callable[..., Any]
    sweep_windows: Callable[..., Any]
    pack: Callable[..., Any]


@functools.cache
def make(dtype: Any, tile: Tile | None = None) -> Words:
    """The micro-kernel and its surroundings for float32 or float64."""
    size = np.dtype(dtype).itemsize
    tile = tile or tile_shape(size)
    L, MR, NV, NR = tile.lanes, tile.rows, tile.vectors, tile.columns
    scalar = ir.FloatType() if size == 4 else ir.DoubleType()
    vector = ir.VectorType(scalar, L)
    number = types.float32 if size == 4 else types.float64
    zero_lanes = ir.Constant(ir.VectorType(I32, L), [0] * L)

    def pointer(builder: Any, address: Any, kind: Any) -> Any:
        return builder.inttoptr(address, kind.as_pointer())

    def load(builder: Any, address: Any, index: int, kind: Any = vector) -> Any:
        step = index * (size * L if kind is vector else 8 if kind is I64 else size)
        value = builder.load(pointer(builder, builder.add(address, I64(step)), kind))
        value.align = 8 if kind is I64 else size
        return value

    def store(builder: Any, value: Any, address: Any, index: int) -> None:
        target = pointer(builder, builder.add(address, I64(index * size * L)), vector)
        builder.store(value, target).align = size

    def splat(builder: Any, value: Any) -> Any:
        undefined = ir.Constant(vector, ir.Undefined)
        return builder.shuffle_vector(builder.insert_element(undefined, value, I32(0)), undefined, zero_lanes)

    def fused(builder: Any) -> Any:  # becomes one instruction where there is one, a product and a sum elsewhere
        name = f"llvm.fmuladd.v{L}f{8 * size}"
        found = builder.module.globals.get(name)
        return found or ir.Function(builder.module, ir.FunctionType(vector, [vector] * 3), name)

    def sum_products(builder: Any, a_row: list[Any], cols: Any, depth: Any, panel: Any, step: Any) -> list[Any]:
        """The loop over k, for rows of A at these addresses: len(a_row) * NV sums; the builder stands behind it."""
        fma, nothing = fused(builder), ir.Constant(vector, [0.0] * L)
        before = builder.block
        body, after = builder.append_basic_block("depth"), builder.append_basic_block("write")
        builder.branch(body)

        builder.position_at_end(body)
        k, b = builder.phi(I64), builder.phi(I64)
        sums = [builder.phi(vector) for _ in range(len(a_row) * NV)]
        column = builder.load(pointer(builder, builder.add(cols, builder.shl(k, I64(3))), I64))
        b_k = [load(builder, b, v) for v in range(NV)]  # (NR,)
        new = []
        for r, row in enumerate(a_row):
            a_rk = splat(builder, load(builder, builder.add(row, column), 0, scalar))
            new += [builder.call(fma, [a_rk, b_k[v], sums[r * NV + v]]) for v in range(NV)]
        k_next, b_next = builder.add(k, I64(1)), builder.add(b, step)
        builder.cbranch(builder.icmp_signed("<", k_next, depth), body, after)
        begin = [nothing] * len(sums)
        for phi, first, later in [(k, I64(0), k_next), (b, panel, b_next), *zip(sums, begin, new, strict=True)]:
            phi.add_incoming(first, before)
            phi.add_incoming(later, body)
        builder.position_at_end(after)
        return new

    def at_least(builder: Any, value: Any, least: Any) -> Any:
        """max(value, least); a NaN stays."""
        return builder.select(builder.fcmp_ordered("<", value, least), least, value)

    @intrinsic
    def tile_product(
        typing: Any, a: Any, rows: Any, cols: Any, depth: Any, panel: Any, step: Any, start: Any, keep: Any, c: Any,
        c_rows: Any, floor: Any,
    ) -> Any:  # fmt: skip
        """C = max(start + A B, floor) for one full tile; start's rows are those of C if `keep` is -1, one row if 0."""
        signature = types.void(*[types.int64] * 10, number)

        def generate(context: Any, builder: Any, _: Any, args: Any) -> Any:
            a, rows, cols, depth, panel, step, start, keep, c, c_rows, floor = args
            a_row = [builder.add(a, load(builder, rows, r, I64)) for r in range(MR)]
            c_offset = [load(builder, c_rows, r, I64) for r in range(MR)]
            sums = sum_products(builder, a_row, cols, depth, panel, step)
            least = splat(builder, floor)
            for r in range(MR):
                for v in range(NV):
                    earlier = load(builder, builder.add(start, builder.and_(keep, c_offset[r])), v)
                    value = at_least(builder, builder.fadd(sums[r * NV + v], earlier), least)
                    store(builder, value, builder.add(c, c_offset[r]), v)
            return context.get_dummy_value()

        return signature, generate

    @intrinsic
    def window_product(
        typing: Any, a: Any, rows: Any, cols: Any, depth: Any, panel: Any, start: Any, y: Any, index: Any, floor: Any
    ) -> Any:
        """The largest of WINDOW rows of max(start + A B, floor), and which row that is: two rows of NR numbers."""
        signature = types.void(*[types.int64] * 8, number)
        integers, bytes_ = ir.VectorType(ir.IntType(8 * size), L), ir.VectorType(ir.IntType(8), L)

        def generate(context: Any, builder: Any, _: Any, args: Any) -> Any:
            a, rows, cols, depth, panel, start, y, index, floor = args
            a_row = [builder.add(a, load(builder, rows, r, I64)) for r in range(WINDOW)]
            sums = sum_products(builder, a_row, cols, depth, panel, I64(NR * size))
            least = splat(builder, floor)
            for v in range(NV):
                bias, best, place = load(builder, start, v), None, ir.Constant(integers, [0] * L)
                for r in range(WINDOW):
                    value = at_least(builder, builder.fadd(sums[r * NV + v], bias), least)
                    if best is None:
                        best = value
                        continue
                    more, known = builder.fcmp_unordered(">", value, best), builder.fcmp_ordered("ord", best, best)
                    better = builder.and_(more, known)  # the first of equals, and the first NaN
                    best = builder.select(better, value, best)
                    place = builder.select(better, ir.Constant(integers, [r] * L), place)
                store(builder, best, y, v)
                target = pointer(builder, builder.add(index, I64(v * L)), bytes_)
                builder.store(builder.trunc(place, bytes_), target).align = 1
            return context.get_dummy_value()

        return signature, generate

    @intrinsic
    def copy_row(typing: Any, source: Any, target: Any) -> Any:
        """Copy NR numbers."""

        def generate(context: Any, builder: Any, _: Any, args: Any) -> Any:
            for v in range(NV):
                store(builder, load(builder, args[0], v), args[1], v)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), generate

    @intrinsic
    def copy_transposed(typing: Any, source: Any, step: Any, target: Any) -> Any:
        """The (L, L) block whose rows are `step` bytes apart, transposed, into rows NR numbers apart."""

        def generate(context: Any, builder: Any, _: Any, args: Any) -> Any:
            source, step, target = args
            block = []
            for _ in range(L):
                block.append(load(builder, source, 0))
                source = builder.add(source, step)
            low = ir.Constant(ir.VectorType(I32, L), [i // 2 + (i % 2) * L for i in range(L)])
            high = ir.Constant(ir.VectorType(I32, L), [L // 2 + i // 2 + (i % 2) * L for i in range(L)])
            for _ in range(L.bit_length() - 1):  # log2(L) perfect shuffles of the rows transpose the block
                pairs = [(block[i], block[i + L // 2]) for i in range(L // 2)]
                block = [builder.shuffle_vector(p, q, mask) for p, q in pairs for mask in (low, high)]
            for row in block:
                store(builder, row, target, 0)
                target = builder.add(target, I64(NR * size))
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, types.int64), generate

    @device
    def pack(b, k_step, n_step, depth, n, panel):  # type: ignore[no-untyped-def]
        """B[0:depth, 0:n], whose neighbours lie k_step and n_step numbers apart, as one panel: (depth, NR)."""
        if n == NR and n_step == 1:
            for k in range(depth):
                copy_row(b + k * k_step * size, panel + k * NR * size)
            return
        source, target = view(b, 0, dtype), view(panel, 0, dtype)
        whole_k = whole_n = 0
        if k_step == 1:
            whole_k, whole_n = depth - depth % L, n - n % L
            for j in range(0, whole_n, L):
                for k in range(0, whole_k, L):
                    copy_transposed(b + (k + j * n_step) * size, n_step * size, panel + (k * NR + j) * size)
        for k in range(depth):
            for j in range(whole_n if k < whole_k else 0, NR):
                target[k * NR + j] = source[k * k_step + j * n_step] if j < n else dtype(0)

    side_memory, side_offsets, edge_offsets = stack(MR * NR * size), stack(MR * 8), stack(MR * 8)
    start_memory = stack(NR * size)

    @device
    def sweep(a, rows, cols, depth, panel, step, start, keep, floor, c, c_rows, m, n):  # type: ignore[no-untyped-def]
        """C[0:m, 0:n] = max(start + A B, floor) for one panel of B, whose rows are `step` bytes apart, tile by tile.

        `rows`, `c_rows` (m,) and `cols` (depth,) are tables of byte offsets. `start` is C itself if keep is -1, one
        row of n numbers (a bias) if keep is 0. Tiles that stick out of C work in a side buffer: nothing is read or
        written outside of A, B and C.
        """
        row, c_row = view(rows, 0, np.int64), view(c_rows, 0, np.int64)
        side, side_rows, edge_rows = side_memory(), side_offsets(), edge_offsets()
        s, s_row, e_row = view(side, 0, dtype), view(side_rows, 0, np.int64), view(edge_rows, 0, np.int64)
        for i in range(0, m, MR):
            edge = n < NR or m - i < MR
            height = min(MR, m - i)
            tile_rows, tile_start, tile_keep, tile_c, tile_c_rows = rows + 8 * i, start, keep, c, c_rows + 8 * i
            if edge:
                for r in range(MR):
                    e_row[r] = row[i + min(r, height - 1)]  # rows beyond the last repeat it
                    s_row[r] = r * NR * size
                    first = view(start + (keep & c_row[i + min(r, height - 1)]), 0, dtype)
                    for j in range(NR):
                        s[r * NR + j] = first[j] if j < n else dtype(0)
                tile_rows, tile_start, tile_keep, tile_c, tile_c_rows = edge_rows, side, -1, side, side_rows
            tile_product(a, tile_rows, cols, depth, panel, step, tile_start, tile_keep, tile_c, tile_c_rows, floor)
            if edge:
                for r in range(height):
                    out = view(c + c_row[i + r], 0, dtype)
                    for j in range(n):
                        out[j] = s[r * NR + j]

    index_memory = stack(NR)

    @device
    def sweep_windows(a, rows, cols, depth, panel, start, floor, y, index, step, windows, n):  # type: ignore[no-untyped-def]
        """y[0:windows, 0:n] = the largest of each window's WINDOW rows of max(start + A B, floor), and its number.

        `rows` (windows,WINDOW) and `cols` (depth,) are tables of byte offsets; rows of y are `step` numbers apart.
        """
        side, side_index, side_start = side_memory(), index_memory(), start_memory()
        if n < NR:
            first, padded = view(start, 0, dtype), view(side_start, 0, dtype)
            for j in range(NR):
                padded[j] = first[j] if j < n else dtype(0)
            start = side_start
        for w in range(windows):
            to, to_index = (y + w * step * size, index + w * step) if n == NR else (side, side_index)
            window_product(a, rows + 8 * WINDOW * w, cols, depth, panel, start, to, to_index, floor)
            if n < NR:
                best, place = view(side, 0, dtype), view(side_index, 0, np.uint8)
                out, out_index = view(y + w * step * size, 0, dtype), view(index + w * step, 0, np.uint8)
                for j in range(n):
                    out[j], out_index[j] = best[j], place[j]

    return Words(dtype, size, MR, NR, sweep, sweep_windows, pack)
