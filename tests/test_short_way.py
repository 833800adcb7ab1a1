"""Elementwise ops take a short way for what is usual: it must not be told from the general way but by its speed."""

from __future__ import annotations

import numpy as np
import pytest

import engine
from engine import Tensor, no_grad, tensor
from engine.arity import BinaryOp, UnaryOp
from engine.backends.cpu import Elementwise, declined, using
from engine.backends.protocol import SMALL
from engine.elementwise import ElementwiseOp
from engine.errors import ArgumentError, ChainRuleError, DTypeError, GradientError, ShapeError
from engine.record import OPS

rng = np.random.default_rng(0)
ELEMENTWISE = {n: op for n, op in OPS.items() if isinstance(op, ElementwiseOp)}
OF_FLOATS = {n: op for n, op in ELEMENTWISE.items() if op.result != "integer"}
UNARY = [n for n, op in OF_FLOATS.items() if isinstance(op, UnaryOp)]
BINARY = [n for n, op in OF_FLOATS.items() if isinstance(op, BinaryOp)]
TERNARY = [n for n, op in OF_FLOATS.items() if len(op.inputs) == 3]
OF_INTEGERS = [n for n, op in ELEMENTWISE.items() if op.result == "integer"]


def values(shape, dtype="float32"):
    return rng.uniform(0.1, 0.9, shape).astype(dtype)


def general(op):
    """The op with no function ready for inputs that it has met."""

    def call(*xs, **params):
        kernels = op.kernels("cpu")
        for kernel in (kernels.forward, *(pull.kernel for pull in kernels.pulls if pull)):
            if isinstance(kernel, Elementwise):
                kernel.ready.clear()
                kernel.short, kernel._short_takes = declined, ""
        return ElementwiseOp.__call__(op, *xs, **params)

    return call


def both_ways(op, *inputs, g=None):
    """Result and gradients by op(...), which takes the short way if it can, and by the general method."""
    found = []
    for call in (op, op, general(op)):  # the first call of all is general anyway
        leaves = [Tensor(x, x.dtype.kind == "f") if isinstance(x, np.ndarray) else x for x in inputs]
        y = call(*leaves)
        if y.requires_grad:
            y.backward(Tensor(np.broadcast_to(g, y.shape).astype(y.dtype)))
        found.append([y.data, *(x.grad.data for x in leaves if isinstance(x, Tensor) and x.grad is not None)])
    return found[1:]


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("shape", [(8,), (), (1,), (0,), (3, 4)])
def test_one_input(name, shape):
    short, general = both_ways(OPS[name], values(shape), g=np.float32(0.7))
    for a, b in zip(short, general, strict=True):
        assert type(a) is np.ndarray and a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize(
    "inputs",
    [
        (values((4,)), values((4,))), (values(()), values(())), (values((3, 1)), values((4,))), (values((4,)), 0.5),
        (0.5, values((4,))), (values((4,)), 2), (values((2, 3)), values(())), (values((4,), "float64"), values((4,))),
    ],
    ids=["equal", "no axes", "broadcast", "float", "float first", "int", "one number", "mixed"],
)  # fmt: skip
def test_two_inputs(name, inputs):
    short, general = both_ways(OPS[name], *inputs, g=np.float32(0.7))
    assert len(short) == len(general)
    for a, b in zip(short, general, strict=True):
        assert type(a) is np.ndarray and a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", TERNARY)
def test_three_inputs(name):
    first = rng.random((3, 4)) > 0.5 if OPS[name].condition else values((3, 4))
    for inputs in ((first, values((3, 4)), values((3, 4))), (first, values(4), 0.5), (first, 1, values((3, 1)))):
        short, general = both_ways(OPS[name], *inputs, g=np.float32(0.7))
        for a, b in zip(short, general, strict=True):
            assert type(a) is np.ndarray and a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", OF_INTEGERS)
@pytest.mark.parametrize("dtype", ["bool", "int32", "int64", "uint8"])
def test_whole_numbers(name, dtype):
    op = OPS[name]
    if dtype == "bool" and "shift" in name:
        return
    inputs = [rng.integers(0, 2, 5).astype(dtype) for _ in op.inputs]
    (short,), (general,) = both_ways(op, *inputs)
    assert short.dtype == general.dtype
    np.testing.assert_array_equal(short, general)


