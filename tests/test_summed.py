"""A formula's sum in one pass is the composition: values, gradients of every order, bits; nothing is written out."""

from __future__ import annotations

import copy
import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, strategies as st

import engine
from engine import fuse, grad, mean, mean_of, multiply, ops, sum_of, tensor
from engine.backends.cpu import using
from engine.errors import ArgumentError, ShapeError
from engine.gradcheck import gradcheck
from engine.kernels.cpu import jit
from engine.kernels.cpu.threads import get_num_threads, set_num_threads
from engine.samples import Draw
from tests.test_fuse import FUNCTIONS

AFTER = {"sum": (sum_of, ops.sum), "mean": (mean_of, ops.mean)}
# around stretches, blocks and parts of rows; short rows; rows of a broadcast; rows that are no rows
LARGE = [
    ((40_003,), None), ((70, 470), -1), ((70, 470), None), ((40_000, 1), 1), ((40_001, 3), 1), ((2, 16_385, 3), (1, 2)),
    ((9, 4_100), 0), ((401, 2_049), 1), ((5, 3, 50, 44), (2, 3)), ((5, 3, 50, 44), (0, 1)), ((6, 7_000), (0, 1)),
]  # fmt: skip


@fuse
def distance(a, b, *, scale=0.7):
    return engine.abs(a - b) * scale + engine.square(b)


def drawn(shape, seed=0):
    """Normal numbers; read-only, in a buffer of NaN, so that a read beside the array shows."""
    n = int(np.prod(shape))
    buffer = np.full(n + 64, np.nan, np.float32)
    x = buffer[32 : 32 + n].reshape(shape)
    x[...] = np.random.default_rng(seed).normal(size=shape)
    x.flags.writeable = False
    return x


def pulled(f, arrays, ybar):
    """The result, and the gradients of the inputs."""
    xs = [tensor(x, requires_grad=True) for x in arrays]
    y = f(*xs)
    return [y, *grad(y, xs, tensor(ybar(y)), allow_unused=True)]


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(seed=st.integers(0, 2**32 - 1))
def test_values_and_gradients_are_those_of_the_composition(name, dtype, seed):
    f, draw = FUNCTIONS[name], Draw.seeded(seed)
    fused = fuse(f)
    arrays = [draw.array(shape).astype(dtype) for shape in draw.broadcastable(len(fused.inputs))]
    shape = np.broadcast_shapes(*(x.shape for x in arrays))
    word = draw.choice(["sum", "mean"]) if 0 not in shape else "sum"
    options = {"axis": draw.axes(len(shape)), "keepdims": bool(draw.integer(0, 1))}
    one_pass, after = AFTER[word]
    seeds: dict = {}

    def ybar(y):
        return seeds.setdefault("y", np.random.default_rng(seed).standard_normal(y.shape).astype(dtype))

    got = pulled(lambda *xs: one_pass(fused, *xs, **options), arrays, ybar)
    want = pulled(lambda *xs: after(f(*xs), **options), arrays, ybar)
    for a, b in zip(got, want, strict=True):
        assert (a is None) == (b is None) or not np.any((a if b is None else b).numpy())
        if a is not None and b is not None:
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            eps = np.finfo(dtype).eps
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=400 * eps, atol=400 * eps * max(1, np.prod(shape)))


@pytest.mark.parametrize("axis", [None, 0, -1, (0, 1)])
def test_gradients_of_both_orders(axis):
    draw = Draw.seeded(3)
    xs = [draw.array((3, 4)), draw.array((4,))]
    report = gradcheck(lambda a, b: mean_of(distance, a, b, axis=axis, scale=1.7), xs)
    assert report, str(report)
    report = gradcheck(lambda a, b: sum_of(multiply, a, b, axis=axis, keepdims=True), xs)
    assert report, str(report)


def test_a_planted_error_is_caught():
    """What the checker sees is the rule of one pass, not the composition's."""
    op = ops.summed.summed(distance, mean)
    xs, rule = [Draw.seeded(3).array((3, 4)), Draw.seeded(4).array((4,))], op.rule
    try:
        op.rule = lambda g, *rest, **options: [None if x is None else 1.001 * x for x in rule(g, *rest, **options)]
        assert not gradcheck(lambda a, b: mean_of(distance, a, b, scale=1.7), xs)
    finally:
        op.rule = rule


# ------------------------------------------------------------------------------------------------ large: one pass
@pytest.mark.parametrize(("shape", "axis"), LARGE)
def test_large_sums_have_the_bits_of_the_formula_written_out_and_summed(shape, axis):
    a, b = drawn(shape), drawn(shape, 1)
    for word, (one_pass, after) in AFTER.items():
        for scale in (0.7, 2.5):
            got = one_pass(distance, a, b, axis=axis, scale=scale)
            want = after(distance(tensor(a), tensor(b), scale=scale), axis=axis)
            np.testing.assert_array_equal(got.numpy(), want.numpy(), err_msg=word)


@pytest.mark.parametrize(("shape", "axis"), LARGE)
def test_large_sums_broadcast_and_take_any_layout(shape, axis):
    b = drawn(shape, 1)
    wide = drawn((*shape, 2))
    turned = np.moveaxis(np.ascontiguousarray(np.moveaxis(b, -1, 0)), 0, -1)
    for a in (b[..., :1], b[:1], b[0], np.float32(0.3), wide[..., 0], turned, b[::-1], b > 0):
        a = np.asarray(a)
        f = fuse(lambda c, x: engine.where(c, x, 0.5 * x)) if a.dtype == bool else distance
        got = sum_of(f, tensor(a), tensor(b), axis=axis).numpy()
        each = f(tensor(a), tensor(b)).numpy().astype(np.float64)
        axes = tuple(range(each.ndim)) if axis is None else axis
        bound = 20 * np.finfo(np.float32).eps * np.max(np.abs(each).sum(axes))
        np.testing.assert_allclose(got, each.sum(axes), rtol=0, atol=bound)


