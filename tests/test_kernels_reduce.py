"""Reductions and scans in blocks: equal to their definition over any axes, the same bits on any number of threads."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from engine import ops
from engine.kernels.cpu import embedding, reduce, scan
from engine.kernels.cpu.threads import get_num_threads, set_num_threads

# around whole vectors, blocks of a row and blocks of rows; above the size that NumPy does
SHAPES = [(40_003,), (70, 470), (600, 57), (3, 600, 19), (40_000, 1), (2, 16_385, 1), (5, 3, 50, 44), (257, 4_100)]
DTYPES = [np.float32, np.float64]


def every_choice_of_axes(shape):
    axes = range(len(shape))
    return [c for k in range(1, len(shape) + 1) for c in itertools.combinations(axes, k)]


def drawn(shape, dtype, seed=0):
    """Normal numbers; read-only, in a buffer of NaN, so that a read beside the array shows."""
    n = int(np.prod(shape))
    buffer = np.full(n + 64, np.nan, dtype)
    x = buffer[32 : 32 + n].reshape(shape)
    x[...] = np.random.default_rng(seed).normal(size=shape)
    x.flags.writeable = False
    return x


def close(got, want, terms, dtype):
    np.testing.assert_allclose(got, want, rtol=0, atol=20 * np.finfo(dtype).eps * np.max(terms))
    assert got.dtype == dtype


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_reduction_is_its_definition_over_any_axes(shape, dtype):
    x = drawn(shape, dtype)
    wide = x.astype(np.float64)
    for axes in every_choice_of_axes(shape):
        close(reduce.total(x, axes), wide.sum(axes), np.abs(wide).sum(axes), dtype)
        np.testing.assert_array_equal(reduce.largest(x, axes), x.max(axes))
        np.testing.assert_array_equal(reduce.smallest(x, axes, True), x.min(axes, keepdims=True))
        c = drawn([1 if a in axes else n for a, n in enumerate(shape)], dtype, 1)
        d = wide - c
        close(reduce.differences(x, c, axes), d.sum(axes), np.abs(d).sum(axes), dtype)
        close(reduce.squares(x, c, axes, True), (d * d).sum(axes, keepdims=True), (d * d).sum(axes), dtype)
        close(reduce.exponentials(x, c, axes), np.exp(d).sum(axes), np.exp(d).sum(axes), dtype)


@pytest.mark.parametrize("shape", [(1, 40_000), (300, 130), (40_000, 3)])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_nan_wins_wherever_it_stands(shape, axis):
    rng = np.random.default_rng(0)
    for _ in range(20):
        x, at = drawn(shape, np.float32).copy(), tuple(int(rng.integers(n)) for n in shape)
        x[at] = np.nan
        for f, g in ((reduce.largest, np.max), (reduce.smallest, np.min), (reduce.total, np.sum)):
            np.testing.assert_array_equal(np.isnan(f(x, (axis,))), np.isnan(g(x, axis)))


@pytest.mark.parametrize("axis", [0, 1, None])
def test_a_long_sum_keeps_its_small_terms(axis):
    """One running float32 sum of these four million terms would stop at 2,097,152."""
    x = np.full((2_000_000, 2) if axis == 0 else (2, 2_000_000), 0.5, np.float32)
    x[x.shape[0] // 2 :, x.shape[1] // 2 :] = 1.5
    np.testing.assert_allclose(ops.sum(x, axis=axis).numpy(), x.sum(axis, dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(ops.mean(x, axis=axis).numpy(), x.mean(axis, dtype=np.float64), rtol=1e-6)


@pytest.mark.parametrize("axis", [0, 1, None])
def test_the_variance_of_numbers_far_from_zero_keeps_its_digits(axis):
    x = 1e4 + np.random.default_rng(0).random((300, 1_200), np.float32)
    np.testing.assert_allclose(ops.var(x, axis=axis).numpy(), x.var(axis, dtype=np.float64), rtol=2e-4)


@pytest.mark.parametrize("axis", [0, 1, None])
def test_logsumexp_neither_overflows_nor_loses_a_row(axis):
    x = drawn((300, 130), np.float32) * 200
    x[:, 5] = x[7] = -np.inf
    x[9, 9] = 3e38
    want = np.logaddexp.reduce(x.astype(np.float64), axis)
    np.testing.assert_allclose(ops.logsumexp(x, axis=axis).numpy(), want, rtol=1e-6, atol=1e-5)


# ------------------------------------------------------------------------------------------------ running sums
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [*SHAPES, (3, 40_000), (90_000, 3)])
def test_a_running_sum_is_its_definition(shape, dtype):
    x = drawn(shape, dtype)
    for axis, initial in itertools.product(range(len(shape)), (False, True)):
        want = np.cumulative_sum(x.astype(np.float64), axis=axis, include_initial=initial)
        got = scan.cumulative_sum(x, axis, initial)
        assert got.shape == want.shape
        close(got, want, np.abs(x).sum(axis), dtype)


# ------------------------------------------------------------------------------------------------ sums of rows
def test_an_id_that_comes_often_keeps_small_gradients():
    ids = np.arange(600_000) % 4 // 3  # three of four are 0
    table = embedding.embedding_gradient(np.full((len(ids), 3), 0.1, np.float32), ids, 3)
    want = np.array([[45_000.0] * 3, [15_000.0] * 3, [0.0] * 3])
    np.testing.assert_allclose(table, want, rtol=1e-5)  # one running sum is off by 1e-3


# ------------------------------------------------------------------------------------------------ threads
def test_the_number_of_threads_changes_no_bit():
    x, most, results = drawn((700, 900), np.float32), get_num_threads(), []
    ids = np.random.default_rng(0).integers(0, 2, 700)
    try:
        for threads in sorted({1, min(2, most), most}):
            set_num_threads(threads)
            results += [
                [
                    *(reduce.total(x, axes) for axes in ((0,), (1,), (0, 1))),
                    *(reduce.exponentials(x, x.mean(axis, keepdims=True), (axis,)) for axis in (0, 1)),
                    *(scan.cumulative_sum(x, axis, False) for axis in (0, 1)),
                    embedding.embedding_gradient(x, ids, 2),
                ]
                for _ in range(3)
            ]
    finally:
        set_num_threads(most)
    for again in results[1:]:
        for a, b in zip(results[0], again, strict=True):
            np.testing.assert_array_equal(np.atleast_1d(a).view(np.uint8), np.atleast_1d(b).view(np.uint8))
