"""Kernels of the network ops: equal to their contracts in NumPy, the same bits on any number of threads."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import given, strategies as st

import engine
from engine import ops
from engine.errors import ArgumentError, IndexRangeError, ShapeError
from engine.gradcheck import sample
from engine.kernels.cpu import bias, cross_entropy, dropout, embedding, norm, pool, softmax
from engine.kernels.cpu.threads import get_num_threads, set_num_threads
from engine.ops.window import window
from engine.random import Generator, bernoulli
from engine.samples import Draw
from engine.tensor import Tensor

seeds = st.integers(0, 2**32 - 1)
dtypes = st.sampled_from([np.float32, np.float64])
lengths = st.one_of(st.integers(1, 20), st.sampled_from([31, 32, 33, 48, 70]))  # around one, two and three vectors
TOLERANCE = {np.dtype(np.float32): 3e-6, np.dtype(np.float64): 1e-13}


def numbers(rng, shape, dtype=np.float32, spread=1.0):
    """Normal numbers; read-only, in a buffer of NaN, so that a read beside the array shows."""
    n = int(np.prod(shape))
    buffer = np.full(n + 64, np.nan, dtype)
    x = buffer[32 : 32 + n].reshape(shape)
    x[...] = rng.normal(size=shape) * spread
    x.flags.writeable = False
    return x


def wide(*arrays):
    """The same numbers in float64, in which the contracts are evaluated."""
    return [a if a is None or a.dtype.kind != "f" else a.astype(np.float64) for a in arrays]


def close(got, want, dtype, terms=1.0):
    np.testing.assert_allclose(got, want, rtol=TOLERANCE[np.dtype(dtype)], atol=TOLERANCE[np.dtype(dtype)] * terms)
    assert got.dtype == dtype


# ------------------------------------------------------------------------------------------------ rows of scores
@given(st.integers(1, 40), lengths, st.floats(0, 0.5), seeds)
def test_softmax_rows_are_their_contract(rows, n, masked, seed):
    rng = np.random.default_rng(seed)
    x = numbers(rng, (rows, n), spread=5).copy()
    x[rng.random(x.shape) < masked] = -np.inf
    close(softmax.softmax(x, 1), softmax.plain_softmax(*wide(x), 1), np.float32)
    close(softmax.log_softmax(x, 1), softmax.plain_log_softmax(*wide(x), 1), np.float32, 30)
    g, p = numbers(rng, x.shape), numbers(rng, x.shape)
    close(softmax.softmax_gradient(g, p, 1), softmax.plain_softmax_gradient(*wide(g, p), 1), np.float32, 10 * n)
    got = softmax.log_softmax_gradient(g, -np.abs(p), 1)
    close(got, softmax.plain_log_softmax_gradient(*wide(g, -np.abs(p)), 1), np.float32, 10 * n)


def test_a_masked_row_has_no_probabilities_and_passes_no_gradient():
    x = Tensor(np.array([[-np.inf, -np.inf], [0.0, -np.inf]], np.float32), requires_grad=True)
    p = ops.softmax(x)
    np.testing.assert_array_equal(p.numpy(), [[0, 0], [1, 0]])
    np.testing.assert_array_equal(ops.log_softmax(x).numpy(), [[-np.inf, -np.inf], [0, -np.inf]])
    np.testing.assert_array_equal(engine.grad(p, x, np.array([[0.3, -1.2], [0.7, 2.0]])).numpy(), np.zeros((2, 2)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("n", [3, 16, 40])
def test_a_nan_is_not_hidden(bad, n):
    x = np.zeros((2, n), np.float32)
    x[0, n // 2] = bad
    assert np.isnan(softmax.softmax(x, 1)[0, n // 2])
    assert np.isnan(softmax.softmax(x.astype(np.float64), 1)[0, n // 2])
    np.testing.assert_allclose(softmax.softmax(x, 1)[1], 1 / n, rtol=1e-6)


@given(st.integers(1, 40), lengths, st.sampled_from([0.0, 0.1, 1.0]), seeds)
def test_cross_entropy_rows_are_their_contract(rows, n, smoothing, seed):
    rng = np.random.default_rng(seed)
    z, g, labels = numbers(rng, (rows, n), spread=5), numbers(rng, rows), rng.integers(0, n, rows)
    q = np.abs(numbers(rng, (rows, n)))
    losses, lse = cross_entropy.label_losses(labels, z, smoothing)
    want, lse64 = cross_entropy.plain_label_losses(labels, *wide(z), smoothing)
    close(losses, want, np.float32, 30)
    close(lse, lse64, np.float32, 30)
    got = cross_entropy.label_losses_gradient(g, labels, z, lse, smoothing)
    want = cross_entropy.plain_label_losses_gradient(*wide(g), labels, *wide(z), lse64, smoothing)
    close(got, want, np.float32, 30)
    losses, _ = cross_entropy.probability_losses(q, z, smoothing)
    close(losses, cross_entropy.plain_probability_losses(*wide(q, z), smoothing)[0], np.float32, 30 * n)
    _, got = cross_entropy.probability_losses_gradient(g, q, z, lse, smoothing, (False, True))
    close(got, cross_entropy.plain_probability_losses_gradient(*wide(g, q, z), lse64, smoothing), np.float32, 30 * n)


def test_a_certain_mistake_costs_infinitely_much_and_no_nan():
    z = np.array([[0.0, -np.inf], [-np.inf, -np.inf]], np.float32)
    losses, lse = cross_entropy.label_losses(np.array([1, 0]), z, 0.0)
    np.testing.assert_array_equal(losses, [np.inf, np.inf])
    gradient = cross_entropy.label_losses_gradient(np.ones(2, np.float32), np.array([1, 0]), z, lse, 0.0)
    np.testing.assert_array_equal(gradient, [[1, -1], [-1, 0]])


def test_a_label_out_of_range_is_named_with_its_place_and_the_remedy():
    z = np.zeros((2, 3, 4), np.float32)
    with pytest.raises(
        IndexRangeError, match=r"label 4 at position \(1, 2\) is out of range for 4 classes, 0 to 3; .* 5 units"
    ):
        ops.cross_entropy(np.array([[0, 1, 2], [3, 0, 4]]), z)


# ------------------------------------------------------------------------------------------------ windows
@st.composite
def windows(draw):
    size = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    stride = draw(st.one_of(st.just(size), st.tuples(st.integers(1, 4), st.integers(1, 4))))
    padding = draw(st.sampled_from(["valid", "same", tuple((k - 1, k // 2) for k in size)]))
    image = (draw(st.integers(size[0], 9)), draw(st.integers(size[1], 9)))
    shape = (draw(st.integers(1, 3)), *image, draw(st.sampled_from([1, 3, 8, 15, 16, 17, 32, 40])))
    at = window("test", image, size, stride, padding)
    return shape, (at.size, at.stride, at.padding, at.out)


@given(windows(), dtypes, st.floats(0, 0.2), seeds)
def test_max_pooling_is_its_contract_to_the_bit(case, dtype, special, seed):
    shape, at = case
    rng = np.random.default_rng(seed)
    x = np.round(numbers(rng, shape, dtype, 2)).astype(dtype)  # whole numbers: many ties
    x[rng.random(shape) < special] = rng.choice([np.nan, -np.inf, np.inf])
    (y, index), (want, place) = pool.max_pool2d(x, *at), pool.plain_max_pool2d(x, *at)
    np.testing.assert_array_equal(y, want)
    np.testing.assert_array_equal(index, place)
    g = numbers(rng, y.shape, dtype)
    scattered = pool.scatter_windows(g, index, shape, *at)
    close(scattered, pool.plain_scatter_windows(*wide(g), index, shape, *at), dtype, 10)
    np.testing.assert_allclose(  # <scatter g, x> = <g, gather x>
        np.vdot(*wide(scattered, finite(x))),
        np.vdot(*wide(g, pool.gather_windows(finite(x), index, *at))),
        rtol=1e-3,
        atol=1e-3,
    )


def finite(x):
    return np.where(np.isfinite(x), x, x.dtype.type(1))


@given(windows(), dtypes, seeds)
def test_average_pooling_is_its_contract(case, dtype, seed):
    shape, at = case
    rng = np.random.default_rng(seed)
    x = numbers(rng, shape, dtype)
    y = pool.average_pool2d(x, *at)
    close(y, pool.plain_average_pool2d(*wide(x), *at), dtype, 10)
    g = numbers(rng, y.shape, dtype)
    close(pool.spread_windows(g, shape, *at), pool.plain_spread_windows(*wide(g), shape, *at), dtype, 10)


def test_a_window_too_large_to_be_numbered_by_a_byte():
    x = np.random.default_rng(0).normal(size=(1, 20, 20, 2)).astype(np.float32)
    y, index = pool.max_pool2d(x, (20, 20), (20, 20), ((0, 0), (0, 0)), (1, 1))
    assert index.dtype == np.int32
    np.testing.assert_array_equal(index.ravel(), x.reshape(400, 2).argmax(0))
    assert (pool.scatter_windows(y, index, x.shape, (20, 20), (20, 20), ((0, 0), (0, 0)), (1, 1)) != 0).sum() == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"padding": "full"}, r"padding is 'full'; give 'valid', 'same', a number, \(height, width\) or"),
        ({"padding": -1}, r"padding is -1; .* each 0 or more"),
        ({"padding": ((1, 2), (True, 0))}, r"padding is .*; give 'valid', 'same', a number"),
        ({"padding": np.ones(2)}, r"padding is \(1.0, 1.0\); give 'valid', 'same', a number"),
        ({"stride": 0}, r"stride is 0; give a whole number of 1 or more, or a pair"),
        ({"size": (2, 2, 2)}, r"window is \(2, 2, 2\); give a whole number of 1 or more, or a pair"),
    ],
)
def test_a_window_that_is_none_is_refused(call, message):
    with pytest.raises(ArgumentError, match=message):
        window("max_pool2d", (8, 8), **{"size": 2, **call})


@pytest.mark.parametrize(
    ("padding", "sides"),
    [
        (np.int64(1), ((1, 1), (1, 1))),
        ((np.int64(1), np.int64(0)), ((1, 1), (0, 0))),
        (((np.int64(1), 2), (0, np.int64(3))), ((1, 2), (0, 3))),
        ([[1, 2], [0, 3]], ((1, 2), (0, 3))),
        (np.array([1, 0]), ((1, 1), (0, 0))),
        (np.array([[1, 2], [0, 3]]), ((1, 2), (0, 3))),
    ],
)
def test_padding_of_numpys_integers_gives_pythons(padding, sides):
    """A shape of NumPy's integers is none to a kernel."""
    found = window("conv2d", (8, 8), 3, padding=padding)
    assert found.padding == sides
    assert all(type(n) is int for n in (*found.out, *found.padding[0], *found.padding[1]))


