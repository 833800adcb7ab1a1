"""Convolution kernels: equal to their definition, each other's transposes, the same bits on any number of threads."""

from __future__ import annotations

import itertools
import threading

import numpy as np
import pytest
from hypothesis import assume, given, strategies as st

from engine.errors import DTypeError, ShapeError
from engine.kernels.cpu import conv_pooled, threads, winograd
from engine.kernels.cpu.conv import (
    conv2d,
    conv2d_backward,
    conv2d_input_gradient,
    conv2d_max_pool,
    conv2d_weight_gradient,
)
from engine.kernels.cpu.conv_plain import reference, reference_input_gradient, reference_weight_gradient
from engine.kernels.cpu.geometry import Pool
from engine.kernels.cpu.pool import max_pool2d, plain_scatter_windows
from engine.kernels.cpu.threads import set_num_threads

ONE, NONE = (1, 1), ((0, 0), (0, 0))


def draw(rng, shape, dtype):
    """Normal numbers; read-only, in a buffer of NaN, so that a read beside the array shows."""
    n = int(np.prod(shape))
    buffer = np.full(n + 64, np.nan, dtype)
    x = buffer[32 : 32 + n].reshape(shape)
    x[...] = rng.normal(size=shape)
    x.flags.writeable = False
    return x


def plain_loops(x, w, stride, padding, dilation, groups):
    """y[n,i,j,f] = Sum((u,v,c), x[n, s*i + d*u - p, s*j + d*v - p, c] * w[u,v,c,f]), one product at a time."""
    (N, H, W, _), (kh, kw, Cg, F) = x.shape, w.shape
    (top, bottom), (left, right) = padding
    OH = (H + top + bottom - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    OW = (W + left + right - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    y = np.zeros((N, OH, OW, F), x.dtype)
    for n, i, j, f, u, v, c in itertools.product(*map(range, (N, OH, OW, F, kh, kw, Cg))):
        h, q = stride[0] * i + dilation[0] * u - top, stride[1] * j + dilation[1] * v - left
        if 0 <= h < H and 0 <= q < W:
            y[n, i, j, f] += x[n, h, q, f // (F // groups) * Cg + c] * w[u, v, c, f]
    return y


@st.composite
def convolutions(draw, most=20):
    """Shapes of x and w, and stride, padding, dilation, groups."""
    pair = lambda low, high: st.tuples(st.integers(low, high), st.integers(low, high))  # noqa: E731
    groups, alone = draw(st.integers(1, 3)), draw(st.integers(0, 4)) == 0  # alone: a filter for each channel
    kernel, dilation, stride = draw(pair(1, 4)), draw(pair(1, 2)), draw(pair(1, 3))
    padding = draw(st.one_of(st.just(NONE), st.tuples(pair(0, 3), pair(0, 3))))
    sides = draw(pair(1, most))
    for side, k, p, d in zip(sides, kernel, padding, dilation, strict=True):
        assume(side + sum(p) >= d * (k - 1) + 1)
    channels, filters = draw(st.integers(1, most)) * groups, draw(st.integers(1, most)) * groups
    if alone:
        filters = groups = channels
    batch = draw(st.sampled_from([1, 2, 3, 17]))
    return (batch, *sides, channels), (*kernel, channels // groups, filters), stride, padding, dilation, groups


@given(convolutions(most=3), st.integers(0, 2**32 - 1))
def test_reference_is_the_definition(case, seed):
    x_shape, w_shape, *how = case
    rng = np.random.default_rng(seed)
    x, w = rng.integers(-9, 9, (1, *x_shape[1:])).astype(float), rng.integers(-9, 9, w_shape).astype(float)
    np.testing.assert_array_equal(reference(x, w, None, *how, False), plain_loops(x, w, *how))


@given(convolutions(most=4), st.integers(0, 2**32 - 1))
def test_reference_gradients_are_transposes(case, seed):
    """<g, x * w> = <dx, x> = <dw, w>, exactly, in integers."""
    x_shape, w_shape, *how = case
    rng = np.random.default_rng(seed)
    x, w = rng.integers(-9, 9, x_shape).astype(float), rng.integers(-9, 9, w_shape).astype(float)
    y = reference(x, w, None, *how, False)
    g = rng.integers(-9, 9, y.shape).astype(float)
    assert (g * y).sum() == (reference_input_gradient(g, w, x_shape, *how) * x).sum()
    assert (g * y).sum() == (reference_weight_gradient(x, g, w_shape, *how) * w).sum()


def compare(x, w, bias, g, how):
    """All three functions against their references in float64: |error| <= n * eps * reference(|inputs|)."""
    kh, kw, Cg, F = w.shape
    groups = how[-1]
    functions = [
        (lambda *a: conv2d(*a, *how, False), lambda *a: reference(*a, *how, False), (x, w, bias), kh * kw * Cg + 1),
        (
            lambda g, w: conv2d_input_gradient(g, w, x.shape, *how),
            lambda g, w: reference_input_gradient(g, w, x.shape, *how),
            (g, w),
            kh * kw * F // groups,
        ),
        (
            lambda x, g: conv2d_weight_gradient(x, g, w.shape, *how),
            lambda x, g: reference_weight_gradient(x, g, w.shape, *how),
            (x, g),
            g.size // F,
        ),
    ]
    for kernel, definition, inputs, n in functions:
        y = kernel(*inputs)
        exact = [i if i is None else i.astype(np.float64) for i in inputs]
        wanted, size = definition(*exact), definition(*[i if i is None else np.abs(i) for i in exact])
        assert y.dtype == x.dtype and y.shape == wanted.shape
        assert (np.abs(y - wanted) <= n * np.finfo(x.dtype).eps * size).all()


@given(convolutions(), st.sampled_from([np.float32, np.float64]), st.booleans(), st.integers(0, 2**32 - 1))
def test_kernels_are_their_references(case, dtype, with_bias, seed):
    x_shape, w_shape, *how = case
    rng = np.random.default_rng(seed)
    x, w = draw(rng, x_shape, dtype), draw(rng, w_shape, dtype)
    bias = draw(rng, w_shape[3:], dtype) if with_bias else None
    y = conv2d(x, w, bias, *how, False)
    compare(x, w, bias, draw(rng, y.shape, dtype), how)
    np.testing.assert_array_equal(conv2d(x, w, bias, *how, True), np.maximum(y, 0))


# --- with bias, rectifier and pooling --------------------------------------------------------------------------------


@st.composite
def poolings(draw, sides):
    """Windows on an image of these sides, of which none holds nothing but padding."""
    size = tuple(draw(st.integers(1, min(3, n))) for n in sides)
    stride = tuple(draw(st.integers(1, 3)) for _ in sides)
    padding = tuple((draw(st.integers(0, k - 1)), draw(st.integers(0, k - 1))) for k in size)
    out = tuple((n + sum(p) - k) // s + 1 for n, p, k, s in zip(sides, padding, size, stride, strict=True))
    return size, stride, padding, out


def layer_gradients(g, y, index, x, w, how, pool):
    """By (x, w, bias), one step after the other."""
    g = np.where(y > 0, g, 0)
    bias = g.sum((0, 1, 2))
    if pool is not None:
        g = plain_scatter_windows(g, index, reference(x, w, None, *how, False).shape, *pool)
    return reference_input_gradient(g, w, x.shape, *how), reference_weight_gradient(x, g, w.shape, *how), bias


@given(convolutions(), st.data(), st.sampled_from([np.float32, np.float64]), st.integers(0, 2**32 - 1))
def test_a_pooled_layer_is_its_steps_one_by_one(case, data, dtype, seed):
    """Forward to the last bit. Backward, each gradient alone or with others, within the rounding of its sums."""
    x_shape, w_shape, *how = case
    rng = np.random.default_rng(seed)
    x, w, bias = draw(rng, x_shape, dtype), draw(rng, w_shape, dtype), draw(rng, w_shape[3:], dtype)
    z = conv2d(x, w, bias, *how, True)
    pool = data.draw(st.one_of(st.none(), poolings(z.shape[1:3])))
    y, index = (z, None) if pool is None else conv2d_max_pool(x, w, bias, *how, pool)
    if pool is not None:
        for got, want in zip((y, index), max_pool2d(z, *pool), strict=True):
            np.testing.assert_array_equal(got, want)

    g = draw(rng, y.shape, dtype)
    exact = layer_gradients(*(a.astype(float) for a in (g, y)), index, x.astype(float), w.astype(float), how, pool)
    size = layer_gradients(*(np.abs(a.astype(float)) for a in (g, y)), index, *map(np.abs, (x, w)), how, pool)
    terms = w.size // x.shape[3] + g.size, g.size, g.size
    needs = data.draw(st.tuples(st.booleans(), st.booleans(), st.booleans()))
    got = conv2d_backward(g, y, index, x, w, *how, pool, needs)
    for one, want, magnitude, n, needed in zip(got, exact, size, terms, needs, strict=True):
        assert (one is not None) == needed
        if needed:
            assert one.dtype == dtype and one.shape == want.shape
            assert (np.abs(one - want) <= (n + 2) * np.finfo(dtype).eps * magnitude).all()


LISTED = {  # x, w, stride, padding, dilation, pooling (size, stride, padding): those that keep lists of what passed
    "plain": ((9, 12, 12, 16), (3, 3, 16, 7), ONE, NONE, ONE, ((2, 2), (2, 2), NONE)),
    "windows that overlap": ((8, 11, 13, 24), (2, 2, 24, 5), ONE, ((1, 0), (1, 1)), ONE, ((3, 3), (2, 2), NONE)),
    "everything at once": ((9, 25, 19, 16), (3, 5, 16, 3), (2, 1), ((2, 1), (2, 3)), (2, 1),
                           ((3, 2), (2, 3), ((2, 1), (1, 1)))),
    "strips of one image": ((8, 60, 41, 32), (3, 3, 32, 2), ONE, ((1, 1), (1, 1)), ONE,
                            ((3, 3), (2, 2), ((1, 1), (1, 1)))),
    "windows apart": ((8, 15, 15, 16), (1, 3, 16, 4), ONE, NONE, ONE, ((2, 2), (4, 4), NONE)),
}  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", LISTED)
def test_lists_of_what_passed_give_the_same_gradients(case, dtype):
    x_shape, w_shape, stride, padding, dilation, (size, step, sides) = LISTED[case]
    how, rng = (stride, padding, dilation, 1), np.random.default_rng(0)
    x, w, bias = draw(rng, x_shape, dtype), draw(rng, w_shape, dtype), draw(rng, w_shape[3:], dtype)
    z = conv2d(x, w, bias, *how, True)
    out = tuple((n + sum(p) - k) // s + 1 for n, p, k, s in zip(z.shape[1:3], sides, size, step, strict=True))
    pool = Pool(size, step, sides, out)
    assert conv_pooled.fits(x_shape, w_shape, how, pool, x.itemsize)
    y, index = conv2d_max_pool(x, w, bias, *how, pool)
    assert (y == 0).any() and (y > 0).any()  # some lists are shorter than others
    g = draw(rng, y.shape, dtype)
    exact = layer_gradients(*(a.astype(float) for a in (g, y)), index, x.astype(float), w.astype(float), how, pool)
    for needs in itertools.product((True, False), repeat=3):
        for got, want, needed in zip(conv2d_backward(g, y, index, x, w, *how, pool, needs), exact, needs, strict=True):
            assert (got is not None) == needed
            if needed:
                np.testing.assert_allclose(got, want, rtol=0, atol=100 * np.finfo(dtype).eps * np.abs(want).max())


def test_a_window_whose_pixels_a_byte_cannot_number_is_pooled_apart():
    rng = np.random.default_rng(0)
    x, w, bias = draw(rng, (2, 20, 20, 1), np.float32), draw(rng, (1, 1, 1, 3), np.float32), np.ones(3, np.float32)
    how, pool = (ONE, NONE, ONE, 1), ((17, 17), (3, 3), NONE, (2, 2))
    y, index = conv2d_max_pool(x, w, bias, *how, pool)
    assert index.dtype == np.int32 and index.max() > 255
    g = draw(rng, y.shape, np.float32)
    for got, want in zip(
        conv2d_backward(g, y, index, x, w, *how, pool, (True, True, True)),
        layer_gradients(g, y, index, x, w, how, pool),
        strict=True,
    ):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


LARGE = {
    "first layer": ((64, 28, 28, 1), (3, 3, 1, 32), ONE, NONE, ONE, 1),
    "second layer": ((64, 13, 13, 32), (3, 3, 32, 64), ONE, NONE, ONE, 1),
    "third layer": ((64, 5, 5, 64), (3, 3, 64, 64), ONE, NONE, ONE, 1),
    "stem": ((2, 97, 101, 3), (7, 7, 3, 64), (2, 2), ((3, 3), (3, 2)), ONE, 1),
    "one large image": ((1, 120, 90, 8), (3, 3, 8, 20), ONE, ((1, 1), (1, 1)), (2, 2), 1),
    "groups": ((5, 30, 30, 12), (3, 3, 3, 24), ONE, ((1, 1), (1, 1)), ONE, 4),
    "depthwise": ((5, 30, 30, 24), (3, 3, 1, 24), ONE, ((1, 1), (1, 1)), ONE, 24),
    "depthwise, with steps": ((4, 31, 26, 17), (5, 3, 1, 17), (2, 3), ((2, 0), (3, 4)), (1, 2), 17),
    "depthwise, two filters a channel": ((3, 14, 15, 6), (3, 3, 1, 12), ONE, ((1, 1), (1, 1)), ONE, 6),
    "tiles": ((3, 15, 18, 32), (3, 3, 32, 48), ONE, ((1, 0), (2, 1)), ONE, 1),  # winograd.py's, as is the second layer
    "deep tiles": ((2, 14, 14, 144), (3, 3, 144, 16), ONE, ((1, 1), (1, 1)), ONE, 1),
    "rows wider than a strip": ((2, 4, 500, 2), (2, 2, 2, 5), ONE, NONE, ONE, 1),
}


@pytest.mark.parametrize("case", LARGE)
def test_large_shapes_are_cut_into_parts_that_add_up(case):
    x_shape, w_shape, *how = LARGE[case]
    rng = np.random.default_rng(0)
    x, w, bias = (draw(rng, shape, np.float32) for shape in (x_shape, w_shape, w_shape[3:]))
    compare(x, w, bias, draw(rng, conv2d(x, w, bias, *how).shape, np.float32), how)


def everything(case):
    x_shape, w_shape, *how = LARGE[case]
    rng = np.random.default_rng(0)
    x, w, bias = (draw(rng, shape, np.float32) for shape in (x_shape, w_shape, w_shape[3:]))
    y = conv2d(x, w, bias, *how, True)
    g = draw(rng, y.shape, np.float32)
    pool = (2, 3), (2, 2), ((0, 1), (1, 1)), (y.shape[1] // 2, (y.shape[2] - 1) // 2 + 1)
    pooled, index = conv2d_max_pool(x, w, bias, *how, pool)
    gradients = conv2d_backward(draw(rng, pooled.shape, np.float32), pooled, index, x, w, *how, pool, (True,) * 3)
    alone = conv2d_input_gradient(g, w, x_shape, *how), conv2d_weight_gradient(x, g, w_shape, *how)
    return y, *alone, pooled, index, *gradients


@pytest.mark.skipif(threads.MAX_THREADS < 2, reason="one core")
@pytest.mark.parametrize("case", LARGE)
def test_same_bits_on_one_and_two_threads(case):
    before = threads.get_num_threads()
    results = []
    try:
        for n in (1, 2, 2):
            set_num_threads(n)
            results.append(everything(case))
    finally:
        set_num_threads(before)
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


def test_two_python_threads_at_once():
    wanted = {case: everything(case) for case in ("second layer", "groups")}
    wrong = []

    def work(case):
        for _ in range(5):
            if not all(map(np.array_equal, everything(case), wanted[case])):
                wrong.append(case)

    team = [threading.Thread(target=work, args=(case,)) for case in wanted]
    for member in team:
        member.start()
    for member in team:
        member.join()
    assert not wrong


def test_inputs_need_not_be_contiguous():
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(9, 12, 8, 3)).T, rng.normal(size=(5, 8, 6, 6))[:, ::2, ::2, ::2].swapaxes(2, 3)
    how = (ONE, NONE, ONE, 1)
    x, w = x[:, :, :, :3], w[:2, :2, :, :]
    g = rng.normal(size=(w.shape[3], 11, 7, 3)).T
    compare(x, w, None, g, how)


def test_an_empty_batch_gives_an_empty_result_and_a_zero_gradient():
    x, w = np.zeros((0, 5, 5, 2)), np.ones((3, 3, 2, 4))
    y = conv2d(x, w, None, ONE, NONE, ONE, 1)
    assert y.shape == (0, 3, 3, 4)
    assert conv2d_input_gradient(y, w, x.shape, ONE, NONE, ONE, 1).shape == x.shape
    np.testing.assert_array_equal(conv2d_weight_gradient(x, y, w.shape, ONE, NONE, ONE, 1), np.zeros(w.shape))


def test_a_nan_passes_relu_and_stays_in_its_pixels():
    x, w = np.ones((1, 9, 9, 2), np.float32), -np.ones((3, 3, 2, 5), np.float32)
    x[0, 4, 4, 1] = np.nan
    y = conv2d(x, w, None, ONE, NONE, ONE, 1, True)
    hit = np.zeros((7, 7), bool)
    hit[2:5, 2:5] = True
    assert np.isnan(y[0, hit]).all() and (y[0, ~hit] == 0).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, 3e38])
def test_what_is_not_finite_stays_in_its_pixels_in_tiles_too(bad):
    """Sums of a tile's pixels may be no numbers where the convolution's own sums are."""
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(5, 12, 13, 16)).astype(np.float32), rng.normal(size=(3, 3, 16, 32)).astype(np.float32)
    x[1, 4, 6, 3], x[3, 11, 12, 0] = bad, -bad
    how = ONE, ((1, 1), (1, 1)), ONE, 1
    assert winograd.fits(x.shape, w.shape, *how, 4)
    with np.errstate(invalid="ignore", over="ignore"):
        y, wanted = conv2d(x, w, None, *how), reference(x, w, None, *how, False)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(wanted))
    np.testing.assert_array_equal(np.isinf(y), np.isinf(wanted))
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 3e38])
def test_what_is_not_finite_changes_no_bit_of_other_tiles(bad):
    """Whatever else lies in their strip. So outputs with and without pooling are the same to the last bit here too."""
    rng, how = np.random.default_rng(0), (ONE, ((1, 1), (1, 1)), ONE, 1)
    x, w, bias = (rng.normal(size=n).astype(np.float32) for n in ((5, 13, 15, 16), (3, 3, 16, 32), 32))
    before = conv2d(x, w, bias, *how, True)
    x[1, 4, 6, 3] = bad
    y = conv2d(x, w, bias, *how, True)
    far = np.ones((5, 13, 15), bool)
    far[1, 2:6, 4:8] = False  # tiles of outputs that see the pixel
    np.testing.assert_array_equal(y[far], before[far])

    pool = (2, 2), (2, 2), NONE, (6, 7)
    for got, want in zip(conv2d_max_pool(x, w, bias, *how, pool), max_pool2d(y, *pool), strict=True):
        np.testing.assert_array_equal(got, want)


