"""Laws of matmul, einsum and their kin: NumPy's numbers, exact integers, and identities that tie them together."""

from __future__ import annotations

import string

import numpy as np
import pytest
from hypothesis import given, strategies as st

import engine
from engine import Tensor, grad
from engine.ops import einsum, matmul, matrix_transpose, outer, tensordot, trace, vecdot

SEEDS = st.integers(0, 2**32 - 1)
SIDES = st.integers(0, 5)


def numbers(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


# ------------------------------------------------------------------------------------------------ matmul
@st.composite
def factors(draw):
    """Two arrays that matmul takes: vectors, matrices, stacks that broadcast."""
    n, j, k = draw(SIDES), draw(SIDES), draw(SIDES)
    full = draw(st.lists(st.integers(0, 3), max_size=2))
    leads = [tuple(1 if draw(st.booleans()) else s for s in full[draw(st.integers(0, len(full))) :]) for _ in range(2)]
    a = (j,) if draw(st.integers(0, 3)) == 0 else (*leads[0], n, j)
    b = (j,) if draw(st.integers(0, 3)) == 0 else (*leads[1], j, k)
    return numbers(a), numbers(b, 1)


@given(factors(), st.booleans(), st.booleans())
def test_matmul_is_numpys_in_any_memory_order(ab, flip_a, flip_b):
    a, b = (np.asfortranarray(x) if flip else x for x, flip in zip(ab, (flip_a, flip_b), strict=True))
    got = matmul(a, b).numpy()
    want = np.matmul(a, b)
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-13)


@given(factors())
def test_matmul_and_its_two_gradients_are_one_trilinear_form(ab):
    """⟨g, ab⟩ = ⟨ā, a⟩ = ⟨b̄, b⟩."""
    a, b = (Tensor(x, True) for x in ab)
    y = matmul(a, b)
    g = numbers(y.shape, 2)
    ga, gb = grad(y, [a, b], g)
    value = (y.numpy() * g).sum()
    np.testing.assert_allclose((ga.numpy() * a.numpy()).sum(), value, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose((gb.numpy() * b.numpy()).sum(), value, rtol=1e-10, atol=1e-12)


@given(SEEDS)
def test_a_transposed_product_is_the_product_of_transposes(seed):
    a, b = Tensor(numbers((3, 2, 4), seed)), Tensor(numbers((3, 4, 5), seed + 1))
    np.testing.assert_allclose(matmul(a, b).mT.numpy(), matmul(b.mT, a.mT).numpy(), rtol=1e-13)


def test_integers_are_multiplied_exactly():
    a = np.array([[2**40, 1], [3, -5]])
    y = matmul(a, a)
    assert y.dtype == np.int64
    np.testing.assert_array_equal(y.numpy(), a @ a)
    assert matmul(np.array([True, True]), np.array([True, True])).item() == 2


def test_operators_take_arrays_and_vectors():
    t = engine.tensor(np.eye(3))
    v = np.array([1.0, 2.0, 3.0])
    np.testing.assert_array_equal((t @ v).numpy(), v)
    np.testing.assert_array_equal((v @ t).numpy(), v)
    assert (v @ engine.tensor(v)).shape == ()


# ------------------------------------------------------------------------------------------------ einsum
@st.composite
def equations(draw):
    """A random equation of one to three operands, with repeated letters, sums and an Ellipsis, and arrays for it."""
    letters = string.ascii_lowercase[:5]
    sizes = {c: draw(st.integers(0, 3)) for c in letters}
    terms = draw(st.lists(st.text(letters, max_size=4), min_size=1, max_size=3))
    used = sorted(set("".join(terms)))
    result = "".join(draw(st.lists(st.sampled_from(used), unique=True))) if used else ""
    rest, dots = draw(st.sampled_from([(), (2,), (2, 3)])), draw(st.booleans())
    shapes, texts = [], []
    for t in terms:
        own = tuple(1 if draw(st.integers(0, 3)) == 0 else n for n in rest[draw(st.integers(0, len(rest))) :])
        with_dots = dots and draw(st.booleans())
        texts.append(("..." if with_dots else "") + t)
        shapes.append((own if with_dots else ()) + tuple(sizes[c] for c in t))
    arrow = "" if draw(st.integers(0, 3)) == 0 else "->" + ("..." if any("." in t for t in texts) else "") + result
    return ",".join(texts) + arrow, [numbers(s, i) for i, s in enumerate(shapes)]


@given(equations())
def test_einsum_is_numpys(case):
    equation, arrays = case
    want = np.einsum(equation, *arrays)
    got = einsum(equation, *arrays).numpy()
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-11)


