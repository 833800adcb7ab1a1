"""Layers: their state, their descriptions, symbols, and what they say when something does not fit."""

from __future__ import annotations

import copy
import gc
import pickle

import numpy as np
import pytest
from layer_draws import IMAGES, SmallNet, draw, seeded

import layers
from engine import config, no_grad, ops, tensor
from engine.errors import ArgumentError, ChainRuleError, DTypeError, IndexRangeError, NotBuiltError, ShapeError
from engine.parameter import training_mode
from layers import (
    Activation,
    Add,
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
    MaxPooling2D,
    Operation,
    Permute,
    ReLU,
    Reshape,
    Softmax,
    SymbolicTensor,
)

__all__ = ["seeded"]  # a fixture


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
