"""Layers: their equations, their parameters and paths."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from layer_draws import IMAGES, PATHS, SmallNet, draw, seeded

import layers
from engine import ops, tensor
from engine.errors import ArgumentError, NotBuiltError, ShapeError
from engine.parameter import Buffer, Parameter, name_scope, training_mode
from engine.random import Generator, default_generator, manual_seed
from layers import (
    Activation,
    Add,
    Average,
    AveragePooling2D,
    BatchNormalization,
    Concatenate,
    Conv2D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    Input,
    Layer,
    LayerNormalization,
    LeakyReLU,
    Maximum,
    MaxPooling2D,
    Minimum,
    Multiply,
    Permute,
    ReLU,
    Reshape,
    Softmax,
    Subtract,
)

__all__ = ["seeded"]  # a fixture


# ------------------------------------------------------------------------------------------------ equations
def test_dense_is_its_equation() -> None:
    x, layer = draw(4, 3), Dense(5, activation="tanh", bias_initializer="random_normal")
    y = layer(x)
    np.testing.assert_allclose(y.numpy(), np.tanh(x @ layer.kernel.numpy() + layer.bias.numpy()), rtol=1e-5, atol=1e-6)
    assert y.dtype == np.float32 and layer(draw(2, 7, 3)).shape == (2, 7, 5)
    assert Dense(5, use_bias=False)(x).shape == (4, 5)


@pytest.mark.parametrize("activation", [None, "relu", "sigmoid"])
@pytest.mark.parametrize("use_bias", [True, False])
def test_conv2d_is_its_composition(activation, use_bias: bool) -> None:
    """The fused kernels against plain ops, and their gradients under a random cotangent."""
    x = draw(2, 7, 6, 3)
    layer = Conv2D(4, (3, 2), strides=2, padding="same", activation=activation, use_bias=use_bias,
                   bias_initializer="random_normal", dtype="float64")  # fmt: skip
    w, wx = tensor(x, dtype="float64", requires_grad=True), tensor(x, dtype="float64", requires_grad=True)
    y = layer(w)
    z = ops.conv2d(wx, layer.kernel, stride=2, padding="same")
    z = z + layer.bias if use_bias else z
    z = z if activation is None else getattr(ops, activation)(z)
    np.testing.assert_allclose(y.numpy(), z.numpy(), rtol=1e-9, atol=1e-12)
    g = draw(*y.shape, at="g").astype(np.float64)
    y.backward(g)
    fused = [layer.kernel.grad.numpy(), w.grad.numpy()] + ([layer.bias.grad.numpy()] if use_bias else [])
    layer.zero_grad()
    z.backward(g)
    plain = [layer.kernel.grad.numpy(), wx.grad.numpy()] + ([layer.bias.grad.numpy()] if use_bias else [])
    for a, b in zip(fused, plain, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_pooling() -> None:
    x = draw(2, 4, 6, 3)
    blocks = x.reshape(2, 2, 2, 3, 2, 3)
    np.testing.assert_array_equal(MaxPooling2D()(x).numpy(), blocks.max((2, 4)))
    np.testing.assert_allclose(AveragePooling2D(2)(x).numpy(), blocks.mean((2, 4)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(GlobalAveragePooling2D()(x).numpy(), x.mean((1, 2)), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(GlobalMaxPooling2D(keepdims=True)(x).numpy(), x.max((1, 2), keepdims=True))


def test_batch_normalization_uses_the_batch_then_what_it_remembers() -> None:
    x, layer = 3 + 2 * draw(50, 4), BatchNormalization(momentum=0.9)
    y = layer(x).numpy()
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(0), 1, atol=1e-3)
    np.testing.assert_allclose(layer.moving_mean.numpy(), 0.1 * x.mean(0), rtol=1e-4)
    np.testing.assert_allclose(layer.moving_variance.numpy(), 0.9 + 0.1 * x.var(0), rtol=1e-4)
    mean, variance = layer.moving_mean.numpy().copy(), layer.moving_variance.numpy().copy()
    expected = (x - mean) / np.sqrt(variance + 1e-3)
    for use in (lambda: layer(x, training=False), lambda: layer.eval()(x)):
        np.testing.assert_allclose(use().numpy(), expected, rtol=1e-4, atol=1e-5)
    layer.train().freeze()
    np.testing.assert_allclose(layer(x).numpy(), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(layer.moving_mean.numpy(), mean)


def test_layer_normalization() -> None:
    x = draw(3, 5, 4)
    y = LayerNormalization()(x).numpy()
    np.testing.assert_allclose(y, (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-3), atol=1e-5)
    assert LayerNormalization(axis=(1, 2))(x).shape == x.shape


@pytest.mark.parametrize("axis", [1, -2, (2, 1), (1, 3), [3]])
def test_layer_normalization_over_any_axes(axis) -> None:
    x, layer = draw(2, 3, 4, 5), LayerNormalization(axis=axis)
    layer.build((None, 3, 4, 5))
    layer.set_weights([draw(*w.shape, at=f"w{i}") for i, w in enumerate(layer.get_weights())])
    axes = tuple(sorted(a % 4 for a in np.atleast_1d(axis)))
    sides = [n if a in axes else 1 for a, n in enumerate(x.shape)]
    gamma, beta = (w.reshape(sides) for w in layer.get_weights())
    expected = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-3) * gamma + beta
    np.testing.assert_allclose(layer(x).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_embedding_reads_rows_and_its_gradient_adds_them_up() -> None:
    layer = Embedding(6, 2)
    ids = np.array([[0, 5], [5, 5]])
    y = layer(ids)
    np.testing.assert_array_equal(y.numpy(), layer.embeddings.numpy()[ids])
    g = draw(2, 2, 2)
    y.backward(g)
    np.testing.assert_allclose(layer.embeddings.grad.numpy()[5], g[0, 1] + g[1, 0] + g[1, 1], rtol=1e-6)
    np.testing.assert_array_equal(layer(ids.astype(np.float32)).numpy(), y.numpy())
    on_host, fractions = Embedding(6, 2).to("cpu"), tensor(np.array([[2.0, 3.2]], np.float32), device="cpu")
    with pytest.raises(ArgumentError, match=r"whole numbers, .*; got 3.2 at \(0, 1\) of \(1, 2\): words are counted"):
        on_host(fractions)  # on a device it would have to be waited for


def test_dropout_keeps_the_mean_and_only_in_training() -> None:
    x, layer = np.ones((200, 200), np.float32), Dropout(0.3)
    y = layer(x).numpy()
    assert set(np.unique(y)) == {0.0, np.float32(1 / 0.7)}
    assert abs((y == 0).mean() - 0.3) < 5 * np.sqrt(0.21 / y.size)
    assert not np.array_equal(layer(x).numpy(), y)
    for use in (lambda: layer(x, training=False), lambda: layer.eval()(x)):
        np.testing.assert_array_equal(use().numpy(), x)
    with training_mode(True):
        assert (layer(x).numpy() == 0).any()


def test_merging_and_shapes() -> None:
    a, b = draw(2, 3), draw(2, 3, at="b")
    for layer, expected in (
        (Add(), a + b),
        (Subtract(), a - b),
        (Multiply(), a * b),
        (Average(), (a + b) / 2),
        (Maximum(), np.maximum(a, b)),
        (Minimum(), np.minimum(a, b)),
        (Concatenate(), np.concatenate([a, b], -1)),
        (Concatenate(0), np.concatenate([a, b])),
    ):
        np.testing.assert_allclose(layer([a, b]).numpy(), expected, rtol=1e-6)
    x = draw(2, 3, 4)
    np.testing.assert_array_equal(Flatten()(x).numpy(), x.reshape(2, 12))
    np.testing.assert_array_equal(Reshape((2, -1))(x).numpy(), x.reshape(2, 2, 6))
    np.testing.assert_array_equal(Permute((2, 1))(x).numpy(), x.transpose(0, 2, 1))
    assert Flatten()(np.zeros((0, 3, 4))).shape == (0, 12)


def test_inputs_may_come_in_a_dict() -> None:
    class Difference(Layer):
        def call(self, x):
            return x["a"] - x["b"]

    a, b = draw(2, 3), draw(2, 3, at="b")
    np.testing.assert_array_equal(Difference()({"a": a, "b": b}).numpy(), a - b)
    assert Difference()({"a": Input((3,)), "b": Input((3,))}).shape == (None, 3)


def test_activations_by_name_and_as_layers() -> None:
    x = draw(3, 4)
    np.testing.assert_array_equal(ReLU()(x).numpy(), np.maximum(x, 0))
    np.testing.assert_allclose(ReLU(max_value=1, negative_slope=0.1, threshold=0.2)(x).numpy(),
                               np.minimum(np.where(x > 0.2, x, 0.1 * (x - 0.2)), 1), rtol=1e-5)  # fmt: skip
    np.testing.assert_allclose(LeakyReLU()(x).numpy(), np.where(x > 0, x, 0.3 * x), rtol=1e-6)
    np.testing.assert_allclose(Softmax(axis=0)(x).numpy().sum(0), 1, rtol=1e-5)
    for name in [*layers.activations.OWN, *layers.activations.ENGINES, "linear"]:
        assert Activation(name)(x).shape == x.shape
    assert Dense(2, activation=lambda t: t * 2)(x).shape == (3, 2)


# ------------------------------------------------------------------------------------------------ parameters
def test_parameters_exist_before_they_have_values() -> None:
    net = SmallNet()
    assert [path for path, _ in net.named_parameters()] == PATHS[:8]
    assert [path for path, _ in net.named_buffers()] == PATHS[8:]
    kernel = net.body[0].kernel
    with pytest.raises(NotBuiltError, match=r"no values yet, because its shape is not known: call build\("):
        kernel.data  # noqa: B018
    net(IMAGES)
    assert kernel.shape == (3, 3, 1, 4) and kernel is net.body[0].kernel
    assert [path for path, _ in net.named(Parameter)] == PATHS == list(net.state_dict())


def test_initial_values_come_from_seed_and_path_not_from_the_order_of_building() -> None:
    one, other = SmallNet(), SmallNet()
    one.set_seed(9)
    other.set_seed(9)
    other._settle()
    other.heads["right"].build((None, 36))
    default_generator().normal((3,))
    one(IMAGES)
    other(IMAGES)
    for path, values in one.state_dict().items():
        np.testing.assert_array_equal(values, other.state_dict()[path])
    np.testing.assert_array_equal(
        one.body[0].kernel.numpy(),
        layers.initializers.GlorotUniform()((3, 3, 1, 4), np.float32, Generator(9).at("body.0.kernel")),
    )
    third = SmallNet()
    third.set_seed(10)
    third(IMAGES)
    assert not np.array_equal(third.body[0].kernel.numpy(), one.body[0].kernel.numpy())


class Scale(Layer):
    """Without `build`: the shape is known from the start."""

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.w = self.add_weight((3,), "random_normal")
        self.inner = Dense(3)
        self.own = Parameter(np.ones(3, np.float32))

    def call(self, x):
        return self.inner(x) * self.w * self.own


@pytest.mark.parametrize("on_data", [True, False])
def test_values_of_a_layer_without_build_come_from_seed_and_path(on_data: bool) -> None:
    def values() -> list[np.ndarray]:
        layer = Scale()
        layer.set_seed(5)
        layer(draw(2, 3)) if on_data else layer.build((None, 3))
        assert [p.path for p in (layer.w, layer.inner.kernel, layer.own)] == ["w", "inner.kernel", "own"]
        return layer.get_weights()

    first, second = values(), values()
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(first[0], Scale().w.initializer((3,), np.float32, Generator(5).at("w")))


def test_a_composite_made_frozen_has_nothing_to_learn() -> None:
    layer = Scale(trainable=False)
    layer(draw(2, 3))
    assert not layer.trainable_weights


@pytest.mark.parametrize("initializer", ["glorot_uniform", "he_normal", "random_normal", "orthogonal"])
def test_half_precision_layers_get_initial_values(initializer: str) -> None:
    layer = Dense(4, dtype="float16", kernel_initializer=initializer)
    assert layer(draw(2, 3)).dtype == layer.kernel.dtype == np.float16
    assert np.isfinite(layer.kernel.numpy()).all() and layer.kernel.numpy().std() > 0


def test_manual_seed_makes_models_repeatable_and_distinct() -> None:
    made = []
    for _ in range(2):
        manual_seed(5)
        made.append([Dense(3), Dense(3)])
        for layer in made[-1]:
            layer(draw(2, 4))
    (a, b), (c, d) = made
    np.testing.assert_array_equal(a.kernel.numpy(), c.kernel.numpy())
    np.testing.assert_array_equal(b.kernel.numpy(), d.kernel.numpy())
    assert not np.array_equal(a.kernel.numpy(), b.kernel.numpy())


def test_building_on_a_shape_is_building_on_data() -> None:
    one, other = SmallNet(), SmallNet()
    for net in (one, other):
        net.set_seed(2)
    one.build((None, 8, 8, 1))
    other.eval()(IMAGES)
    for path, values in one.state_dict().items():
        np.testing.assert_array_equal(values, other.state_dict()[path])


def test_a_layer_in_keras_style() -> None:
    class ScaledDense(Layer):
        def __init__(self, units: int, **options) -> None:
            super().__init__(**options)
            self.units = units

        def build(self, input_shape) -> None:
            self.w = self.add_weight(shape=(input_shape[-1], self.units), initializer="he_normal", trainable=True)
            self.inner = Dense(self.units)

        def call(self, x, training=None):
            return self.inner(x @ self.w) * (1.0 if training else 0.0)

    layer = ScaledDense(3)
    layer.set_seed(4)
    assert (layer(draw(2, 5), training=False).numpy() == 0).all() and layer(draw(2, 5), training=True).numpy().all()
    assert list(layer.state_dict()) == ["w", "inner.kernel", "inner.bias"]
    expected = layers.initializers.HeNormal()((5, 3), np.float32, Generator(4).at("w"))
    np.testing.assert_array_equal(layer.w.numpy(), expected)


def test_a_subclass_may_forget_the_base_constructor() -> None:
    class Careless(Layer):
        def __init__(self) -> None:
            self.inner = Dense(2)

        def call(self, x):
            return self.inner(x)

    assert Careless()(draw(3, 4)).shape == (3, 2)


def test_sharing_a_layer_shares_its_parameters() -> None:
    class Twice(Layer):
        def __init__(self) -> None:
            super().__init__()
            self.a = Dense(4)
            self.b = self.a

        def call(self, x):
            return self.b(self.a(x))

    net = Twice()
    net(draw(2, 4))
    assert list(net.state_dict()) == ["a.kernel", "a.bias"] and len(net.parameters()) == 2
    again = copy.deepcopy(net)
    assert again.a is again.b and again.a is not net.a


def test_a_parameter_by_itself() -> None:
    with name_scope("encoder"), name_scope("block"):
        w = Parameter(initializer=lambda shape, dtype, g: g.normal(shape, dtype), shape=(2, 3), name="w")
    manual_seed(8)
    np.testing.assert_array_equal(w.numpy(), Generator(8).at("encoder.block.w").normal((2, 3)))
    assert Parameter(np.ones(2, np.float32)).trainable and not Buffer(np.ones(2)).trainable
    with pytest.raises(ShapeError, match=r"parameter 'encoder.block.w' has shape \(2, 3\), its new values \(3, 2\)"):
        w.assign(np.zeros((3, 2)))
    with pytest.raises(ShapeError, match=r"has shape \(2, 3\) and can't be built again with \(3, 3\)"):
        w.build((3, 3))
