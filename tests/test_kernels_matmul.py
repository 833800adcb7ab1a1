"""The micro-kernel and the matrix product: within n * eps * (|a| @ |b|) of their definition, the same bits always."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

from engine.errors import DTypeError, ShapeError
from engine.kernels.cpu import jit, threads
from engine.kernels.cpu.jit import kernel, number_at, real_at, stack
from engine.kernels.cpu.matmul import matmul, reference
from engine.kernels.cpu.microkernel import Tile, make, tile_shape
from engine.kernels.cpu.threads import launch, set_num_threads

ROOT = Path(__file__).parents[1]
DTYPES = [np.float32, np.float64]
sides = st.one_of(st.integers(1, 20), st.integers(21, 70), st.sampled_from([0, 383, 384, 385, 400]))


def agree(y, a, b):
    """|error| <= K * eps * (|a| @ |b|)"""
    a, b = a.astype(np.float64), b.astype(np.float64)
    bound = max(a.shape[-1], 1) * np.finfo(y.dtype).eps * (np.abs(a) @ np.abs(b))
    assert y.shape == (a @ b).shape
    assert (np.abs(y - a @ b) <= bound).all()


def draw(rng, shape, dtype, transposed=False):
    """Normal numbers; read-only, in a buffer of NaN, so that a read beside the array shows."""
    buffer = np.full(int(np.prod(shape)) + 64, np.nan, dtype)
    x = buffer[32 : 32 + int(np.prod(shape))].reshape(shape)
    x[...] = rng.normal(size=shape)
    x.flags.writeable = False
    return x


@given(sides, sides, sides, st.sampled_from(DTYPES), st.booleans(), st.booleans(), st.integers(0, 2**32 - 1))
def test_product_is_its_definition(M, K, N, dtype, transpose_a, transpose_b, seed):
    rng = np.random.default_rng(seed)
    a = draw(rng, (K, M) if transpose_a else (M, K), dtype)
    b = draw(rng, (N, K) if transpose_b else (K, N), dtype)
    agree(matmul(a, b, transpose_a, transpose_b), a.T if transpose_a else a, b.T if transpose_b else b)


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_reference_is_the_sum_of_products(M, K, N, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(-9, 9, (M, K)).astype(float), rng.integers(-9, 9, (K, N)).astype(float)
    np.testing.assert_array_equal(reference(a, b), a @ b)


@given(st.integers(1, 4), st.integers(1, 30), st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_batches(B, M, K, N, seed):
    rng = np.random.default_rng(seed)
    a, b = draw(rng, (B, M, K), np.float32), draw(rng, (B, K, N), np.float32)
    agree(matmul(a, b), a, b)
    agree(matmul(a.swapaxes(1, 2), b, transpose_a=True), a, b)
    agree(matmul(a[0], b), np.broadcast_to(a[0], a.shape), b)
    agree(matmul(a, b[0]), a, b[0])


def test_any_strides_will_do():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(60, 90))[::3, ::-2], rng.normal(size=(4, 45, 30))[1, :, ::2]
    agree(matmul(a, b), a, b)


@pytest.mark.parametrize("dtype", DTYPES)
def test_out_receives_the_result_and_nothing_beside_it(dtype):
    rng = np.random.default_rng(0)
    a, b = draw(rng, (37, 50), dtype), draw(rng, (50, 29), dtype)
    buffer = np.full(37 * 29 + 128, 7.0, dtype)
    out = buffer[64:-64].reshape(37, 29)
    assert matmul(a, b, out=out) is out
    agree(out, a, b)
    assert (buffer[:64] == 7).all() and (buffer[-64:] == 7).all()


@given(sides, sides, sides, st.sampled_from(DTYPES), st.integers(0, 2**32 - 1))
def test_a_bias_and_relu_ride_along(M, K, N, dtype, seed):
    rng = np.random.default_rng(seed)
    a, b, bias = draw(rng, (M, K), dtype), draw(rng, (K, N), dtype), draw(rng, (N,), dtype)
    a64, b64 = a.astype(np.float64), b.astype(np.float64)
    z = a64 @ b64 + bias
    bound = (K + 1) * np.finfo(dtype).eps * (np.abs(a64) @ np.abs(b64) + np.abs(bias))
    assert (np.abs(matmul(a, b, bias=bias) - z) <= bound).all()
    assert (np.abs(matmul(a, b, bias=bias, relu=True) - np.maximum(z, 0)) <= bound).all()
    assert (np.abs(matmul(a, b, relu=True) - np.maximum(a64 @ b64, 0)) <= bound).all()


@pytest.mark.skipif(threads.MAX_THREADS < 2, reason="one core")
@pytest.mark.parametrize("shape", [(128, 784, 512), (1000, 300, 40), (33, 1000, 700)])
def test_same_bits_on_one_and_two_threads(shape):
    M, K, N = shape
    rng = np.random.default_rng(0)
    a, b = draw(rng, (M, K), np.float32), draw(rng, (K, N), np.float32)
    before = threads.get_num_threads()
    try:
        results = []
        for n in (1, 2, 2):
            set_num_threads(n)
            results.append(matmul(a, b))
    finally:
        set_num_threads(before)
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_two_python_threads_at_once():
    rng = np.random.default_rng(0)
    pairs = [(rng.normal(size=(200, 300)), rng.normal(size=(300, 250))) for _ in range(2)]
    wanted = [matmul(a, b) for a, b in pairs]
    found: list[list[np.ndarray]] = [[], []]

    def work(i):
        for _ in range(20):
            found[i].append(matmul(*pairs[i]))

    team = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for member in team:
        member.start()
    for member in team:
        member.join()
    assert all(np.array_equal(y, wanted[i]) for i in range(2) for y in found[i])


def test_infinities_and_nans_go_where_they_must():
    a, b = np.zeros((20, 30), np.float32), np.ones((30, 40), np.float32)
    a[3, 4], a[5, 6], b[7, 8] = np.inf, np.nan, np.nan
    y = matmul(a, b)
    assert np.isnan(y[5]).all() and np.isnan(y[:, 8]).all()
    assert (np.delete(y[3], 8) == np.inf).all()
    assert np.isfinite(np.delete(np.delete(y, [3, 5], 0), 8, 1)).all()


def test_errors_name_the_sides_and_the_remedy():
    a = np.ones((2, 3), np.float32)
    with pytest.raises(ShapeError, match=r"a is \(M,K\) = \(2, 3\) and b is \(K,N\) = \(2, 3\), but K must be"):
        matmul(a, a)
    with pytest.raises(DTypeError, match="a is float32 and b is float64; cast both to float32 or both to float64"):
        matmul(a, a.T.astype(np.float64))
    with pytest.raises(DTypeError, match="a is int64 and b is int64"):
        matmul(np.ones((2, 2), np.int64), np.ones((2, 2), np.int64))
    with pytest.raises(ShapeError, match=r"give matrices, or batches of them"):
        matmul(a, a[0])
    with pytest.raises(ShapeError, match="a has a batch of 2 and b of 3"):
        matmul(np.ones((2, 3, 3)), np.ones((3, 3, 3)))
    with pytest.raises(ShapeError, match=r"out is float32\(2, 3\); it must be float32\(2, 2\) and C-contiguous"):
        matmul(a, a.T, out=np.empty((2, 3), np.float32))


# --- the micro-kernel itself, in every tile shape there is ------------------------------------------------------------

PROCESSORS = {"avx512": "+avx512f,+avx2,+fma", "avx2": "+avx2,+fma", "neon": "+neon", "sse2": "+sse2"}


@pytest.mark.parametrize("size", [4, 8])
@pytest.mark.parametrize("processor", PROCESSORS)
def test_a_tile_fits_the_registers(processor, size):
    tile = tile_shape(size, PROCESSORS[processor])
    registers, width = {"avx512": (32, 64), "avx2": (16, 32), "neon": (32, 16), "sse2": (16, 16)}[processor]
    assert tile.lanes * size == width
    assert tile.rows * tile.vectors + tile.vectors + 1 <= registers


@pytest.mark.skipif(not jit.ENABLED, reason="NUMBA_DISABLE_JIT is set")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("processor", PROCESSORS)
def test_panels_and_sweeps_in_every_tile_shape(processor, dtype):
    size = np.dtype(dtype).itemsize
    sweep_product = panel_product(tile_shape(size, PROCESSORS[processor]), dtype, processor)
    NR = tile_shape(size, PROCESSORS[processor]).columns
    rng = np.random.default_rng(0)
    for m, depth, n, transposed in [(1, 1, 1, 0), (12, 40, NR, 0), (31, 17, NR - 1, 1), (25, 33, NR, 1), (8, 9, 3, 0)]:
        a, c_start = draw(rng, (depth, m), dtype), rng.normal(size=(m, n)).astype(dtype)
        b = draw(rng, (n, depth) if transposed else (depth, n), dtype)
        b_math = b.T if transposed else b
        bias = draw(rng, (n,), dtype)
        # rows in any order, columns (here the rows of a) backwards: only the tables say where numbers lie
        order = rng.permutation(m)
        rows, cols, c_rows = order * size, (depth - 1 - np.arange(depth)) * m * size, np.arange(m) * n * size
        a_math = a[::-1].T[order]
        steps = (1, depth) if transposed else (n, 1)
        for keep, start in ((0, bias), (-1, c_start)):
            for floor in (0.0, -np.inf):
                c = np.full((m + 2, n), 7, dtype)
                c[1:-1] = c_start
                inner = c[1:-1]
                launch(
                    sweep_product, 1, a, rows, cols, b, *steps, depth, n, start if keep == 0 else inner, keep, inner,
                    c_rows, m, floor,
                )  # fmt: skip
                wanted = np.maximum(start + a_math.astype(float) @ b_math, floor)
                bound = (depth + 1) * np.finfo(dtype).eps * (np.abs(start) + np.abs(a_math) @ np.abs(b_math))
                assert (np.abs(inner - wanted) <= bound).all()
                assert (c[0] == 7).all() and (c[-1] == 7).all()


def panel_product(tile: Tile, dtype, name):
    words = make(dtype, tile)
    pack, sweep, step, memory = words.pack, words.sweep, words.NR * words.size, stack(64 * words.NR * words.size)

    def panel(block, part):
        b, depth, n = number_at(block, 6), number_at(block, 10), number_at(block, 11)
        packed = memory()
        pack(b, number_at(block, 8), number_at(block, 9), depth, n, packed)
        a, rows, cols = number_at(block, 0), number_at(block, 2), number_at(block, 4)
        start, keep, c, c_rows = number_at(block, 12), number_at(block, 14), number_at(block, 15), number_at(block, 17)
        floor = dtype(real_at(block, 20))
        sweep(a, rows, cols, depth, packed, step, start, keep, floor, c, c_rows, number_at(block, 19), n)

    return kernel(panel, f"panel_{name}_{words.size}")


@pytest.mark.skipif(not jit.ENABLED, reason="NumPy keeps one running float32 sum")
def test_a_long_sum_keeps_its_small_terms():
    """Blocks are summed on their own: one running float32 sum of these four million terms would stop at 384,525."""
    n = 4_000_000
    y = matmul(np.full((1, n), 0.1, np.float32), np.ones((n, 1), np.float32))
    np.testing.assert_allclose(y, [[n * 0.1]], rtol=1e-4)


PROBE = """
from dataclasses import replace
import numba, numpy as np
from engine.kernels.cpu.jit import OPTIONS
from engine.kernels.cpu.microkernel import tile_shape
from tests.test_kernels_matmul import PROCESSORS, panel_product
for size in (4, 8):
    tile = tile_shape(size, PROCESSORS[{processor!r}])
    for rows in (tile.rows, 4):
        found = panel_product(replace(tile, rows=rows), np.dtype(f"f{{size}}").type, f"probe_{{rows}}")
        print("next", rows * tile.vectors)
        print(numba.cfunc(found.signature, **OPTIONS)(found.function)._library.get_asm_str())