@pytest.mark.parametrize("name", [n for n, op in OF_FLOATS.items() if op.params])
def test_params_as_declared_are_numbers_in_the_formula(name):
    """... and any others its inputs: the results are the same."""
    op, x = OPS[name], values((7,)) - np.float32(0.5)
    found = []
    for declared in (True, False):
        kernel = op.kernels("cpu", declared)
        y = kernel.forward(x, *([] if declared else op.params.values()))
        (pull,) = kernel.pulls
        found.append((y, pull((x + 1, x, *([] if declared else op.params.values()), y))))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_array_equal(found[0][1], found[1][1])
    more = {k: v + 0.25 for k, v in op.params.items()}
    leaf = Tensor(x, True)
    op(leaf, **more).backward(Tensor(x + 1))
    (wanted,) = op.kernels("cpu", False).pulls
    np.testing.assert_array_equal(leaf.grad.numpy(), wanted((x + 1, x, *more.values(), op(x, **more).numpy())))


def test_bare_arrays_are_told_apart_by_their_dtypes():
    for dtype in ("float32", "float64", "int64", "float32", "float64", "int64"):
        for op in (engine.exp, engine.normal_cdf):
            y = op(np.zeros(3, dtype))
            assert y.dtype == ("float32" if dtype == "int64" else dtype)
        assert engine.add(np.ones(3, dtype), np.ones(3, dtype)).dtype == dtype


def test_lists_and_numpys_scalars_are_the_same_each_time():
    x, whole = tensor([1.0, 2.0]), tensor([1, 2])
    for _ in range(2):
        for op, f in ((engine.add, np.add), (engine.multiply, np.multiply), (engine.less, np.less)):
            for a, b in (([1, 2], [3, 1]), ([1.0, 2.0], [3.0, 1.0]), ((1, 2), (3, 1)), ((1, 0), [1, 1])):
                np.testing.assert_array_equal(op(a, b).numpy(), f(a, b))
            for number in (np.float64(1.5), np.int64(3), np.float32(1.5), np.int8(3)):
                np.testing.assert_array_equal(op(x, number).numpy(), f(x.numpy(), number.item()))
                np.testing.assert_array_equal(op(number, x).numpy(), f(number.item(), x.numpy()))
                np.testing.assert_array_equal(op(whole, number).numpy(), f(whole.numpy(), number.item()))
        for a in ([1.0, 2.0], [1, 2], (1, 2), range(1, 3)):
            np.testing.assert_array_equal(engine.exp(a).numpy(), engine.exp(x).numpy())
        np.testing.assert_array_equal(engine.lerp([1.0, 2.0], x, [0.5, 0.5]).numpy(), [1, 2])


def test_params_may_be_numpys_numbers():
    x = tensor([-1.0, 2.0], requires_grad=True)
    wanted = engine.leaky_relu(x, negative_slope=0.25)
    for number in (np.float64(0.25), np.float32(0.25)):
        y = engine.leaky_relu(x, negative_slope=number)
        np.testing.assert_array_equal(y.numpy(), wanted.numpy())
        (x_bar,) = engine.grad(y, [x], tensor([3.0, 5.0]))
        np.testing.assert_array_equal(x_bar.numpy(), [0.75, 5])
    np.testing.assert_array_equal(engine.elu(x, np.int64(2)).numpy(), engine.elu(x, 2).numpy())


def test_what_is_not_usual_is_noticed_on_the_short_way_too():
    x = tensor([1.0, 2.0], requires_grad=True)
    for _ in range(2):
        with pytest.raises(ShapeError, match=r"add: shapes \(2,\) and \(3,\) do not broadcast"):
            engine.add(x, tensor([1.0, 2.0, 3.0]))
        with pytest.raises(ArgumentError, match="takes 2 inputs"):
            engine.add(x)
        with pytest.raises(DTypeError, match="an input is None"):
            engine.add(x, None)
        with pytest.raises(ArgumentError, match="unknown argument"):
            engine.tanh(x, alpha=2)
        with pytest.raises(ChainRuleError):
            x + 10**400
    with engine.detect_anomaly(), pytest.raises(GradientError, match="log: its forward made"):
        engine.log(tensor([-1.0], requires_grad=True))
    with no_grad():
        assert not (x * x).requires_grad
    large = tensor(values(SMALL))
    np.testing.assert_array_equal((large * large).numpy(), large.numpy() ** 2)


