"""Layers: their equations, their paths, their state, and what they say when something does not fit."""

from __future__ import annotations

import copy
import gc
import pickle

import numpy as np
import pytest

import layers
from engine import config, no_grad, ops, tensor
from engine.errors import ArgumentError, ChainRuleError, DTypeError, IndexRangeError, NotBuiltError, ShapeError
from engine.parameter import Buffer, Parameter, name_scope, training_mode
from engine.random import Generator, default_generator, manual_seed
from engine.tensor import Tensor
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
    InputLayer,
    Layer,
    LayerNormalization,
    LeakyReLU,
    Maximum,
    MaxPooling2D,
    Minimum,
    Multiply,
    Operation,
    Permute,
    ReLU,
    Reshape,
    Softmax,
    Subtract,
    SymbolicTensor,
)


@pytest.fixture(autouse=True)
def seeded():
    before = default_generator().state()
    manual_seed(3)
    yield
    default_generator().set_state(before)


def draw(*shape: int, at: str = "x") -> np.ndarray:
    return Generator(23).at(at).normal(shape)


class SmallNet(Layer):
    """Layers in a list, in a dict and as an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.body = [Conv2D(4, 3, activation="relu"), MaxPooling2D(), Flatten(), Dropout(0.5)]
        self.heads = {"left": Dense(3), "right": Dense(2, activation="softmax")}
        self.norm = BatchNormalization()

    def call(self, x: Tensor) -> Tensor:
        for layer in self.body:
            x = layer(x)
        return self.norm(self.heads["left"](x) + ops.sum(self.heads["right"](x), axis=-1, keepdims=True))


IMAGES = draw(5, 8, 8, 1)
PATHS = [
    "body.0.kernel", "body.0.bias", "heads.left.kernel", "heads.left.bias", "heads.right.kernel", "heads.right.bias",
    "norm.gamma", "norm.beta", "norm.moving_mean", "norm.moving_variance",
]  # fmt: skip


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
    class Scaled(Layer):
        def __init__(self, units: int, **options) -> None:
            super().__init__(**options)
            self.units = units

        def build(self, input_shape) -> None:
            self.w = self.add_weight(shape=(input_shape[-1], self.units), initializer="he_normal", trainable=True)
            self.inner = Dense(self.units)

        def call(self, x, training=None):
            return self.inner(x @ self.w) * (1.0 if training else 0.0)

    layer = Scaled(3)
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


# ------------------------------------------------------------------------------------------------ state
def test_state_goes_from_one_model_to_another() -> None:
    one, other = SmallNet(), SmallNet()
    one(IMAGES)
    assert other.load_state_dict(one.state_dict()) == ([], [])  # not even built
    np.testing.assert_array_equal(one.eval()(IMAGES).numpy(), other.eval()(IMAGES).numpy())
    third = SmallNet()
    third(IMAGES)
    third.set_weights(one.get_weights())
    np.testing.assert_array_equal(one(IMAGES).numpy(), third.eval()(IMAGES).numpy())


def test_a_state_is_a_copy() -> None:
    layer = Dense(2)
    layer(draw(1, 2))
    saved = layer.state_dict()
    layer.kernel.assign(np.zeros((2, 2)))
    assert saved["kernel"].any()


def test_a_state_that_is_no_numbers_changes_nothing() -> None:
    layer = Dense(2)
    layer.build((None, 3))
    before = layer.state_dict()
    with pytest.raises(DTypeError, match=r"must be real numbers, and these are not: bias \(<U1\). Nothing was loaded"):
        layer.load_state_dict({"kernel": np.ones((3, 2)), "bias": np.array(["a", "b"])})
    for name, values in layer.state_dict().items():
        np.testing.assert_array_equal(values, before[name])


def test_a_description_of_another_version_says_what_does_not_fit() -> None:
    with pytest.raises(ArgumentError, match=r"the saved loss Huber does not fit .*'nope'; it takes delta, reduction"):
        config.deserialize(layers.losses.Loss, {"class_name": "Huber", "config": {"nope": 1}})


def test_a_state_that_does_not_fit_changes_nothing_and_lists_every_name() -> None:
    net = SmallNet()
    net(IMAGES)
    before, wrong = net.state_dict(), net.state_dict()
    del wrong["norm.gamma"]
    wrong["body.0.kernel"] = np.zeros((3, 3, 2, 4))
    wrong["heads.left.bias"] = np.ones(3)
    wrong["extra"] = np.zeros(1)
    every = r"missing: norm.gamma; unexpected: extra; of another shape: body.0.kernel \(has \(3, 3, 1, 4\), got \(3"
    with pytest.raises(ShapeError, match=every):
        net.load_state_dict(wrong)
    for path, values in net.state_dict().items():
        np.testing.assert_array_equal(values, before[path])
    del wrong["body.0.kernel"]
    with pytest.raises(ArgumentError, match=r"Nothing was loaded; strict=False loads what fits"):
        net.load_state_dict(wrong)
    missing, unexpected = net.load_state_dict(wrong, strict=False)
    assert (missing, unexpected) == (["body.0.kernel", "norm.gamma"], ["extra"])
    assert (net.heads["left"].bias.numpy() == 1).all()


def test_copies_and_pickles_are_models_of_their_own() -> None:
    net = SmallNet()
    net(IMAGES)
    for again in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        np.testing.assert_array_equal(again(IMAGES, training=False).numpy(), net(IMAGES, training=False).numpy())
        again.body[0].kernel.assign(np.zeros((3, 3, 1, 4)))
        assert net.body[0].kernel.numpy().any()
    unbuilt = pickle.loads(pickle.dumps(SmallNet()))
    assert unbuilt(IMAGES).shape == (5, 3)


def test_a_run_goes_on_bit_for_bit_from_its_random_state() -> None:
    net = SmallNet()
    net(IMAGES)
    saved, random = net.state_dict(), net.random_state()
    expected = net(IMAGES).numpy()
    assert list(random) == ["body.3.masks"]
    again = SmallNet()
    again.build((None, 8, 8, 1))
    again.load_state_dict(saved)
    again.load_random_state(random)
    np.testing.assert_array_equal(again(IMAGES).numpy(), expected)
    with pytest.raises(ArgumentError, match=r"differ in the generators \['body.3.masks'\]"):
        again.load_random_state({})


def test_freezing_stops_learning_and_thawing_starts_it() -> None:
    net = SmallNet()
    net(IMAGES)
    net.body[0].freeze()
    ops.sum(net(IMAGES) ** 2).backward()
    assert net.body[0].kernel.grad is None and net.heads["left"].kernel.grad is not None
    assert len(net.trainable_weights) == 6 and len(net.non_trainable_weights) == 4
    net.body[0].trainable = True
    assert len(net.trainable_weights) == 8
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())


def test_modes_reach_every_layer() -> None:
    net = SmallNet()
    assert net.training and net.body[3].training
    net.eval()
    assert not net.norm.training and not net.heads["left"].training
    with training_mode(True):
        assert net.norm.training
    assert not net.norm.training and net.train().norm.training


def test_counts() -> None:
    net = SmallNet()
    net(IMAGES)
    assert net.count_params() == sum(p.size for p in net.weights) == 40 + 111 + 74 + 12


def test_training_leaves_no_garbage() -> None:
    net = SmallNet()

    def step() -> None:
        ops.sum(net(IMAGES) ** 2).backward()
        net.zero_grad()

    step()
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            step()
        assert gc.collect() == 0
    finally:
        gc.enable()


# ------------------------------------------------------------------------------------------------ configurations
EVERY = [
    (Dense(3, "relu", kernel_regularizer="l2"), (4, 5)),
    (Conv2D(2, 3, padding="same", strides=2, activation="relu"), (2, 7, 6, 3)),
    (Conv2D(4, (2, 3), dilation_rate=2, groups=2, use_bias=False), (2, 7, 8, 4)),
    (MaxPooling2D((2, 3), strides=1), (2, 5, 6, 3)),
    (AveragePooling2D(padding="same"), (2, 5, 5, 3)),
    (GlobalAveragePooling2D(), (2, 5, 5, 3)),
    (GlobalMaxPooling2D(keepdims=True), (2, 5, 5, 3)),
    (Flatten(), (2, 3, 4)),
    (Reshape((4, -1)), (2, 6, 2)),
    (Permute((2, 1)), (2, 6, 2)),
    (Activation("softmax"), (2, 6)),
    (ReLU(max_value=6.0), (2, 6)),
    (LeakyReLU(), (2, 6)),
    (Softmax(), (2, 6)),
    (Dropout(0.5, seed=4), (2, 6)),
    (BatchNormalization(scale=False), (3, 2, 4)),
    (LayerNormalization(epsilon=1e-5), (3, 4)),
    (InputLayer((4,)), (3, 4)),
    (Operation("tanh"), (3, 4)),
]


@pytest.mark.parametrize(("layer", "shape"), EVERY, ids=lambda x: type(x).__name__ if isinstance(x, Layer) else "")
def test_output_shape_gradient_and_description(layer: Layer, shape: tuple[int, ...]) -> None:
    layer, x = copy.deepcopy(layer), tensor(draw(*shape), requires_grad=True)
    again = config.deserialize(Layer, config.serialize(layer))
    assert again.get_config() == layer.get_config() and "object at" not in repr(layer)
    y = layer(x)
    assert y.shape == (shape[0], *layer.compute_output_shape((None, *shape[1:]))[1:])
    y.backward(draw(*y.shape, at="g"))
    assert x.grad.shape == x.shape and all(p.grad.shape == p.shape for p in layer.parameters())
    symbol = copy.deepcopy(again)(Input(shape[1:]))
    assert symbol.shape == (None, *y.shape[1:]) and symbol.layer.get_config() == layer.get_config()
    again(x)
    again.load_state_dict(layer.state_dict())
    np.testing.assert_array_equal(again(x, training=False).numpy(), layer(x, training=False).numpy())


def test_what_can_t_be_written_down_says_so() -> None:
    with pytest.raises(ArgumentError, match=r"a function can't be written into a saved model: use a name"):
        Dense(2, activation=lambda x: x).get_config()


def test_a_user_s_class_does_not_take_the_place_of_ours() -> None:
    class Dense(Layer):
        pass

    assert config.lookup(Layer, "Dense") is layers.Dense and config.lookup(Layer, "SmallNet") is SmallNet


# ------------------------------------------------------------------------------------------------ symbols
def test_a_functional_network_is_recorded() -> None:
    x = Input((8, 8, 1))
    conv = Conv2D(4, 3)
    a, b = conv(x), conv(x)
    y = Dense(2)(Flatten()(Add()([a, b]) * 2.0 + 1.0))
    assert y.shape == (None, 2) and conv.built and conv.kernel.shape == (3, 3, 1, 4)
    assert a.layer is conv and a.inputs == (x,) and a.call is not b.call and isinstance(y, SymbolicTensor)
    chain, t = [], y
    while t.inputs:
        chain.append(t.layer.name)
        t = t.inputs[0] if isinstance(t.inputs[0], SymbolicTensor) else t.inputs[0][0]
    assert chain == ["dense", "flatten", "add", "multiply", "add", "conv2d"] and t is x
    with pytest.raises(ArgumentError, match="a symbolic tensor has no values"):
        np.asarray(y)
    with pytest.raises(ArgumentError, match="no truth value"):
        bool(y)


def test_unknown_sides_stay_unknown() -> None:
    x = Input((None, None, 3))
    assert Conv2D(4, 3, strides=2)(x).shape == (None, None, None, 4)
    assert GlobalAveragePooling2D()(x).shape == (None, 3)
    assert Dense(5)(Input((None, 7))).shape == (None, None, 5)


def test_a_composite_finds_its_shape_by_trying() -> None:
    net = SmallNet()
    assert net(Input((8, 8, 1))).shape == (None, 3) and net.count_params() == 237
    assert (net.norm.moving_mean.numpy() == 0).all()  # trying is not training


# ------------------------------------------------------------------------------------------------ errors
@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (lambda: Dense(0), ArgumentError, r"Dense: units is a whole number of 1 or more, got 0"),
        (lambda: Dense(3, activation="reluu"), ArgumentError, r"there is no activation 'reluu'; there are .*relu"),
        (lambda: Dense(3, unit=4), ArgumentError, r"Dense: unknown argument \['unit'\]; see help\(Dense\)"),
        (lambda: Dense(3)(draw(4)), ShapeError, r"Dense 'dense': the input has 1 dimensions \(4,\), but .* at least 2"),
        (
            lambda: (lambda d: (d(draw(2, 4)), d(draw(2, 5))))(Dense(3, name="out")),
            ShapeError,
            r"Dense 'out': the input has shape \(2, 5\) with 5 on axis -1, but the layer was built for 4 there",
        ),
        (lambda: Dense(2)(), ArgumentError, r"Dense 'dense': takes one tensor \(N,...,D\), got none; call it"),
        (lambda: Dense(2)([draw(2, 3)] * 2), ArgumentError, r"takes one tensor \(N,...,D\), got a list; "),
        (lambda: Conv2D(3, 3)(draw(2, 8, 8)), ShapeError, r"has 3 dimensions \(2, 8, 8\), but \(N,H,W,C\) needs 4"),
        (lambda: Conv2D(3, 3)(draw(2, 2, 8, 1)), ShapeError, r"a window of 3 .*does not fit H=2"),
        (lambda: Conv2D(3, 3, padding="full"), ArgumentError, r"Conv2D: padding is one of valid, same, got 'full'"),
        (lambda: Conv2D(3, 3, groups=2)(draw(2, 8, 8, 4)), ShapeError, r"groups=2 must divide the 4 channels"),
        (lambda: Conv2D(3, 3, data_format="channels_first"), ArgumentError, r"images are channels-last, \(N,H,W,C\)"),
        (lambda: Conv2D(3, 3)(Input((8, 8, None))), ShapeError, r"the number of channels must be known"),
        (lambda: Reshape((5, -1))(draw(2, 6)), ShapeError, r"shape \(6,\) has 6 elements, which do not fill"),
        (lambda: Dropout(1.5), ArgumentError, r"Dropout: rate is the probability .* got 1.5"),
        (lambda: Embedding(4, 2)([[0, 4]]), IndexRangeError, r"embedding: ids\[0, 1\] is 4, but the table has 4 rows"),
        (lambda: Add()(draw(2, 3)), ShapeError, r"Add 'add': takes one list of 2 inputs or more, Add\(\)\(\[a, b\]\)"),
        (lambda: Add()([draw(2, 3), draw(2, 4)]), ShapeError, r"axis -1 has the lengths \[3, 4\]; they must"),
        (lambda: Concatenate()([draw(2, 3), draw(3, 3)]), ShapeError, r"can't be joined along axis -1"),
        (lambda: BatchNormalization(axis=1)(draw(2, 3, 4)), ArgumentError, r"channels are the last axis here"),
        (lambda: BatchNormalization(epsilon=-1), ArgumentError, r"BatchNormalization: epsilon is a small variance, 0"),
        (lambda: LayerNormalization(epsilon=-1), ArgumentError, r"LayerNormalization: epsilon is a small variance, 0"),
        (lambda: InputLayer((4,))(draw(2, 3)), ShapeError, r"expected \(None, 4\), got \(2, 3\); None is any length"),
        (lambda: Layer()(draw(1)), NotImplementedError, r"Layer defines no call\(self, x\)"),
        (lambda: Dense(3).count_params(), NotBuiltError, r"call build\(input_shape\) of its layer or model"),
        (lambda: SmallNet().state_dict(), NotBuiltError, r"call build\(input_shape\) of its layer or model"),
        (lambda: Dense(2).set_weights([np.zeros(2)]), ArgumentError, r"Dense 'dense' has 2 weights, got 1 arrays"),
    ],
)
def test_errors(bad, error, message: str) -> None:
    with pytest.raises(error, match=message):
        bad()


def test_an_error_deep_inside_names_its_layers() -> None:
    net = SmallNet()
    net(IMAGES)
    with pytest.raises(ChainRuleError) as error, no_grad():
        net(draw(5, 8, 8, 2))
    assert error.value.__notes__ == ["in layer Conv2D 'body.0'", "in layer SmallNet 'small_net'"]


def test_repr_shows_shapes_and_paths() -> None:
    net = SmallNet()
    assert "body.0: Conv2D(filters=4, kernel_size=(3, 3), activation='relu'): kernel ?, bias (4,)" in repr(net)
    net(IMAGES)
    assert "heads.left: Dense(units=3): kernel (36, 3), bias (3,)" in repr(net)