"""


@pytest.mark.skipif(not jit.ENABLED, reason="NUMBA_DISABLE_JIT is set")
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads the assembly of x86")
@pytest.mark.parametrize("name", ["znver4", "skylake-avx512", "haswell"])
def test_no_sum_leaves_the_registers_in_the_inner_loop(name):
    """LLVM may load more ahead than the registers hold: then sums go to the stack and back, at half the speed."""
    processor = "avx2" if name == "haswell" else "avx512"
    environment = os.environ | {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": ""}
    probe = [sys.executable, "-c", PROBE.format(processor=processor)]
    text = subprocess.run(probe, env=environment, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    tiles = text.split("next ")[1:]
    assert len(tiles) == 4  # two dtypes; whole tiles, and those of recurrent steps
    for tile in tiles:
        sums, *lines = tile.split("\n")
        inner = [loop for loop in loops(lines) if loop.count("vfmadd") >= int(sums)]
        assert inner
        for loop in inner:
            assert not re.findall(r".*%[yz]mm.*\(%r[sb]p\).*|.*\(%r[sb]p\).*%[yz]mm.*", loop)


def loops(lines):
    """The bodies of innermost loops: from a label to a jump back to it, without another jump between."""
    labels = {line.split(":")[0]: i for i, line in enumerate(lines) if re.match(r"\.\w+:", line)}
    for i, line in enumerate(lines):
        jump = re.match(r"\s+j\w+\s+(\.\w+)", line)
        begin = labels.get(jump.group(1), i) if jump else i
        body = lines[begin + 1 : i]
        if begin < i and not any(re.match(r"\s+j|\.\w+:", other) for other in body):
            yield "\n".join(body)