def test_a_window_that_does_not_fit_is_refused():
    with pytest.raises(
        ShapeError, match=r"conv2d: a window of 3 \(dilation 2: it reaches over 5\) does not fit H=4 with padding 0"
    ):
        window("conv2d", (4, 9), 3, dilation=2)


# ------------------------------------------------------------------------------------------------ normalisation
@given(st.integers(1, 60), lengths, dtypes, seeds)
def test_a_mean_that_does_not_count_is_zero(rows, n, dtype, seed):
    rng = np.random.default_rng(seed)
    x, g, gamma = numbers(rng, (rows, n), dtype), numbers(rng, (rows, n), dtype), numbers(rng, n, dtype)
    y, statistics = norm.layer_norm(x, gamma, None, (1,), 1e-2, False)
    want, statistics64 = norm.plain_layer_norm(*wide(x, gamma), None, (1,), 1e-2, False)
    close(y, want, dtype, 100)
    got = norm.layer_norm_gradient(g, x, gamma, statistics, (1,), (True, True, False), False)
    want = norm.plain_gradient(*wide(g, x, gamma), statistics64, (1,), (0,), (True, True, False), False)
    for a, b in zip(got[:2], want[:2], strict=True):
        close(a, b, dtype, 1e3 * (rows + n))


@given(st.integers(1, 60), lengths, dtypes, st.booleans(), seeds)
def test_normalisation_is_its_contract(rows, n, dtype, affine, seed):
    rng = np.random.default_rng(seed)
    x, g = numbers(rng, (rows, n), dtype), numbers(rng, (rows, n), dtype)
    gamma, beta = (numbers(rng, n, dtype), numbers(rng, n, dtype)) if affine else (None, None)
    all_three, terms = (True, True, True), 1e3 * (rows + n)
    y, statistics = norm.layer_norm(x, gamma, beta, (1,), 1e-2)
    want, statistics64 = norm.plain_layer_norm(*wide(x, gamma, beta), (1,), 1e-2)
    close(y, want, dtype, 100)
    got = norm.layer_norm_gradient(g, x, gamma, statistics, (1,), all_three)
    want = norm.plain_gradient(*wide(g, x, gamma), statistics64, (1,), (0,), all_three)
    for a, b in zip(got, want, strict=True):
        close(a, b, dtype, terms)
    y, mean, variance, scale = norm.batch_norm(x, gamma, beta, 1e-2)
    want, mean64, variance64, scale64 = norm.plain_batch_norm(*wide(x, gamma, beta), 1e-2)
    close(y, want, dtype, 100)
    close(mean, mean64, dtype, 10)
    close(variance, variance64, dtype, 10)
    got = norm.batch_norm_gradient(g, x, gamma, (mean, scale), all_three)
    want = norm.plain_gradient(*wide(g, x, gamma), (mean64, scale64), (0,), (0,), all_three)
    for a, b in zip(got, want, strict=True):
        close(a, b, dtype, terms)


