r"""Matrix products: C[i,j] = Sum(k, A[i,k] * B[k,j]), cut into blocks that fit the caches, computed tile by tile.

    for part in blocks of (MC rows, NC columns) of C:        # in parallel: a block of C belongs to one part
        for k0 in 0, KC, 2 KC ..:                            # a panel of B (KC, NR) fits the first cache
            for j in 0, NR .. NC:                            # pack the panel: contiguous, padded
                for i in 0, MR .. MC:                        # the micro-kernel: MR x NR sums in registers
                    C[i:i+MR, j:j+NR] += A[i:i+MR, k0:k0+KC] @ panel

The first block of a sum starts from the bias, if there is one; the last ends with relu, if asked for: both while the
numbers are in registers.
The order of the sum over k depends on the shapes alone, so the bits don't depend on the number of threads. A transposed
operand is another pair of strides, nothing is copied.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from engine.errors import DTypeError, ShapeError

from .buffers import empty
from .jit import ENABLED, Kernel, kernel, number_at, stack, view
from .microkernel import make, tile_shape
from .threads import Job, job, run

Array = np.ndarray[Any, Any]

KC = 384  # depth of a block: its panel of B, 24 KiB, stays in the first cache; with AVX-512, 48 KiB, near it: as fast
MC = 192  # rows of a block: its part of A, 192 KiB in float32, stays in the second cache
ROWS = MC + 12  # the same, rounded up to whole tiles of up to 12 rows
PANEL = KC * 128  # bytes: KC rows of two AVX-512 registers
PARTS = 16  # parts of one product, unless the caches ask for more
WORTH = 1 << 18  # products that a part is worth its launch for


def reference(a: Array, b: Array) -> Array:
    """(M,K) @ (K,N) -> (M,N) in plain loops: the contract."""
    (M, K), N = a.shape, b.shape[1]
    y = np.zeros((M, N), a.dtype)
    for i in range(M):
        for j in range(N):
            for k in range(K):
                y[i, j] += a[i, k] * b[k, j]
    return y


def matmul(
    a: Array,
    b: Array,
    transpose_a: bool = False,
    transpose_b: bool = False,
    out: Array | None = None,
    bias: Array | None = None,
    relu: bool = False,
) -> Array:
    """(M,K) @ (K,N) -> (M,N), or (B,M,K) @ (B,K,N) -> (B,M,N), in float32 or float64.

    `transpose_a`, `transpose_b` swap the last two axes of an operand before the product. Any strides will do. A
    two-dimensional operand beside a three-dimensional one is used for every item of the batch. `out`, if given, is
    C-contiguous and receives the result. `bias` (N,) is added to every row; `relu` then sets negative numbers to 0.
    Raises ShapeError where the inner sides differ, DTypeError for other or mixed dtypes.
    """
    if transpose_a:
        a = a.swapaxes(-1, -2)
    if transpose_b:
        b = b.swapaxes(-1, -2)
    shape, block = _plan(a.shape, a.strides, a.dtype.char, b.shape, b.strides, b.dtype.char)
    if out is None:
        out = empty(shape, a.dtype)
    elif out.shape != shape or out.dtype != a.dtype or not out.flags.c_contiguous:
        raise ShapeError(f"matmul: out is {out.dtype}{out.shape}; it must be {a.dtype}{shape} and C-contiguous")
    if block is None:
        return _plain(a, b, bias, relu, out)
    if bias is not None:
        bias = np.ascontiguousarray(bias, a.dtype)
    run(block, a, b, out, bias, relu)
    return out


@np.errstate(over="ignore", invalid="ignore")  # as in the kernels, silently
def _plain(a: Array, b: Array, bias: Array | None, relu: bool, out: Array) -> Array:
    """The same in NumPy: where there is nothing to compile for."""
    np.matmul(a, b, out=out)
    if bias is not None:
        out += bias
    return np.maximum(out, 0, out=out) if relu else out


Sides = tuple[int, ...]


@functools.lru_cache(1024)
def _plan(
    a_shape: Sides, a_strides: Sides, a_dtype: str, b_shape: Sides, b_strides: Sides, b_dtype: str
) -> tuple[Sides, Job | None]:
    """The shape of the result, and the job but for its addresses; None where there is nothing to compile for."""
    if a_dtype != b_dtype or a_dtype not in "fd":
        found = f"a is {np.dtype(a_dtype)} and b is {np.dtype(b_dtype)}"
        raise DTypeError(f"matmul: {found}; cast both to float32 or both to float64")
    if len(a_shape) not in (2, 3) or len(b_shape) not in (2, 3):
        raise ShapeError(f"matmul: a is {a_shape} and b is {b_shape}; give matrices, or batches of them (B,M,K)")
    (*a_batch, M, K), (*b_batch, K_b, N) = a_shape, b_shape
    if K_b != K:
        raise ShapeError(
            f"matmul: a is (M,K) = ({M}, {K}) and b is (K,N) = ({K_b}, {N}), but K must be the same: "
            "transpose an operand, or check which side holds the features"
        )
    if a_batch and b_batch and a_batch != b_batch:
        raise ShapeError(f"matmul: a has a batch of {a_batch[0]} and b of {b_batch[0]}; they must be the same")
    batch = a_batch or b_batch
    shape = (*batch, M, N)
    if not ENABLED or 0 in (*shape, K):
        return shape, None
    size = np.dtype(a_dtype).itemsize
    # numbers between the neighbours of (B, M, K) and (B, K, N); an operand without a batch serves every item
    a_steps = [step // size for step in ((0,) * (3 - len(a_shape)) + a_strides)]
    b_steps = [step // size for step in ((0,) * (3 - len(b_shape)) + b_strides)]
    B = batch[0] if batch else 1
    rows, row_blocks, columns, column_blocks = _blocks(B, M, K, N, size)
    slots = [0, 0, 0, 0, 0, M, K, N, rows, row_blocks, columns, column_blocks, *a_steps, *b_steps]
    return shape, job(_product(size), B * row_blocks * column_blocks, slots)


def _blocks(B: int, M: int, K: int, N: int, size: int) -> tuple[int, int, int, int]:
    """How C is cut: rows of a block, how many blocks, and the same for its columns. Shapes alone decide."""
    tile = tile_shape(size)
    panels = -(-N // tile.columns)
    wanted = min(PARTS, 1 + M * K * N // WORTH) / B
    row_blocks = -(-M // MC)
    column_blocks = min(panels, max(1, round(wanted / row_blocks)))
    if row_blocks * column_blocks < wanted:
        row_blocks = max(row_blocks, min(M // (2 * tile.rows), round(wanted / column_blocks)))
    rows = _round_up(-(-M // row_blocks), tile.rows)
    columns = _round_up(-(-N // column_blocks), tile.columns)
    return rows, -(-M // rows), columns, -(-N // columns)


def _round_up(n: int, step: int) -> int:
    return -(-n // step) * step


@functools.cache
def _product(size: int) -> Kernel:
    """The kernel for numbers of `size` bytes."""
    dtype = np.float32 if size == 4 else np.float64
    words = make(dtype)
    NR, sweep, pack = words.NR, words.sweep, words.pack
    no_floor, step = dtype(-np.inf), NR * size
    panel_memory, zeros_memory = stack(PANEL), stack(NR * size)
    a_rows_memory, a_columns_memory, c_rows_memory = stack(8 * ROWS), stack(8 * KC), stack(8 * ROWS)

    def product(block, part):  # type: ignore[no-untyped-def]
        a, b, c = number_at(block, 0), number_at(block, 1), number_at(block, 2)
        bias, relu = number_at(block, 3), number_at(block, 4)
        M, K, N = number_at(block, 5), number_at(block, 6), number_at(block, 7)
        rows, row_blocks = number_at(block, 8), number_at(block, 9)
        columns, column_blocks = number_at(block, 10), number_at(block, 11)
        a_batch, a_i, a_k = number_at(block, 12), number_at(block, 13), number_at(block, 14)
        b_batch, b_k, b_j = number_at(block, 15), number_at(block, 16), number_at(block, 17)

        item, part = part // (row_blocks * column_blocks), part % (row_blocks * column_blocks)
        i0, j0 = part // column_blocks * rows, part % column_blocks * columns
        m, n = min(rows, M - i0), min(columns, N - j0)
        a += (item * a_batch + i0 * a_i) * size
        b += (item * b_batch + j0 * b_j) * size
        c += (item * M * N + i0 * N + j0) * size

        panel, zeros = panel_memory(), zeros_memory()
        a_rows, a_columns, c_rows = a_rows_memory(), a_columns_memory(), c_rows_memory()
        zero = view(zeros, 0, dtype)
        for j in range(NR):
            zero[j] = 0
        a_row, a_column, c_row = view(a_rows, 0, np.int64), view(a_columns, 0, np.int64), view(c_rows, 0, np.int64)
        for i in range(m):
            a_row[i], c_row[i] = i * a_i * size, i * N * size
        for k in range(min(K, KC)):
            a_column[k] = k * a_k * size

        for k0 in range(0, K, KC):
            depth, keep = min(KC, K - k0), -min(k0, 1)  # the first block starts from one row, later ones from C
            floor = dtype(0) if relu and k0 + KC >= K else no_floor
            for j in range(0, n, NR):
                width = min(NR, n - j)
                pack(b + (k0 * b_k + j * b_j) * size, b_k, b_j, depth, width, panel)  # (depth, NR)
                tile_c = c + j * size
                start = tile_c if keep else bias + (j0 + j) * size if bias else zeros
                a_tile = a + k0 * a_k * size
                sweep(a_tile, a_rows, a_columns, depth, panel, step, start, keep, floor, tile_c, c_rows, m, width)

    return kernel(product, f"matmul_float{8 * size}")