@pytest.mark.parametrize("number", [np.float32(0.5), np.float64(0.5), np.int64(2), np.bool_(True), np.float16(0.5)])
def test_numbers_of_numpy_are_weak(number):
    x, weak = tensor(values(4), requires_grad=True), number.item()
    for _ in range(2):
        for y, wanted in (
            (x * number, x * weak),
            (number - x, weak - x),
            (engine.maximum(x, number), engine.maximum(x, weak)),
        ):
            assert y.dtype == wanted.dtype == np.float32
            np.testing.assert_array_equal(y.numpy(), wanted.numpy())
    (x * number).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), np.full(4, weak, np.float32))


def test_a_param_is_a_plain_number():
    x = tensor(values(4))
    for wrong in (x, [0.1], None, np.ones(4), 1j, np.complex64(1)):
        with pytest.raises(
            ArgumentError, match=f"leaky_relu: negative_slope is {type(wrong).__name__}, but it takes a plain number"
        ):
            engine.leaky_relu(x, negative_slope=wrong)
    np.testing.assert_array_equal(
        engine.leaky_relu(x - 1, negative_slope=np.float32(0.5)).numpy(),
        engine.leaky_relu(x - 1, negative_slope=0.5).numpy(),
    )


def test_the_remedies_of_wrong_arguments():
    x = tensor(values(4))
    for wrong in (x, np.ones(4)):
        with pytest.raises(ArgumentError, match=r"takes a plain number; \.item\(\) gives that of one element"):
            engine.leaky_relu(x, negative_slope=wrong)
    with pytest.raises(ArgumentError, match=r"exp: unknown argument \['x'\]; .* only its inputs \(x\) by position"):
        engine.exp(x=x)
    with pytest.raises(ArgumentError, match=r"takes \['negative_slope'\], and its inputs \(x\) by position"):
        engine.leaky_relu(x, slope=0.1)
    with pytest.raises(ArgumentError, match=r"exp: takes 1 input \(x\), got 0"):
        engine.exp()
    with pytest.raises(ShapeError, match="add: the nested lists are ragged .* give every row the same length"):
        engine.add(x, [[1.0, 2.0], [3.0]])


def test_a_long_double_is_a_number_too():
    x, number = tensor(values(4)), np.longdouble(0.5)
    for y, wanted in ((x + number, x + 0.5), (number * x, 0.5 * x), (engine.elu(-x, number), engine.elu(-x, 0.5))):
        assert y.dtype == np.float32
        np.testing.assert_array_equal(y.numpy(), wanted.numpy())


def test_the_lowering_asked_for_is_the_one_that_runs():
    x = tensor(values(9))
    lanes = engine.exp(x)
    kernel = OPS["exp"].kernels("cpu").forward
    assert kernel.ready and kernel.short is not declined
    with using("numpy"):
        assert not kernel.ready and kernel.short is declined
        np.testing.assert_array_equal(engine.exp(x).numpy(), np.exp(x.numpy()))
    np.testing.assert_array_equal(engine.exp(x).numpy(), lanes.numpy())


def test_many_paths_meet_in_any_order():
    """The walk keeps the node it will visit next outside of its heap: diamonds, fans and chains all add up."""
    for seed in range(20):
        draw = np.random.default_rng(seed)
        leaf = tensor(np.array([0.3, -0.2]), requires_grad=True)
        made = [leaf]
        slopes = [np.ones(2)]  # d made[i] / d leaf, by hand: every op here is linear
        for _ in range(30):
            i, j = draw.integers(0, len(made), 2)
            a, b = draw.uniform(-0.5, 0.5, 2)
            made.append(made[i] * a + made[j] * b)
            slopes.append(slopes[i] * a + slopes[j] * b)
        leaf.grad = None
        sum(m.sum() for m in made[-5:]).backward()
        np.testing.assert_allclose(leaf.grad.numpy(), sum(slopes[-5:]), rtol=1e-12)