def test_a_far_mean_keeps_the_digits_of_the_variance():
    """m(x^2) - m(x)^2 has none left here: 1e6 - 1e6 in float32."""
    x = (np.random.default_rng(0).normal(size=(40000, 8)) + 1000).astype(np.float32)
    for variance in (
        norm.batch_norm(x, None, None, 0.0)[2],
        norm.layer_norm(x.T.copy(), None, None, (1,), 0.0)[1][1].ravel() ** -2,
    ):
        np.testing.assert_allclose(variance, x.astype(np.float64).var(0), rtol=1e-3)


def test_batch_norm_shows_its_statistics_once_and_not_when_it_is_replayed():
    rng, seen = np.random.default_rng(0), []
    x = Tensor(rng.normal(size=(5, 2, 3)), requires_grad=True)
    y = ops.batch_norm(x, observe=lambda mean, variance: seen.append((mean, variance)))
    g = engine.grad(y, x, rng.normal(size=y.shape), create_graph=True)
    engine.grad(g, x, rng.normal(size=g.shape))
    ((mean, variance),) = seen
    np.testing.assert_allclose(mean, x.numpy().mean((0, 1)))
    np.testing.assert_allclose(variance, x.numpy().var((0, 1)))


# ------------------------------------------------------------------------------------------------ fused ops
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", [n for n, op in engine.OPS.items() if getattr(op, "composition", None) and op.rule])
def test_a_fused_op_and_its_composition_are_one_function(name, dtype):
    """Result and first-order gradient: the kernels against the ops they stand for."""
    op = engine.OPS[name]
    for seed in range(20):
        inputs, params = sample(op, Draw.seeded(seed))
        inputs += [None] * (0 if op.variadic else len(op.inputs) - len(inputs))  # those that were left out
        inputs = [x.astype(dtype) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x for x in inputs]
        results = []
        for f in (op, op.composition):
            xs = [x if x is None else Tensor(np.asarray(x), np.asarray(x).dtype.kind == "f") for x in inputs]
            y = f(*xs, **{**{k: v for k, v in op.defaults.items() if k not in params}, **params})
            g = np.random.default_rng(seed).normal(size=y.shape).astype(dtype)
            results.append([y, *engine.grad(y, [x for x in xs if x is not None and x.requires_grad], g)])
        for a, b in zip(*results, strict=True):
            scale = max(1.0, float(np.abs(b.numpy()).max(initial=0)))
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=0, atol=100 * np.finfo(dtype).eps * scale)


