"""Every op on `--device` agrees with the CPU: results, gradients, gradients of gradients; random bits exactly.

From the registry: an op that is added is compared with no further edit. On the CPU itself there is nothing to compare.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest

import engine
import layers
import models
import optim
from engine import OPS
from engine.backends import get_backend
from engine.dtypes import SEVERAL_ROUNDINGS
from engine.gradcheck import sample
from engine.op import ElementwiseOp
from engine.parameter import training_mode
from engine.samples import Draw
from engine.tensor import Tensor, asarray
from models.zoo import mnist_cnn
from tests.gpu.uncovered import UNCOVERED
from tests.test_layer_laws import EVERY, called, inputs

SAMPLED = [n for n, o in OPS.items() if (isinstance(o, ElementwiseOp) or o.note.samples) and n != "to_device"]
SEEDS = range(3)
OTHER_DTYPES = "bitwise_left_shift", "bitwise_right_shift", "round"


@pytest.fixture(autouse=True)
def another_device(request):
    device = request.config.getoption("--device")
    if device == "cpu":
        pytest.skip("compares another device with the CPU: --device strict, or cuda")
    return device


def covered(name, request):
    if request.config.getoption("--emulate") and name in UNCOVERED:
        pytest.skip("needs machine code inside CuPy")


def computed(name, inputs, params, device, dtype):
    """Results and first gradients, for one cotangent; and the gradients of the squares of these."""
    op, on = OPS[name], {"device": device}
    with engine.device(device):
        tensors = [
            asarray(x.astype(dtype) if x.dtype.kind == "f" else x, **on).requires_grad_(x.dtype.kind == "f")
            if isinstance(x, np.ndarray) else x for x in inputs
        ]  # fmt: skip
        y = op(tensors, **params) if getattr(op, "variadic", False) else op(*tensors, **params)
        results = list(y) if isinstance(y, (tuple, list)) else [y]
        leaves = [t for t in tensors if isinstance(t, Tensor) and t.requires_grad]
        found = [t.numpy() for t in results]
        if results[0].requires_grad and leaves:
            g = np.random.default_rng(0).standard_normal(results[0].shape).astype(results[0].dtype)
            firsts = engine.grad(results[0], leaves, g, create_graph=True, allow_unused=True)
            firsts = [f for f in firsts if f is not None]
            found += [f.numpy() for f in firsts]
            if dtype == "float32":
                total = sum((f * f).sum() for f in firsts)
                if isinstance(total, Tensor) and total.requires_grad:
                    seconds = engine.grad(total, leaves, allow_unused=True)
                    found += [s.numpy() for s in seconds if s is not None]
    return found


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("name", SAMPLED)
def test_an_op_agrees_with_the_cpu(name, dtype, another_device, request):
    covered(name, request)
    for seed in SEEDS if dtype == "float32" else SEEDS[:1]:
        inputs, params = sample(OPS[name], Draw.seeded(seed))
        wanted = computed(name, inputs, params, "cpu", dtype)
        got = computed(name, inputs, params, another_device, dtype)
        assert len(got) == len(wanted)
        for a, b in zip(got, wanted, strict=True):
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            if b.dtype.kind in "iub":
                np.testing.assert_array_equal(a, b)
            else:
                tolerance = 5 * SEVERAL_ROUNDINGS[dtype]
                largest = np.abs(b[np.isfinite(b)].astype(np.float64)).max(initial=0)
                np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(1.0, largest))


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "bool"])
@pytest.mark.parametrize("name", [n for n in SAMPLED if isinstance(OPS[n], ElementwiseOp) and OPS[n].result != "float"])
def test_whole_numbers_and_truth_values_agree_exactly(name, dtype, another_device):
    if dtype == "bool" and name in OTHER_DTYPES and another_device.startswith("cuda"):
        pytest.skip("of truth values NumPy makes int8 and float16 here, the GPU's kernels truth values")
    rng = np.random.default_rng(0)
    domains = OPS[name].note.domain
    inputs = [
        rng.integers(0, 2, (3, 5)).astype(bool) if d.kind == "bool" else rng.integers(0, 6, (3, 5)).astype(dtype)
        for d in domains
    ]
    try:
        wanted = OPS[name](*[asarray(x, device="cpu") for x in inputs])
    except engine.ChainRuleError as problem:
        with pytest.raises(type(problem)):
            OPS[name](*[asarray(x, device=another_device) for x in inputs])
        return
    got = OPS[name](*[asarray(x, device=another_device) for x in inputs])
    assert got.dtype == wanted.dtype
    np.testing.assert_array_equal(got.numpy(), wanted.numpy())


def test_random_bits_are_equal(another_device):
    for seed, stream, start, n in ((0, 0, 0, 1000), (2**64 - 1, 2**63, 2**40, 37), (5, 9, 4, 0)):
        want = get_backend("cpu").random_bits(seed, stream, start, n)
        backend = get_backend(another_device)
        np.testing.assert_array_equal(backend.to_numpy(backend.random_bits(seed, stream, start, n)), want)


def test_a_table_of_more_axes_than_can_be_joined_is_walked(another_device):
    """A transposed array of six axes beside a broadcast one: no two axes can be joined."""
    x = np.random.default_rng(0).standard_normal((2, 3, 2, 3, 2, 3)).astype(np.float32)
    y = np.random.default_rng(1).standard_normal((3, 1, 3, 1, 3, 1)).astype(np.float32)
    a = asarray(x, device=another_device).permute_dims((5, 4, 3, 2, 1, 0)) + asarray(y, device=another_device)
    np.testing.assert_allclose(a.numpy(), x.transpose() + y, rtol=1e-6)


# ------------------------------------------------------------------------------------------------ layers and losses
def of_a_layer(layer, shape, device):
    """Its result in training, and the gradients of its inputs and parameters."""
    with engine.device(device):
        layer = copy.deepcopy(layer)
        layer.set_seed(0)
        y, leaves = called(layer, inputs(layer, shape), True, requires_grad=True)
        if y.requires_grad:
            y.backward(np.random.default_rng(0).standard_normal(y.shape))
        state = layer.state_dict()
    return [y.numpy(), *(t.grad.numpy() for t in (*leaves, *layer.parameters()) if t.grad is not None), *state.values()]


@pytest.mark.parametrize(("layer", "shape"), EVERY, ids=[type(layer).__name__ for layer, _ in EVERY])
def test_a_layer_agrees_with_the_cpu(layer, shape, another_device):
    for got, want in zip(of_a_layer(layer, shape, another_device), of_a_layer(layer, shape, "cpu"), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9)


LOSSES = {
    "BinaryCrossentropy": ("bits", "shares"), "CategoricalCrossentropy": ("shares", "shares"),
    "SparseCategoricalCrossentropy": ("classes", "shares"), "Hinge": ("bits", "numbers"),
    "Huber": ("numbers", "numbers"), "KLDivergence": ("shares", "shares"),
    "MeanAbsoluteError": ("numbers", "numbers"), "MeanSquaredError": ("numbers", "numbers"),
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_agrees_with_the_cpu(name, another_device):
    rng = np.random.default_rng(0)
    numbers = rng.standard_normal((5, 4))
    shares = np.exp(numbers) / np.exp(numbers).sum(-1, keepdims=True)
    bits, classes = rng.integers(0, 2, (5, 4)), rng.integers(0, 4, 5)
    drawn = {"numbers": rng.standard_normal((5, 4)), "bits": bits, "classes": classes, "shares": shares}
    truth, guess = (drawn[kind] for kind in LOSSES[name])
    weights, found = np.arange(1.0, 6.0), []
    for device in (another_device, "cpu"):
        y = engine.tensor(guess + 0.1, device=device, requires_grad=True)
        value = getattr(layers.losses, name)()(engine.tensor(truth, device=device), y, sample_weight=weights)
        value.backward()
        found.append((value.numpy(), y.grad.numpy()))
    for got, want in zip(*found, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-9)


# ------------------------------------------------------------------------------------------------ training
def trained(device, make, optimizer, x, y, from_logits=True, steps=4):
    """The losses of some steps, and the parameters after them."""
    with engine.device(device):
        model = make()
        model.build((None, *x.shape[1:]))
        opt, loss = optimizer(model.parameters()), layers.losses.SparseCategoricalCrossentropy(from_logits)
        losses = []
        for step in range(steps):
            rows = slice(step * len(x) // steps, (step + 1) * len(x) // steps)
            with training_mode(True):
                value = loss(y[rows], model(x[rows]))
            opt.zero_grad()
            value.backward()
            opt.step()
            losses.append(value.item())
    return np.array(losses), model.state_dict()


def agree(make, optimizer, x, y, device, from_logits=True, rtol=1e-4):
    losses, state = trained("cpu", make, optimizer, x, y, from_logits)
    got, found = trained(device, make, optimizer, x, y, from_logits)
    np.testing.assert_allclose(got, losses, rtol=rtol)
    for path, values in state.items():
        np.testing.assert_allclose(found[path], values, rtol=50 * rtol, atol=50 * rtol, err_msg=path)


def images(n, side=12):
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, side, side, 1)).astype(np.float32), rng.integers(0, 10, n)


def words(n, length=6):
    rng = np.random.default_rng(0)
    return rng.integers(1, 20, (n, length)), rng.integers(0, 3, n)


def on_words(*parts):
    return lambda: models.Sequential([layers.Embedding(20, 8), *(part() for part in parts), layers.Dense(3)], seed=0)


NETWORKS = {
    "dense": lambda: models.Sequential(
        [layers.Flatten(), layers.Dense(16, activation="relu"), layers.Dropout(0.3), layers.Dense(10)], seed=0
    ),
    "convolutional": lambda: models.Sequential([
        layers.Conv2D(4, 3, activation="relu"), layers.MaxPooling2D(2), layers.Conv2D(6, 3, padding="same"),
        layers.BatchNormalization(), layers.ReLU(), layers.AveragePooling2D(2), layers.Dropout(0.2), layers.Flatten(),
        layers.LayerNormalization(), layers.Dense(10),
    ], seed=0),
}  # fmt: skip
SEQUENCES = {
    "embedding": on_words(layers.Flatten),
    "simple": on_words(lambda: layers.SimpleRNN(5)),
    "gru": on_words(lambda: layers.GRU(5)),
    "lstm": on_words(lambda: layers.Bidirectional(layers.LSTM(4))),
    "attention": on_words(lambda: layers.TransformerEncoder(16, 2, dropout=0.1), layers.Flatten),
}  # fmt: skip
OPTIMIZERS = {
    "SGD": lambda p: optim.SGD(p, 0.05), "momentum": lambda p: optim.SGD(p, 0.05, momentum=0.9, nesterov=True),
    "Adam": lambda p: optim.Adam(p, 1e-3), "AdamW": lambda p: optim.AdamW(p, 1e-3),
    "RMSprop": lambda p: optim.RMSprop(p, 1e-3), "Adagrad": lambda p: optim.Adagrad(p, 1e-2),
    "Adadelta": lambda p: optim.Adadelta(p, 1e-2), "Lion": lambda p: optim.Lion(p, 1e-4),
    "clipped": lambda p: optim.SGD(p, 0.05, global_clipnorm=0.5),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_on_images_trains_as_on_the_cpu(name, another_device):
    agree(NETWORKS[name], OPTIMIZERS["SGD"], *images(16), another_device)


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_network_on_words_trains_as_on_the_cpu(name, another_device):
    agree(SEQUENCES[name], OPTIMIZERS["SGD"], *words(16), another_device)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_steps_as_on_the_cpu(name, another_device):
    agree(NETWORKS["dense"], OPTIMIZERS[name], *images(16), another_device)


def test_the_mnist_network_trains_as_on_the_cpu(another_device):
    agree(lambda: mnist_cnn(seed=0), OPTIMIZERS["Adam"], *images(16, 28), another_device, from_logits=False)
