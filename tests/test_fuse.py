"""A fused function is its composition: values, gradients of every order, dtypes; and says what it can't fuse."""

from __future__ import annotations

import copy
import doctest
import importlib
import pickle

import numpy as np
import pytest
from hypothesis import given, strategies as st

import engine
from engine import (
    abs,
    clamp,
    cos,
    erf,
    exp,
    fuse,
    grad,
    hypot,
    log,
    matmul,
    maximum,
    normal_cdf,
    ones,
    sigmoid,
    sin,
    softplus,
    sqrt,
    square,
    sum,
    tanh,
    tensor,
    where,
)  # fmt: skip
from engine.backends.cpu import using
from engine.errors import ArgumentError, ShapeError
from engine.gradcheck import gradcheck
from engine.samples import Draw

FUNCTIONS = {
    "swish": lambda x, *, beta=1.3: x * sigmoid(beta * x),
    "bell": lambda x, centre, *, width=0.7: exp(-(((x - centre) / width) ** 2)),
    "gated": lambda a, b, c: tanh(a) * sigmoid(b) + c,
    "pieces": lambda x, y0: where(x > y0, sqrt(square(x) + 1.0), 0.1 * x),
    "guarded": lambda x: where(x > 0.5, log(where(x > 0.5, x, 1.0)), 0.0),
    "wave": lambda x, t: sin(3 * x - t) * cos(x) / (1 + abs(t)),
    "four": lambda a, b, c, d: hypot(a, b) * maximum(c, d) - clamp(a, -1.0, 1.0),
    "smooth": lambda x: softplus(x) - x * normal_cdf(x) + erf(x) ** 3,
    "constant": lambda x, b: b * 2.0 + 0 * x,
    "power": lambda x: (1.0 + square(x)) ** 2.5,
}


def composition(name):
    f = FUNCTIONS[name]
    fused = fuse(f)
    return f, fused, len(fused.inputs)


def arrays(seed, n, dtype):
    draw = Draw.seeded(seed)
    return [draw.array(shape).astype(dtype) for shape in draw.broadcastable(n)], draw.rng


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(seed=st.integers(0, 2**32 - 1))
def test_values_and_gradients_are_those_of_the_composition(name, dtype, seed):
    f, fused, n = composition(name)
    xs, rng = arrays(seed, n, dtype)
    results = []
    for run in (f, fused):
        leaves = [tensor(x, requires_grad=True) for x in xs]
        y = run(*leaves)
        g = np.random.default_rng(seed).standard_normal(y.shape).astype(dtype)
        (y * tensor(g)).sum().backward()
        results.append([y, *(x.grad for x in leaves)])
    tolerance = {"rtol": 2e-5, "atol": 2e-5} if dtype == np.float32 else {"rtol": 1e-11, "atol": 1e-11}
    for composed, one in zip(*results, strict=True):
        assert (composed is None) == (one is None)
        if composed is None:  # only compared with
            continue
        a, b = composed.numpy(), one.numpy()
        assert a.dtype == b.dtype == dtype and a.shape == b.shape
        np.testing.assert_allclose(b, a, **tolerance)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_its_derivatives_are_right_in_the_first_and_second_order(name):
    _, fused, n = composition(name)
    rng = np.random.default_rng(3)
    xs = [rng.uniform(0.6, 1.9, (2, 3)) * rng.choice([1, -1]) for _ in range(n)]
    report = gradcheck(fused, xs)
    assert report, str(report)


def test_third_order():
    f, fused, _ = composition("swish")
    x = tensor(np.array([-0.3, 0.0, 1.1]), requires_grad=True)
    results = []
    for run in (f, fused):
        y = run(x)
        for _ in range(3):
            (y,) = grad(y.sum(), [x], create_graph=True)
        results.append(y.numpy())
    np.testing.assert_allclose(*results, rtol=1e-10, atol=1e-12)


def test_it_is_one_node_on_the_tape_and_one_kernel():
    x = tensor(np.ones(3, np.float32), requires_grad=True)
    y = fuse(FUNCTIONS["swish"])(x)
    assert y.node.op.name == "<lambda>" and y.node.parents[0] is x


