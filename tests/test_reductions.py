"""Values and gradients where reductions and scans are delicate: ties, NaN, zeros, infinities, nothing at all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

import engine
from engine import Tensor, grad
from engine.kernels.cpu.reduce import largest_magnitude
from engine.ops import (
    cumulative_logsumexp,
    cumulative_prod,
    cumulative_sum,
    logsumexp,
    max,
    mean,
    min,
    norm,
    prod,
    std,
    sum,
    var,
)

INF, NAN = np.inf, np.nan
SEEDS = st.integers(0, 2**32 - 1)


def leaf(x):
    return Tensor(np.array(x, np.float64), True)


def pulled(f, x, g):
    """f(x), and its gradient for the cotangent g."""
    t = leaf(x)
    y = f(t)
    return y.numpy(), grad(y, t, np.array(g, np.float64)).numpy()


# ------------------------------------------------------------------------------------------------ max and min
@pytest.mark.parametrize(("f", "x"), [(max, [[3, 1, 3], [2, 2, 2]]), (min, [[1, 3, 1], [2, 2, 2]])])
def test_equal_extremes_share_the_gradient(f, x):
    _, g = pulled(lambda t: f(t, axis=1), x, [6.0, -3.0])
    np.testing.assert_allclose(g, [[3, 0, 3], [-1, -1, -1]])


@pytest.mark.parametrize("f", [max, min])
def test_a_nan_wins_and_takes_the_gradient(f):
    y, g = pulled(lambda t: f(t, axis=1), [[1, NAN, INF], [NAN, -INF, NAN]], [2.0, 4.0])
    assert np.isnan(y).all()
    np.testing.assert_array_equal(g, [[0, 2, 0], [2, 0, 2]])


def test_infinities_are_ordinary_extremes():
    y, g = pulled(lambda t: max(t), [-INF, -INF], 1.0)
    assert y == -INF
    np.testing.assert_array_equal(g, [0.5, 0.5])


@given(SEEDS)
def test_max_and_min_mirror_each_other(seed):
    x = np.random.default_rng(seed).integers(-2, 3, (3, 4)).astype(float)
    g = np.random.default_rng(seed + 1).standard_normal(3)
    y, gx = pulled(lambda t: max(t, axis=1), x, g)
    z, gz = pulled(lambda t: -min(-t, axis=1), x, g)
    np.testing.assert_array_equal(y, z)
    np.testing.assert_array_equal(gx, gz)


# ------------------------------------------------------------------------------------------------ products
@pytest.mark.parametrize("zeros", [0, 1, 2])
def test_the_gradient_of_a_product_is_right_at_zeros(zeros):
    x = np.array([2.0, -3.0, 0.5, 4.0, 1.5])
    x[:zeros] = 0
    want = np.array([np.prod(np.delete(x, i)) for i in range(5)])
    y, g = pulled(prod, x, 2.0)
    assert y == np.prod(x)
    np.testing.assert_allclose(g, 2 * want)


def test_the_second_derivative_of_a_product_is_right_at_zeros():
    x = np.array([0.0, 3.0, 0.0, 5.0])
    want = [[0 if i == j else np.prod(np.delete(x, [i, j])) for j in range(4)] for i in range(4)]
    np.testing.assert_allclose(engine.hessian(prod, x).numpy(), want)


@given(SEEDS, st.integers(0, 3))
def test_the_gradient_of_a_running_product_is_right_at_zeros(seed, zeros):
    rng = np.random.default_rng(seed)
    x, g = rng.standard_normal(6), rng.standard_normal(6)
    x[rng.permutation(6)[:zeros]] = 0
    want = [np.sum([g[t] * np.prod(np.delete(x[: t + 1], i)) for t in range(i, 6)]) for i in range(6)]
    np.testing.assert_allclose(pulled(cumulative_prod, x, g)[1], want, rtol=1e-10, atol=1e-12)


# ------------------------------------------------------------------------------------------------ log-sum-exp
def test_logsumexp_of_nothing_and_of_minus_infinities():
    y, g = pulled(lambda t: logsumexp(t, axis=1), [[-INF, -INF], [-INF, 3.0], [1000.0, 1000.0]], [1.0, 2.0, 4.0])
    np.testing.assert_allclose(y, [-INF, 3, 1000 + np.log(2)])
    np.testing.assert_allclose(g, [[0, 0], [0, 2], [2, 2]])
    assert logsumexp(np.zeros((2, 0)), axis=1).tolist() == [-INF, -INF]


def test_the_second_derivative_of_logsumexp_is_finite_beside_minus_infinity():
    x = leaf([-INF, 1.0, 2.0])
    g = grad(logsumexp(x), x, create_graph=True)
    second = grad(g, x, np.array([1.0, 2.0, -1.0])).numpy()
    p = np.exp([1.0, 2.0]) / np.exp([1.0, 2.0]).sum()
    np.testing.assert_allclose(second[1:], (np.diag(p) - np.outer(p, p)) @ [2.0, -1.0])
    assert second[0] == 0


@given(SEEDS)
def test_running_logsumexp_is_the_logsumexp_of_each_beginning(seed):
    rng = np.random.default_rng(seed)
    x, g = rng.standard_normal(7) * 300, rng.standard_normal(7)
    x[rng.random(7) < 0.3] = -INF
    t = leaf(x)
    want_y = np.array([logsumexp(x[: k + 1]).item() for k in range(7)])
    want_g = np.zeros(7)
    for k in range(7):
        want_g[: k + 1] += grad(logsumexp(t[: k + 1]), t, g[k]).numpy()[: k + 1]
    y, got = pulled(cumulative_logsumexp, x, g)
    np.testing.assert_allclose(y, want_y, rtol=1e-13)
    np.testing.assert_allclose(got, want_g, rtol=1e-10, atol=1e-12)


# ------------------------------------------------------------------------------------------------ spread
@given(SEEDS, st.sampled_from([0, 1, 0.5]))
def test_variance_ignores_a_shift_however_large(seed, correction):
    x = np.random.default_rng(seed).standard_normal((4, 5))
    near, far = (var(x + shift, axis=1, correction=correction).numpy() for shift in (0.0, 1e6))
    np.testing.assert_allclose(far, near, rtol=1e-8)
    np.testing.assert_allclose(near, np.var(x, axis=1, ddof=correction), rtol=1e-12)
    np.testing.assert_allclose(std(x, axis=1, correction=correction).numpy() ** 2, near, rtol=1e-12)


def test_a_deviation_of_zero_has_a_gradient_of_zero():
    y, g = pulled(lambda t: std(t, axis=1), [[2.0, 2.0], [0.0, 2.0]], [1.0, 1.0])
    np.testing.assert_array_equal(y, [0, 1])
    np.testing.assert_allclose(g, [[0, 0], [-0.5, 0.5]])
    x = leaf([2.0, 2.0])
    first = grad(std(x), x, create_graph=True)
    assert np.isfinite(grad(first.sum(), x).numpy()).all()


@pytest.mark.parametrize("p", [0.5, 1, 1.5, 2, 2.5, 3, INF, -INF])
def test_the_gradient_of_a_norm_at_zero_is_zero(p):
    y, g = pulled(lambda t: norm(t, ord=p, axis=1), [[0.0, 0.0, 0.0], [0.0, 3.0, -4.0]], [1.0, 2.0])
    assert y[0] == 0
    np.testing.assert_array_equal(g[0], [0, 0, 0])
    assert np.isfinite(g).all()
    x = leaf([0.0, 3.0, -4.0])
    second = grad(grad(norm(x, ord=p), x, create_graph=True).sum(), x, allow_unused=True)
    assert second is None or np.isfinite(second.numpy()).all()


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
@pytest.mark.parametrize("p", [1, 2, 3])
def test_norms_neither_overflow_nor_vanish(p, scale):
    x = np.array([3.0, -4.0, 12.0])
    np.testing.assert_allclose(norm(x * scale, ord=p).item(), np.linalg.norm(x, p) * scale, rtol=1e-14)


@given(SEEDS, st.sampled_from([1, 1.5, 2, 3, INF]))
def test_a_norm_scales_and_obeys_the_triangle(seed, p):
    rng = np.random.default_rng(seed)
    x, y, c = rng.standard_normal(5), rng.standard_normal(5), rng.standard_normal()
    a, b, both = (norm(v, ord=p).item() for v in (x, y, x + y))
    assert both <= a + b + 1e-12
    np.testing.assert_allclose(norm(c * x, ord=p).item(), abs(c) * a, rtol=1e-12)


# ------------------------------------------------------------------------------------------------ dtypes
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "int64"])
def test_integers_are_counted_exactly_and_averaged_in_floats(dtype):
    x = np.array([[1, 0, 1], [1, 1, 1]], dtype)
    assert sum(x).dtype.kind in "iu"
    assert sum(x).item() == 5
    assert prod(x, axis=1).tolist() == [0, 1]
    assert cumulative_sum(x, axis=1).tolist() == [[1, 1, 2], [1, 2, 3]]
    assert max(x).dtype == x.dtype
    assert mean(x).dtype == np.float32
    np.testing.assert_allclose(mean(x).item(), 5 / 6, rtol=1e-6)


def test_half_precision_is_summed_in_single():
    x = np.full(4096, 1.0, np.float16)
    assert sum(x).item() == 4096  # in float16, 2048 + 1 is 2048
    assert sum(x).dtype == np.float16


# ------------------------------------------------------------------------------------------------ many rows
@pytest.mark.parametrize("shape", [(1_000_001, 2), (255, 257, 16), (70_001, 3, 5)])
def test_small_numbers_are_not_lost_in_a_large_sum(shape):
    """Row after row, float32 loses what is less than half a unit in the last place of the sum so far."""
    axes = tuple(range(len(shape) - 1))
    x = 1e4 + np.random.default_rng(0).random(shape, np.float32)
    wide = x.astype(np.float64)
    for f, want in ((sum, wide.sum(axes)), (mean, wide.mean(axes)), (var, wide.var(axes)), (std, wide.std(axes))):
        y = f(Tensor(x), axis=axes)
        assert y.dtype == np.float32
        np.testing.assert_allclose(y.numpy(), want, rtol=3e-4 if f in (var, std) else 2e-6)
    np.testing.assert_allclose(logsumexp(Tensor(x * 0), axis=axes), np.log(x[..., 0].size), rtol=1e-6)


@given(SEEDS, st.lists(st.sampled_from([1, 2, 3, 257, 600]), min_size=1, max_size=3), st.booleans())
def test_a_sum_in_blocks_is_the_sum(seed, shape, keepdims):
    rng = np.random.default_rng(seed)
    if np.prod(shape) > 1e6:
        shape = shape[:2]
    axes = tuple(a for a in range(len(shape)) if rng.integers(0, 2))
    x = rng.standard_normal(shape)[::-1]
    got = sum(Tensor(x), axis=axes, keepdims=keepdims).numpy()
    want = x.sum(axes, keepdims=keepdims)
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-11)


# ------------------------------------------------------------------------------------------------ norms of many numbers
@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30, 1e36])
@pytest.mark.parametrize("ord", [1, 1.5, 2, 3, 40])
def test_no_power_in_a_norm_overflows_or_vanishes(ord, scale):
    x = (scale * np.random.default_rng(0).uniform(-1, 1, (3, 20_000))).astype(np.float32)
    x[1] = 0
    if ord < 1.6 and scale > 1e35:
        return  # the norm itself is out of range
    wide = np.abs(x.astype(np.float64))
    want = wide.max(1) * ((wide / np.maximum(wide.max(1, keepdims=True), 1e-300)) ** ord).sum(1) ** (1 / ord)
    np.testing.assert_allclose(engine.norm(engine.tensor(x), axis=1, ord=ord).numpy(), want, rtol=3e-6)
    leaf = engine.tensor(x, requires_grad=True)
    engine.norm(leaf, ord=ord, axis=1).backward(engine.tensor(np.float32([1.0, 2.0, -3.0])))
    ratio = wide / np.where(want == 0, 1, want)[:, None]
    slope = np.float64([[1.0], [2.0], [-3.0]]) * np.sign(x) * ratio ** (ord - 1)
    np.testing.assert_allclose(leaf.grad.numpy(), slope, rtol=2e-4, atol=1e-30)


@pytest.mark.parametrize("ord", [1, 2, 2.5])
def test_a_norm_of_what_is_not_finite(ord):
    x = np.random.default_rng(0).normal(size=(4, 20_000)).astype(np.float32)
    x[1, 5], x[2, 19_999], x[3, 7] = np.inf, np.nan, -np.inf
    y = engine.norm(engine.tensor(x), axis=1, ord=ord).numpy()
    assert np.isfinite(y[0]) and y[1] == np.inf and np.isnan(y[2]) and y[3] == np.inf


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_non_zeros_are_counted_in_any_dtype(axis):
    x = np.random.default_rng(0).integers(-1, 2, (300, 200))
    for dtype in (np.float32, np.float64, np.float16, np.int64, np.int8, bool):
        y = engine.count_nonzero(engine.tensor(x.astype(dtype)), axis=axis)
        assert y.dtype == np.int64
        np.testing.assert_array_equal(y.numpy(), np.count_nonzero(x, axis))
    assert engine.count_nonzero(engine.tensor(np.full((300, 200), np.nan, np.float32))).item() == 60_000


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("shape", "axis"), [((33, 1, 5000), 1), ((300, 130), 0), ((40_000,), 0), ((50, 900), 1)])
def test_largest_magnitudes_of_rows_and_of_columns(shape, axis, dtype):
    x = np.random.default_rng(0).normal(size=shape).astype(dtype)
    x[..., 0] = np.inf
    got = largest_magnitude(x, (axis,))
    np.testing.assert_array_equal(got, np.abs(x).max(axis))