@given(st.integers(1, 400), lengths, dtypes, seeds)
def test_the_gradient_of_a_bias_is_a_sum_over_pixels(pixels, F, dtype, seed):
    rng = np.random.default_rng(seed)
    g, y = numbers(rng, (pixels, F), dtype), numbers(rng, (pixels, F), dtype)
    close(bias.bias_gradient(g), bias.plain_bias_gradient(*wide(g)), dtype, 10 * pixels)
    passed, sums = bias.rectified_gradient(g, y)
    want, sums64 = bias.plain_rectified_gradient(*wide(g), y)
    np.testing.assert_array_equal(passed, want)
    close(sums, sums64, dtype, 10 * pixels)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("ids, D", [((40, 50), 33), ((7,), 40_000), ((70_001,), 1), ((3, 0), 70_000), ((2, 3), 5)])
def test_an_embedding_is_rows_of_its_table(ids, D, dtype):
    rng = np.random.default_rng(0)
    table, chosen = rng.standard_normal((11, D)).astype(dtype), rng.integers(0, 11, ids)
    for kind in (np.int64, np.int32, np.uint8):
        np.testing.assert_array_equal(embedding.embedding(chosen.astype(kind), table), table[chosen])
    wide = rng.standard_normal((11, 2 * D)).astype(dtype)
    np.testing.assert_array_equal(embedding.embedding(chosen.T, wide[:, ::2]), wide[:, ::2][chosen.T])


