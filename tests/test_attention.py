"""Attention: the kernels are their contract, write no matrix of weights, and know what a query without keys is."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, strategies as st

import engine
from engine import ops
from engine.kernels.cpu import attention as kernels
from engine.kernels.cpu.threads import get_num_threads, set_num_threads
from engine.structural import StructuralOp
from engine.tensor import Tensor

seeds = st.integers(0, 2**32 - 1)
lengths = st.one_of(st.integers(1, 20), st.sampled_from([31, 33, 127, 128, 129, 140, 257]))  # around the blocks
depths = st.one_of(st.integers(1, 20), st.sampled_from([32, 40, 64, 260]))
TOLERANCE = 2e-5  # of sums of up to 260 products in float32


def numbers(rng, *shape):
    """Normal numbers; read-only, in a buffer of NaN, so that a read beside the array shows."""
    n = int(np.prod(shape))
    buffer = np.full(n + 64, np.nan, np.float32)
    x = buffer[32 : 32 + n].reshape(shape)
    x[...] = rng.normal(size=shape)
    x.flags.writeable = False
    return x


def wide(*arrays):
    return [None if a is None else a.astype(np.float64) if a.dtype.kind == "f" else a for a in arrays]


def close(got, want):
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, rtol=TOLERANCE, atol=TOLERANCE * max(1.0, np.abs(want).max(initial=0)))


def problem(rng, T, S, d, e, groups=2, each=2):
    """q, k, v, bias, mask of some broadcast shape, and the rest of a kernel's arguments."""
    N, h = 2, groups * each
    q, k, v = numbers(rng, N, T, h, d), numbers(rng, N, S, groups, d), numbers(rng, N, S, groups, e)
    shapes = [None, (N, h, T, S), (N, 1, 1, S), (T, S), (N, h, T, 1), ()]
    bias, mask = (shapes[i] for i in rng.integers(len(shapes), size=2))
    bias = None if bias is None else numbers(rng, *bias)
    mask = None if mask is None else np.asarray(rng.random(mask) < 0.6)
    how = bool(rng.integers(2)), float(rng.uniform(0.1, 1)), float(rng.choice([0.0, 0.1, 0.5])), 7, 3
    return q, k, v, bias, mask, *how


# ------------------------------------------------------------------------------------------------ the kernels
@given(lengths, lengths, depths, depths, st.sampled_from([(1, 1), (1, 3), (2, 2)]), seeds)
def test_tiles_are_their_contract(T, S, d, e, heads, seed):
    rng = np.random.default_rng(seed)
    q, k, v, bias, mask, *how = problem(rng, T, S, d, e, *heads)
    y, denominators = kernels.attention(q, k, v, bias, mask, *how)
    wanted, logarithms = kernels.plain_attention(*wide(q, k, v, bias, mask), *how)
    close(y, wanted)
    np.testing.assert_allclose(denominators, logarithms, rtol=TOLERANCE, atol=TOLERANCE)
    g = numbers(rng, *y.shape)
    got = kernels.attention_gradient(g, y, denominators, q, k, v, bias, mask, *how)
    for a, b in zip(got, kernels.plain_attention_gradient(*wide(g, q, k, v, bias, mask), *how), strict=False):
        close(a, b)


def test_bits_do_not_depend_on_the_number_of_threads():
    rng = np.random.default_rng(3)
    q, k, v, *how = problem(rng, 300, 270, 24, 40)
    found, before = [], get_num_threads()
    try:
        for n in {1, before}:
            set_num_threads(n)
            y, denominators = kernels.attention(q, k, v, *how)
            gradient = kernels.attention_gradient(y * 2, y, denominators, q, k, v, *how)
            found.append([a.tobytes() for a in (y, denominators, *gradient)])
    finally:
        set_num_threads(before)
    assert all(bits == found[0] for bits in found)


def test_heads_are_read_where_a_product_of_all_of_them_left_them():
    rng = np.random.default_rng(5)
    qkv = numbers(rng, 2, 70, 3, 4, 16)  # (N,T,3,h,d)
    parts = [qkv[:, :, i] for i in range(3)]
    y, _ = kernels.attention(*parts, None, None, True, 0.25, 0.0, 0, 0)
    copied, _ = kernels.attention(*map(np.ascontiguousarray, parts), None, None, True, 0.25, 0.0, 0, 0)
    np.testing.assert_array_equal(y, copied)
    turned = [np.ascontiguousarray(x.swapaxes(1, 2)).swapaxes(1, 2) for x in parts]  # PyTorch's order in memory
    np.testing.assert_array_equal(y, kernels.attention(*turned, None, None, True, 0.25, 0.0, 0, 0)[0])