@given(equations())
def test_einsum_is_linear_in_each_operand(case):
    """⟨g, y⟩ = ⟨x̄_k, x_k⟩ for every k, whatever the equation."""
    equation, arrays = case
    xs = [Tensor(a, True) for a in arrays]
    y = einsum(equation, *xs)
    g = numbers(y.shape, 9)
    for x, gx in zip(xs, grad(y, xs, g), strict=True):
        np.testing.assert_allclose((gx.numpy() * x.numpy()).sum(), (y.numpy() * g).sum(), rtol=1e-9, atol=1e-10)


def test_einsum_spells_the_others():
    a, b, v = numbers((3, 3)), numbers((3, 3), 1), numbers(3, 2)
    for spelt, want in [
        (einsum("ij,jk->ik", a, b), matmul(a, b)),
        (einsum("ii", a), trace(a)),
        (einsum("i,j", v, v), outer(v, v)),
        (einsum("ij->ji", a), matrix_transpose(a)),
        (einsum("ij,ij->i", a, b), vecdot(a, b)),
        (einsum("ij,ij", a, b), tensordot(a, b, axes=2)),
        (einsum(a, b, equation="ij,jk"), matmul(a, b)),
    ]:
        np.testing.assert_allclose(spelt.numpy(), want.numpy(), rtol=1e-13)


@given(SEEDS)
def test_the_trace_of_a_product_does_not_care_for_order(seed):
    a, b = numbers((3, 4), seed), numbers((4, 3), seed + 1)
    np.testing.assert_allclose(trace(matmul(a, b)).item(), trace(matmul(b, a)).item(), rtol=1e-10, atol=1e-12)


# ------------------------------------------------------------------------------------------------ errors
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: matmul(np.zeros((2, 3)), np.zeros((2, 3))), r"a \(2, 3\) has 3 columns, but b \(2, 3\) has 2 rows"),
        (lambda: engine.tensor(np.zeros((4, 2, 3))) @ np.zeros(2), r"a \(4, 2, 3\) has 3 columns, but b \(2,\) has 2"),
        (lambda: engine.tensor(1.0) @ np.zeros(2), r"matmul: a is a single number; write a \* b"),
        (lambda: vecdot(np.zeros(2), np.zeros(3)), "x1 .* has 2 elements along axis -1, x2 .* has 3"),
        (
            lambda: einsum("ij,jk", np.zeros((2, 2)), np.zeros((3, 2))),
            "'j' of 'ij,jk' is 2 in operand 0 .* 3 in",
        ),
        (
            lambda: tensordot(np.zeros((2, 3)), np.zeros((2, 3)), axes=1),
            "axis 1 of x1 .* length 3, axis 0 of x2 .* 2;",
        ),
    ],
)
def test_shapes_that_do_not_fit_are_named_with_their_numbers(call, message):
    with pytest.raises(engine.ShapeError, match=message):
        call()


def test_a_field_of_a_packed_record_multiplies_as_its_copy_does():
    """Its strides are no whole numbers of elements, which no kernel could step."""
    record = np.zeros((6, 5), [("flag", "u1"), ("x", "f4")])
    record["x"] = np.random.default_rng(0).standard_normal((6, 5))
    x = record["x"]
    want = x.copy() @ x.copy().T
    np.testing.assert_allclose(engine.matmul(x, engine.asarray(x).T), want, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(engine.asarray(x) @ x.T, want, rtol=1e-5, atol=1e-6)