@given(st.integers(1, 30), st.integers(0, 200), lengths, dtypes, seeds)
def test_the_gradient_of_an_embedding_adds_rows_in_order(rows, n, D, dtype, seed):
    rng = np.random.default_rng(seed)
    ids, g = rng.integers(0, rows, n), numbers(rng, (n, D), dtype)
    want = np.zeros((rows, D), dtype)
    np.add.at(want, ids, g)
    np.testing.assert_array_equal(embedding.embedding_gradient(g, ids, rows), want)


# ------------------------------------------------------------------------------------------------ dropout
@given(st.one_of(st.integers(1, 50), st.sampled_from([2047, 2048, 2049, 16385, 40000])), dtypes,
       st.sampled_from([0.1, 0.5, 0.999, 1.0]), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))  # fmt: skip
def test_dropout_takes_the_mask_of_the_generator(n, dtype, rate, seed, stream):
    x = np.linspace(1, 2, n, dtype=dtype)
    y = dropout.dropout(x, rate, seed, stream)
    np.testing.assert_array_equal(y, dropout.plain_dropout(x, rate, seed, stream))
    np.testing.assert_array_equal(y != 0, bernoulli(Generator(seed, stream).bits(n), 1 - rate))


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.5, 0.9])
def test_dropout_keeps_its_statistics(rate):
    """The share of zeros, and the mean of what is left, within five standard deviations; neighbours are independent."""
    n = 200_000
    y = ops.dropout(np.ones(n, np.float32), rate=rate, seed=11, stream=3).numpy()
    dropped = y == 0
    assert abs(dropped.mean() - rate) < 5 * np.sqrt(rate * (1 - rate) / n)
    np.testing.assert_allclose(y[~dropped], 1 / (1 - rate), rtol=1e-6)
    assert abs(y.mean() - 1) < 5 * np.sqrt(rate / (1 - rate) / n)
    for lag in (1, 2, 3, 4, 64):
        both = (dropped[lag:] & dropped[:-lag]).mean()
        assert abs(both - rate**2) < 5 * np.sqrt(rate**2 * (1 - rate**2) / n) * 2
    other = ops.dropout(np.ones(n, np.float32), rate=rate, seed=11, stream=4).numpy() == 0
    assert abs((dropped & other).mean() - rate**2) < 5 * np.sqrt(rate**2 * (1 - rate**2) / n)