def test_half_a_megabyte_of_stack_suffices():
    before = threading.stack_size(1 << 19)
    try:
        worker = threading.Thread(target=everything, args=("deep tiles",))
        worker.start()
    finally:
        threading.stack_size(before)
    worker.join()


def test_errors_name_the_sides_and_the_remedy():
    x, w = np.ones((1, 5, 5, 3), np.float32), np.ones((3, 3, 2, 4), np.float32)
    with pytest.raises(ShapeError, match=r"x has C = 3 channels and w is .* = \(3, 3, 2, 4\) with groups = 1; C must"):
        conv2d(x, w, None, ONE, NONE, ONE, 1)
    w = np.ones((3, 6, 3, 4), np.float32)
    with pytest.raises(ShapeError, match=r"\(kh,kw\) = \(3, 6\) .* is larger than the image \(H,W\) = \(5, 5\)"):
        conv2d(x, w, None, ONE, NONE, ONE, 1)
    w = np.ones((3, 3, 3, 4), np.float32)
    with pytest.raises(ShapeError, match=r"bias is \(3,\); it must be \(F,\) = \(4,\), one number per filter"):
        conv2d(x, w, np.ones(3, np.float32), ONE, NONE, ONE, 1)
    with pytest.raises(DTypeError, match="x is float32, w is float64, bias is float64; cast all to float32"):
        conv2d(x, w.astype(np.float64), None, ONE, NONE, ONE, 1)
    with pytest.raises(ShapeError, match=r"g is \(1, 2, 2, 4\); .* = \(1, 3, 3, 4\)"):
        conv2d_weight_gradient(x, np.ones((1, 2, 2, 4), np.float32), w.shape, ONE, NONE, ONE, 1)