def test_scalars_parameters_and_defaults():
    @fuse
    def line(x, slope, offset=0.5, *, power=2):
        return slope * x**power + offset

    x, w = (
        tensor([1.0, 2.0]),
        engine.Parameter(tensor([3.0]).numpy()) if hasattr(engine, "Parameter") else tensor([3.0]),
    )
    np.testing.assert_allclose(line(x, 2.0).numpy(), [2.5, 8.5])
    np.testing.assert_allclose(line(x, slope=2, offset=tensor(0.0)).numpy(), [2, 8])
    np.testing.assert_allclose(line(x, w, power=1.0).numpy(), [3.5, 6.5])
    np.testing.assert_allclose(line(np.float32([1, 2]), w, 0, power=3).numpy(), [3, 24])
    assert line(x, 2.0).dtype == np.float32


def test_other_dtypes_take_the_composition():
    f, fused, _ = composition("constant")
    for a in (np.arange(3), np.array([True, False, True])):
        y, z = f(tensor(a), tensor(a)), fused(tensor(a), tensor(a))
        assert y.dtype == z.dtype
        np.testing.assert_array_equal(y.numpy(), z.numpy())
    for f in (lambda a: a + 1, lambda a, b: a * b, lambda a, b, c: a * b + c):  # nothing in them asks for fractions
        for fused in (used := fuse(f), fuse(f)):
            n = len(fused.inputs)
            if fused is used:
                fused(*[tensor([0.5, 2.0])] * n)
            for dtype in ("int64", "bool"):
                xs = [tensor(np.array([1, 0, 1], dtype))] * n
                y, z = f(*xs), fused(*xs)
                assert y.dtype == z.dtype
                np.testing.assert_array_equal(y.numpy(), z.numpy())
    assert fuse(lambda a, b: a * b)(2, 3) == 6
    choose = fuse(lambda c, a, b: where(c, a, b))
    x = ones((2,), dtype="float32")
    np.testing.assert_array_equal(choose(tensor([True, False]), x, 2 * x).numpy(), [1, 2])
    half = fuse(FUNCTIONS["swish"])(tensor(np.float16([1.0, -2.0])))
    assert half.dtype == np.float16


def test_fused_functions_of_fused_functions():
    more, product = fuse(lambda a: a + 1), fuse(lambda a, b: a * b)
    both = fuse(lambda a, b: product(a, b) - product(more(a), 2.0))
    x, y = tensor([1.0, 2.0]), tensor([5.0, 7.0])
    np.testing.assert_array_equal(both(x, y).numpy(), [1, 8])


def test_a_comparison_has_no_gradient():
    x = tensor([1.0, -1.0], requires_grad=True)
    y = fuse(lambda x: (x > 0) & (x < 2))(x)
    assert y.dtype == bool and not y.requires_grad and y.numpy().tolist() == [True, False]


def test_fused_functions_are_made_of_fused_functions():
    inner = fuse(lambda x, *, k=2.0: k * tanh(x))
    outer = fuse(lambda x: inner(x, k=3.0) + inner(x) ** 2)
    x = np.linspace(-1, 1, 5)
    np.testing.assert_allclose(outer(tensor(x)).numpy(), 3 * np.tanh(x) + 4 * np.tanh(x) ** 2, rtol=1e-14)
    assert fuse(inner) is inner


def test_large_arrays_with_lanes_and_without():
    _, fused, _ = composition("gated")
    rng = np.random.default_rng(0)
    xs = [tensor(rng.standard_normal((300, 500)).astype(np.float32)) for _ in range(3)]
    y = fused(*xs).numpy()
    with using("numpy"):
        np.testing.assert_allclose(y, fused(*xs).numpy(), rtol=1e-5, atol=1e-6)


# ------------------------------------------------------------------------------------------------ what it says
def test_it_shows_its_formula():
    swish = fuse(FUNCTIONS["swish"])
    assert swish.latex == r"y = x \, \sigma\left(\beta \, x\right)"
    assert r"\sigma" in repr(swish) and "x, beta" in repr(swish)
    assert r"\bar{x} = " in swish.derivative_latex(0)
    assert "Elementwise" in swish.__doc__


def branching(x):
    return x if x > 0 else -x