@pytest.mark.parametrize(("shape", "axis"), LARGE)
def test_the_bits_do_not_depend_on_the_threads(shape, axis):
    before, found = get_num_threads(), []
    a, b = drawn(shape), drawn(shape, 1)
    try:
        for threads in range(1, before + 1):
            set_num_threads(threads)
            y = pulled(lambda a, b: sum_of(distance, a, b, axis=axis), [a, b], lambda y: np.cos(y.numpy()))
            found.append([x.numpy() for x in y])
    finally:
        set_num_threads(before)
    for other in found[1:]:
        for x, y in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize(("shape", "axis"), LARGE)
def test_gradients_of_large_sums(shape, axis):
    arrays = [drawn(shape), drawn(shape[1:] or shape, 1)]

    def ybar(y):
        return np.random.default_rng(2).standard_normal(y.shape).astype(np.float32)

    got = pulled(lambda a, b: mean_of(distance, a, b, axis=axis), arrays, ybar)
    want = pulled(lambda a, b: mean(distance.function(a, b), axis=axis), arrays, ybar)
    for a, b in zip(got, want, strict=True):
        scale = np.abs(b.numpy()).max()
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=2e-6 * scale)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [0, 777, 16_384, 39_999])
def test_what_is_not_finite_comes_through(value, at):
    x = drawn((2, 40_000)).copy()
    x[1, at] = value
    y = sum_of(multiply, tensor(x), tensor(np.ones_like(x)), axis=1).numpy()
    assert np.isfinite(y[0])
    np.testing.assert_array_equal(y[1], np.float32(value))


def test_a_long_sum_keeps_its_small_terms():
    """One running float32 sum of these four million terms would stop at 2,097,152."""
    x = np.full(4_000_000, 0.5, np.float32)
    x[2_000_000:] = 1.5
    np.testing.assert_allclose(sum_of(multiply, tensor(x), 1.0).item(), 4_000_000, rtol=1e-6)


def test_a_sum_of_truth_values_is_a_count():
    """More than float32 can count to."""
    x = np.ones((2, 9_000_000), np.float32)
    x[0, ::3] = 0
    y = sum_of(ops.not_equal, tensor(x), 0.0, axis=1)
    assert y.dtype == np.int64 and y.numpy().tolist() == [6_000_000, 9_000_000]
    y = sum_of(ops.not_equal, tensor(x), 0.0)
    assert y.dtype == np.int64 and y.item() == 15_000_000
    assert mean_of(ops.not_equal, tensor(x[:, :5]), 0.0).dtype == np.float32


@pytest.mark.skipif(not jit.ENABLED, reason="NUMBA_DISABLE_JIT is set")
def test_nothing_is_written_out():
    a, b = tensor(drawn((1_000, 1_000))), tensor(drawn((1_000, 1_000), 1))
    mean_of(distance, a, b)  # compiled now
    mean_of(distance, a, b, axis=1)
    engine.empty_cache()
    tracemalloc.start()
    try:
        mean_of(distance, a, b)
        mean_of(distance, a, b, axis=1)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


# ------------------------------------------------------------------------------------------------ other ways and words
def test_other_dtypes_take_the_composition():
    a, b = np.arange(6).reshape(2, 3), np.arange(3)
    y = sum_of(multiply, tensor(a), tensor(b), axis=1)
    assert y.dtype == np.int64 and y.numpy().tolist() == (a * b).sum(1).tolist()
    half = sum_of(multiply, tensor(np.float16([1.5, -2.0])), tensor(np.float16([2.0, 0.5])))
    assert half.dtype == np.float16 and half.item() == 2.0


def test_in_numpy_it_is_the_same():
    a, b = drawn((70, 470)), drawn((70, 470), 1)
    lanes = mean_of(distance, a, b, axis=1).numpy()
    with using("numpy"):
        np.testing.assert_allclose(mean_of(distance, a, b, axis=1).numpy(), lanes, rtol=1e-5)


def test_it_is_drawn_as_its_composition_and_says_what_it_computes():
    x = tensor([1.0, -2.0], requires_grad=True)
    op = mean_of(distance, x, 0.5).node.op
    assert op.name == "mean_of(distance)" and r"y = \frac{1}{n} \sum" in op.latex
    assert op.name not in engine.OPS and op.where == distance.where
    assert copy.deepcopy(op) is op and pickle.loads(pickle.dumps(op)) is op


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: sum_of(lambda x: x, np.ones(3)), ArgumentError, "sum_of: f is function, and must be an elementwise"),
        (lambda: mean_of(ops.sum, np.ones(3)), ArgumentError, "mean_of: f is StructuralOp.* write @engine.fuse above"),
        (
            lambda: sum_of(multiply, tensor(np.ones(3)), tensor(np.ones(4))),
            ShapeError,
            r"do not broadcast: a:\(3,\), b:\(4,\)",
        ),
        (lambda: sum_of(multiply, tensor(np.ones(3)), 2.0, axis=1), ShapeError, "axis 1 is out of range"),
        (lambda: mean_of(multiply, tensor(np.ones((3, 0))), 2.0, axis=1), ShapeError, "no elements to reduce"),
        (lambda: sum_of(multiply, tensor(np.ones(3)), 2.0, skale=1), ArgumentError, "unknown argument.*skale"),
    ],
)
def test_what_can_not_be_summed_says_so(call, error, message):
    with pytest.raises(error, match=message):
        call()