@pytest.mark.skipif(not kernels.ENABLED, reason="the NumPy contract writes the weights out")
def test_no_matrix_of_weights_is_written():
    T = 2048
    rng = np.random.default_rng(6)
    q, k, v = (Tensor(numbers(rng, 1, T, 1, 8), True) for _ in range(3))
    ops.sum(ops.attention(q, k, v, causal=True, rate=0.1)).backward()  # compiled, if need be
    engine.empty_cache()  # all memory is asked for anew
    tracemalloc.start()
    ops.sum(ops.attention(q, k, v, causal=True, rate=0.1)).backward()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < T * T * 4 / 4


# ------------------------------------------------------------------------------------------------ the op
@given(seeds)
def test_fused_and_composed_agree_in_value_and_gradient(seed):
    rng = np.random.default_rng(seed)
    q, k, v, bias, mask, causal, scale, rate, *key = problem(rng, 9, 11, 5, 6)
    how = {"causal": causal, "scale": scale, "rate": rate, "seed": key[0], "stream": key[1]}
    op: StructuralOp = engine.OPS["attention"]
    g = numbers(rng, 2, 9, 4, 6)
    found = []
    for f in (op, lambda *xs, **params: op.composition(*xs, **params)):
        leaves = [Tensor(x, True) for x in (q, k, v)]
        y = f(*leaves, None if mask is None else Tensor(mask), None if bias is None else Tensor(bias), **how)
        y.backward(g)
        found.append([y.numpy(), *(t.grad.numpy() for t in leaves)])
    for fused, composed in zip(*found, strict=True):
        close(fused, composed)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_query_without_keys_gives_zeros_and_passes_no_gradient(dtype):
    rng = np.random.default_rng(8)
    q, k, v = (Tensor(rng.normal(size=(2, 5, 2, 4)).astype(dtype), True) for _ in range(3))
    mask = np.ones((2, 1, 5, 5), bool)
    mask[0, 0, 3], mask[1] = False, False
    y = ops.attention(q, k, v, mask)
    y.backward(rng.normal(size=y.shape).astype(dtype))
    for x in (y.numpy(), q.grad.numpy()):
        assert not x[0, 3].any()
        assert not x[1].any()
        assert x[0, :3].all()
    assert not k.grad.numpy()[1].any()
    assert not v.grad.numpy()[1].any()


def test_the_last_queries_alone_see_what_they_saw_among_all():
    rng = np.random.default_rng(9)
    q, k, v = (numbers(rng, 2, 12, 2, 4) for _ in range(3))
    every = ops.attention(q, k, v, causal=True).numpy()
    for T in (1, 5):
        close(ops.attention(q[:, -T:], k, v, causal=True).numpy(), every[:, -T:])


def test_a_learnt_bias_gets_the_gradient_of_the_scores():
    rng = np.random.default_rng(10)
    q, k, v = (rng.normal(size=(2, 6, 2, 4)) for _ in range(3))
    bias, g = Tensor(rng.normal(size=(2, 1, 6)), True), rng.normal(size=(2, 6, 2, 4))
    ops.attention(q, k, v, bias=bias).backward(g)
    composed = Tensor(bias.numpy().copy(), True)
    engine.OPS["attention"].composition(
        *map(Tensor, (q, k, v)), None, composed, causal=False, scale=None, rate=0.0, seed=0, stream=0
    ).backward(g)
    np.testing.assert_allclose(bias.grad.numpy(), composed.grad.numpy(), rtol=1e-11)


def test_nan_stays_where_it_is():
    rng = np.random.default_rng(11)
    q, k, v = (rng.normal(size=(2, 5, 1, 20)).astype(np.float32) for _ in range(3))
    q[0, 2, 0, 3] = np.nan
    y = ops.attention(q, k, v).numpy()
    assert np.isnan(y[0, 2]).all()
    assert np.isfinite(np.delete(y[0], 2, 0)).all()
    assert np.isfinite(y[1]).all()
    k[1, 4, 0, 0] = np.nan
    y = ops.attention(np.nan_to_num(q), k, v, causal=True).numpy()
    assert np.isfinite(y[1, :4]).all()
    assert np.isnan(y[1, 4]).all()