OUTSIDE = tensor([1.0, 2.0])


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (branching, r"fuse: branching can't be made one kernel: a formula cannot branch .* in place of if"),
        (lambda x: matmul(x, x), "it uses matmul, which is not elementwise"),
        (lambda x: x / sum(x), "it uses sum, which is not elementwise"),
        (lambda x: x.sum(), r"it uses \.sum, which is not elementwise"),
        (lambda x: x * OUTSIDE, "made of its inputs and of numbers, not of a Tensor: pass it as an input"),
        (lambda x: np.exp(x), "does not support ufuncs"),
        (lambda x: (x, x), "returns 2 results; fuse one function for each"),
        (lambda x: None, "returns NoneType, which is not made of its inputs"),
        (lambda *x: x, r"takes '\*x'; give every input a name of its own"),
        (lambda *, k=1: k, r"takes no inputs; tensors come before the \*"),
        (lambda x, *, y=1: x * y, "has an argument 'y', the name of a cotangent or result; rename it"),
        (lambda g: g, "has an argument 'g', the name of a cotangent or result; rename it"),
        (np.exp, "takes a Python function, got ufunc"),
    ],
)
def test_what_is_no_formula_is_refused(function, message):
    with pytest.raises(ArgumentError, match=message):
        fuse(function)


def test_names_of_the_generated_code_are_free():
    """c0, t0, T and np are what generated code calls a constant, a temporary, the scalar type and NumPy."""

    @fuse
    def shadowed(c0, t0, T, np, _, *, special=2.5):
        return special * c0 + t0 * t0 * 3.5 + T * np + _ * _

    xs = np.random.default_rng(0).standard_normal((5, 3))
    np.testing.assert_allclose(shadowed(*xs).numpy(), shadowed.function(*xs), rtol=1e-12)
    assert engine.gradcheck(shadowed, list(xs))
    assert shadowed.forward.mpmath()(1, 2, 3, 4, 5, 2.5) == 53.5
    assert r"\mathrm{\_}^2" in shadowed.latex


def test_wrong_arguments_are_refused():
    bell = fuse(FUNCTIONS["bell"])
    x = tensor([1.0, 2.0])
    with pytest.raises(ArgumentError, match=r"takes 2 inputs \(x, centre\), but missing a required argument: 'centre'"):
        bell(x)
    with pytest.raises(ArgumentError, match=r"takes 2 inputs \(x, centre\), but too many positional arguments"):
        bell(x, x, x)
    with pytest.raises(ArgumentError, match="unexpected keyword argument 'wide'"):
        bell(x, x, wide=2.0)
    with pytest.raises(ArgumentError, match=r"width is Tensor, but what follows the \* is plain numbers"):
        bell(x, x, width=x)
    with pytest.raises(ShapeError, match="bell|lambda"):
        bell(x, tensor([1.0, 2.0, 3.0]))


# ------------------------------------------------------------------------------------------------ as an object
@fuse
def cube(x):
    """A fused function of this module."""
    return x**3


def plain(x):
    return x * 2.0


doubled = fuse(plain)


def test_copies_and_pickles():
    assert copy.copy(cube) is cube and copy.deepcopy({"f": cube})["f"] is cube
    assert pickle.loads(pickle.dumps(cube)) is cube
    again = pickle.loads(pickle.dumps(doubled))
    np.testing.assert_array_equal(again(tensor([1.0])).numpy(), [2.0])
    assert "cube" not in engine.OPS and cube.__module__ == __name__


def test_the_example_runs():
    failed, run = doctest.testmod(importlib.import_module("engine.fuse"))
    assert run >= 4 and failed == 0


def test_numbers_behind_the_star_hold_at_every_call():
    """The first call finds a kernel, the later ones take a shorter way to it: with defaults, too."""

    @fuse
    def swish(x, *, beta=1.0):
        return x * engine.sigmoid(beta * x)

    @fuse
    def pull(x, centre, *, width=2.0):
        return (x - centre) / width

    x = engine.tensor([0.5, -1.0, 2.0], requires_grad=True)
    for beta in (1.0, 1.0, 3.0, 1.0):
        y = swish(x) if beta == 1.0 else swish(x, beta=beta)
        np.testing.assert_allclose(y.numpy(), (x * engine.sigmoid(x * beta)).numpy(), rtol=1e-6)
        np.testing.assert_allclose(pull(x, x * 2).numpy(), -x.numpy() / 2, rtol=1e-6)
    swish(x).sum().backward()
    assert x.grad.shape == x.shape


@pytest.mark.parametrize("number", [np.float32(2), np.float64(2), np.int64(2), np.bool_(True)])
def test_a_number_of_numpys_is_a_plain_number(number):
    @fuse
    def scaled(x, *, k=1.0):
        return x * k

    x = tensor([1.0, 2.0], requires_grad=True)
    y = scaled(x, k=number)
    y.sum().backward()
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y.numpy(), [float(number), 2 * float(number)])
    np.testing.assert_array_equal(x.grad.numpy(), [float(number)] * 2)