def test_the_gradient_of_dropout_meets_the_same_mask():
    rng = np.random.default_rng(0)
    x, g = Tensor(rng.normal(size=(50, 41)), requires_grad=True), rng.normal(size=(50, 41))
    y = ops.dropout(x, rate=0.3, seed=5, stream=9)
    np.testing.assert_array_equal(engine.grad(y, x, g).numpy(), np.where(y.numpy() != 0, g * (1 / 0.7), 0))


# ------------------------------------------------------------------------------------------------ threads
def _pool_at(shape):
    at = window("test", shape[1:3], 2, 2)
    return at.size, at.stride, at.padding, at.out


@functools.cache
def _cases():
    rng = np.random.default_rng(0)
    image, rows, labels = numbers(rng, (9, 26, 26, 33)), numbers(rng, (700, 70)), rng.integers(0, 70, 700)
    at = _pool_at(image.shape)
    y, index = pool.plain_max_pool2d(image, *at)
    mean, scale = rows.mean(0), rows.std(0)
    statistics = rows.mean(1, keepdims=True), rows.std(1, keepdims=True)
    return {
        "softmax": lambda: [
            softmax.softmax(rows, 1), softmax.log_softmax(rows, 1), softmax.softmax_gradient(rows, rows, 1),
        ],
        "cross_entropy": lambda: [
            *cross_entropy.label_losses(labels, rows, 0.1),
            cross_entropy.label_losses_gradient(rows[:, 0], labels, rows, rows[:, 1].copy(), 0.1),
            *cross_entropy.probability_losses(rows, rows, 0.1),
        ],
        "pool": lambda: [
            *pool.max_pool2d(image, *at), pool.scatter_windows(y, index, image.shape, *at),
            pool.average_pool2d(image, *at), pool.spread_windows(y, image.shape, *at),
        ],
        "norm": lambda: [
            norm.layer_norm(rows, mean, scale, (1,), 1e-3)[0],
            *norm.layer_norm_gradient(rows, rows, mean, statistics, (1,), (True, True, True)),
            *norm.batch_norm(rows, mean, scale, 1e-3),
            *norm.batch_norm_gradient(rows, rows, mean, (mean, scale), (True, True, True)),
        ],
        "bias": lambda: [bias.bias_gradient(image), *bias.rectified_gradient(image, image)],
        "embedding": lambda: [embedding.embedding_gradient(rows, labels, 70)],
        "dropout": lambda: [dropout.dropout(image, 0.4, 7, 8)],
    }  # fmt: skip


@pytest.mark.parametrize("name", ["softmax", "cross_entropy", "pool", "norm", "bias", "embedding", "dropout"])
def test_the_number_of_threads_changes_no_bit(name):
    most, results = get_num_threads(), []
    try:
        for threads in sorted({1, min(2, most), most}):
            set_num_threads(threads)
            results += [_cases()[name]() for _ in range(3)]
    finally:
        set_num_threads(most)
    for again in results[1:]:
        for a, b in zip(results[0], again, strict=True):
            np.testing.assert_array_equal(a.view(np.uint8), b.view(np.uint8))


@pytest.mark.parametrize("channels", [3, 8, 19])
def test_batch_norm_keeps_its_digits_where_the_mean_is_far_from_zero(channels):
    x = 1e4 + np.random.default_rng(0).random((40_000, channels), np.float32)
    y, mean, variance, _ = norm.batch_norm(x, None, None, 0.0)
    np.testing.assert_allclose(mean, x.mean(0, dtype=np.float64), rtol=2e-7)
    np.testing.assert_allclose(variance, x.var(0, dtype=np.float64), rtol=1e-4)
    np.testing.assert_allclose(y.mean(0, dtype=np.float64), 0, atol=5e-3)  # an ulp of the mean is 0.003 deviations


def test_batch_norm_of_equal_numbers_has_no_negative_variance():
    x = np.full((40_000, 9), 1234.567, np.float32)
    y, _, variance, _ = norm.batch_norm(x, None, None, 1e-3)
    assert (variance >= 0).all()
    np.testing.assert_allclose(y, 0, atol=1e-2)
