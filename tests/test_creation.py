"""Laws of the functions that make tensors: NumPy's values in our dtypes, and random ones are functions of the seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

import engine
from engine import creation, dtypes
from engine.creation import (
    arange,
    empty,
    eye,
    from_dlpack,
    full,
    full_like,
    linspace,
    meshgrid,
    normal,
    ones,
    ones_like,
    permutation,
    rand,
    randint,
    randn,
    uniform,
    zeros,
    zeros_like,
)
from engine.random import Generator, manual_seed

SHAPES = st.lists(st.integers(0, 4), max_size=3).map(tuple)
FLOATS = st.sampled_from(["float16", "float32", "float64"])


# ------------------------------------------------------------------------------------------------ constants
@given(SHAPES, st.sampled_from([None, "float16", "float32", "float64", "int64", "uint8", "bool"]))
def test_constants_are_numpys_with_float32_by_default(shape, dtype):
    for ours, theirs in [(zeros, np.zeros), (ones, np.ones), (empty, np.zeros)]:
        for made in (ours(shape, dtype=dtype), ours(*shape, dtype=dtype)):
            want = theirs(shape, dtype or "float32")
            assert made.dtype == want.dtype
            np.testing.assert_array_equal(made.numpy(), want, strict=True)
            assert made.data.flags.writeable


@pytest.mark.parametrize(
    ("value", "dtype"), [(True, "bool"), (3, "int64"), (0.1, "float32"), (np.float64(0.1), "float64")]
)
def test_full_takes_the_dtype_of_its_value(value, dtype):
    t = full((2, 3), value)
    assert (t.shape, t.dtype) == ((2, 3), np.dtype(dtype))
    np.testing.assert_array_equal(t.numpy(), np.full((2, 3), value, dtype))
    assert full((2,), value, dtype="float16").dtype == np.float16


@given(SHAPES, st.sampled_from(["float16", "float64", "int32", "bool"]))
def test_the_like_functions_take_shape_and_dtype_of_their_example(shape, dtype):
    x = np.zeros(shape, dtype)
    for t, value in [(zeros_like(x), 0), (ones_like(x), 1), (full_like(x, 1), 1)]:
        np.testing.assert_array_equal(t.numpy(), np.full(shape, value, dtype), strict=True)
    assert ones_like(engine.tensor(x), dtype="float32").dtype == np.float32


@given(st.integers(0, 4), st.none() | st.integers(0, 4), st.integers(-4, 4))
def test_eye_is_numpys(n, m, k):
    np.testing.assert_array_equal(eye(n, m, k=k).numpy(), np.eye(n, m, k, dtype=np.float32), strict=True)


# ------------------------------------------------------------------------------------------------ ranges and grids
@given(st.integers(-5, 5), st.integers(-5, 5), st.sampled_from([-2, -1, 1, 3]))
def test_arange_counts_like_range(start, stop, step):
    np.testing.assert_array_equal(
        arange(start, stop, step).numpy(), np.array(range(start, stop, step), np.int64), strict=True
    )
    np.testing.assert_array_equal(arange(abs(stop)).numpy(), np.arange(abs(stop), dtype=np.int64), strict=True)
    assert arange(0.0, 1.0, 0.25).dtype == np.float32
    np.testing.assert_array_equal(arange(0.0, 1.0, 0.25, dtype="float64").numpy(), [0, 0.25, 0.5, 0.75])


@given(st.floats(-3, 3), st.floats(-3, 3), st.integers(0, 6), st.booleans())
def test_linspace_is_numpys(start, stop, num, endpoint):
    got = linspace(start, stop, num, endpoint=endpoint, dtype="float64").numpy()
    np.testing.assert_array_equal(got, np.linspace(start, stop, num, endpoint=endpoint))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=3), st.sampled_from(["xy", "ij"]))
def test_meshgrid_is_numpys(sizes, indexing):
    vectors = [np.arange(n) + 10.0 * i for i, n in enumerate(sizes)]
    for got, want in zip(meshgrid(*vectors, indexing=indexing), np.meshgrid(*vectors, indexing=indexing), strict=True):
        np.testing.assert_array_equal(got.numpy(), want, strict=True)


def test_meshgrid_passes_gradients_back_to_its_vectors():
    x = engine.tensor([1.0, 2.0, 3.0], requires_grad=True)
    first, second = meshgrid(x, np.array([1.0, 5.0]))
    (first * second).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [6, 6, 6])


def test_from_dlpack_shares_memory_unless_told_to_copy():
    a = np.arange(3.0)
    shared, copied = from_dlpack(a), from_dlpack(a, copy=True)
    a[0] = 7
    assert shared.numpy()[0] == 7
    assert copied.numpy()[0] == 0


# ------------------------------------------------------------------------------------------------ random
DRAWS = {
    "rand": lambda g, t: rand(3, 4, generator=g, dtype=t),
    "randn": lambda g, t: randn((3, 4), generator=g, dtype=t),
    "uniform": lambda g, t: uniform((3, 4), -1, 5, generator=g, dtype=t),
    "normal": lambda g, t: normal((3, 4), 2.0, 0.5, generator=g, dtype=t),
}


@pytest.mark.parametrize("name", DRAWS)
@given(st.integers(0, 2**64 - 1), FLOATS)
def test_random_tensors_are_functions_of_the_seed(name, seed, dtype):
    first, again = (DRAWS[name](Generator(seed), dtype) for _ in range(2))
    np.testing.assert_array_equal(first.numpy(), again.numpy(), strict=True)
    assert (first.dtype, first.shape) == (np.dtype(dtype), (3, 4))
    draw = Generator(seed)
    assert not np.array_equal(DRAWS[name](draw, dtype).numpy(), DRAWS[name](draw, dtype).numpy())


def test_the_default_generator_starts_anew_with_manual_seed():
    state = engine.random.default_generator().state()
    try:
        manual_seed(3)
        first = rand(5), randn(5), randint(10, shape=5), permutation(5)
        manual_seed(3)
        again = rand(5), randn(5), randint(10, shape=5), permutation(5)
        for a, b in zip(first, again, strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())
    finally:
        engine.random.default_generator().set_state(state)


def test_moments_and_ranges_of_random_tensors():
    n, draw = 40_000, Generator(1)
    u, z = uniform(n, -1.0, 3.0, generator=draw).numpy(), normal(n, 2.0, 0.5, generator=draw).numpy()
    assert u.min() >= -1 and u.max() <= 3
    assert abs(u.mean() - 1) < 5 * (4 / 12**0.5) / n**0.5
    assert abs(z.mean() - 2) < 5 * 0.5 / n**0.5
    assert abs(z.std() - 0.5) < 5 * 0.5 / (2 * n) ** 0.5
    k = randint(-2, 3, n, generator=draw).numpy()
    assert set(k) == {-2, -1, 0, 1, 2}
    np.testing.assert_array_equal(np.sort(permutation(100, generator=draw).numpy()), np.arange(100))


# ------------------------------------------------------------------------------------------------ options and errors
@pytest.mark.parametrize("name", creation.__all__)
def test_every_function_is_public_and_has_a_docstring(name):
    assert getattr(creation, name).__doc__


def test_requires_grad_makes_a_leaf_and_wants_a_float():
    t = zeros(2, 3, requires_grad=True)
    (t * 2.0).sum().backward()
    np.testing.assert_array_equal(t.grad.numpy(), np.full((2, 3), 2.0))
    assert randn(2, requires_grad=True).requires_grad and eye(2, requires_grad=True).requires_grad
    with pytest.raises(engine.DTypeError, match="only floating tensors have gradients"):
        zeros(2, dtype="int64", requires_grad=True)


def test_the_default_dtype_is_taken():
    with dtypes.using_default_dtype("float64"):
        made = [zeros(2), ones(2), full(2, 0.5), eye(2), arange(0.0, 1.0, 0.5), linspace(0, 1, 3), rand(2), randn(2)]
    assert {t.dtype for t in made} == {np.dtype("float64")}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: zeros(2, -1), engine.ShapeError, r"zeros: the sides of a shape are 0 or more, got \(2, -1\)"),
        (lambda: ones(2.5), engine.ShapeError, r"ones: a shape is made of integers, got \(2.5,\)"),
        (lambda: full((2,), [1, 2]), engine.ShapeError, r"full: fill_value is one number, got shape \(2,\)"),
        (lambda: arange(0, 3, 0), engine.ArgumentError, "arange: step is 0"),
        (lambda: linspace(0, 1, -1), engine.ArgumentError, "linspace: num is a count, 0 or more, got -1"),
        (lambda: meshgrid(np.zeros((2, 2))), engine.ShapeError, r"meshgrid: x0 has shape \(2, 2\)"),
        (lambda: meshgrid(np.zeros(2), indexing="yx"), engine.ArgumentError, "indexing must be 'xy' or 'ij', got 'yx'"),
        (lambda: uniform(3, 2.0, 1.0), engine.ArgumentError, "uniform: low must not exceed high, got 2.0 and 1.0"),
        (lambda: normal(3, std=-1.0), engine.ArgumentError, "normal: std is a deviation, 0 or more, got -1.0"),
        (lambda: randn(3, dtype="int64"), engine.DTypeError, "normal: random numbers are floats, got dtype int64"),
        (lambda: randint(0), engine.ArgumentError, "integers: low < high"),
        (lambda: zeros(2, device="cuda"), engine.DeviceError, "device 'cuda' is not available"),
    ],
)
def test_bad_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


# ------------------------------------------------------------------------------------------------ refused in our words
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda t: t + None, engine.DTypeError, "add: an input is None; give a tensor, an array or a number"),
        (lambda t: t == None, engine.DTypeError, "equal: an input is None"),  # noqa: E711
        (lambda t: t.astype("uint8") + 300, engine.DTypeError, "300 out of bounds for uint8; cast the tensor"),
        (lambda t: t.reshape("ab"), engine.ShapeError, "reshape and permute_dims take integers, or one tuple of them"),
        (lambda t: t.reshape(2.0), engine.ShapeError, r"take integers, or one tuple of them; got \(2.0,\)"),
    ],
)
def test_what_is_no_number_and_no_side_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(engine.tensor([1.0, 2.0]))


@pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="long double is float64 here")
def test_numbers_wider_than_64_bits_are_refused():
    with pytest.raises(engine.DTypeError, match="is wider than a tensor's numbers: use float64"):
        engine.tensor(np.ones(2, np.longdouble))
