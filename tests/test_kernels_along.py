"""Kernels that gather, add back, order and scan along an axis: their definitions, the same bits on any threads."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, strategies as st

import engine
from engine import ops
from engine.errors import IndexRangeError
from engine.kernels.cpu import argreduce, arrange, bounds, gather, product, scan, scan_turns, sorting, triangle
from engine.kernels.cpu.jit import ENABLED
from engine.kernels.cpu.threads import get_num_threads, set_num_threads

DTYPES = ["float32", "float64", "int32", "int64"]


def numbers(shape, dtype, seed=0):
    """Few different ones, so that there are ties; read-only."""
    x = (np.random.default_rng(seed).integers(-8, 9, shape) / (4 if np.dtype(dtype).kind == "f" else 1)).astype(dtype)
    x.flags.writeable = False
    return x


def laid_out(x, how):
    """The same numbers, in memory of another form."""
    if how == "transposed":
        return np.ascontiguousarray(x.T).T
    if how == "strided":
        wide = np.repeat(x, 2, axis=-1)
        return wide[..., ::2]
    if how == "backwards":
        return np.ascontiguousarray(np.flip(x))[(slice(None, None, -1),) * x.ndim]
    return x


LAYOUTS = st.sampled_from(["plain", "transposed", "strided", "backwards"])


@st.composite
def along(draw, least=0, most=40):
    """A shape, one of its axes, a seed."""
    shape = tuple(draw(st.lists(st.integers(least, 6), min_size=1, max_size=4)))
    axis = draw(st.integers(0, len(shape) - 1))
    return (*shape[:axis], draw(st.integers(least, most)), *shape[axis + 1 :]), axis, draw(st.integers(0, 2**16))


# ------------------------------------------------------------------------------------------------ gathering
@given(along(), st.sampled_from([*DTYPES, "bool", "float16", "uint8"]), LAYOUTS, st.integers(0, 9), st.booleans())
def test_take_along_axis_is_numpys(case, dtype, layout, count, narrow):
    shape, axis, seed = case
    n = shape[axis]
    x = laid_out(numbers(shape, dtype, seed), layout)
    sides = [1 if narrow and a == 0 else m for a, m in enumerate(shape)]  # 1 broadcasts
    sides[axis] = count if n else 0
    indices = laid_out(np.random.default_rng(seed).integers(-n, max(n, 1), sides), layout)
    got = gather.take_along_axis(x, indices, axis)
    np.testing.assert_array_equal(got, np.take_along_axis(x, indices, axis), strict=True)


@given(along(least=1), st.sampled_from(DTYPES), LAYOUTS, st.integers(0, 60), st.booleans())
def test_scatter_add_is_its_definition(case, dtype, layout, count, zeros):
    shape, axis, seed = case
    sides = (*shape[:axis], count, *shape[axis + 1 :])
    x = np.broadcast_to(np.zeros((), dtype), shape) if zeros else laid_out(numbers(shape, dtype, seed), layout)
    values = laid_out(numbers(sides, dtype, seed + 1), layout)
    indices = laid_out(np.random.default_rng(seed).integers(-shape[axis], shape[axis], sides), layout)
    got = gather.scatter_add(x, indices, values, axis)  # quarters: every sum is exact
    np.testing.assert_array_equal(got, gather.plain_scatter_add(x, indices, values, axis), strict=True)


@given(along(least=1), st.sampled_from(DTYPES), LAYOUTS, st.integers(0, 60))
def test_index_add_is_its_definition(case, dtype, layout, count):
    shape, axis, seed = case
    indices = np.random.default_rng(seed).integers(-shape[axis], shape[axis], (count // 7, 7))
    x = laid_out(numbers(shape, dtype, seed), layout)
    values = numbers((*shape[:axis], *indices.shape, *shape[axis + 1 :]), dtype, seed + 1)
    want = x.copy()
    np.add.at(want, (slice(None),) * axis + (indices,), values)
    np.testing.assert_array_equal(gather.index_add(x, indices, values, axis), want, strict=True)


@pytest.mark.parametrize("axis", [0, 1])
def test_many_equal_indices_keep_small_values(axis):
    """One running float32 sum of these 600,000 values of 0.1 would be off by 1e-3."""
    shape = (600_000, 2) if axis == 0 else (2, 600_000)
    y = gather.scatter_add(np.zeros((2, 2), np.float32), np.ones(shape, int), np.full(shape, 0.1, np.float32), axis)
    np.testing.assert_allclose(np.take(y, 1, axis), 60_000.0, rtol=1e-5)


def test_a_wrong_index_among_many_is_named():
    indices = np.random.default_rng(0).integers(-5, 5, (300, 700))
    assert bounds.all_within(indices, -5, 5)
    for wrong in (5, -6):
        indices[200, 300], indices[250, 0] = wrong, 7
        assert not bounds.all_within(indices, -5, 5)
        with pytest.raises(IndexRangeError, match=rf"index {wrong} \(at \(200, 300\) of the indices\) is out of range"):
            ops.take_along_axis(np.zeros((300, 5)), indices, axis=1).numpy()
    assert not bounds.all_within(indices.astype(np.int16)[:, ::2], -5, 5)


# ------------------------------------------------------------------------------------------------ order
SPECIAL = np.array([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, -1e-40, 1.0, -1.0])  # some flush to zero


@given(along(least=1), st.sampled_from([*DTYPES, "float16", "bool"]), LAYOUTS, st.booleans(), st.floats(0, 1))
def test_topk_is_the_beginning_of_the_sorted_order(case, dtype, layout, largest, share):
    shape, axis, seed = case
    x = numbers(shape, dtype, seed).copy()
    if x.dtype.kind == "f":
        rng = np.random.default_rng(seed)
        x = np.where(rng.random(shape) < 0.5, rng.choice(SPECIAL, shape), x).astype(dtype)
    x, k = laid_out(x, layout), round(share * shape[axis])
    got = sorting.topk(x, k, axis, largest)
    want = np.take(sorting.argsort(x, axis, largest), np.arange(k), axis)
    np.testing.assert_array_equal(got, want, strict=True)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("largest", [True, False])
def test_topk_of_the_extreme_integers(dtype, largest):
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    x = np.array([low, high, low, 0, high, low], dtype)
    for k in range(7):
        np.testing.assert_array_equal(sorting.topk(x, k, 0, largest), sorting.argsort(x, 0, largest)[:k])


@given(along(least=1), st.sampled_from([*DTYPES, "bool", "float16"]), LAYOUTS, st.booleans())
def test_where_the_extremes_are(case, dtype, layout, keepdims):
    shape, axis, seed = case
    x = numbers(shape, dtype, seed)
    if x.dtype.kind == "f":
        rng = np.random.default_rng(seed)
        x = np.where(rng.random(shape) < 0.2, rng.choice(SPECIAL, shape), x).astype(dtype)
    x = laid_out(x, layout)
    for a in (axis, axis - len(shape), None):
        np.testing.assert_array_equal(argreduce.argmax(x, a, keepdims), x.argmax(a, keepdims=keepdims), strict=True)
        np.testing.assert_array_equal(argreduce.argmin(x, a, keepdims), x.argmin(a, keepdims=keepdims), strict=True)


def test_the_extremes_of_many_narrow_columns_take_no_memory_of_their_own():
    x = np.random.default_rng(0).normal(size=(20_000, 5, 2)).astype(np.float32)
    argreduce.argmax(x, 1, False)  # compiled
    engine.empty_cache()
    tracemalloc.start()
    try:
        found = argreduce.argmax(x, 1, False)
        assert tracemalloc.get_traced_memory()[1] < 8 * x.nbytes
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(found, x.argmax(1), strict=True)


def test_one_hot_of_many():
    indices = np.random.default_rng(0).integers(0, 7, (30, 1, 50))
    for dtype in map(np.dtype, ("float32", "int64", "bool")):
        np.testing.assert_array_equal(sorting.one_hot(indices, 7, dtype), np.eye(7, dtype=dtype)[indices], strict=True)


# ------------------------------------------------------------------------------------------------ scans
@given(along(), st.sampled_from([*DTYPES, "bool"]), LAYOUTS, st.booleans())
def test_running_products_are_numpys(case, dtype, layout, initial):
    shape, axis, seed = case
    x = laid_out(numbers(shape, dtype, seed), layout)
    got = scan.cumulative_prod(x, axis, initial)
    want = np.cumulative_prod(x.astype(np.float64) if got.dtype.kind == "f" else x, axis=axis, include_initial=initial)
    assert got.dtype == np.cumulative_prod(x, axis=axis).dtype
    np.testing.assert_allclose(got, want, rtol=1e-6)


@given(along(), st.sampled_from(DTYPES), LAYOUTS, st.booleans(), st.booleans())
def test_products_are_numpys(case, dtype, layout, keepdims, several):
    shape, axis, seed = case
    x = laid_out(numbers(shape, dtype, seed), layout)
    axes = tuple(range(axis, len(shape))) if several else (axis,)
    got = product.product(x, axes, keepdims)
    want = (x.astype(np.float64) if x.dtype.kind == "f" else x).prod(axes, keepdims=keepdims)
    assert got.dtype == x.prod().dtype and np.shape(got) == np.shape(want)
    np.testing.assert_allclose(got, want, rtol=1e-5)


@pytest.mark.skipif(not ENABLED, reason="NumPy multiplies in float32, and overflows on the way")
@pytest.mark.parametrize("shape", [(3, 40_003), (1, 33), (70_001,)])
def test_a_long_product_is_that_of_its_blocks(shape):
    x = np.resize(np.array([0.5, -2.0, 0.25, 4.0], np.float32), shape)  # what meets in one lane is far from 1
    x = np.random.default_rng(0).permuted(x, axis=-1)
    np.testing.assert_array_equal(product.product(x, (len(shape) - 1,)), x.prod(-1, dtype=np.float64))


@given(along(), st.sampled_from(["float32", "float64"]), LAYOUTS, st.booleans())
def test_running_log_sum_exps_are_numpys(case, dtype, layout, special):
    shape, axis, seed = case
    x, rng = numbers(shape, dtype, seed) * 40, np.random.default_rng(seed)
    if special:
        x = np.where(rng.random(shape) < 0.1, rng.choice(SPECIAL, shape), x).astype(dtype)
    with np.errstate(invalid="ignore"):
        want = np.logaddexp.accumulate(x.astype(np.float64), axis=axis)
    got = scan.cumulative_logsumexp(laid_out(x, layout), axis)
    np.testing.assert_allclose(got, want.astype(dtype), rtol=1e-6, atol=1e-6, strict=True)


@given(along(), st.sampled_from(["float32", "float64"]), LAYOUTS)
def test_tails_are_their_definition(case, dtype, layout):
    shape, axis, seed = case
    a, b = numbers(shape, dtype, seed), numbers(shape, dtype, seed + 1)
    want, size = (scan_turns.plain_tails(*(f(v).astype(float) for v in (a, b)), axis) for f in (np.asarray, np.abs))
    got = scan.tails(laid_out(a, layout), b, axis)
    assert got.dtype == dtype and (np.abs(got - want) <= 50 * np.finfo(dtype).eps * size).all()


@pytest.mark.parametrize("axis", [0, 1])
def test_a_long_log_sum_counts_every_term(axis):
    """A running float32 sum of e^0 would stop at 2^24; here each y is the logarithm of a whole number."""
    n = 17_000_000
    y = scan.cumulative_logsumexp(np.zeros((n, 1) if axis == 0 else (1, n), np.float32), axis).reshape(-1)
    at = np.array([0, 1, 1000, 2**24, n - 1])
    np.testing.assert_allclose(y[at], np.log(at + 1.0), rtol=2e-7)


@pytest.mark.parametrize("op", [ops.cumulative_prod, ops.cumulative_logsumexp, ops.prod])
@pytest.mark.parametrize("shape, axis", [((40, 70), 1), ((70, 40), 0), ((3, 50, 5), 1)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_scans_gradient_is_that_of_its_composition(op, shape, axis, dtype):
    rng, nothing = np.random.default_rng(1), -np.inf if op is ops.cumulative_logsumexp else 0
    x = np.where(rng.random(shape) < 0.03, nothing, rng.choice([-1, 1], shape) * rng.uniform(0.7, 1.4, shape))
    x = x.astype(dtype)
    g = rng.normal(size=op(x, axis=axis).shape).astype(dtype)
    gradients = []
    for f in (op, op.composition):
        t = engine.tensor(x, requires_grad=True)
        f(t, axis=axis).backward(engine.tensor(g))
        gradients.append(t.grad.numpy())
    scale = np.abs(gradients[1]).max()
    np.testing.assert_allclose(gradients[0] / scale, gradients[1] / scale, rtol=1e-4, atol=1e-6, strict=True)


# ------------------------------------------------------------------------------------------------ repetition
@given(along(), st.sampled_from([*DTYPES, "bool", "float16"]), LAYOUTS, st.integers(0, 5), st.booleans())
def test_repeat_is_numpys(case, dtype, layout, count, each):
    shape, axis, seed = case
    x = laid_out(numbers(shape, dtype, seed), layout)
    counts = tuple(np.random.default_rng(seed).integers(0, count + 1, shape[axis]).tolist()) if each else (count,)
    np.testing.assert_array_equal(arrange.repeat(x, counts, axis), np.repeat(x, counts, axis), strict=True)


# ------------------------------------------------------------------------------------------------ triangles
MATRICES = st.lists(st.integers(0, 9), min_size=2, max_size=4).map(tuple)


@given(MATRICES, st.sampled_from([*DTYPES, "bool", "float16"]), LAYOUTS, st.integers(-12, 12))
def test_triangles_are_numpys(shape, dtype, layout, k):
    x = laid_out(numbers(shape, dtype), layout)
    np.testing.assert_array_equal(triangle.tril(x, k), np.tril(x, k), strict=True)
    np.testing.assert_array_equal(triangle.triu(x, k), np.triu(x, k), strict=True)


@pytest.mark.parametrize("k", [2**62, 2**63 - 1, 2**64, -(2**64)])
def test_a_diagonal_far_outside_leaves_all_or_nothing(k):
    x = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(ops.tril(x, k=k).numpy(), x * (k > 0))
    np.testing.assert_array_equal(ops.triu(x, k=k).numpy(), x * (k < 0))


# ------------------------------------------------------------------------------------------------ threads
def everything():
    rng, results = np.random.default_rng(0), []
    for shape, axis in (((300, 900), 1), ((900, 300), 0), ((3, 500, 40), 1), ((2, 70_000), 1)):
        x, sides = rng.normal(size=shape).astype(np.float32), [*shape]
        sides[axis] = 400
        indices, values = rng.integers(0, shape[axis], sides), rng.normal(size=sides).astype(np.float32)
        results += [
            gather.take_along_axis(x, indices, axis),
            gather.scatter_add(x, indices, values, axis),
            gather.index_add(x, indices.reshape(-1)[:400], values, axis),
            sorting.topk(x, 9, axis, True),
            scan.cumulative_prod(x, axis, True),
            scan.cumulative_logsumexp(x, axis),
            scan.tails(x, x, axis),
            triangle.tril(x, 3),
            argreduce.argmax(x, 0, False),
            arrange.repeat(x, (3,), axis),
            np.asarray(product.product(x, (x.ndim - 1,))),
        ]
    return results


def test_the_number_of_threads_changes_no_bit():
    most, results = get_num_threads(), []
    try:
        for threads in sorted({1, min(2, most), most}):
            set_num_threads(threads)
            results += [everything() for _ in range(3)]
    finally:
        set_num_threads(most)
    for again in results[1:]:
        for a, b in zip(results[0], again, strict=True):
            np.testing.assert_array_equal(a.view(np.uint8), b.view(np.uint8), strict=True)


@pytest.mark.skipif(not ENABLED, reason="NumPy multiplies in float32, and overflows on the way")
def test_gradients_of_products_overflow_no_earlier_than_the_products():
    for x in ([1e20, 1e20, 1e-20, 1e-20], [1e20, 1e20, 1e-30, 1e-30, 1e-10]):
        for op in ("prod", "cumulative_prod"):
            got, exact = (
                engine.grad((getattr(engine, op)(t).sum() if op == "prod" else getattr(engine, op)(t)[-1]), t).numpy()
                for t in (engine.tensor(x, dtype=d, requires_grad=True) for d in ("float32", "float64"))
            )
            np.testing.assert_allclose(got, exact.astype(np.float32), rtol=1e-5)
