"""Copies between arrays in any order: NumPy's bits, on any number of threads; and what is made of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import engine
from engine import ops
from engine.kernels.cpu import arrange, copy, copy_tiles
from engine.kernels.cpu.threads import get_num_threads, set_num_threads

DTYPES = ["bool", "int8", "float16", "int16", "float32", "int64", "complex128", "S3", "V12"]


@pytest.fixture(autouse=True)
def small_copies_too(monkeypatch):
    """The kernel copies whatever is not empty, in parts of a few numbers."""
    for module in (copy, arrange):
        monkeypatch.setattr(module, "LEAST", 1)
    monkeypatch.setattr(arrange, "JOINED", 1)
    monkeypatch.setattr(copy, "LEAST_OF_ONE", 1)
    monkeypatch.setattr(copy_tiles, "PART", 256)
    monkeypatch.setattr(copy_tiles, "SIDE", 24)


def numbers(shape, dtype="float32", seed=0):
    """Any bits, read-only."""
    dtype = np.dtype(dtype)
    bits = np.random.default_rng(seed).integers(0, 2 if dtype.kind == "b" else 256, (*shape, dtype.itemsize), np.uint8)
    x = bits.view(dtype)[..., 0]
    x.flags.writeable = False
    return x


def bits_of(x):
    return np.ascontiguousarray(x).reshape(-1).view(np.uint8)


def assert_same_bits(a, b):
    assert (a.shape, a.dtype) == (b.shape, b.dtype)
    np.testing.assert_array_equal(bits_of(a), bits_of(b))


@st.composite
def places(draw):
    """An array whose axes lie in any order in memory, and slices of it, some with steps, some backwards."""
    shape = tuple(draw(st.lists(st.sampled_from([0, 1, 2, 3, 5, 17, 40]), max_size=4)))
    order = draw(st.permutations(range(len(shape))))
    index = []
    for n in shape:
        step, start = draw(st.sampled_from([1, 1, 1, 2, -1, -1, -3])), draw(st.integers(0, 2))
        index.append(slice(start, None, step) if step > 0 else slice(n - 1 - start if n > start else None, None, step))
    base = numbers([shape[a] for a in order], draw(st.sampled_from(DTYPES)), draw(st.integers(0, 99)))
    return base.transpose(np.argsort(order).astype(int)), (*index, ...)


@st.composite
def views(draw):
    """The same as an array; at times one of its rows is there again and again."""
    whole, index = draw(places())
    view = whole[index]
    if view.size and view.ndim and draw(st.integers(0, 3)) == 0:
        axis = draw(st.integers(0, view.ndim - 1))
        view = np.broadcast_to(view[(slice(None),) * axis + (slice(0, 1),)], view.shape)
    return view


# ------------------------------------------------------------------------------------------------ the kernel
@settings(max_examples=200)
@given(views())
def test_a_copy_has_the_same_bits_in_c_order(x):
    y = copy.copied(x)
    assert_same_bits(y, x)
    assert y.flags.c_contiguous
    assert not np.may_share_memory(x, y)


@settings(max_examples=200)
@given(places(), st.data())
def test_a_copy_into_any_view_writes_that_and_nothing_else(place, data):
    (whole, index), rank = place, place[0].ndim
    y, want = whole.copy(order="K"), whole.copy(order="K")
    order = data.draw(st.permutations(range(rank)))
    x = numbers([whole[index].shape[a] for a in order], whole.dtype, 7).transpose(np.argsort(order).astype(int))
    want[index] = x
    copy.copies([(y[index], x)])
    assert_same_bits(y, want)


@pytest.mark.parametrize("word", [1, 2, 4, 8])
@pytest.mark.parametrize("sides", [(64, 64), (37, 70), (16, 16), (3, 200), (200, 3), (130, 257)])
def test_a_transposition_at_its_real_size(monkeypatch, word, sides):
    monkeypatch.undo()
    x = numbers((5, *sides), f"u{word}")
    monkeypatch.setattr(copy, "LEAST", 1)
    assert_same_bits(copy.copied(x.swapaxes(1, 2)), x.swapaxes(1, 2))
    assert_same_bits(copy.copied(x.transpose(2, 1, 0)), x.transpose(2, 1, 0))


@pytest.mark.parametrize("there, here", [
    (slice(1, None), slice(None, -1)), (slice(None, -1), slice(1, None)), (slice(None), slice(None, None, -1)),
])  # fmt: skip
def test_within_one_memory_what_is_read_is_what_was_there(there, here):
    x = numbers((300, 5)).copy()
    want = x.copy()
    want[there] = x[here].copy()
    copy.copies([(x[there], x[here])])
    assert_same_bits(x, want)


def test_what_no_kernel_knows_is_copied_by_numpy():
    things = np.array([[1, "two"], [None, 3.0]], object)
    assert (copy.copied(things.T) == things.T).all()
    y = np.zeros((3, 4))
    copy.copies([(y, np.arange(4, dtype=np.int32))])  # other numbers
    np.testing.assert_array_equal(y, np.broadcast_to(np.arange(4.0), (3, 4)))
    packed = np.zeros(9, [("a", "u1"), ("b", "f4")])  # steps of 5 bytes
    packed["b"] = numbers((9,))
    assert_same_bits(copy.copied(packed["b"]), packed["b"])


def test_copies_share_one_call_and_keep_apart():
    x, y = numbers((70, 50)), np.zeros((70, 100), np.float32)
    copy.copies([(y[:, 50:], x[::-1]), (y[:0], x[:0, :1]), (y[:, :50], x.reshape(50, 70).T)])
    assert_same_bits(y, np.concatenate([x.reshape(50, 70).T, x[::-1]], 1))


# ------------------------------------------------------------------------------------------------ what is made of it
@given(views(), st.data())
def test_arrangements_are_numpys(x, data):
    if not x.ndim:
        return
    axis, shift = data.draw(st.integers(0, x.ndim - 1)), data.draw(st.integers(-50, 50))
    assert_same_bits(arrange.roll(x, [(axis, shift), (0, 1)]), np.roll(np.roll(x, shift, axis), 1, 0))
    assert_same_bits(arrange.repeat(x, (3,), axis), np.repeat(x, 3, axis))
    assert_same_bits(arrange.concatenate([x, x[::-1], x], axis), np.concatenate([x, x[::-1], x], axis))
    assert_same_bits(arrange.reshape(x, (-1, 1) if x.size else (0, 1)), x.reshape((-1, 1) if x.size else (0, 1)))


@given(st.lists(st.integers(0, 6), max_size=4).map(tuple), st.data())
def test_a_margin_is_numpys(shape, data):
    widths = tuple((data.draw(st.integers(0, 3)), data.draw(st.integers(0, 3))) for _ in shape)
    x = numbers(shape, "int32")
    want = np.pad(x, widths, constant_values=-7) if shape else x
    assert_same_bits(arrange.pad(x, widths, -7), want)


@given(views(), st.data())
def test_put_is_assignment_to_a_copy(x, data):
    index = tuple(
        data.draw(
            st.one_of(
                st.slices(n),
                st.integers(-n, n - 1) if n else st.just(slice(None)),
                st.just(slice(None)),
            )
        )
        for n in x.shape[: data.draw(st.integers(0, x.ndim))]
    )
    if data.draw(st.booleans()):
        index = (*index, ...)
    if data.draw(st.booleans()):
        index = (None, *index)
    want = x.copy(order="C")
    value = numbers(want[index].shape, x.dtype, 5)
    want[index] = value
    assert_same_bits(arrange.put(x, index, value), want)


def test_a_view_stays_a_view_where_it_can():
    x = numbers((6, 4, 50))
    cut = x[:, :, :20]
    assert arrange.reshape(cut, (24, 20)).base is not None
    assert np.shares_memory(arrange.reshape(cut, (24, 20)), x)
    assert not np.shares_memory(arrange.reshape(cut, (6, 80)), x)


# ------------------------------------------------------------------------------------------------ threads
def everything():
    x = numbers((3, 130, 70))
    repeated, backwards = np.broadcast_to(x[0], x.shape), x[:, ::-1, ::-1]
    for turned in (x, x.swapaxes(1, 2), x.transpose(2, 1, 0), backwards, x[..., ::3], repeated):
        yield copy.copied(turned)
        yield arrange.concatenate([turned, turned], 1)
        yield arrange.pad(turned, ((1, 2), (0, 3), (4, 0)), 0.5)
        yield arrange.roll(turned, [(1, 5), (2, -3)])


def test_the_number_of_threads_changes_no_bit():
    most, results = get_num_threads(), []
    try:
        for threads in sorted({1, min(2, most), most}):
            set_num_threads(threads)
            results += [list(everything()) for _ in range(3)]
    finally:
        set_num_threads(most)
    for again in results[1:]:
        for a, b in zip(results[0], again, strict=True):
            assert_same_bits(a, b)


# ------------------------------------------------------------------------------------------------ ops
@pytest.mark.parametrize("f", [
    lambda t: ops.swapaxes(t, axis1=0, axis2=1), lambda t: ops.flip(t, axis=1), lambda t: t[5:200], lambda t: t[:, ::2],
    lambda t: t[3], lambda t: ops.roll(t, shift=7, axis=0), lambda t: ops.pad(t, pad_width=((1, 2), (3, 0))),
    lambda t: ops.tile(t, repetitions=(2, 3)), lambda t: ops.concat(t, t, axis=1), lambda t: ops.stack(t, t, axis=1),
    lambda t: ops.split(t, indices_or_sections=4, axis=0)[1], lambda t: ops.sum(t, axis=0), lambda t: t.T + 1.0,
    lambda t: ops.set_at(t, 2.0, index=(slice(3, 9), None, 4)),
])  # fmt: skip
def test_an_op_and_its_gradient_of_much_are_those_of_little(monkeypatch, f):
    x = np.random.default_rng(0).normal(size=(256, 200)).astype(np.float32)
    found = []
    for least in (1, 1 << 40):  # by the kernel, by NumPy
        for module in (copy, arrange):
            monkeypatch.setattr(module, "LEAST", least)
        t = engine.tensor(x, requires_grad=True)
        y = f(t)
        y.backward(engine.tensor(np.random.default_rng(1).normal(size=y.shape).astype(np.float32)))
        found.append((y.numpy(), t.grad.numpy()))
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)
        assert b.any()


@pytest.mark.parametrize("offset", [0, 1, -2, 3, 9, -9])
def test_a_diagonal_is_a_view_and_its_gradient_stands_on_it(offset):
    x = engine.tensor(np.random.default_rng(0).normal(size=(2, 5, 4)), requires_grad=True)
    y = ops.diagonal(x, offset=offset)
    np.testing.assert_array_equal(y.numpy(), np.diagonal(x.numpy(), offset, 1, 2), strict=True)
    g = np.random.default_rng(1).normal(size=y.shape)
    y.backward(engine.tensor(g))
    want = np.zeros((2, 5, 4))
    np.einsum("bii->bi", want[:, max(-offset, 0) :, max(offset, 0) :][:, : y.shape[1], : y.shape[1]])[...] = g
    np.testing.assert_array_equal(x.grad.numpy(), want)
    assert not y.size or np.shares_memory(y.numpy(), x.numpy())
    with engine.no_grad():
        ops.diagonal(x)[0, 1] = 7.0
    assert x.numpy()[0, 1, 1] == 7.0
